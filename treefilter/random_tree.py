"""Random spanning trees, from a ``torch.Generator``."""

from __future__ import annotations

import torch
from torch import Tensor

from ._checks import check_choice, check_devices, check_instance, check_integer, check_tensor
from .graph import Graph
from .mst import mst
from .tree import Tree

METHODS = ("race", "tournament")
_SHORT = 8
"""Lists of up to so many later edges are gone through one after the other, all lists at once."""


def random_tree(
    graph: Graph,
    weight: Tensor | None = None,
    *,
    batch: int | None = None,
    method: str = "race",
    root: int | Tensor = 0,
    generator: torch.Generator | None = None,
) -> Tree:
    """Random spanning trees, in which edges of small weight are more likely than others.

    - ``"race"``: every edge gets an independent exponentially distributed time with the rate
      exp(−weight), and the tree is that of the smallest times (Borůvka's algorithm with Luce's
      choice: of several edges one is the first with a probability proportional to exp(−weight)).
      The number of an edge plays no part. Without a weight all edges are alike; the tree is then a
      random one, but not uniform among all spanning trees. One call of :func:`treefilter.mst`.
    - ``"tournament"``: that of Song et al., *Rethinking learnable tree filter for generic feature
      transform*, NeurIPS 2020: in Borůvka's rounds each component goes through its edges in
      ascending number, and a later one, b, replaces the present choice, a, with probability
      b / (a + b), where a and b stand for their exp(−weight). It prefers edges of high number: with
      equal weights a component's last edge is chosen with probability ½. At most log2(N) rounds;
      on CUDA it waits for the device after each.

    Args:
        graph: The graph.
        weight: (B, E) weights, floating point; ``+inf``: no such edge. Without it, all are 0.
        batch: Number of trees if there is no weight, 1 by default.
        method: ``"race"`` or ``"tournament"``.
        root: As for :func:`treefilter.mst`.
        generator: Source of randomness, on the weight's device (or the CPU without a weight); by
            default torch's own, which ``torch.manual_seed`` sets.

    Returns:
        A batch of B trees. No gradient.

    Raises:
        ValueError: If shapes do not fit, a weight is NaN, the method is unknown, or both ``weight``
            and ``batch`` are given.
        TypeError: If an argument is of the wrong type.

    Example:
        >>> import torch, treefilter as tf
        >>> tf.random_tree(tf.grid(4, 5), batch=3, generator=torch.Generator().manual_seed(0))
        Tree(batch=3, num_nodes=20, shape=(4, 5))
    """
    check_instance("random_tree", "graph", graph, Graph)
    check_choice("random_tree", "method", method, METHODS)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            "random_tree: generator must be a torch.Generator or None, "
            f"got {type(generator).__name__}"
        )
    if weight is None:
        number = 1 if graph.batch is None else graph.batch
        if batch is not None:
            number = check_integer("random_tree", "batch", batch)
        if not 0 <= number < 2**31:
            raise ValueError(f"random_tree: batch must be in [0, 2**31), got {number}")
        device = None if graph._edges is None else graph._edges.device
        weight = torch.zeros(number, graph.num_edges, device=device)
    elif batch is not None:
        raise ValueError("random_tree: batch must not be given with a weight, got both")
    check_tensor("random_tree", "weight", weight, "float")
    if weight.ndim != 2 or weight.shape[1] != graph.num_edges:
        raise ValueError(
            f"random_tree: weight must have shape (B, {graph.num_edges}), got {tuple(weight.shape)}"
        )
    weight = weight.detach().double()
    if generator is not None:
        check_devices("random_tree", "weight", weight, generator=generator)
    if weight.is_meta:
        return mst(weight, graph, root=root)  # a shape alone
    if method == "tournament":
        return _tournament(weight, graph, root, generator)
    # The logarithm of the time: it cannot overflow, and the tree is the same.
    time = torch.empty_like(weight).exponential_(generator=generator).log()
    return mst(weight + time, graph, root=root)


def _tournament(
    weight: Tensor, graph: Graph, root: int | Tensor, generator: torch.Generator | None
) -> Tree:
    """Borůvka's rounds, each one tree of the edges in the tree so far and of those chosen now."""
    ends = graph.edge_index.to(weight.device).expand(weight.shape[0], 2, -1)
    within = torch.full_like(weight, torch.inf)  # 0 for the edges in the tree so far
    tree = mst(torch.where(weight.isnan(), weight, within), graph)  # NaN is refused here
    image = torch.arange(weight.shape[0], device=weight.device).unsqueeze(1)
    while True:
        label = tree.components.long()
        sides = label.gather(1, ends[:, 0]), label.gather(1, ends[:, 1])
        between = (sides[0] != sides[1]) & (weight < torch.inf)
        position = between.flatten().nonzero().squeeze(1)
        if not len(position):
            return mst(within, graph, root=root)
        flat = [(side + image * graph.num_nodes).flatten()[position] for side in sides]
        pairs = torch.stack(flat, 1).flatten(), position.repeat_interleave(2)
        component, edge = _winners(weight.flatten(), *pairs, generator)
        # Kruskal's order is that in which the components add their edges one by one: an edge that
        # would close a cycle is left out.
        rank = (component + 1).to(weight.dtype)
        within = within.flatten().scatter_reduce(0, edge, rank, "amin").view(weight.shape)
        tree = mst(within, graph)
        kept = within.new_full((len(weight), graph.num_edges + 1), torch.inf)
        kept.scatter_(1, tree.edge.long() % (graph.num_edges + 1), 0)
        within = kept[:, :-1]


def _winners(
    weight: Tensor, component: Tensor, edge: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Each component once, ascending, and the edge that wins its tournament.

    Arguments: the weights of all edges, and pairs of a component and an edge that leaves it, in
    ascending order of the edge.

    The edge in hand, a = exp(−w), is replaced by the next one, b = exp(−w'), if a uniform u is
    below b / (a + b), that is if −w < −w' + log((1 − u) / u), its ``limit``. So the first later
    edge whose limit exceeds −w is the next in hand. It is found for all edges at once; doubling
    follows these steps to the last.
    """
    component, order = component.sort(stable=True)
    edge = edge[order]
    score = -weight[edge]
    uniform = torch.rand(score.shape, dtype=score.dtype, device=score.device, generator=generator)
    limit = score + torch.log1p(-uniform) - torch.log(uniform)
    first = torch.ones_like(component, dtype=torch.bool)
    first[1:] = component[1:] != component[:-1]
    start = first.nonzero().squeeze(1)
    end = torch.cat([start[1:], start.new_tensor([len(edge)])]) - 1
    longest = int((end - start).max())
    if longest <= _SHORT:
        hand = start
        for k in range(1, longest + 1):
            after = torch.minimum(start + k, end)
            replaces = (start + k <= end) & (limit[after] > score[hand])
            hand = torch.where(replaces, after, hand)
        return component[start], edge[hand]
    jump = _next_above(limit, score, end.repeat_interleave(end - start + 1), longest)
    for _ in range(longest.bit_length()):
        jump = jump[jump]
    return component[start], edge[jump[start]]


def _next_above(limit: Tensor, score: Tensor, end: Tensor, longest: int) -> Tensor:
    """For each position, the next one of its segment whose limit exceeds its score; else itself.

    ``end`` is the last position of each one's segment, at most ``longest`` steps away. By maxima of
    1, 2, 4, … positions: the largest steps without an excess are taken first.
    """
    size = len(limit)
    position = torch.arange(size, device=limit.device)
    levels = [limit]
    while 2 ** len(levels) <= longest:
        before, step = levels[-1], 2 ** (len(levels) - 1)
        levels.append(torch.maximum(before, before.roll(-step)))  # no step goes beyond a segment
    at = position + 1
    for k in reversed(range(len(levels))):
        highest = levels[k][at.clamp(max=size - 1)]
        at = torch.where((at + 2**k - 1 <= end) & (highest <= score), at + 2**k, at)
    return torch.where(at <= end, at, position)
