"""From a data set to batches of augmented samples.

The random choices for a training sample (flip, scale, crop, brightness) are drawn from a generator
that is seeded by the run's seed and the sample's position in the run. A run is therefore the same
for any number of processes and workers, and when it is resumed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tel_segmentation import config
from tel_segmentation.data.aspect import turned_images
from tel_segmentation.data.augment import augment
from tel_segmentation.data.dataset_file import open_dataset
from tel_segmentation.data.datasets.public import open_dataset_source, public_dataset
from tel_segmentation.data.ending import end_workers
from tel_segmentation.data.folder import Folder
from tel_segmentation.data.order import Order
from tel_segmentation.data.parts import Part, held_out, limited
from tel_segmentation.data.sample import Batch, Source
from tel_segmentation.data.scenes import Scenes
from tel_segmentation.data.shared_memory import fitting_workers, local_processes, shared

PATIENCE = 600
"""Seconds without a batch after which the workers count as stuck."""


class WorkersLostError(OSError):
    """A process that reads images has died, or it is stuck."""


def open_source(options: config.Data, split: str, seed: int = 0) -> Source:
    """A split of the data set that ``options.source`` names.

    Args:
        options: source, annotation, size, keep_aspect, holdout, limit, for generated scenes the
            counts, and for public data sets what their files are like.
        split: ``train``, ``val`` or ``test``.
        seed: of annotations that are generated, and of the choice of held out images.

    Raises:
        ValueError: the source does not exist or is not what it should be.
    """
    if options.holdout and split in ("train", "val"):
        whole = _open(options, "train", seed)
        return limited(held_out(whole, options, seed, split), options)
    return limited(_open(options, split, seed), options)


def check_place(options: config.Data) -> None:
    """Checks that the data are where a run's configuration says.

    Raises:
        ValueError: they are not; the message says what to do if they have moved.
    """
    public = public_dataset(options.source)
    place = public[1] if public else Path(options.source).expanduser()
    if not options.source.startswith("scenes:") and not place.exists():
        raise ValueError(
            f"data.source must exist, got {options.source}: if the data set has moved, say where"
            " it is now with --data.source"
        )


def _open(options: config.Data, split: str, seed: int) -> Source:
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
    place, kept = Path(options.source), options.keep_aspect
    return Folder(place, split, options.annotation, options.size, options.labels, kept)


def open_validation(options: config.Data, seed: int = 0) -> Source | None:
    """The validation set, with its dense labels; None if the data set has none.

    Held out training images are compared with their annotation where they have no dense label.

    Raises:
        ValueError: as ``open_source``.
    """
    if options.holdout:
        return open_source(options, "val", seed)
    return open_source(dense(options), "val", seed) if has_validation(options) else None


def open_reported(options: config.Data, seed: int = 0) -> tuple[str, Source]:
    """The split that results are reported on, and its images.

    It is ``test`` of generated scenes, ``val`` of other data sets, and ``train`` of those without
    a validation set.

    Raises:
        ValueError: as ``open_source``.
    """
    if options.source.startswith("scenes:"):
        return "test", open_source(dense(options), "test", seed)
    if (validation := open_validation(options, seed)) is not None:
        return "val", validation
    training = open_source(options, "train", seed)
    return "train", Part(training, range(len(training)), truth_from_label=True)


def has_validation(options: config.Data) -> bool:
    """Whether the data set has a validation set, be it of held out training images."""
    if options.holdout or options.source.startswith("scenes:") or public_dataset(options.source):
        return True
    splits = open_dataset(options.source).splits
    return not splits or "val" in splits


def dense(options: config.Data) -> config.Data:
    """The same data with dense labels, which evaluation compares with."""
    return replace(options, annotation="dense")


class TrainingSet(Dataset[tuple[str, Any]]):
    """Augmented samples by (position in the run, index in the source).

    Args:
        source: the images.
        options: of the augmentation.
        seed: of the run.
        turned: for each image, whether its crop is turned by 90°; by default none is.
    """

    def __init__(
        self, source: Source, options: config.Data, seed: int, turned: Sequence[bool] = ()
    ) -> None:
        self.source, self.seed = source, seed
        self.turned = turned or [False] * len(source)
        self.options = (options, replace(options, crop=options.crop[::-1]))

    def __getitem__(self, key: tuple[int, int]) -> tuple[str, Any]:
        position, index = key
        try:
            sample = self.source[index]
        except (ValueError, OSError) as error:
            return "", error  # raised in the main process: a worker would add its traceback
        generator = np.random.default_rng([self.seed, position])
        return sample.name, augment(sample, self.options[self.turned[index]], generator)


def collate(samples: list[tuple[str, Any]]) -> Batch | Exception:
    """Stacks samples to a batch, or returns the error of the first one that could not be read."""
    names, items = zip(*samples, strict=True)
    for item in items:
        if isinstance(item, Exception):
            return item
    return Batch(list(names), *(torch.stack(x) for x in zip(*items, strict=True)))


def collate_shared(samples: list[tuple[str, Any]]) -> Batch | Exception:
    """``collate`` in a worker: the batch is in shared memory, or the error says that it is full.

    torch would move it there later, in a thread that drops the batch if that fails: the training
    would wait for it for ever.
    """
    batch = collate(samples)
    return batch if isinstance(batch, Exception) else shared(batch)


def training_batches(
    source: Source,
    options: config.Train,
    start: int,
    rank: int = 0,
    world: int = 1,
    *,
    prepare: Callable[[int], None] | None = None,
    turned: Sequence[bool] | None = None,
) -> Generator[Batch, None, None]:
    """The batches of a run from iteration ``start`` to its end, for one process.

    Close it when the training ends early: that ends its workers.

    Args:
        source: the training images.
        options: of the run.
        start: the first iteration.
        rank: the number of this process.
        world: number of processes.
        prepare: called in each worker when it starts.
        turned: what ``turned_images`` returns, if it is known.

    Raises:
        ValueError: a file cannot be read; it is named.
        RuntimeError: a worker is lost; see ``workers_watched``.
    """
    workers, prefetch, reason = fitting_workers(options, local_processes(world))
    if reason and rank == 0:
        print(reason, file=sys.stderr)
    turned = turned_images(source, options.data) if turned is None else turned
    loader = DataLoader(
        TrainingSet(source, options.data, options.seed, turned),
        batch_sampler=Order(
            len(source), options, start=start, rank=rank, world=world, turned=turned
        ),
        num_workers=workers,
        collate_fn=collate_shared if workers else collate,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=prefetch if workers else None,
        timeout=PATIENCE if workers else 0,
        worker_init_fn=prepare,
        # By default the loader draws from torch's generator, from which dropout draws, too: after
        # a resume, whose loader is a new one, dropout would be another.
        generator=torch.Generator(),
    )
    others = set(multiprocessing.active_children())
    batches = iter(loader)
    mine = set(multiprocessing.active_children()) - others
    try:
        for batch in batches:
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        end_workers(batches, mine)


@contextlib.contextmanager
def workers_watched() -> Iterator[None]:
    """Gives torch's errors about workers another type and text.

    Raises:
        WorkersLostError: a worker has died, or none has made a batch for a long time.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader"):
            raise
        reason = str(error).strip().split("\n")[0].rstrip(". ")
        raise WorkersLostError(
            f"a process that reads images has died or is stuck ({reason}); if memory ran out, use"
            " fewer of them (--data.workers)"
        ) from error
