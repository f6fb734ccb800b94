"""Which vertices are neighbours: a grid or any edge list. A graph carries no weights.

The file is long because the checks of a graph's fields are beside the fields that they check.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map

from . import _ops
from ._checks import check_integer, check_target, check_tensor

MAX_INDEX = 2**31 - 1
"""Vertices and edges are numbered in int32."""

# Half-neighbourhoods, slowest axis first, then the diagonals: an edge joins a vertex to
# vertex + direction, so every direction points to a higher row-major index.
DIRECTIONS: dict[tuple[int, int], tuple[tuple[int, int, int], ...]] = {
    (2, 4): ((0, 1, 0), (0, 0, 1)),
    (2, 8): ((0, 1, 0), (0, 0, 1), (0, 1, 1), (0, 1, -1)),
    (3, 6): ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    (3, 26): (
        *((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        *((1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)),
        *((1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1)),
    ),
}


_MADE_HERE = object()
"""What grid() and graph() pass for fields that they have checked."""


@dataclass(frozen=True, eq=False)
class Graph:
    """An undirected graph without weights; made by :func:`grid` or :func:`graph`.

    The constructor is internal. It checks that its arguments fit each other, as do loading,
    copying and ``dataclasses.replace``. ``torch.save`` and ``torch.load(weights_only=True)`` work;
    ``torch.utils.data.default_collate`` makes one of equal graphs.

    Attributes:
        num_nodes: Number of vertices N, at most 2³¹−1.
        num_edges: Number of edges E, at most 2³¹−1.
        shape: ``(H, W)`` or ``(D, H, W)`` of a grid, ``None`` for an edge list.
        connectivity: 4, 8, 6 or 26 for a grid, ``None`` for an edge list.
        batch: Number of images B that have an edge list each, ``None`` if one graph serves all.
    """

    num_nodes: int
    num_edges: int
    shape: tuple[int, ...] | None = None
    connectivity: int | None = None
    # Edge lists only, never handed out: (2, E) int32; of a batch the lists of all images, (2, B·E),
    # as one graph of B·N vertices, image after image.
    _edges: Tensor | None = None
    batch: int | None = None
    _made_by: InitVar[object] = None

    def __post_init__(self, _made_by: object) -> None:
        if _made_by is _MADE_HERE:
            return
        fields: tuple[int, int, tuple[int, ...] | None, int | None]
        if self.shape is None:
            fields = _check_edge_list(self)
        else:
            fields = _check_grid("Graph", self.shape, self.connectivity)
            if self._edges is not None or self.batch is not None:
                raise ValueError("Graph: a grid must have no edge list, got one")
        for name, value in zip(("num_nodes", "num_edges"), fields, strict=False):
            given = check_integer("Graph", name, getattr(self, name))
            if given != value:
                raise ValueError(f"Graph: {name} must be {value} for its shape, got {given}")
        names = ("num_nodes", "num_edges", "shape", "connectivity")
        for name, value in zip(names, fields, strict=True):  # NumPy's integers become Python's
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (self.num_nodes, self.num_edges, self.shape, self.connectivity, self._edges)
        return Graph, fields if self.batch is None else (*fields, self.batch)

    def __setstate__(self, state: dict[str, Any]) -> None:  # pickles of version 0.1.0
        self.__init__(**state)  # type: ignore[misc]

    @property
    def edge_index(self) -> Tensor:
        """Both ends of every edge, (2, E) int64: a new tensor at each access.

        For a grid the first row holds the lower index. (B, 2, E) where every image has a list.
        """
        ends = self._ends(None)
        if self.batch is None:
            return ends
        return ends.view(2, self.batch, -1).transpose(0, 1) - self._offsets.view(-1, 1, 1)

    @property
    def _offsets(self) -> Tensor:
        """(B,) int64: the number of the first vertex of every image in ``_united``."""
        assert self.batch is not None
        assert self._edges is not None
        return torch.arange(self.batch, device=self._edges.device) * self.num_nodes

    @property
    def _united(self) -> Graph:
        """The graphs of a batch side by side, as one graph of B·N vertices."""
        assert self.batch is not None
        sizes = self.batch * self.num_nodes, self.batch * self.num_edges
        return Graph(*sizes, None, None, self._edges, None, _MADE_HERE)

    def to(self, device: torch.device | str | int) -> Graph:
        """The same graph for tensors on another device. A grid has no tensors and serves all."""
        if self._edges is None:
            return self
        target = check_target("Graph.to", device, self._edges)
        return replace(self, _edges=self._edges.to(target))

    def _edges_on(self, function: str, device: torch.device) -> Tensor | None:
        """The edge list, if it is one, for a call whose tensors are on ``device``."""
        if self._edges is not None and self._edges.device != device:
            raise ValueError(
                f"{function}: graph must be on {device} like the other arguments, got an edge list"
                f" on {self._edges.device} (graph.to moves it)"
            )
        return self._edges

    def _ends(self, device: torch.device | None) -> Tensor:
        """``edge_index``, of a grid on any device."""
        if self._edges is not None:
            return self._edges.long()
        depth, height, width = self._box
        vertex = torch.arange(self.num_nodes, device=device).view(depth, height, width)
        firsts = []
        for dz, dy, dx in self._directions:
            if torch.compiler.is_compiling():
                # In one dimension: slices of a box ask of every traced size whether it is 1.
                rows, columns = max(0, height - abs(dy)), max(0, width - abs(dx))
                lower = torch.arange((depth - dz) * rows * columns, device=device)
                z, y, x = lower // (rows * columns), lower // columns % rows, lower % columns
                first = (z * height + y + max(0, -dy)) * width + x + max(0, -dx)
            else:
                first = vertex[: depth - dz, max(0, -dy) : height - max(0, dy)]
                first = first[..., max(0, -dx) : width - max(0, dx)].reshape(-1)
            firsts.append(first)
        seconds = [
            first + (dz * height + dy) * width + dx
            for first, (dz, dy, dx) in zip(firsts, self._directions, strict=True)
        ]
        return torch.cat(firsts + seconds).view(2, -1)

    @property
    def _box(self) -> tuple[int, int, int]:
        assert self.shape is not None
        return (1, *self.shape) if len(self.shape) == 2 else self.shape  # type: ignore[return-value]

    @property
    def _directions(self) -> tuple[tuple[int, int, int], ...]:
        assert self.shape is not None
        assert self.connectivity is not None
        return DIRECTIONS[len(self.shape), self.connectivity]

    @property
    def _layout(self) -> list[int]:
        """The grid as the native code takes it: sizes, then directions; empty for an edge list."""
        if self.shape is None:
            return []
        return [*self._box, *(step for direction in self._directions for step in direction)]

    def __repr__(self) -> str:
        kind = (
            f"shape={self.shape}, connectivity={self.connectivity}" if self.shape else "edge list"
        )
        if self.batch is not None:
            kind = f"batch={self.batch}, {kind}s"
        return f"Graph(num_nodes={self.num_nodes}, num_edges={self.num_edges}, {kind})"


def grid(*shape: int, connectivity: int | None = None) -> Graph:
    """The grid graph of an image or a volume.

    Vertices are numbered in row-major order. Edges are numbered direction by direction (first along
    the slowest axis, then the next, then the diagonals) and, inside a direction, in row-major order
    of their lower vertex. For 4-connectivity: all vertical edges, then all horizontal ones; for 8:
    then down-right and down-left diagonals. This number breaks ties between equal weights in
    :func:`treefilter.mst`.

    Args:
        *shape: ``H, W`` or ``D, H, W``, each at least 1.
        connectivity: 4 (default) or 8 in two dimensions, 6 (default) or 26 in three.

    Returns:
        The graph.

    Raises:
        ValueError: If the number of sizes is not 2 or 3, a size is below 1, the connectivity is not
            one of the above, or there would be more than 2³¹−1 vertices or edges.
        TypeError: If a size is no integer.

    Example:
        >>> import treefilter as tf
        >>> tf.grid(2, 3).edge_index.tolist()
        [[0, 1, 2, 0, 1, 3, 4], [3, 4, 5, 1, 2, 4, 5]]
    """
    if connectivity is None:
        connectivity = 6 if len(shape) == 3 else 4
    return grid_for("grid", shape, connectivity)


def grid_for(function: str, shape: tuple[int, ...], connectivity: int) -> Graph:
    """:func:`grid`, whose errors are those of ``function``."""
    num_nodes, num_edges, sizes, joined = _check_grid(function, shape, connectivity)
    return Graph(num_nodes, num_edges, sizes, joined, None, None, _MADE_HERE)


def graph(edge_index: Tensor, num_nodes: int) -> Graph:
    """Any undirected graph, given by its edge list.

    Parallel edges and self-loops are allowed; a self-loop never becomes part of a tree.

    Args:
        edge_index: (2, E) integer tensor, the two ends of every edge (the convention of PyTorch
            Geometric). An undirected edge is listed once; listed twice, the second copy only loses
            ties. It is copied: later changes to it do not change the graph. (B, 2, E) for a batch
            of graphs, each with a list of its own: guides and weights then have that batch.
        num_nodes: Number of vertices N, at least 1.

    Returns:
        The graph.

    Raises:
        ValueError: If the shape is neither (2, E) nor (B, 2, E), an index is outside [0, N), or N
            or E, times B, is out of range.
        TypeError: If ``edge_index`` is no integer tensor or ``num_nodes`` no integer.

    Example:
        >>> import torch, treefilter as tf
        >>> tf.graph(torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
        Graph(num_nodes=3, num_edges=3, edge list)
    """
    check_tensor("graph", "edge_index", edge_index, "int")
    num_nodes = check_integer("graph", "num_nodes", num_nodes)
    if edge_index.ndim not in (2, 3) or edge_index.shape[-2] != 2:
        raise ValueError(
            f"graph: edge_index must have shape (2, E) or (B, 2, E), got {tuple(edge_index.shape)}"
        )
    if num_nodes < 1:
        raise ValueError(f"graph: num_nodes must be at least 1, got {num_nodes}")
    num_edges = edge_index.shape[-1]
    if edge_index.ndim == 2:
        _check_counts("graph", num_nodes, num_edges)
        edges = _ops.edge_list(edge_index.long(), num_nodes)
        return Graph(num_nodes, num_edges, None, None, edges, None, _MADE_HERE)
    batch = edge_index.shape[0]
    _check_counts("graph", batch * num_nodes, batch * num_edges)
    _check_counts("graph", num_nodes, num_edges)
    edges = _ops.edge_list(edge_index.long().transpose(0, 1).reshape(2, -1), num_nodes)
    first = torch.arange(batch, dtype=torch.int32, device=edges.device) * num_nodes
    united = (edges.view(2, batch, num_edges) + first.unsqueeze(1)).reshape(2, -1)
    return Graph(num_nodes, num_edges, None, None, united, batch, _MADE_HERE)


def _check_grid(
    function: str, shape: Any, connectivity: Any
) -> tuple[int, int, tuple[int, ...], int]:
    """Numbers of vertices and edges, sizes and connectivity of a grid, all checked."""
    if not isinstance(shape, tuple):
        raise TypeError(f"{function}: shape must be a tuple, got {type(shape).__name__}")
    sizes = tuple(
        [s if type(s) is int else check_integer(function, "shape", s, "integers") for s in shape]
    )
    if len(sizes) not in (2, 3):
        raise ValueError(f"{function}: shape must have 2 or 3 sizes, got {len(sizes)}: {sizes}")
    if min(sizes) < 1:
        raise ValueError(f"{function}: sizes must be at least 1, got {sizes}")
    connectivity = check_integer(function, "connectivity", connectivity)
    if (len(sizes), connectivity) not in DIRECTIONS:
        allowed = " or ".join(str(c) for d, c in DIRECTIONS if d == len(sizes))
        raise ValueError(
            f"{function}: connectivity must be {allowed} for {len(sizes)} sizes, got {connectivity}"
        )
    depth, height, width = (1, *sizes) if len(sizes) == 2 else sizes
    num_nodes = depth * height * width
    num_edges = sum(
        [
            max(0, depth - dz) * max(0, height - abs(dy)) * max(0, width - abs(dx))
            for dz, dy, dx in DIRECTIONS[len(sizes), connectivity]
        ]
    )
    _check_counts(function, num_nodes, num_edges)
    return num_nodes, num_edges, sizes, connectivity


def _check_edge_list(graph: Graph) -> tuple[int, int, None, None]:
    """The same of an edge list's fields. Its values are checked where they are read."""
    if graph.connectivity is not None:
        raise ValueError(
            f"Graph: an edge list must have no connectivity, got {graph.connectivity!r}"
        )
    edges = graph._edges
    check_tensor("Graph", "edges", edges, "int32")
    assert edges is not None
    if edges.ndim != 2 or edges.shape[0] != 2 or not edges.is_contiguous():
        raise ValueError(
            f"Graph: edges must be contiguous and of shape (2, E), got {tuple(edges.shape)}"
        )
    num_nodes = check_integer("Graph", "num_nodes", graph.num_nodes)
    if num_nodes < 1:
        raise ValueError(f"Graph: num_nodes must be at least 1, got {num_nodes}")
    _check_counts("Graph", num_nodes, edges.shape[1])
    if graph.batch is None:
        return num_nodes, edges.shape[1], None, None
    batch, num_edges = (
        check_integer("Graph", n, getattr(graph, n)) for n in ("batch", "num_edges")
    )
    if batch < 0 or num_edges < 0 or edges.shape[1] != batch * num_edges:
        raise ValueError(
            f"Graph: edges must be {num_edges} for each of {batch} images, got {edges.shape[1]}"
        )
    _check_counts("Graph", batch * num_nodes, edges.shape[1])
    image = edges.view(2, batch, num_edges).long() // num_nodes
    if edges.device.type == "cpu" and not (image == torch.arange(batch).unsqueeze(1)).all():
        raise ValueError("Graph: edges must join vertices of one image, got others")
    return num_nodes, num_edges, None, None


def _check_counts(function: str, num_nodes: int, num_edges: int) -> None:
    if num_nodes > MAX_INDEX or num_edges > MAX_INDEX:
        raise ValueError(
            f"{function}: vertices and edges must number at most 2**31 - 1, "
            f"got {num_nodes} vertices and {num_edges} edges"
        )


def _collate(batch: list[Graph], *, collate_fn_map: Any = None) -> Graph:
    """The graph of all: a batch of data has one."""
    first = batch[0]
    for other in batch[1:]:
        same = repr(other) == repr(first) and (
            first._edges is None or torch.equal(first.edge_index, other.edge_index)
        )
        if not same:
            raise ValueError(f"Graph: graphs of a batch must be equal, got {first} and {other}")
    return first


torch.serialization.add_safe_globals([Graph])  # its constructor checks whatever a file holds
default_collate_fn_map[Graph] = _collate
