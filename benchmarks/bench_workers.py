"""A data set that filters its samples in the workers of a DataLoader.

Beside it the same work in as many processes of their own. By default torch gives each worker one
thread, and so does this library, which uses as many as torch. A sample is the mean of a filtered
photograph: what the main process does to receive a whole one, without a core of its own, is no
part of this.
"""

import multiprocessing
import os
from functools import cache

import inputs
import numpy as np
import pytest
import torch
from bench_smoothing import pipeline
from race import OURS, Record
from torch.utils.data import DataLoader, Dataset

SAMPLES, SIZE = 64, 256


@cache
def photographs() -> torch.Tensor:
    return inputs.photographs(SAMPLES, SIZE)


class Filtered(Dataset[float]):
    """Photographs, smoothed when they are read, of which only the mean is kept."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> float:
        assert torch.get_num_threads() == 1
        return pipeline(photographs()[index : index + 1]).mean().item()


DATA = Filtered()
"""Of this module, so that forked processes have it."""


def means(samples: range) -> list[float]:
    """What a process of its own computes: all its samples, one after the other."""
    return [DATA[i] for i in samples]


def test_workers(race):
    cores = os.cpu_count() or 1
    if cores < 2:
        pytest.skip("this machine has one core")
    loader = DataLoader(DATA, batch_size=None, num_workers=cores, persistent_workers=True)
    shares = [range(first, SAMPLES, cores) for first in range(cores)]
    photographs()  # once, before processes are forked
    with multiprocessing.Pool(cores, torch.set_num_threads, (1,)) as pool:
        calls = {
            OURS: lambda: [*loader],
            "processes of their own": lambda: pool.map(means, shares, chunksize=1),
        }

        def check(results: dict) -> None:
            expected = np.empty(SAMPLES)
            for first, part in enumerate(results["processes of their own"]):
                expected[first::cores] = part
            assert np.array_equal(expected, results[OURS])

        record = Record(
            "scaling, workers", "samples of 256x256", f"{cores} workers", SAMPLES, "cpu", cores
        )
        race(record, calls, check)
