"""Tasks over the chunks of arrays, as one layer of a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import torch
from dask.base import tokenize
from dask.core import flatten
from dask.delayed import Delayed
from dask.graph_manipulation import bind
from dask.highlevelgraph import HighLevelGraph

from ..tiled import Tiling

Key = tuple[Any, ...]


class Stage:
    """A layer that is being made: tasks by key, and the collections that they read."""

    def __init__(self, name: str, tiling: Tiling) -> None:
        self.name = name
        self.tiling = tiling
        self.blocks = tuple(map(len, tiling.chunks))
        self._tasks: dict[Any, Any] = {}
        self._reads: list[Any] = []

    def chunks_of(self, value: da.Array | None) -> list[Any]:
        """The key of the chunk of each tile, or None for each."""
        if value is None:
            return [None] * len(self.tiling.tiles)
        self._reads.append(value)
        channel = (0,) * (value.ndim - len(self.blocks))
        return [(value.name, *channel, *at) for at in np.ndindex(self.blocks)]

    def each(self, step: str, function: Callable[..., Any], *arguments: Any) -> list[Key]:
        """A task for each tile.

        Args:
            step: The tasks' name.
            function: What they do.
            arguments: Of each a list of what the tiles have, or one key for all of them. With its
                number, the last argument, a task takes its own entry of a list that is one task's
                result. A task for each entry would be worse: it would be executed, in dask's local
                schedulers, after all readings that wait for the list, so that all chunks would be
                in memory; and a cluster would copy the list to all workers for it, too.
        """
        numbers = range(len(self.tiling.tiles))
        columns = [of if isinstance(of, list) else [of] * len(numbers) for of in arguments]
        return [
            self.one((step, i), function, *row)
            for i, row in enumerate(zip(*columns, numbers, strict=True))
        ]

    def one(self, step: tuple[Any, ...], function: Callable[..., Any], *arguments: Any) -> Key:
        """A task."""
        key = (f"{step[0]}-{self.name}", *step[1:])
        self._tasks[key] = (function, *arguments)
        return key

    def merged(self, step: str, parts: list[Key], merge: Callable[[list[Any]], Any]) -> Key:
        """What remains when neighbours are merged, two by two along one axis after the other."""
        grid = np.empty(len(parts), object)
        grid[:] = parts
        grid, count = grid.reshape(self.blocks), 0
        while grid.size > 1:
            axis = int(np.argmax(grid.shape))
            rows = np.moveaxis(grid, axis, 0)
            halved = np.empty((-(-len(rows) // 2), *rows.shape[1:]), object)
            for at in np.ndindex(halved.shape):
                pair = [rows[(i, *at[1:])] for i in (2 * at[0], 2 * at[0] + 1) if i < len(rows)]
                halved[at] = self.one((step, count), merge, pair) if len(pair) > 1 else pair[0]
                count += 1
            grid = np.moveaxis(halved, 0, axis)
        return self.one((f"{step}-all",), merge, [grid.item()])

    def graph(self) -> HighLevelGraph:
        """The layer, on what it reads."""
        return HighLevelGraph.from_collections(self.name, self._tasks, dependencies=self._reads)

    def reads(self, value: Delayed | da.Array) -> Any:
        """The key of a value that was made by another stage, or of an array's only chunk."""
        self._reads.append(value)
        (key,) = flatten(value.__dask_keys__())
        return key

    def delayed(self, key: Any) -> Delayed:
        """The result of a task, as a collection."""
        return Delayed(key, self.graph(), layer=self.name)

    def array(self, keys: list[Key], dtype: Any, channels: int | None = None) -> da.Array:
        """The array whose chunks are results of tasks."""
        leading = () if channels is None else ((channels,),)
        name = f"tiles-{self.name}"
        for key, at in zip(keys, np.ndindex(self.blocks), strict=True):
            self._tasks[(name, *(0,) * len(leading), *at)] = self._tasks.pop(key)
        graph = HighLevelGraph.from_collections(name, self._tasks, dependencies=self._reads)
        return da.Array(graph, name, (*leading, *self.tiling.chunks), dtype=dtype)

    def small(
        self, function: Callable[..., Any], value: Delayed, shape: tuple[int, ...], dtype: Any
    ) -> da.Array:
        """The array of one chunk that a function makes of a value."""
        key = (self.name, *(0,) * len(shape))
        self._tasks[key] = (function, self.reads(value))
        return da.Array(self.graph(), self.name, tuple((size,) for size in shape), dtype=dtype)


def again(after: Delayed | da.Array, *arrays: da.Array | None) -> list[Any]:
    """The same arrays, whose chunks are read, or computed, a second time, when ``after`` is there.

    With one task for both readings, every chunk would stay in memory until the second.
    """
    given = [value for value in arrays if value is not None]
    bound = iter(bind(given, after, seed=tokenize(after)))  # without a seed, keys are random
    return [None if value is None else next(bound) for value in arrays]


def tensor(chunk: Any) -> Any:
    """A chunk for torch, which takes no array that is read-only or has negative strides."""
    return None if chunk is None else torch.from_numpy(np.require(chunk, requirements=["C", "W"]))
