"""The race as a fixture: verify, alternate, record; and how pytest-benchmark runs it.

One thread, unless a case sets another number; every peer has one, too.
"""

import os

# Before any OpenMP is loaded: waiting threads sleep, and peers have one thread.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAYON_NUM_THREADS", "1")

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import memory
import pytest
import race as racing
import torch

from treefilter._native import _C

RECORDS: list[racing.Record] = []
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() and _C.with_cuda else [])]
SMALL = [[128, 128]]


def pytest_addoption(parser):
    group = parser.getgroup("treefilter")
    group.addoption("--full", action="store_true", help="all cases, not only the default set")
    group.addoption("--seconds", type=float, default=1.5, help="time for the rounds of a case")
    group.addoption("--results", type=Path, help="folder for the JSON file; default: none")


def pytest_configure(config):
    config.addinivalue_line("markers", "full: only with --full, for it takes long")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--full"):
        left = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def pytest_sessionfinish(session):
    folder = session.config.getoption("--results", None)
    if folder is None or not RECORDS:
        return
    header = machine.header()
    header["set"] = "full" if session.config.getoption("--full") else "default"
    header["complete"] = session.testsfailed == 0
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{machine.slug(header)}.json"
    records = ",\n".join(json.dumps(record.to_json()) for record in RECORDS)
    path.write_text(f'{{"machine": {json.dumps(header, indent=1)},\n"records": [\n{records}\n]}}\n')
    print(f"\nwrote {path}")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


@pytest.fixture(params=DEVICES, scope="session")
def device(request):
    return torch.device(request.param)


@pytest.fixture
def race(benchmark, request):
    """Races contenders and records their times.

    ``race(record, calls, verify)``: ``calls`` by name; the first one is ours, or whatever the case
    is about. All are called; ``verify`` gets the results by name, before anything is timed.
    pytest-benchmark times the first contender; before each of its rounds, in ``setup``, which it
    does not time, every other contender runs once.
    """

    def run(
        record: racing.Record,
        calls: dict[str, Callable[[], Any]],
        verify: Callable[[dict[str, Any]], None],
    ) -> None:
        on_cuda = record.device == "cuda"
        if on_cuda:
            calls = {name: _synchronised(call) for name, call in calls.items()}
        results, duration = racing.enter(calls)
        verify(results)
        del results
        first, *others = calls
        record.seconds = {name: [] for name in calls}

        def others_turn() -> None:
            for name in others:
                record.seconds[name].append(racing.timed(calls[name]))

        benchmark.group = " ".join([record.task, record.input, record.shape, record.device])
        benchmark.pedantic(
            calls[first],
            setup=others_turn,
            rounds=racing.number_of_rounds(duration, request.config.getoption("--seconds")),
        )
        if benchmark.disabled:
            return
        record.seconds[first] = list(benchmark.stats["data"])
        for name in others:  # shown by --benchmark-json, too
            benchmark.extra_info[name] = record.seconds[name]
        if on_cuda:
            for name, call in calls.items():
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                call()
                record.memory[name] = torch.cuda.max_memory_allocated() - before
        RECORDS.append(record)

    return run


def _synchronised(call: Callable[[], Any]) -> Callable[[], Any]:
    def synchronised() -> Any:
        torch.cuda.synchronize()
        result = call()
        torch.cuda.synchronize()
        return result

    return synchronised


@pytest.fixture
def remember(benchmark, request):
    """Measures peak memory of some contenders and records it: each in a process of its own.

    ``remember(record, function, names, arguments)``: ``function(*arguments)`` of the case's module
    makes the inputs and the calls by name. The time that pytest-benchmark shows is the process's.
    """

    def run(record: racing.Record, function: str, names: list[str], *arguments: object) -> None:
        small = [*arguments[:-1], *SMALL]

        def measure() -> None:
            for name in names:
                record.memory[name] = memory.peak(
                    request.module.__name__, function, name, list(arguments), small
                )

        benchmark.group = f"{record.task} {record.input} {record.shape}"
        benchmark.pedantic(measure, rounds=1)
        if benchmark.enabled:
            RECORDS.append(record)

    return run
