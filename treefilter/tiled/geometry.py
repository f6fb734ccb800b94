"""Where the tiles of an image are, and the numbers of its vertices and edges, which are int64.

Inside a tile vertices and edges have the tile's own numbers, those of :func:`treefilter.grid`. They
ascend with the image's numbers, so that equal weights have the same order in both.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import DIRECTIONS, Graph, grid_for

Array = NDArray[Any]


@dataclass(frozen=True)
class Lattice:
    """The numbers of a grid of any size; :class:`treefilter.Graph` has up to 2³¹−1 of them.

    Coordinates are (3, n): plane, row and column; an image has one plane.
    """

    shape: tuple[int, ...]
    connectivity: int

    @cached_property
    def box(self) -> Array:
        """(3,): the sizes, 1 for a missing axis."""
        return np.array((1,) * (3 - len(self.shape)) + self.shape, np.int64)

    @cached_property
    def directions(self) -> Array:
        """(K, 3): the step from the lower to the upper end of the edges of a direction."""
        return np.array(DIRECTIONS[len(self.shape), self.connectivity], np.int64)

    @cached_property
    def _starts(self) -> Array:
        """(K, 3): the least coordinates of a lower end."""
        return np.maximum(-self.directions, 0)

    @cached_property
    def _sizes(self) -> Array:
        """(K, 3): sizes of the boxes of lower ends."""
        return np.maximum(self.box - abs(self.directions), 0)

    @cached_property
    def _first(self) -> Array:
        """(K + 1,): the first edge of each direction, and the number of edges."""
        return np.concatenate([[0], self._sizes.prod(1).cumsum()])

    def coordinates(self, vertex: Array) -> Array:
        """Of vertices."""
        _, height, width = self.box
        return np.stack([vertex // (height * width), vertex // width % height, vertex % width])

    def vertex(self, coordinates: Array) -> Array:
        """The numbers of vertices."""
        _, height, width = self.box
        z, y, x = coordinates
        return (z * height + y) * width + x

    def contains(self, coordinates: Array) -> Array:
        """Bool: whether there are such vertices."""
        inside: Array = (coordinates >= 0) & (coordinates < self.box[:, None])
        return np.all(inside, axis=0)

    def edge(self, direction: Array, lower: Array) -> Array:
        """The numbers of the edges that leave ``lower``, coordinates, in these directions."""
        z, y, x = lower - self._starts[direction].T
        _, height, width = self._sizes[direction].T
        return self._first[direction] + (z * height + y) * width + x

    def lower(self, edge: Array) -> tuple[Array, Array]:
        """Directions of edges, and the coordinates of their lower ends."""
        direction = np.searchsorted(self._first, edge, "right") - 1
        place = edge - self._first[direction]
        _, height, width = self._sizes[direction].T
        z, y, x = place // (height * width), place // width % height, place % width
        return direction, np.stack([z, y, x]) + self._starts[direction].T

    def ends(self, edge: Array) -> Array:
        """(2, n): the lower and the upper end."""
        direction, lower = self.lower(edge)
        return np.stack([self.vertex(lower), self.vertex(lower + self.directions[direction].T)])


@dataclass(frozen=True)
class Tile:
    """A box of an image's vertices.

    Attributes:
        image: The numbers of the whole image.
        offset: (plane,) row and column of the tile's first vertex.
        shape: Its sizes, as many.
    """

    image: Lattice
    offset: tuple[int, ...]
    shape: tuple[int, ...]

    @cached_property
    def _own(self) -> Lattice:
        return Lattice(self.shape, self.image.connectivity)

    @cached_property
    def _shift(self) -> Array:
        return np.array((0,) * (3 - len(self.offset)) + self.offset, np.int64)[:, None]

    @property
    def graph(self) -> Graph:
        """The grid of its vertices."""
        return grid_for("tiled", self.shape, self.image.connectivity)

    def vertices_in_image(self, vertex: Array) -> Array:
        """The image's numbers of the tile's vertices."""
        return self.image.vertex(self._own.coordinates(vertex) + self._shift)

    def vertices_in_tile(self, vertex: Array) -> Array:
        """The tile's numbers of the image's vertices."""
        return self._own.vertex(self.image.coordinates(vertex) - self._shift)

    def edges_in_image(self, edge: Array) -> Array:
        """The image's numbers of the tile's edges."""
        direction, lower = self._own.lower(edge)
        return self.image.edge(direction, lower + self._shift)

    def edges_in_tile(self, edge: Array) -> Array:
        """The tile's numbers of the image's edges, whose ends are in it."""
        direction, lower = self.image.lower(edge)
        return self._own.edge(direction, lower - self._shift)

    def lower_in_tile(self, edge: Array) -> tuple[Array, Array]:
        """Directions of the image's edges, and the tile's numbers of their lower ends."""
        direction, lower = self.image.lower(edge)
        return direction, self._own.vertex(lower - self._shift)

    def border(self) -> tuple[Array, Array]:
        """The vertices with neighbours in other tiles, ascending, and how many each has."""
        own, shift = self._own, self._shift
        outer = np.zeros(own.box, bool)
        for axis, size in enumerate(own.box):
            faces = np.moveaxis(outer, axis, 0)
            faces[0] |= shift[axis] > 0
            faces[-1] |= shift[axis] + size < self.image.box[axis]
        vertex = np.flatnonzero(outer)
        at = own.coordinates(vertex)
        neighbours = np.zeros(len(vertex), np.int8)
        for step in (*own.directions, *-own.directions):
            to = at + step[:, None]
            neighbours += self.image.contains(to + shift) & ~own.contains(to)
        return vertex, neighbours


@dataclass(frozen=True)
class Tiling:
    """An image that is cut into tiles, which are numbered in row-major order.

    Attributes:
        chunks: The tiles' sizes along each axis, as ``dask.array`` has them.
        connectivity: 4 or 8 for two axes, 6 or 26 for three.

    Raises:
        ValueError: If there are not two or three axes, a size is below 1 or the connectivity does
            not fit.

    Example:
        >>> from treefilter import tiled
        >>> tiling = tiled.Tiling(((2, 3), (4,)), 4)
        >>> tiling.shape, [(tile.offset, tile.shape) for tile in tiling.tiles]
        ((5, 4), [((0, 0), (2, 4)), ((2, 0), (3, 4))])
    """

    chunks: tuple[tuple[int, ...], ...]
    connectivity: int

    def __post_init__(self) -> None:
        axes = len(self.chunks)
        if (axes, self.connectivity) not in DIRECTIONS:
            raise ValueError(
                "Tiling: connectivity must be 4 or 8 for two axes and 6 or 26 for three, got "
                f"{self.connectivity} for {axes}"
            )
        if any(size < 1 for sizes in self.chunks for size in sizes) or () in self.chunks:
            raise ValueError(f"Tiling: chunks must be at least 1 wide, got {self.chunks}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The image's sizes."""
        return tuple(map(sum, self.chunks))

    @cached_property
    def lattice(self) -> Lattice:
        """The image's numbers."""
        return Lattice(self.shape, self.connectivity)

    @cached_property
    def tiles(self) -> list[Tile]:
        """All tiles."""
        offsets = [[0, *itertools.accumulate(sizes[:-1])] for sizes in self.chunks]
        pairs = zip(itertools.product(*offsets), itertools.product(*self.chunks), strict=True)
        return [Tile(self.lattice, offset, shape) for offset, shape in pairs]

    def tile_of(self, vertex: Array) -> Array:
        """The numbers of the tiles that have the image's vertices."""
        number = np.zeros(len(vertex), np.int64)
        coordinates = self.lattice.coordinates(vertex)[3 - len(self.chunks) :]
        for sizes, at in zip(self.chunks, coordinates, strict=True):
            number = number * len(sizes) + np.searchsorted(np.cumsum(sizes), at, "right")
        return number
