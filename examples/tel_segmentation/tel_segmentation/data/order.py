"""Which samples each batch of a training has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from tel_segmentation import config


class Order(Sampler[list[tuple[int, int]]]):
    """The samples of each batch. Each pass over the source has a new random permutation.

    The ``accumulate × processes`` batches of one iteration have consecutive positions. An iteration
    therefore has the same samples however they are divided.

    If there are images with turned crops beside others, an iteration has images of one kind, so
    that they fit into a batch. Each kind has passes of its own, and its share of the iterations,
    evenly spread: all images are used equally often.

    Args:
        count: the number of images.
        options: of the run.
        start: the first iteration.
        rank: the number of this process.
        world: number of processes.
        turned: for each image, whether its crop is turned; by default none is.

    Raises:
        ValueError: there are no images.
    """

    def __init__(
        self,
        count: int,
        options: config.Train,
        *,
        start: int,
        rank: int = 0,
        world: int = 1,
        turned: Sequence[bool] = (),
    ) -> None:
        if count == 0:
            raise ValueError(f"{options.data.source} has no training images")
        self.count, self.options, self.start = count, options, start
        self.rank, self.world = rank, world
        self.total = options.batch * options.accumulate * world
        kinds = np.array(turned or [False] * count)
        groups = np.flatnonzero(~kinds), np.flatnonzero(kinds)
        self.groups = [members for members in groups if members.size]

    def __len__(self) -> int:
        return (self.options.iterations - self.start) * self.options.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        @lru_cache(maxsize=4)
        def permutation(group: int, epoch: int) -> NDArray[np.int64]:
            members = self.groups[group]
            generator = np.random.default_rng([self.options.seed, epoch, (1, 3)[group]])
            return members[generator.permutation(members.size)]

        size = self.options.batch
        for iteration in range(self.start, self.options.iterations):
            group, before = self._group(iteration)
            members = self.groups[group].size
            for part in range(self.options.accumulate):
                first = (part * self.world + self.rank) * size
                batch = []
                for number in range(first, first + size):
                    epoch, place = divmod(before * self.total + number, members)
                    image = int(permutation(group, epoch)[place])
                    batch.append((iteration * self.total + number, image))
                yield batch

    def _group(self, iteration: int) -> tuple[int, int]:
        """The kind of image that an iteration has, and the earlier iterations with that kind."""
        if len(self.groups) == 1:
            return 0, iteration
        before, after = (
            (i * self.groups[1].size + self.count // 2) // self.count
            for i in (iteration, iteration + 1)
        )
        return (1, before) if after > before else (0, iteration - before)


def first_pass(options: config.Train, turned: Sequence[bool], world: int = 1) -> float:
    """The iterations after which every image has been used; ``Order`` has the arguments."""
    total = options.batch * options.accumulate * world
    counts = [count for count in (sum(turned), len(turned) - sum(turned)) if count]
    if len(counts) < 2:
        return len(turned) / total
    return max((math.ceil(count / total) + 1) * len(turned) / count for count in counts)
