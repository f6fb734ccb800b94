"""Measures the CUDA back end and writes ``results/gpu-<device>.json``.

    python gpu.py                                  what `make bench-gpu` runs: some minutes
    python gpu.py --cases 'TEL.*B=4' --no-reference --results /tmp/results
    python gpu.py --dry --results /tmp/dry         tiny, on the CPU: for tests, never published

First the machine's constants (gpu_constants.cu), then the stages of every case (gpu_cases.py). Each
is verified against the CPU back end on the same inputs before it is timed: trees must be identical,
values close. What fails is not timed, and the exit status is 1.
"""

import os

# As for the CPU benchmark, and before any OpenMP is loaded: threads that wait sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import gpu_machine
import machine
import torch
from gpu_cases import (
    AFFINITY,
    CASES,
    DRY_CASES,
    FEATURES,
    IMAGE,
    TRANSFORM,
    Case,
    bytes_moved,
    weight_of,
)
from gpu_timing import WAYS, DryClock, GpuClock, on_cpu
from gpu_verify import WrongError, verify
from gpu_work import Work
from race import quartiles
from report import RESULTS

import treefilter as tf
from treefilter._native import _C

MOST_ROTATIONS = 64
VECTORISED = (weight_of(IMAGE), weight_of(FEATURES), AFFINITY)
"""Stages whose reference does not visit vertices one by one."""
REFERENCE_NODES, REFERENCE_PAIRS = 128 * 128, 128 * 128
"""Vertices of the one image that the others' is run on; pairs of them, for distance_transform."""
REFERENCE_BYTES = 8 << 30
"""Of what the reference of edge_weight makes."""


def rotations(case: Case, stage: str, cache: int, most: int) -> int:
    """So many inputs that they, and the results, are twice what L2 holds."""
    return max(2, min(most, -(-2 * cache // max(1, bytes_moved(case, stage)))))


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = torch.device("cpu" if options.dry else "cuda")
        self.clock = DryClock() if options.dry else GpuClock(options.seconds)
        self.cache, self.memory = 2**12, 2**30
        if not options.dry:
            properties = torch.cuda.get_device_properties(0)
            self.cache, self.memory = properties.L2_cache_size, properties.total_memory
        self.failures: list[str] = []
        self.referenced: list[tuple] = []  # of which one image has been through the reference

    def case(self, case: Case) -> dict:
        """Verifies and times all stages; what fails is named in ``failures`` and left out."""
        before = self._allocated()
        first = self._on_stream(Work, case, self.device)
        # A third of the memory is for inputs, with what is kept of them for backward.
        most = self.memory // 3 // max(1, self._allocated() - before)
        cpu = first.to("cpu")
        cpu.record()
        same = all(
            torch.equal(ours.cpu(), theirs)
            for ours, theirs in zip(first.recorded, cpu.recorded, strict=True)
        )
        records = {stage: self._verified(first, cpu, stage, same) for stage in case.stages}
        records = {stage: record for stage, record in records.items() if record is not None}
        del cpu
        if self.options.reference:
            try:
                self._references(first, records)
            except RuntimeError as error:  # it is no reason to lose our own times
                self._failed(case, f"reference: {error}")
        works = [first]
        for stage, record in records.items():
            self._time(works, stage, record, max(2, min(MOST_ROTATIONS, most)))
            self._show(stage, record)
        content = {"name": case.name, "title": case.title, "batch": case.batch}
        content["weights as on the CPU"] = same
        return {**content, "stages": list(records.values())}

    def _on_stream(self, call: Callable, *arguments: Any) -> Any:
        """Forward must run where backward is captured."""
        if self.options.dry:
            return call(*arguments)
        with torch.cuda.stream(self.clock.stream):
            result = call(*arguments)
        torch.cuda.synchronize()
        return result

    def _failed(self, case: Case, what: object) -> None:
        self.failures.append(f"{case.name}: {what}")
        print(f"  FAILED {self.failures[-1]}", flush=True)

    def _verified(self, work: Work, cpu: Work, stage: str, same: bool) -> dict | None:
        """A new record, with the time of the CPU back end."""
        expected = cpu.stage(stage)
        try:
            verify(stage, self._on_stream(work.stage(stage)), expected(), same)
        except (WrongError, RuntimeError) as error:
            self._failed(work.case, f"{stage}: {error}")
            return None
        record = {"stage": stage, "bytes": bytes_moved(work.case, stage), "nanoseconds": {}}
        if self.options.cpu_seconds:
            record["nanoseconds"]["cpu"] = _whole(on_cpu(expected, self.options.cpu_seconds))
        return record

    def _references(self, work: Work, records: dict[str, dict]) -> None:
        """Plain torch, once a stage; where it visits vertices one by one, of one image."""
        case = work.case
        all_images = self._on_stream(work.to, self.device, tf.reference)
        one_image, alike = None, (case.shape, case.channels, case.guides, case.width)
        if case.nodes <= REFERENCE_NODES and alike not in self.referenced:
            self.referenced.append(alike)
            one_image = self._on_stream(work.to, self.device, tf.reference, 1)
            if case.backward:
                self._on_stream(one_image.record)
        for stage, record in records.items():
            whole = stage in VECTORISED
            if reference_bytes(case) > REFERENCE_BYTES if whole else one_image is None:
                continue
            if stage == TRANSFORM and case.nodes**2 > REFERENCE_PAIRS:
                continue
            call = (all_images if whole else one_image).stage(stage)
            if whole:
                self._on_stream(call)  # a warm-up, which is nothing beside a loop
            start = perf_counter()
            self._on_stream(call)
            record["nanoseconds"]["reference"] = _whole([perf_counter() - start])
            record["reference images"] = case.batch if whole else 1

    def _allocated(self) -> int:
        return 0 if self.options.dry else torch.cuda.memory_allocated()

    def _time(self, works: list[Work], stage: str, record: dict, most: int) -> None:
        case = works[0].case
        count = rotations(case, stage, self.cache, most)
        record["inputs"] = count
        try:
            while len(works) < count:
                works.append(self._on_stream(Work, case, self.device, len(works)))
            record["memory"] = self.clock.memory(works[0].stage(stage))
        except RuntimeError as error:
            self._failed(case, f"{stage}: {error}")
            return
        calls = [work.stage(stage) for work in works[:count]]
        for way in WAYS:
            try:
                record["nanoseconds"][way] = _whole(self.clock.measure(way, calls))
            except RuntimeError as error:
                self._failed(case, f"{stage}, {way}: {error}")

    def _show(self, stage: str, record: dict) -> None:
        times = {way: ns for way, ns in record["nanoseconds"].items() if ns}
        words = (f"{way} {quartiles(ns).median / 1e3:.5g}" for way, ns in times.items())
        print(f"  {stage:34} µs: {', '.join(words)}", flush=True)


def reference_bytes(case: Case) -> int:
    """Both ends, their difference and its square, for every channel and edge."""
    channels = max(case.guide_channels(guide) for guide in case.guides)
    return 4 * 4 * case.batch * channels * case.edges


def _whole(seconds: Sequence[float]) -> list[int]:
    """Nanoseconds."""
    return [round(s * 1e9) for s in seconds]


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
    parser.add_argument("--constants", type=Path, help="what gpu_constants has printed before")
    parser.add_argument("--dry", action="store_true", help="tiny, on the CPU, not to be published")
    options = parser.parse_args(arguments)
    if options.results is None:
        if options.dry or options.cases:  # the one is no result, the other a part of one
            parser.error("--dry and --cases need --results FOLDER")
        options.results = RESULTS
    if options.dry and options.results.resolve() == RESULTS:
        parser.error(f"--dry must not write to {RESULTS}")
    return options


def measure(options: argparse.Namespace) -> tuple[dict, list[str]]:
    """What is written, and what failed."""
    if options.threads:
        torch.set_num_threads(options.threads)
    started = perf_counter()
    content: dict[str, Any] = {"dry": options.dry, "machine": machine.header()}
    content["machine"]["cpu threads"] = torch.get_num_threads()
    if not options.dry:
        content["machine"]["state before"] = gpu_machine.state()
    if options.constants:
        content["constants"] = json.loads(options.constants.read_text(encoding="utf-8"))
    else:
        content["constants"] = (
            gpu_machine.dry_constants() if options.dry else gpu_machine.constants()
        )
    bench = Bench(options)
    content["cases"] = []
    for case in DRY_CASES if options.dry else CASES:
        if re.search(options.cases, case.name):
            print(f"{case.name}: {case.title} ({perf_counter() - started:.0f} s)", flush=True)
            try:
                content["cases"].append(bench.case(case))
            except RuntimeError as error:  # too little memory, say: the other cases are measured
                bench.failures.append(f"{case.name}: {error}")
            if not options.dry:
                torch.cuda.empty_cache()
    if not options.dry:
        content["machine"]["state after"] = gpu_machine.state()
    content["machine"]["complete"] = not bench.failures and not options.cases
    return content, bench.failures


def write(content: dict, folder: Path) -> Path:
    name = "dry" if content["dry"] else machine.slug(content["machine"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"gpu-{name}.json"
    cases = content.pop("cases")
    head = json.dumps(content, indent=1).removesuffix("\n}")
    lines = ",\n".join(json.dumps(case) for case in cases)
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
    content, failures = measure(options)
    print(f"wrote {write(content, options.results)}")
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
