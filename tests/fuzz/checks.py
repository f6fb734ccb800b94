"""What the result of a call must be: that of ``treefilter.reference``, or what it is said to be."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from values import Call

import treefilter as tf

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}


class WrongError(Exception):
    """What a call must not do."""


def tensors_of(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, tf.Tree):
        return [result.parent, result.edge]  # the order need not be the same
    if isinstance(result, tf.Dendrogram):
        return [result.parent, result.edge]
    return [tensor for part in result for tensor in tensors_of(part)]


def check_like_reference(call: Call, result: Any) -> None:
    """Compares with the reference in float64, at the precision of the result's type."""
    if leaves_the_range(call):  # float64, in which it is compared, has another range
        return None
    arguments = [exact(value) for value in call.arguments]
    keywords = {name: exact(value) for name, value in call.keywords.items()}
    in_its_type = ("edge_weight", "mst", "altitude", "persistence")  # defined in the type they get
    precise = call.name not in in_its_type
    given = (arguments, keywords) if precise else (call.arguments, call.keywords)
    if call.name == "sigma_for_mass":
        return check_sigma(result, *arguments, **keywords)
    expected = getattr(tf.reference, call.name)(*given[0], **given[1])
    if call.name == "distance_transform" and "max" not in arguments:
        check_close(call, result[0], expected[0])
        return check_nearest(call, result[1], expected[0], *arguments[:2])
    for got, right in zip(tensors_of(result), tensors_of(expected), strict=True):
        check_close(call, got, right)
    return None


def leaves_the_range(call: Call) -> bool:
    """Whether a partial sum of weights of both signs may be beyond their type."""
    if call.name not in ("distance", "distance_matrix") or "max" in call.arguments:
        return False
    weight = call.arguments[0].double()
    largest = torch.finfo(torch.promote_types(call.arguments[0].dtype, torch.float32)).max
    return bool((weight < 0).any()) and bool(weight.abs().sum(1).max() > largest)


def check_close(call: Call, got: torch.Tensor, right: torch.Tensor) -> None:
    """Equal, or within the precision of the type of the result."""
    if got.shape != right.shape:
        raise WrongError(f"shape {tuple(got.shape)}, right is {tuple(right.shape)}")
    if not got.is_floating_point():
        if not torch.equal(got, right.to(got.dtype)):
            raise WrongError(f"{got.tolist()}, right is {right.tolist()}")
        return
    limits = torch.finfo(got.dtype)
    bounded = right.clamp(limits.min, limits.max)  # what is finite stays finite
    right = torch.where(right.isfinite(), bounded, right).to(got.dtype)
    tolerance = TOLERANCE[got.dtype if got.dtype != torch.float64 else least_precise(call)]
    scale = right[right.isfinite()].abs().max().item() if right.isfinite().any() else 0.0
    absolute = tolerance * min(1.0, scale) + 4 * limits.tiny * limits.eps  # subnormal numbers
    torch.testing.assert_close(
        got.double(), right.double(), rtol=tolerance, atol=absolute, equal_nan=True
    )


def check_nearest(
    call: Call, nearest: torch.Tensor, least: torch.Tensor, weight: torch.Tensor, tree: tf.Tree
) -> None:
    """The seed is one whose distance is the least; equal but for rounding, it may be any."""
    if not torch.equal(nearest < 0, least.isinf()):
        raise WrongError(f"{nearest.tolist()} for distances {least.tolist()}")
    everywhere = tf.reference.distance_matrix(weight, tree)
    reached = everywhere.gather(1, nearest.clamp(min=0).unsqueeze(1)).squeeze(1)
    wide = torch.promote_types(call.arguments[0].dtype, torch.float32)
    reached = reached.clamp(max=torch.finfo(wide).max).masked_fill(nearest < 0, torch.inf)
    check_close(call, reached.to(wide), least)


def check_sigma(sigma: torch.Tensor, weight: torch.Tensor, tree: tf.Tree, mass: Any) -> None:
    """More than half of the masses reach the share there, and not below; or it is an end."""
    share, n = float(mass) * tree.num_nodes, tree.num_nodes
    groups = weight if weight.ndim == 3 else weight.unsqueeze(1)
    values = tf.reference._to_parent("", groups, tree)
    usual = (values >= 0).all(2) & ((values > 0) & values.isfinite()).any(2)
    positive = (values > 0) & values.isfinite()
    least = torch.where(positive, values, torch.inf).amin(2) / 128
    most = torch.where(positive, values, 0).amax(2) * 16 * n
    sigma = sigma.double().view(usual.shape)
    for factor, above in ((1.001, True), (0.999, False)):
        there = torch.where(usual, sigma * factor, 1.0)
        a = tf.reference.affinity(groups.clamp(min=0), tree, there)
        enough = (
            2 * (tf.reference.mass(tree, a) >= share * (1 - 1e-4 * (factor - 1) / 1e-3)).sum(2) > n
        )
        end = sigma >= most * 0.998 if above else sigma <= least * 1.002
        if not ((enough == above) | end | ~usual).all():
            raise WrongError(f"sigma {sigma.tolist()} for a mass of {mass}")


def check_property(call: Call, result: Any) -> None:
    """What has no reference, by brute force."""
    if call.name == "random_tree":
        check_spans(result, *call.arguments)
    elif call.name.startswith("losses."):
        # The attribute of that name is the function.
        module = sys.modules["treefilter.losses.pseudo_labels"]
        with ExitStack() as stack:
            for name in ("edge_weight", "mst", "affinity", "filter"):
                stack.enter_context(patch.object(module, name, getattr(tf.reference, name)))
            check_close(call, result, tf.losses.tree_energy(*call.arguments, **call.keywords))
    elif call.name in ("Tree.depth", "Tree.components", "Tree.children", "Tree.edge_list"):
        for b, parent in enumerate(call.arguments[0].parent.tolist()):
            check_topology(call.name.partition(".")[2], parent, result[b].tolist())


def check_spans(tree: tf.Tree, graph: tf.Graph, weight: torch.Tensor | None = None) -> None:
    """Whether edges of the graph join all vertices that can be joined."""
    if weight is None:
        weight = torch.zeros(len(tree), graph.num_edges)
    joined = tf.reference.mst(weight, graph).roots.sum(1)
    ends = graph.edge_index.expand(len(tree), 2, -1)
    for b in range(len(tree)):
        below = (~tree.roots[b]).nonzero()[:, 0]
        pairs = ends[b][:, tree.edge[b, below].long()].sort(0).values
        right = torch.stack([below, tree.parent[b, below].long()]).sort(0).values
        if not torch.equal(pairs, right) or tree.roots[b].sum() != joined[b] or not is_tree(tree):
            raise WrongError(f"no spanning tree: {tree.parent.tolist()}")


def check_topology(name: str, parent: list[int], got: Any) -> None:
    """Depths, components, children and edges of one tree."""
    above = []
    for v in range(len(parent)):
        above.append([v])
        while parent[above[-1][-1]] != above[-1][-1]:
            above[-1].append(parent[above[-1][-1]])
    roots = list(dict.fromkeys(way[-1] for way in above))
    children = [[c for c in range(len(parent)) if parent[c] == v != c] for v in range(len(parent))]
    most = len(got[0]) if name == "children" else 0  # of any tree of the batch
    edges = [[p, v] for v, p in enumerate(parent) if p != v]
    right = {
        "depth": [len(way) - 1 for way in above],
        "components": [roots.index(way[-1]) for way in above],
        "children": [row + [-1] * (most - len(row)) for row in children],
        "edge_list": edges + [[-1, -1]] * (len(parent) - 1 - len(edges)),
    }[name]
    if got != right:
        raise WrongError(f"{got}, right is {right}")


def exact(value: Any) -> Any:
    """The argument in float64, so that the reference rounds nothing."""
    real = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.double() if real else value


def least_precise(call: Call) -> torch.dtype:
    types = [v.dtype for v in call.arguments if isinstance(v, torch.Tensor)]
    floats = [t for t in types if t in TOLERANCE]
    return max(floats, key=TOLERANCE.__getitem__, default=torch.float64)


def has_reference(call: Call) -> bool:
    """Whether a call that need not work, but did, must have given what the reference gives."""
    if call.name not in tf.reference.__all__:
        return False
    for value in [*call.arguments, *call.keywords.values()]:
        if isinstance(value, torch.Tensor) and value.is_meta:
            return False  # there are no values
        if isinstance(value, tf.Tree) and not is_tree(value):
            return False
        if isinstance(value, tf.Dendrogram) and value.parent.is_meta:
            return False
    if call.name in ("filter", "leaf_to_root", "root_to_leaf", "mass"):
        a = call.arguments[-1]
        x = call.arguments[0] if call.name != "mass" else a
        # 0 · NaN is 0 there, and beyond 1 digits are lost (both said in the docstring).
        return bool(x.isfinite().all() and (a >= 0).all() and (a <= 1).all())
    return True


def is_tree(tree: tf.Tree) -> bool:
    """A tree whose values were changed by hand may be none: then results mean nothing."""
    try:
        again = tf.Tree.from_parents(tree.parent, tree.edge)
    except ValueError:
        return False
    place, placed = tree.order.argsort(1), tree.order.sort(1).values
    below = (place < place.gather(1, tree.parent.long())) | tree.roots
    return torch.equal(placed, again.order.sort(1).values) and bool(below.all())


def plain(value: Any) -> bool:
    """Whether it is a tensor that can be compared."""
    if type(value) is not torch.Tensor or value.is_nested or value.is_complex():
        return False
    return value.layout is torch.strided and value.device.type == "cpu"
