"""The clocks of the GPU benchmark: three ways to time the same calls, and the peak of their memory.

``graph``   CUDA events around replays of a CUDA graph of all calls: what the device needs, without
            the host.
``queued``  events around the same calls, which were queued while the device was kept busy: what the
            device needs when it is called from Python and the host is ahead.
``wall``    the host's clock around the calls and one wait for the device: what a program sees that
            does nothing else.

Every sample is of all calls, which have inputs of their own so that these are not in L2, and is
divided by their number.
"""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import torch

Call = Callable[[], Any]
WAYS = ("graph", "queued", "wall")
MOST_QUEUED = 4
"""Calls at once in ``queued``: about a thousand launches fit in before the host must wait."""
MOST_ROUNDS, FEWEST_ROUNDS = 100, 10


class GpuClock:
    """Everything runs on ``stream``, where forward must have run of what is differentiated."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.stream = torch.cuda.Stream()
        with torch.cuda.stream(self.stream):
            torch.cuda._sleep(10**6)
            self.cycles_per_second = 1e8 / self._elapsed(lambda: torch.cuda._sleep(10**8))

    def measure(self, way: str, calls: Sequence[Call]) -> list[float]:
        """Seconds of a call, sample by sample."""
        timed = {"graph": self._graph, "queued": self._queued, "wall": self._wall}[way]
        with torch.cuda.stream(self.stream):
            for _ in range(2):
                for call in calls:
                    call()
            return timed(calls)

    def memory(self, call: Call) -> int:
        """Peak bytes above what was allocated before, the results included."""
        with torch.cuda.stream(self.stream):
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            result = call()
            torch.cuda.synchronize()
            del result
            return torch.cuda.max_memory_allocated() - before

    def _elapsed(self, work: Call) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    def _rounds(self, duration: float) -> int:
        return max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(self.seconds / duration)))

    def _capture(self, calls: Sequence[Call], repeats: int) -> tuple[torch.cuda.CUDAGraph, list]:
        graph, kept = torch.cuda.CUDAGraph(), []
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=self.stream):
            for _ in range(repeats):
                kept = [call() for call in calls]  # all at once, so that results leave L2 as well
        return graph, kept

    def _graph(self, calls: Sequence[Call]) -> list[float]:
        graph, kept = self._capture(calls, 1)
        graph.replay()
        once = self._elapsed(graph.replay)
        repeats = max(1, min(32, int(1e-3 / once)))  # so that starting a graph does not count
        if repeats > 1:
            del graph, kept
            graph, kept = self._capture(calls, repeats)
            graph.replay()
        rounds = self._rounds(once * repeats)
        samples = [self._elapsed(graph.replay) for _ in range(rounds)]
        del graph, kept
        return [sample / repeats / len(calls) for sample in samples]

    def _queued(self, calls: Sequence[Call]) -> list[float]:
        """Samples for which the host was not ahead of the device are left out."""
        calls = calls[:MOST_QUEUED]

        def queue() -> None:
            for call in calls:
                call()

        torch.cuda.synchronize()
        start = perf_counter()
        queue()
        cycles = int(3 * (perf_counter() - start) * self.cycles_per_second)
        samples = []
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        for _ in range(20):
            torch.cuda._sleep(cycles)
            first.record()
            queue()
            last.record()
            ahead = not first.query()
            last.synchronize()
            if ahead:
                samples.append(first.elapsed_time(last) / 1e3 / len(calls))
        return samples

    def _wall(self, calls: Sequence[Call]) -> list[float]:
        return _walls(calls, torch.cuda.synchronize, self._rounds)


class DryClock:
    """The same on the CPU, where all ways are one: for tests of the rest."""

    def measure(self, way: str, calls: Sequence[Call]) -> list[float]:
        assert way in WAYS
        for call in calls:
            call()
        return _walls(calls, lambda: None, lambda _: 3)

    def memory(self, call: Call) -> int:
        call()
        return 0


def _walls(
    calls: Sequence[Call], wait: Callable[[], None], rounds: Callable[[float], int]
) -> list[float]:
    def once() -> float:
        wait()
        start = perf_counter()
        for call in calls:
            call()
        wait()
        return perf_counter() - start

    return [once() / len(calls) for _ in range(min(50, rounds(once())))]


def on_cpu(call: Call, seconds: float, most: int = 20) -> list[float]:
    """Some calls of the CPU back end: at least one after the first, unless that took as long."""
    samples: list[float] = []
    spent = -1.0
    while spent < seconds and len(samples) < most + 1:
        start = perf_counter()
        call()
        samples.append(perf_counter() - start)
        spent = max(spent, 0) + samples[-1]
    return samples[1:] or samples
