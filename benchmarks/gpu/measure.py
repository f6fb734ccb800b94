"""Measures the CUDA back end and writes ``results/gpu-<device>.json``.

    python -m gpu.measure                            what `make bench-gpu` runs: some minutes
    python -m gpu.measure --cases 'TEL.*B=4' --no-reference --results /tmp/results
    python -m gpu.measure --dry --results /tmp/dry   tiny, on the CPU: for tests, never published

First the machine's constants (constants.cu), then the stages of every case (cases.py). Each is
verified against the CPU back end on the same inputs before it is timed: trees must be identical,
values close. What fails is not timed, and the exit status is 1. The file is written again after
each case. Steps of the tree energy loss are compared with the baseline.
"""

import os

# As for the CPU benchmark, and before any OpenMP is loaded: threads that wait sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import machine
import torch
from report import RESULTS

from gpu import machine as gpu_machine
from gpu.bench import Bench
from gpu.cases import CASES, DRY_CASES, Case
from gpu.check import sources
from treefilter._native import _C


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=None, help="folder; default: results")
    parser.add_argument("--cases", default="", help="a regular expression")
    parser.add_argument("--seconds", type=float, default=0.3, help="of graph replays, for a stage")
    parser.add_argument(
        "--cpu-seconds", type=float, default=0.5, help="for a stage; 0: no CPU times"
    )
    parser.add_argument("--threads", type=int, default=None, help="of the CPU; default: torch's")
    parser.add_argument("--no-reference", dest="reference", action="store_false")
    parser.add_argument("--constants", type=Path, help="what constants.cu has printed before")
    parser.add_argument("--dry", action="store_true", help="tiny, on the CPU, not to be published")
    parser.add_argument("--drill", action="store_true", help="only the cases of `make gpu-check`")
    parser.add_argument("--output", type=Path, help="the file; default: in the folder, by device")
    options = parser.parse_args(arguments)
    if options.results is None:
        # None is a whole set of results on a GPU.
        if (options.dry or options.cases or options.drill) and not options.output:
            parser.error("--dry, --cases and --drill need --results FOLDER or --output FILE")
        options.results = RESULTS
    goes = options.output.parent if options.output else options.results
    if options.dry and goes.resolve() == RESULTS:
        parser.error(f"--dry must not write to {RESULTS}")
    return options


def chosen(options: argparse.Namespace) -> list[Case]:
    cases = DRY_CASES if options.dry else CASES
    wanted = [case for case in cases if case.drill or not options.drill]
    return [case for case in wanted if re.search(options.cases, case.name)]


def measure(options: argparse.Namespace) -> list[str]:
    """Measures and writes, after each case; returns what failed."""
    if options.threads:
        torch.set_num_threads(options.threads)
    started = perf_counter()
    content: dict[str, Any] = {"dry": options.dry, "machine": machine.header()}
    header = content["machine"]
    if header["commit"] == "unknown":
        header["commit"] = sources.commit(Path(os.environ.get("TREEFILTER_FROM", "")))
    header |= {"cpu threads": torch.get_num_threads(), "complete": False, "drill": options.drill}
    if not options.dry:
        header["state before"] = gpu_machine.state()
    bench = Bench(options)
    content["constants"] = _constants(options, bench.failures)
    content["cases"] = []
    for case in chosen(options):
        print(f"{case.name}: {case.title} ({perf_counter() - started:.0f} s)", flush=True)
        try:
            content["cases"].append(bench.case(case))
        except RuntimeError as error:  # too little memory, say: the other cases are measured
            bench.failures.append(f"{case.name}: {error}")
        write(content, options)
        if not options.dry:
            torch.cuda.empty_cache()
    if not options.dry:
        header["state after"] = gpu_machine.state()
    header["complete"] = not bench.failures and not options.cases
    print(f"wrote {write(content, options)}")
    return bench.failures


def _constants(options: argparse.Namespace, failures: list[str]) -> dict:
    if options.constants:
        return json.loads(options.constants.read_text(encoding="utf-8"))
    if options.dry:
        return gpu_machine.copy_alone("cpu")
    try:
        return gpu_machine.constants()
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        print(f"  FAILED constants: {error}", flush=True)
        failures.append(f"constants: {error}")
        return gpu_machine.copy_alone("cuda")  # what floors are made of


def write(content: dict, options: argparse.Namespace) -> Path:
    name = "dry" if content["dry"] else machine.slug(content["machine"])
    path = options.output or options.results / f"gpu-{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({k: v for k, v in content.items() if k != "cases"}, indent=1)
    lines = ",\n".join(json.dumps(case) for case in content["cases"])
    head = head.removesuffix("\n}")
    path.write_text(f'{head},\n "cases": [\n{lines}\n]}}\n', encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if not options.dry:
        if not torch.cuda.is_available():
            raise SystemExit("gpu: no CUDA device was found")
        if not _C.with_cuda:
            raise SystemExit(
                "gpu: this treefilter was built without CUDA; `make bench-gpu` builds it"
            )
    failures = measure(options)
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
