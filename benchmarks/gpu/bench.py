"""A case measured: verified against the CPU back end, then timed beside its competitors."""

import argparse
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import torch
from race import quartiles

import treefilter as tf
from gpu import baseline
from gpu.cases import AFFINITY, FEATURES, IMAGE, STEP, TRANSFORM, Case, weight_of
from gpu.floor import bytes_moved
from gpu.timing import WAYS, DryClock, GpuClock, on_cpu
from gpu.verify import WrongError, verify
from gpu.work import Work

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
        if STEP in records and case.loss:
            self._baseline(first, records[STEP])
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

    def _baseline(self, work: Work, record: dict) -> None:
        """The time of the research kernels as they are described, which must find the same."""
        try:
            found = self._on_stream(baseline.steps, work, self.options.dry)
        except baseline.MissingError as error:
            print(f"  no baseline: {error}", flush=True)
            return
        try:
            verify(STEP, found.results, self._on_stream(work.stage(STEP)))
            samples = self.clock.measure("wall", [found.call])
        except (WrongError, RuntimeError) as error:
            self._failed(work.case, f"{STEP}, baseline: {error}")
            return
        record["nanoseconds"]["baseline"] = _whole(samples)

    def _references(self, work: Work, records: dict[str, dict]) -> None:
        """Plain torch, once a stage; where it visits vertices one by one, of one image."""
        case = work.case
        all_images = self._on_stream(work.to, self.device, tf.reference)
        one_image, alike = None, (case.shape, case.channels, case.guides, case.width, case.scan)
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
