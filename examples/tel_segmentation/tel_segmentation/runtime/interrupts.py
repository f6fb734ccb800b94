"""Signals that end a run: SIGINT (Ctrl-C), SIGTERM, and SIGHUP (the terminal was closed)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_STREAMS = (1, 2)


class Interrupted(Exception):  # noqa: N818 (not an error: everything is saved)
    """A signal has stopped the run; its checkpoint is written."""


class Woken(Exception):  # noqa: N818 (not an error)
    """A signal came while the run waited for something."""


class Signals:
    """The signals that a run has received; its loop looks at them between iterations."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._process = os.getpid()
        self._waiting = False
        self._terminals = [each for each in _STREAMS if _is_terminal(each)]

    def __bool__(self) -> bool:
        return bool(self.received)

    def handle(self, number: int, _: FrameType | None) -> None:
        """Notes a signal; the next SIGINT raises KeyboardInterrupt.

        Raises:
            Woken: the run waits.
        """
        if os.getpid() != self._process:  # a worker that has just been forked
            return
        self.received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if number == getattr(signal, "SIGHUP", None):
            self._leave_terminals()
        if self._waiting:
            raise Woken

    @contextlib.contextmanager
    def waiting(self, wake: bool = True) -> Iterator[None]:
        """Where the run waits for batches: there it may be woken, and sees that a worker has died.

        Elsewhere neither happens, so that an iteration is done completely or not at all. (torch
        sets a handler of SIGCHLD that raises an error wherever the program is.)

        Args:
            wake: whether a signal ends the wait.

        Raises:
            Woken: a signal came; perhaps before the wait began.
            RuntimeError: by torch: a worker has died.
        """
        child = getattr(signal, "SIGCHLD", None)  # Windows has none
        if child is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._waiting = wake
        try:
            if wake and self.received:
                raise Woken
            if callable(_torchs_handler):
                signal.signal(child, _torchs_handler)
                _torchs_handler(child, None)
            yield
        finally:
            self._waiting = False
            _put_aside(child)

    def _leave_terminals(self) -> None:
        """Writes nothing more to a terminal that was closed: it would fail."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in self._terminals:
            os.dup2(nowhere, stream)
        os.close(nowhere)


_torchs_handler: Any = None
"""Set by torch when the first loader starts workers, once in a process."""


def _put_aside(child: signal.Signals) -> None:
    global _torchs_handler
    handler = signal.getsignal(child)
    if callable(handler):
        _torchs_handler = handler
        signal.signal(child, signal.SIG_DFL)


@contextlib.contextmanager
def collected_signals() -> Iterator[Signals]:
    """Collects the signals that end a run; after the first, SIGINT raises KeyboardInterrupt.

    A SIGHUP that is ignored, as under nohup, stays so.
    """
    signals = Signals()
    before: dict[int, Any] = {}
    try:
        for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, signals.handle)
    except ValueError:  # only the main thread may handle signals
        yield signals
        return
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if callable(_torchs_handler):
            signal.signal(signal.SIGCHLD, _torchs_handler)


def prepare_worker(_number: int = 0) -> None:
    """Prepares a process that reads images for a parent that may be stopped at any moment.

    The signals that end a run are ignored, since the parent handles them: a signal to the whole
    process group (Ctrl-C, Slurm, systemd) reaches the workers too, and if they ended, the parent
    could not finish its iteration. If the parent leaves while a batch is handed over, that is no
    error to be shown.
    """
    for name in NAMES:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.excepthook = _without_connections  # which multiprocessing calls for the hand-over


def _without_connections(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if not isinstance(error, (OSError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _is_terminal(stream: int) -> bool:
    with contextlib.suppress(OSError):
        return os.isatty(stream)
    return False
