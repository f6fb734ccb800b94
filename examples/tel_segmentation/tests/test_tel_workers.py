"""Work in processes: its order, its errors, and a process that dies."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tel_segmentation.workers import each


def power(base: int, exponent: int) -> int:
    if exponent == 13:
        raise ValueError("13 must not be asked for")
    if exponent == 99:
        os._exit(1)  # as the kernel's out-of-memory killer does
    return base**exponent


def work(jobs: int, *exponents: int) -> Iterator[int]:
    return each(power, 2, exponents, jobs, "powers")


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_are_in_order(jobs: int) -> None:
    assert list(work(jobs, *range(12))) == [2**k for k in range(12)]


@pytest.mark.parametrize(
    ("exponent", "error", "words"),
    [
        (13, ValueError, "13 must not be asked for"),
        (99, OSError, r"powers: a process was killed, .*; try fewer \(--jobs\)"),
    ],
)
def test_what_goes_wrong_in_a_process(exponent: int, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        list(work(2, 1, exponent, 2))
