"""Layers of the field, forward and backward: this library's, the drop-in ones, plain PyTorch.

    python layers.py [--report] [--seconds S]

Measures every case of layer_cases.py, after comparing the contenders' results, and writes
``results/layers.json`` and the table in ``docs/migration.md``. ``--report`` writes the table from
the file that is there. Times are those of the processor, of one thread: a call does not wait, and
other programs on the machine count less.
"""

import argparse
import json
import sys
from pathlib import Path
from time import process_time

import machine
import memory
import race
import report
import torch
from layer_cases import CASES, DROP_IN, FUNCTIONS, PLAIN, verify
from race import OURS, Record

FILE = report.RESULTS / "layers.json"
PAGE = report.ROOT / "docs" / "migration.md"


def measure(seconds: float) -> None:
    """Times and peak memory of every case, written after each: a long run may be interrupted."""
    torch.set_num_threads(1)
    content: dict = {"machine": machine.header(), "records": []}
    for title, (function, sizes, small) in CASES.items():
        contenders = function(*sizes)
        results, duration = race.enter(contenders)
        verify(results)
        del results
        record = Record("layers", title, "x".join(map(str, sizes)), 1)
        record.seconds = {name: [] for name in contenders}
        for _ in range(race.number_of_rounds(duration, seconds)):
            for name, call in contenders.items():
                start = process_time()
                call()
                record.seconds[name].append(process_time() - start)
        del contenders
        for name in record.seconds:
            record.memory[name] = memory.peak(
                "layer_cases", "calls", name, [title, *sizes], [title, *small]
            )
        content["records"].append(record.to_json())
        FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"measured {title}", file=sys.stderr)


def table(content: dict) -> str:
    """A row for each contender: its times, their ratio to those of the first, and its memory."""
    rows = []
    for item in content["records"]:
        record = Record.from_json(item)
        first = next(iter(record.seconds))
        for name in (OURS, DROP_IN, FUNCTIONS, PLAIN):
            if name not in record.seconds:
                continue
            ratio = race.ratio(record.seconds[name], record.seconds[first]).value
            rows.append(
                [
                    record.input if name == first else "",
                    name,
                    report.spread_in_words(race.quartiles(record.seconds[name])),
                    "" if name == first else f"{report.digits(ratio)}×",
                    f"{record.memory[name] / 2**20:.0f} MiB",
                ]
            )
    where = content["machine"]
    caption = (
        f"{where['processor']}, {where['cores']} cores, one thread, {where['date']}, "
        f"commit {where['commit']}. Processor time, median (quartiles); ratio of medians; "
        "peak memory above the inputs.\n"
    )
    head = ["forward and backward", "", "time", "", "memory"]
    return f"{caption}\n{report.table(head, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--report", action="store_true", help="do not measure")
    parser.add_argument("--seconds", type=float, default=4, help="for each case")
    options = parser.parse_args()
    if not options.report:
        measure(options.seconds)
    content = json.loads(FILE.read_text(encoding="utf-8"))
    text = Path(PAGE).read_text(encoding="utf-8")
    PAGE.write_text(report.insert(text, table(content), "layers"), encoding="utf-8")
    print(f"wrote {PAGE}", file=sys.stderr)


if __name__ == "__main__":
    main()
