"""Results of a drill into the folder of results, under the name of the device.

    python -m gpu.check.publish FOLDER [--results FOLDER]

Copies the measurements to ``gpu-<device>.json``, and what all steps found, with the costs of
training, to ``gpu-<device>-drill.md``; then makes the page again. A rehearsal is refused, and a run
that does not say where it was made.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import machine
from report import RESULTS, table

from gpu import report
from gpu.check.drill import BENCHMARK, SUMMARY, TRAIN


def costs(train: Path) -> str:
    """The paper's Tables 4 and 5, as ratios."""
    if not train.exists():
        return ""
    found = json.loads(train.read_text(encoding="utf-8")).get("cost")
    if not found:
        return ""
    rows = [
        [
            row["method"],
            f"{row['seconds'] * 1e3:.1f} ms",
            f"{row['time_ratio']:.2f}×",
            f"{row['memory_mb']:.0f} MB",
            f"{row['memory_ratio']:.2f}×",
        ]
        for row in found["rows"]
    ]
    size = "×".join(map(str, found["crop"]))
    title = f"An iteration of {found['model']}, {found['batch']} images of {size}, {found['amp']}:"
    return f"\n{title}\n\n" + table(["method", "time", "ratio", "memory", "ratio"], rows)


def publish(folder: Path, results: Path) -> list[Path]:
    """What was written; ValueError for what is no result."""
    content = json.loads((folder / BENCHMARK).read_text(encoding="utf-8"))
    if content["dry"] or not content["machine"]["gpu"]:
        raise ValueError(f"gpu-results: {folder} must be of a run on a GPU, got a rehearsal")
    name = f"gpu-{machine.slug(content['machine'])}"
    results.mkdir(parents=True, exist_ok=True)
    measured, drill = results / f"{name}.json", results / f"{name}-drill.md"
    measured.write_text((folder / BENCHMARK).read_text(encoding="utf-8"), encoding="utf-8")
    summary = (folder / SUMMARY).read_text(encoding="utf-8")
    head = f"# The drill on {content['machine']['gpu']}, {content['machine']['date']}\n"
    head += f"\nCommit {content['machine']['commit']}. Made by `make gpu-results`.\n"
    body = summary.partition("\n")[2]
    drill.write_text(head + body + costs(folder / TRAIN), encoding="utf-8")
    return [measured, drill, *report.write(results)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gpu-results")
    parser.add_argument("folder", type=Path, help="what `make gpu-check` left")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    try:
        for path in publish(options.folder, options.results):
            print(f"wrote {path}")
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
