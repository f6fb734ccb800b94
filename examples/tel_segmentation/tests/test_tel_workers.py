"""Work in several processes: order of results, errors, and a process that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tel_segmentation.runtime.workers import each


def power(base: int, exponent: int) -> int:
    if exponent == 13:
        raise ValueError("13 must not be asked for")
    if exponent == 99:
        os._exit(1)  # as the kernel's out-of-memory killer does
    return base**exponent


def work(jobs: int, *exponents: int) -> Iterator[int]:
    return each(power, 2, exponents, jobs, "powers")


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_are_in_order_until_an_error(jobs: int) -> None:
    results = work(jobs, *range(12), 13)
    assert [next(results) for _ in range(12)] == [2**k for k in range(12)]
    with pytest.raises(ValueError, match="13 must not be asked for"):
        next(results)


def test_a_process_that_is_killed_is_said_to_be() -> None:
    with pytest.raises(OSError, match=r"powers: a process was killed, .*; try fewer \(--jobs\)"):
        list(work(2, 1, 99))


def kill_the_parent(folder: Path, number: int) -> None:
    (folder / str(os.getpid())).touch()
    if number:
        os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(300)


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from tel_segmentation.runtime.workers import each\n"
        "from test_tel_workers import kill_the_parent\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "if __name__ == '__main__': list(each(kill_the_parent, folder, [1], 2, ''))"
    )
    paths = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=120)
    assert done.returncode == -signal.SIGKILL
    (child,) = (int(file.name) for file in tmp_path.iterdir())
    until = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()
