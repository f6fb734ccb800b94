"""The σ at which the pixels of an image average over a given share of it."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from . import _ops
from ._checks import NUMBER_TYPES, check_batch, check_choice, check_devices, check_tensor
from .affinity import tree_weight
from .filter import filter
from .tree import Tree, check_tree

DEFAULT_MASS = 0.005
# Halvings of the interval in which log₂ σ lies, 50 wide for a photograph of a megapixel: the last
# one is narrower than a ten-thousandth.
STEPS = 20


def sigma_for_mass(
    weight: Tensor, tree: Tree, mass: float = DEFAULT_MASS, *, counted: Tensor | None = None
) -> Tensor:
    """The σ at which the median mass of an image's vertices is a given share of the image.

    The mass of vertex i, z_i = Σ_j A_ij (:func:`treefilter.mass`), is the number of vertices that
    it averages over, each counted by its affinity; it grows with σ. What a σ means depends on the
    guide's range, metric, channels and resolution; what a mass means does not. Found by bisection
    of log σ to a relative error of 10⁻⁴ (2·10⁻³ if weights are as small and as large as float64
    can be), in 20 passes of O(N) for each group. The device is not waited for, and the result has
    no derivative.

    Args:
        weight: (B, E), or (B, G, E) for G groups with weights of their own; ≥ 0.
        tree: The trees, B of them or one for all.
        mass: The median mass, as a share of the N vertices, in (0, 1].
        counted: (B, N) or (1, N) bool: the vertices of the image, if others were only added to fill
            it up. Only these are among the vertices that a mass counts, in the median, and in N.

    Returns:
        (B,), or (B, G) for groups, float32 or float64 like ``weight`` (16-bit: float32). For
        :func:`treefilter.affinity`, whose σ broadcasts to (B, G), write ``sigma[:, None]`` without
        groups. With this σ, fewer than half of the vertices have a smaller mass than ``mass``·N.
        For a tree with positive finite weights from w₁ to w₂, σ is in [w₁/128, 16·N·w₂]; if no σ
        in it gives the mass (a forest of small components, or ``mass``·N ≤ 1), it is the nearer
        end, and the upper one if no vertex is counted. It is 1 if no finite weight is positive,
        because all σ give the same result then, and NaN if a weight of the tree is negative or NaN.

    Raises:
        ValueError: If shapes or devices do not fit or ``mass`` is not in (0, 1].
        TypeError: If ``weight`` is no floating-point tensor, ``tree`` no Tree, ``mass`` no number
            or ``counted`` no bool tensor.

    Example:
        >>> import torch, treefilter as tf
        >>> graph = tf.grid(16, 16)
        >>> weight = tf.edge_weight(torch.rand(2, 3, 16, 16), graph)
        >>> tree = tf.mst(weight, graph)
        >>> sigma = tf.sigma_for_mass(weight, tree, mass=0.05)[:, None]
        >>> tf.mass(tree, tf.affinity(weight, tree, sigma)).median(1).values / 256
        tensor([0.0500, 0.0500])
    """
    function = "sigma_for_mass"
    check_tensor(function, "weight", weight, "float")
    check_tree(function, tree)
    check_devices(function, "weight", weight, tree=tree)
    if weight.ndim not in (2, 3):
        raise ValueError(
            f"{function}: weight must have shape (B, E) or (B, G, E), got {tuple(weight.shape)}"
        )
    check_batch(function, "weight", weight, tree)
    share = check_mass(function, mass)
    _check_counted(function, counted, weight, tree)
    values = weight.detach().to(_ops.sum_dtype(weight))
    with torch.no_grad():
        grouped = values if weight.ndim == 3 else values.unsqueeze(1)
        sigma = _bisect(tree_weight(function, grouped, tree), tree, share, counted)
    return sigma if weight.ndim == 3 else sigma.squeeze(1)


def check_auto(function: str, sigma: Any, mass: Any) -> float | None:
    """The mass of ``sigma="auto"``; None for a σ that is given, which has no mass beside it."""
    if isinstance(sigma, str):
        check_choice(function, "sigma", sigma, ("auto",))
        return check_mass(function, DEFAULT_MASS if mass is None else mass)
    if mass is not None:
        raise ValueError(f"{function}: mass must be None unless sigma is 'auto', got {mass}")
    return None


def check_mass(function: str, mass: Any) -> float:
    """The mass, a number in (0, 1], as a float."""
    if isinstance(mass, bool) or not isinstance(mass, NUMBER_TYPES):
        raise TypeError(f"{function}: mass must be a number, got {type(mass).__name__}")
    if not 0 < cast(float, mass) <= 1:
        raise ValueError(f"{function}: mass must be in (0, 1], got {mass}")
    return float(mass)


def _check_counted(function: str, counted: Tensor | None, weight: Tensor, tree: Tree) -> None:
    if counted is None:
        return
    check_tensor(function, "counted", counted, "bool")
    check_devices(function, "weight", weight, counted=counted)
    batch, nodes = weight.shape[0], tree.num_nodes
    if counted.ndim != 2 or counted.shape[0] not in (1, batch) or counted.shape[1] != nodes:
        raise ValueError(
            f"{function}: counted must have shape ({batch}, {nodes}), got {tuple(counted.shape)}"
        )


def _bisect(weight: Tensor, tree: Tree, share: float, counted: Tensor | None) -> Tensor:
    """(B, G, N) weights of the vertices' parent edges, 0 at roots -> (B, G)."""
    nodes = tree.num_nodes
    if nodes == 0:
        return weight.new_ones(weight.shape[:2])
    absent = weight.isinf() | tree.roots.unsqueeze(1)
    inside = torch.ones_like(weight, dtype=torch.bool)
    if counted is not None:
        inside = inside & counted.unsqueeze(1)
    ones, number = inside.to(weight.dtype), inside.sum(2)
    target = share * number.double().unsqueeze(2)
    positive = (weight > 0) & weight.isfinite()
    smallest = torch.where(positive, weight, math.inf).amin(2)
    largest = torch.where(positive, weight, 0).amax(2)
    low, high = interval(smallest, largest, nodes)
    for _ in range(STEPS):
        middle = (low + high) / 2
        sigma = sigma_of(middle, weight.dtype)
        a = torch.exp(weight / -sigma.unsqueeze(2)).masked_fill(absent, 0)
        masses = filter(ones, tree, a, normalize=False)
        large = (masses >= target) & inside
        enough = 2 * large.sum(2) > number  # torch.median, without its sort
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return sigma_of(high, weight.dtype).masked_fill(~(weight >= 0).all(2), math.nan)


def interval(smallest: Tensor, largest: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """The smallest and the largest log₂ σ, float64, of the positive finite weights of a tree.

    At w₁/128 a positive weight lets pass exp(−128), at most 3·10⁻⁵⁶. At 16·N·w₂ a path of all edges
    lets pass exp(−1/16), so that every vertex has 94 % of its component's mass. Without positive
    finite weights, w₁ = +inf and w₂ = 0, both are 0.
    """
    low = smallest.double().log2() - 7
    count = largest.new_full((), nodes, dtype=torch.float64)  # traced where it is not yet known
    high = largest.double().log2() + 4 + count.log2()
    flat = largest == 0
    return low.masked_fill(flat, 0), high.masked_fill(flat, 0)


def sigma_of(exponent: Tensor, dtype: torch.dtype) -> Tensor:
    """2^exponent as a σ that :func:`treefilter.affinity` takes."""
    limits = torch.finfo(dtype)
    return torch.exp2(exponent).clamp(limits.tiny, limits.max).to(dtype)
