"""What a GPU does one after the other in a step, counted without a GPU: results/gpu_counts.md.

    PYTHONPATH=build/emulated python -m gpu.counts [--results FOLDER]    `make gpu-counts`

The emulation runs the device code as the device would, so that launches and barriers are counted
exactly; what torch launches by itself is not. Times are left to `make gpu-check`.
"""

import argparse
import json
from pathlib import Path

import torch
from report import RESULTS, table

from gpu.cases import CASES, STEP, Case
from gpu.work import Work
from treefilter._native import _C

JSON, PAGE = "gpu_counts.json", "gpu_counts.md"
BUDGET = 40
"""Launches of ours in a step of the tree energy loss, each a node of a captured graph."""
COLUMNS = ("launches", "grid barriers", "block barriers")
INTRODUCTION = f"""\
# What a step does one after the other on a GPU

Made by `make gpu-counts`, which counts in the emulation of the device code; no GPU is needed, and
nothing here is a time. *Launches* of this library are nodes of a captured graph; a step of the tree
energy loss may have {BUDGET} (a test compares). *Grid barriers* are those of cooperative kernels,
*block barriers* those of the block that has most, summed over the launches. The work between two
barriers is done by all threads at once.
"""


def count(case: Case) -> dict[str, list[int]]:
    """Launches, barriers of the grid and of blocks, by the name of the kernel."""
    work = Work(case, torch.device("cpu"))
    step = work.stage(STEP)
    _C.take_counts()
    step()
    return {name: list(each) for name, each in sorted(_C.take_counts().items())}


def totals(kernels: dict[str, list[int]]) -> list[int]:
    return [sum(column) for column in zip(*kernels.values(), strict=True)]


def page(counts: dict[str, dict[str, list[int]]]) -> str:
    parts = [INTRODUCTION]
    for name, kernels in counts.items():
        rows = [[kernel, *map(str, each)] for kernel, each in kernels.items()]
        rows.append(["**all**", *(f"**{each}**" for each in totals(kernels))])
        parts.append(f"## {name}\n\n" + table(["kernel", *COLUMNS], rows))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    folder = parser.parse_args().results
    counted = [case for case in CASES if case.drill]
    counts = {case.title: count(case) for case in counted}
    (folder / JSON).write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(page(counts), encoding="utf-8")


if __name__ == "__main__":
    main()
