"""From a data set to batches of augmented samples.

The random choices for a training sample (flip, scale, crop, brightness) are drawn from a generator
that is seeded by the run's seed and the sample's position in the run. A run is therefore the same
for any number of processes and workers, and when it is resumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tel_segmentation import config
from tel_segmentation.data.augment import augment
from tel_segmentation.data.datasets.public import open_dataset_source, public_dataset
from tel_segmentation.data.folder import Folder
from tel_segmentation.data.sample import Batch, Source
from tel_segmentation.data.scenes import Scenes


def open_source(options: config.Data, split: str, seed: int = 0) -> Source:
    """A split of the data set that ``options.source`` names.

    Args:
        options: source, annotation, size, for generated scenes the counts, and for public data
            sets what their files are like.
        split: ``train``, ``val`` or ``test``.
        seed: of annotations that are generated.

    Raises:
        ValueError: the source does not exist or is not what it should be.
    """
    if options.source.startswith("scenes:"):
        counts = {"train": options.train, "val": options.val, "test": options.test}
        if split not in counts:
            raise ValueError(f"split must be one of {', '.join(counts)}, got {split!r}")
        count = counts[split]
        size = options.size or options.crop
        return Scenes(
            options.source.removeprefix("scenes:"), split, count, size, options.annotation, seed
        )
    if public := public_dataset(options.source):
        return open_dataset_source(*public, options, split)
    return Folder(Path(options.source), split, options.annotation, options.size, options.labels)


def final_split(options: config.Data) -> str:
    """The split that results are reported on: a data set's ``val``, the scenes' ``test``."""
    return "test" if options.source.startswith("scenes:") else "val"


class TrainingSet(Dataset[tuple[str, Any]]):
    """Augmented samples by (position in the run, index in the source)."""

    def __init__(self, source: Source, options: config.Data, seed: int) -> None:
        self.source, self.options, self.seed = source, options, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[str, Any]:
        position, index = key
        try:
            sample = self.source[index]
        except (ValueError, OSError) as error:
            return "", error  # raised in the main process: a worker would add its traceback
        generator = np.random.default_rng([self.seed, position])
        return sample.name, augment(sample, self.options, generator)


class Order(Sampler[list[tuple[int, int]]]):
    """The samples of each batch. Each pass over the source has a new random permutation.

    The ``accumulate × processes`` batches of one iteration have consecutive positions. An iteration
    therefore has the same samples however they are divided.
    """

    def __init__(
        self, count: int, options: config.Train, *, start: int, rank: int = 0, world: int = 1
    ) -> None:
        if count == 0:
            raise ValueError(f"{options.data.source} has no training images")
        self.count, self.options, self.start = count, options, start
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return (self.options.iterations - self.start) * self.options.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        @lru_cache(maxsize=2)
        def permutation(epoch: int) -> Any:
            return np.random.default_rng([self.options.seed, epoch, 1]).permutation(self.count)

        size = self.options.batch
        for part in range(
            self.start * self.options.accumulate, self.options.iterations * self.options.accumulate
        ):
            first = (part * self.world + self.rank) * size
            yield [
                (p, int(permutation(p // self.count)[p % self.count]))
                for p in range(first, first + size)
            ]


def collate(samples: list[tuple[str, Any]]) -> Batch | Exception:
    """Stacks samples to a batch, or returns the error of the first one that could not be read."""
    names, items = zip(*samples, strict=True)
    for item in items:
        if isinstance(item, Exception):
            return item
    return Batch(list(names), *(torch.stack(x) for x in zip(*items, strict=True)))


def training_batches(
    source: Source, options: config.Train, *, start: int, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """The batches of a run from iteration ``start`` to its end, for one process.

    Raises:
        ValueError: a file cannot be read; it is named.
    """
    workers = options.data.workers
    loader = DataLoader(
        TrainingSet(source, options.data, options.seed),
        batch_sampler=Order(len(source), options, start=start, rank=rank, world=world),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
    )
    for batch in loader:
        if isinstance(batch, Exception):
            raise batch
        yield batch
