"""Trees with affinities, and soft pseudo labels: a prediction filtered along them."""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor

from .._checks import check_choice, check_devices, check_number, check_tensor
from ..affinity import affinity
from ..edge_weight import edge_weight
from ..filter import filter
from ..graph import Graph, grid
from ..mst import mst
from ..sigma_for_mass import check_auto, sigma_for_mass
from ..tree import Tree
from ._checks import check_map

AGGREGATIONS = ("LH-C", "HL-C", "LH-P")


class TreeAffinity(NamedTuple):
    """Trees with the affinities of their edges."""

    tree: Tree
    edges: Tensor  # (B, N)
    sigma: float | Tensor  # what they were made with; (B, 1) if it was found for each image

    def filter(self, x: Tensor) -> Tensor:
        """Filters x along the trees."""
        return filter(x, self.tree, self.edges)


torch.serialization.add_safe_globals([TreeAffinity])  # its tree checks itself


def tree_affinity(
    guide: Tensor,
    sigma: float | Tensor | Literal["auto"] = 1.0,
    *,
    mass: float | None = None,
    offset: float = 0.0,
    outside: Tensor | None = None,
    padding: Tensor | None = None,
) -> TreeAffinity:
    """The trees of a guide (B, C, h, w) and their affinities.

    Args:
        guide: Features, floating point.
        sigma: As for :func:`treefilter.affinity`. ``"auto"``: for each image the σ of
            :func:`treefilter.sigma_for_mass`, which has no derivative.
        mass: For ``sigma="auto"``: the share of an image that its pixels average over, 0.005 if
            None. Must be more than a pixel.
        offset: Added to the weights while trees are built; 1 makes the research code's ties.
        outside: (B, 1, h, w) bool: pixels that no edge leads to.
        padding: (B, 1, h, w) bool: pixels that ``sigma="auto"`` does not count as the image's.

    Example:
        >>> import torch, treefilter as tf
        >>> low = tf.losses.tree_affinity(torch.rand(1, 3, 4, 5), sigma=0.02)
        >>> low.filter(torch.rand(1, 21, 4, 5)).shape
        torch.Size([1, 21, 4, 5])
    """
    level = Level(guide, sigma, mass, outside, padding)
    return tree_affinities({"only": level}, offset)["only"]


class Level(NamedTuple):
    """What :func:`tree_affinity` is given for one level."""

    guide: Tensor
    sigma: float | Tensor | Literal["auto"] = 1.0
    mass: float | None = None
    outside: Tensor | None = None
    padding: Tensor | None = None


def tree_affinities(levels: dict[str, Level], offset: float = 0.0) -> dict[str, TreeAffinity]:
    """:func:`tree_affinity` of several levels, whose guides have the same size.

    The trees of all of them are made in one call, which on a GPU takes hardly longer than one
    level's: it is a sequence of short steps.
    """
    offset = check_number("tree_affinity", "offset", offset)
    if not levels:
        return {}
    shares = [_checked(level) for level in levels.values()]
    graph = grid(*next(iter(levels.values())).guide.shape[2:])
    weights = [_weight(level, graph) for level in levels.values()]
    detached = [weight.detach() for weight in weights]
    together = torch.cat(detached) if len(detached) > 1 else detached[0]
    trees = mst(together + offset if offset else together, graph)
    made, first = {}, 0
    for (name, level), weight, share in zip(levels.items(), weights, shares, strict=True):
        end = first + weight.shape[0]
        tree = trees[first:end] if len(weights) > 1 else trees
        made[name] = _affinity(level, weight, tree, share)
        first = end
    return made


def _checked(level: Level) -> float | None:
    """The mass of ``sigma="auto"``."""
    guide, share = level.guide, check_auto("tree_affinity", level.sigma, level.mass)
    check_map("tree_affinity", "guide", guide)
    for name, mask in (("outside", level.outside), ("padding", level.padding)):
        if mask is not None:
            check_tensor("tree_affinity", name, mask, "bool")
            check_devices("tree_affinity", "guide", guide, **{name: mask})
            if mask.shape != (guide.shape[0], 1, *guide.shape[2:]):
                raise ValueError(
                    f"tree_affinity: {name} must have shape (B, 1, h, w) like the guide "
                    f"{tuple(guide.shape)}, got {tuple(mask.shape)}"
                )
    if share is not None:
        pixels = guide.shape[2] * guide.shape[3]
        if share * pixels <= 1:  # the filter would change nothing
            raise ValueError(
                f"tree_affinity: mass must be more than a pixel of {pixels}, got {share}"
            )
    return share


def _weight(level: Level, graph: Graph) -> Tensor:
    weight = edge_weight(level.guide, graph)
    if level.outside is None:
        return weight
    away = level.outside.flatten(1)
    a, b = graph._ends(level.guide.device)
    return weight.masked_fill(away[:, a] | away[:, b], torch.inf)  # such an edge is in no tree


def _affinity(level: Level, weight: Tensor, tree: Tree, share: float | None) -> TreeAffinity:
    sigma = level.sigma
    if share is not None:
        counted = None if level.padding is None else ~level.padding.flatten(1)
        sigma = sigma_for_mass(weight, tree, share, counted=counted).unsqueeze(1)
    width = cast("float | Tensor", sigma)
    return TreeAffinity(tree, affinity(weight, tree, width), width)


def pseudo_labels(
    probability: Tensor, affinities: dict[str, TreeAffinity], aggregation: str = "LH-C"
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Probabilities filtered along the trees ``"low"``, ``"high"``, or both.

    Args:
        probability: (B, K, h, w).
        affinities: One or both levels, by name.
        aggregation: Low then high (``"LH-C"``), high then low (``"HL-C"``), or in parallel
            (``"LH-P"``).

    Returns:
        The pseudo labels by name (each level, and ``"final"``), and a list of those that the
        prediction is compared with.
    """
    check_map("pseudo_labels", "probability", probability)
    check_choice("pseudo_labels", "aggregation", aggregation, AGGREGATIONS)
    if not isinstance(affinities, dict) or not {*affinities} or {*affinities} - {"low", "high"}:
        given = list(affinities) if isinstance(affinities, dict) else type(affinities).__name__
        raise ValueError(
            f"pseudo_labels: affinities must be a dict with low, high, or both, got {given}"
        )
    if len(affinities) == 1:
        ((level, only),) = affinities.items()
        filtered = only.filter(probability)
        return {level: filtered, "final": filtered}, [filtered]
    first, second = ("high", "low") if aggregation == "HL-C" else ("low", "high")
    once = affinities[first].filter(probability)
    if aggregation == "LH-P":
        other = affinities[second].filter(probability)
        return {first: once, second: other, "final": (once + other) / 2}, [once, other]
    twice = affinities[second].filter(once)
    return {first: once, "final": twice}, [twice]
