"""Trainings in forked processes, which may be killed; a fork needs no seconds for imports."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tel_segmentation import cli, config
from tel_segmentation.training import engine

PATIENCE = 120
"""Seconds after which a process that hangs ends with its stacks."""


class Ended(NamedTuple):
    """How a forked process ended: its exit status, negative for a signal, and what it wrote."""

    status: int
    text: str


class Child:
    """A function in a forked process.

    Args:
        function: its result is the exit status; an exception is written, its status is 99.
        group: the process leads a process group of its own, so that the group can be signalled.
    """

    def __init__(self, function: Callable[[], int], *, group: bool = False) -> None:
        self._output = tempfile.TemporaryFile("w+b")  # noqa: SIM115
        with allowed():
            self.number = os.fork()
        if self.number:
            return
        status = 99
        try:
            if group:
                os.setpgid(0, 0)
            for stream in (1, 2):
                os.dup2(self._output.fileno(), stream)
            write_to_streams()
            end_if_it_hangs()
            status = function()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def wait(self) -> Ended:
        """Waits for the end of the process."""
        _, status = os.waitpid(self.number, 0)
        self._output.seek(0)
        text = self._output.read().decode()
        self._output.close()
        return Ended(os.waitstatus_to_exitcode(status), text)


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """Python warns of forks where there are threads; ours, of pytest, hold no lock."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def write_to_streams() -> None:
    """Lets this process write to its own streams, not to those of pytest."""
    sys.stdout, sys.stderr = (os.fdopen(i, "w", 1, closefd=False) for i in (1, 2))


def end_if_it_hangs() -> None:
    """Ends this process after ``PATIENCE``, with the stacks of its threads: status 1."""
    faulthandler.dump_traceback_later(PATIENCE, exit=True, file=2)


def wait_for(condition: Callable[[], bool]) -> None:
    """Waits until the condition is true.

    Raises:
        TimeoutError: it is not, after ``PATIENCE``.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not reached within {PATIENCE} s")
        time.sleep(0.02)


def begun(options: config.Train) -> config.Train:
    """Writes the configuration of a run, so that ``--resume`` starts it."""
    options.output.mkdir()
    (options.output / "config.json").write_text(config.to_json(options), encoding="utf-8")
    return options


def resumed(
    options: config.Train,
    *more: object,
    at: int = -1,
    act: Callable[[], object] = lambda: None,
    group: bool = False,
) -> Child:
    """``tel train --resume`` in a process that acts at the beginning of an iteration."""

    def run() -> int:
        watch(at, act)
        return cli.main(["train", "--resume", str(options.output), *map(str, more)])

    return Child(run, group=group)


def watch(at: int, act: Callable[[], object]) -> None:
    """Lets trainings of this process act at the beginning of an iteration."""
    update = engine.update

    def watched(given, state, *others):
        if state.iteration == at:
            act()
        update(given, state, *others)

    engine.update = watched
