"""The progress of long work: a bar on a terminal, elsewhere a line from time to time."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

EVERY = 30.0
"""Seconds between lines where there is no terminal."""


def shown_progress(total: int, title: str, unit: str, *, shown: bool = True) -> Any:
    """A context manager with ``update(n)``, as tqdm's.

    Args:
        total: how many there are.
        title: what is done.
        unit: of what.
        shown: whether anything is shown.
    """
    if shown and not sys.stderr.isatty():
        return _Lines(total, title, unit)
    return tqdm(total=total, unit=unit, desc=title, leave=False, disable=not shown)


class _Lines:
    """Lines on the error stream; none for work that takes less than the time between them."""

    def __init__(self, total: int, title: str, unit: str) -> None:
        self.total, self.title, self.unit = total, title, unit
        self.done = 0
        self.started = self.written = time.monotonic()

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int = 1) -> None:
        """Counts what is done."""
        self.done += count
        now = time.monotonic()
        if now - self.written < EVERY:
            return
        self.written = now
        left = (now - self.started) / self.done * (self.total - self.done)
        print(
            f"{self.title}: {self.done} of {self.total} {self.unit},"
            f" {tqdm.format_interval(left)} left",
            file=sys.stderr,
        )
