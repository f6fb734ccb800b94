"""From ``results/gpu-*.json`` to ``results/gpu.md`` and its plots; without a file, no page.

    python -m gpu.report [--results FOLDER]

A dry run is refused: its times are a CPU's.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from race import quartiles
from report import RESULTS, digits, machine_table, spread_in_words, table, time_in_words

from gpu import plots as gpu_plots
from gpu.cases import STEP
from gpu.predictions import (
    GOALS,
    GOALS_FOR,
    PREDICTED_FOR,
    PREDICTIONS,
    PROVENANCE,
    Medians,
    assumed,
)

PAGE = "gpu.md"
TOLERANCE = 1.4
"""Predictions are meant to hold but for this factor."""
BANDWIDTH = "copy bandwidth, "

INTRODUCTION = """\
# Measurements on GPUs

Made by `make bench-report` from the files `gpu-*.json` beside this page, which `make bench-gpu`
and `make gpu-results` write; nothing here is typed. [How it is measured](../README.md#on-a-gpu).

- Every time is of one call for the whole batch: medians, in parentheses the quartiles. *graph*:
  CUDA events around replays of a CUDA graph, which is what goals and predictions are about;
  *queued*: events around calls from Python that wait in the stream's queue; *wall*: the host's
  clock. Inputs rotate, so that L2 does not hold them.
- *floor*: each tensor that the stage is given read once, each that it returns written once, at
  the copy bandwidth measured on this GPU. The number after a graph's time is how many floors that
  is.
- *predicted*: see below. The number after it is the graph's time over it, over its upper end if
  that is a range and the time is not below it.
- *CPU*: our CPU back end on this machine. *plain torch*: `treefilter.reference` on this GPU,
  once.
- *baseline*: the research code's design, reimplemented from its description (`gpu/baseline`), by
  the host's clock, for it waits for the host in each step; then how many graph's times that is.
- *memory*: the peak of torch's allocator above the inputs, the results included.
- Every result was verified against the CPU back end on the same inputs first: trees identical,
  values to 1e-5 and gradients to 1e-4 of the largest.
"""
DRY = "**A dry run on the CPU, for tests: nothing on this page was measured on a GPU.**\n"


def load(folder: Path, dry: bool = False) -> dict[str, dict]:
    """The files of results by name; ValueError for a dry run among them, unless it is asked for."""
    runs = {}
    for path in sorted(folder.glob("gpu-*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["dry"] and not dry:
            raise ValueError(f"gpu.report: {path} must be measured on a GPU, got a dry run")
        runs[path.stem] = content
    return runs


# --- what the records say -------------------------------------------------------------------------


def bandwidth(run: dict) -> float:
    """Bytes a second of the faster copy."""
    constants = run["constants"]["constants"]
    return max(row["median"] for row in constants if row["name"].startswith(BANDWIDTH))


def medians(run: dict, way: str = "graph") -> Medians:
    return {
        (case["name"], record["stage"]): quartiles(record["nanoseconds"][way]).median / 1e9
        for case in run["cases"]
        for record in case["stages"]
        if record["nanoseconds"].get(way)
    }


def floors(run: dict) -> Medians:
    rate = bandwidth(run)
    return {
        (case["name"], record["stage"]): record["bytes"] / rate
        for case in run["cases"]
        for record in case["stages"]
    }


# --- parts of the page ----------------------------------------------------------------------------


def gpu_table(run: dict) -> str:
    device, header = run["constants"]["device"], run["machine"]
    rows = [[name, str(value)] for name, value in device.items()]
    rows += [[name, header[name]] for name in ("state before", "state after") if header.get(name)]
    return table(["GPU", ""], rows)


def constants_table(run: dict) -> str:
    rows = []
    for row in run["constants"]["constants"]:
        lower, median, upper = row["lower"], row["median"], row["upper"]
        if row["unit"] == "B/s":
            words = f"{median / 1e12:.3g} TB/s ({lower / 1e12:.3g} to {upper / 1e12:.3g})"
        else:
            words = f"{digits(median)} ns ({digits(lower)} to {digits(upper)})"
        cycles = f"{row['cycles']:.0f}" if row["cycles"] else ""
        rows.append([row["name"], words, cycles, assumed(row["name"])])
    return table(["constant", "measured", "cycles", "assumed"], rows)


def goals_table(run: dict) -> str:
    found, least = medians(run), floors(run)
    rows = []
    for goal in GOALS:
        value = goal.value(found, least)
        if value is None:
            words, met = "not measured", "–"
        else:
            unit = "×" if goal.over or goal.over_floor else " ms"
            words, met = f"{value:.3g}{unit}", "yes" if value <= goal.at_most else "**no**"
        rows.append([goal.case, goal.stage, goal.words, words, met])
    return table(["case", "stage", f"goal (for an {GOALS_FOR})", "measured", "met?"], rows)


def stages_table(run: dict, case: dict) -> str:
    """A row for each stage of a case."""
    threads, least = run["machine"]["cpu threads"], floors(run)
    rows = []
    for record in case["stages"]:
        stage = record["stage"]
        measured = {way: ns for way, ns in record["nanoseconds"].items() if ns}
        times = {way: quartiles([n / 1e9 for n in ns]) for way, ns in measured.items()}
        floor = least[case["name"], stage]
        graph = times.get("graph")
        reference = ""
        if "reference" in times:
            reference = time_in_words(times["reference"].median)
            if case["batch"] != record["reference images"]:
                reference += f" (1 of {case['batch']} images)"
        cpu = time_in_words(times["cpu"].median) if "cpu" in times else ""
        base = time_in_words(times["baseline"].median) if "baseline" in times else ""
        if graph and cpu:
            cpu += f"; {digits(times['cpu'].median / graph.median)}×"
        if graph and base:
            base += f"; {digits(times['baseline'].median / graph.median)}×"
        rows.append([
            stage,
            f"{spread_in_words(graph)}; {digits(graph.median / floor)}" if graph else "failed",
            time_in_words(floor),
            predicted_words(case["name"], stage, graph.median if graph else None),
            time_in_words(times["queued"].median) if "queued" in times else "–",
            time_in_words(times["wall"].median) if "wall" in times else "–",
            cpu,
            reference,
            base,
            f"{record.get('memory', 0) / 2**20:.1f} MiB",
        ])  # fmt: skip
    head = ["stage", "graph; floors", "floor", f"predicted ({PREDICTED_FOR})", "queued", "wall"]
    return table([*head, f"CPU, {threads} threads", "plain torch", "baseline", "memory"], rows)


def predicted_words(case: str, stage: str, seconds: float | None) -> str:
    """The range, and where the time lies in relation to it."""
    found = PREDICTIONS.get(case, {}).get(stage)
    if found is None:
        return "–"
    low, high = found
    words = f"{low:g} µs" if low == high else f"{low:g} to {high:g} µs"
    if seconds is None:
        return words
    return f"{words}; {digits(seconds * 1e6 / (high if seconds * 1e6 > low else low))}×"


def misses_table(run: dict) -> str:
    """What took longer than was predicted, the most time first; whole steps are left out."""
    rows = []
    for (case, stage), seconds in medians(run).items():
        if stage == STEP or stage not in PREDICTIONS.get(case, {}):
            continue
        high = PREDICTIONS[case][stage][1] / 1e6
        if seconds > TOLERANCE * high:
            rows.append((seconds - high, [case, stage, time_in_words(seconds),
                         time_in_words(high), time_in_words(seconds - high)]))  # fmt: skip
    if not rows:
        return "None: no stage that was predicted took longer than that.\n"
    rows.sort(key=lambda row: -row[0])
    return table(["case", "stage", "measured", "predicted", "excess"], [row for _, row in rows])


def page(runs: dict[str, dict], pictures: Sequence[str]) -> str:
    parts = [INTRODUCTION]
    for name, run in runs.items():
        machine = run["machine"]
        title = machine["gpu"] or "No GPU"
        parts += [f"## {title}\n", *([DRY] if run["dry"] else [])]
        header = {**machine, "set": "GPU"}
        parts += [machine_table(header), gpu_table(run)]
        parts += ["### Constants\n", constants_table(run)]
        parts += ["### Goals\n", goals_table(run)]
        parts += [f"### Predictions\n\n{PROVENANCE}\n"]
        parts += [f"More than {TOLERANCE:g} times the prediction, most time first:\n"]
        parts += [misses_table(run)]
        if f"{name}.png" in pictures:
            parts += [f"![Measured, predicted and least times of all stages]({name}.png)\n"]
        for case in run["cases"]:
            parts += [f"### {case['name']}\n", f"{case['title']}.\n"]
            if not case["weights as on the CPU"]:
                parts += ["Weights differ from the CPU's in their last bits.\n"]
            parts += [stages_table(run, case)]
    return "\n".join(parts)


def write(folder: Path, dry: bool = False) -> list[Path]:
    """Writes the page and the plots; returns what was written: nothing if nothing was measured."""
    runs = load(folder, dry)
    if not runs:
        return []
    written = []
    for name, run in runs.items():
        path = folder / f"{name}.png"
        if gpu_plots.stages(run, medians(run), floors(run), path):
            written.append(path)
    pictures = [path.name for path in folder.glob("gpu-*.png")]
    (folder / PAGE).write_text(page(runs, pictures), encoding="utf-8")
    return [*written, folder / PAGE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    written = write(parser.parse_args().results)
    for path in written:
        print(f"wrote {path}", file=sys.stderr)
    if not written:
        print("gpu.report: nothing was measured on a GPU, so there is no page", file=sys.stderr)


if __name__ == "__main__":
    main()
