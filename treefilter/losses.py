"""The tree energy loss.

    L = 1/|Ω_U| Σ_{i ∈ Ω_U} δ(P_i, Ỹ_i),   Ỹ = F(F(P, A_low), A_high)

P is the softmax of a network's logits, Ω_U the set of pixels without a label. The soft pseudo label
Ỹ is P filtered along two minimum spanning trees: first that of the image's colours (low level, the
affinity of an edge is exp(−ω/σ)), then that of an embedding (high level, exp(−ω)). The trees have
no gradient; the affinities have one.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from ._autograd import values_of
from ._checks import (
    autocast_device,
    check_choice,
    check_devices,
    check_integer,
    check_number,
    check_size,
    check_tensor,
)
from .affinity import affinity
from .edge_weight import edge_weight
from .filter import filter
from .graph import grid
from .mst import mst
from .sigma_for_mass import check_auto, sigma_for_mass
from .tree import Tree

__all__ = [
    "TreeAffinity",
    "difference",
    "pseudo_labels",
    "tree_affinity",
    "tree_energy",
    "unlabelled_region",
]

AGGREGATIONS = ("LH-C", "HL-C", "LH-P")
DELTAS = ("l1", "l2", "ce", "dot")
REDUCTIONS = ("batch", "image")
ROIS = ("any", "nearest")
COLOUR_RANGE = (-0.1, 1.5)  # excludes images normalised by mean and deviation, or from 0 to 255
SMALLEST_PROBABILITY = 1e-7  # the lower bound before the logarithm is taken


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
    share = check_auto("tree_affinity", sigma, mass)
    _check_map("tree_affinity", "guide", guide)
    offset = check_number("tree_affinity", "offset", offset)
    for name, mask in (("outside", outside), ("padding", padding)):
        if mask is not None:
            check_tensor("tree_affinity", name, mask, "bool")
            check_devices("tree_affinity", "guide", guide, **{name: mask})
            if mask.shape != (guide.shape[0], 1, *guide.shape[2:]):
                raise ValueError(
                    f"tree_affinity: {name} must have shape (B, 1, h, w) like the guide "
                    f"{tuple(guide.shape)}, got {tuple(mask.shape)}"
                )
    graph = grid(*guide.shape[2:])
    if share is not None and share * graph.num_nodes <= 1:  # the filter would change nothing
        raise ValueError(
            f"tree_affinity: mass must be more than a pixel of {graph.num_nodes}, got {share}"
        )
    weight = edge_weight(guide, graph)
    if outside is not None:  # an edge of infinite weight is in no tree
        away = outside.flatten(1)
        a, b = graph._ends(guide.device)
        weight = weight.masked_fill(away[:, a] | away[:, b], torch.inf)
    tree = mst(weight.detach() + offset if offset else weight.detach(), graph)
    if share is not None:
        counted = None if padding is None else ~padding.flatten(1)
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
    _check_map("pseudo_labels", "probability", probability)
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


def difference(probability: Tensor, pseudo: Tensor, delta: str = "l1") -> Tensor:
    r"""δ(P, Ỹ) of every pixel, (B, 1, h, w).

    The sum over the classes of \|P − Y\| (``"l1"``), (P − Y)² (``"l2"``), −Y log P (``"ce"``) or
    −P Y (``"dot"``).
    """
    check_choice("difference", "delta", delta, DELTAS)
    check_tensor("difference", "probability", probability, "float")
    check_tensor("difference", "pseudo", pseudo, "float")
    check_devices("difference", "probability", probability, pseudo=pseudo)
    if probability.ndim < 2 or pseudo.shape != probability.shape:
        raise ValueError(
            f"difference: pseudo must have the shape of probability {tuple(probability.shape)}, "
            f"(B, K, h, w), got {tuple(pseudo.shape)}"
        )
    if delta == "l1":
        terms = (probability - pseudo).abs()
    elif delta == "l2":
        terms = (probability - pseudo).square()
    elif delta == "ce":
        terms = -pseudo * probability.clamp_min(SMALLEST_PROBABILITY).log()
    else:
        terms = -pseudo * probability
    return terms.sum(1, keepdim=True)


def unlabelled_region(
    label: Tensor,
    size: tuple[int, int],
    *,
    unlabelled: int = -1,
    classes: int | None = None,
    roi: str = "any",
) -> Tensor:
    """The region Ω_U of pixels without a label, at the prediction's size: (B, 1, h, w) bool.

    Args:
        label: (B, H, W) integers.
        size: (h, w).
        unlabelled: The number that means that there is no label.
        classes: Classes are the numbers from 0 to ``classes`` − 1, or all others from 0.
        roi: A pixel of the prediction is labelled if any pixel that it covers has a class
            (``"any"``), so that no label vanishes, or else if the one at its upper left corner has
            another number (``"nearest"``), as in the research code. At a quarter of the resolution
            the latter misses most of the points and of the thin strokes.

    Example:
        >>> import torch, treefilter as tf
        >>> label = torch.full((1, 2, 4), -1)
        >>> label[0, 1, 1] = 3
        >>> tf.losses.unlabelled_region(label, (1, 2)).tolist()
        [[[[False, True]]]]
        >>> tf.losses.unlabelled_region(label, (1, 2), roi="nearest").tolist()
        [[[[True, True]]]]
    """
    function = "unlabelled_region"
    check_tensor(function, "label", label, "int")
    if label.ndim != 3:
        raise ValueError(f"{function}: label must have shape (B, H, W), got {tuple(label.shape)}")
    check_choice(function, "roi", roi, ROIS)
    unlabelled = _check_label(function, unlabelled)
    classes = None if classes is None else check_size(function, "classes", classes)
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise ValueError(f"{function}: size must be (h, w), got {size!r}")
    height, width = (check_integer(function, "size", length, "integers") for length in size)
    if height < 1 or width < 1:
        raise ValueError(f"{function}: size must be at least 1, got {(height, width)}")
    size = height, width
    mask = (label == unlabelled).unsqueeze(1)
    region = functional.interpolate(mask.to(torch.uint8), size).bool()
    if roi == "nearest" or label.numel() == 0:
        return region
    known = (label >= 0) & (label != unlabelled)
    if classes is not None:
        known &= label < classes
    return region & ~_any_covered(_any_covered(known, 1, size[0]), 2, size[1]).unsqueeze(1)


def _any_covered(known: Tensor, dim: int, size: int) -> Tensor:
    """Whether one is true of those that each of ``size`` larger pixels covers, along ``dim``.

    As adaptive_max_pool2d, for which torch.export takes sizes as constants.
    """
    number, length = torch.arange(size, device=known.device), known.shape[dim]
    first, last = number * length // size, ((number + 1) * length + size - 1) // size
    counts = functional.pad(known.cumsum(dim).int(), (0, 0, 1, 0) if dim == 1 else (1, 0))
    return counts.index_select(dim, last) > counts.index_select(dim, first)


def tree_energy(
    logits: Tensor,
    image: Tensor,
    label: Tensor,
    embed: Tensor | None = None,
    *,
    sigma: float | Tensor | Literal["auto"] = 0.02,
    mass: float | None = None,
    unlabelled: int = -1,
    aggregation: str = "LH-C",
    delta: str = "l1",
    reduction: str = "batch",
    offset: float = 0.0,
    roi: str = "any",
) -> Tensor:
    r"""The tree energy loss (Liang et al., CVPR 2022, Eq. 9).

    Where a network's prediction has no label to learn from, it learns to agree with itself along
    trees of similar pixels. To be added, times 0.4 in the paper, to the cross entropy of the
    labelled pixels. Computed in float32 (float64 if the logits are), also under autocast.

    Args:
        logits: (B, K, h, w), the prediction.
        image: (B, C, H, W), colours in [0, 1], neither normalised nor jittered; resized to (h, w)
            bilinearly.
        label: (B, H, W) integers: classes, ``unlabelled``, or others, of pixels to leave out.
        embed: (B, C', h, w), an embedding of the network for the high level; without it there is
            only the low level.
        sigma: σ of the low level: 0.02 for Pascal VOC, 0.002 for Cityscapes in the paper.
            ``"auto"``: for each image the σ of :func:`treefilter.sigma_for_mass`, at the
            prediction's size. The high level has no σ in either case: the network scales its
            embedding itself, and a σ by mass would undo what it learns.
        mass: For ``sigma="auto"``: the share of an image that its pixels average over, 0.005 if
            None.
        unlabelled: The number in ``label`` that means that there is none. Only these pixels have a
            loss.
        aggregation: Low then high (``"LH-C"``), high then low (``"HL-C"``) or both in parallel
            (``"LH-P"``).
        delta: ``"l1"``, ``"l2"``, ``"ce"`` or ``"dot"``, see :func:`difference`.
        reduction: Mean over the unlabelled pixels of the ``"batch"``, or mean over the images of
            the mean over each ``"image"``.
        offset: Added to the weights while trees are built; 1 makes the research code's ties.
        roi: Whether a pixel of the prediction is labelled if ``"any"`` pixel that it covers has a
            class, or the one at its upper left corner (``"nearest"``), as in the research code; see
            :func:`unlabelled_region`.

    Returns:
        A scalar; 0 if every pixel has a label. Differentiable in ``logits`` and ``embed``.

    Raises:
        ValueError: If shapes do not fit, a name is unknown, ``mass`` is not in (0, 1] or beside a
            given σ, or (on the CPU) the image has values outside of [−0.1, 1.5]: σ is for colours
            in [0, 1].
        TypeError: If an argument is of the wrong type.

    Example:
        Two pixels with edge affinity a: the loss is a / (1 + a) · \|P1 − P2\|.

        >>> import torch, treefilter as tf
        >>> logits = torch.tensor([[0.0, 2.0], [0.0, 0.0]]).view(1, 2, 1, 2)
        >>> image = torch.zeros(1, 3, 1, 2)  # equal colours: a = 1
        >>> tf.losses.tree_energy(logits, image, torch.full((1, 1, 2), -1))
        tensor(0.3808)
    """
    _check(logits, image, label, embed)
    share = check_auto("tree_energy", sigma, mass)
    check_choice("tree_energy", "aggregation", aggregation, AGGREGATIONS)
    check_choice("tree_energy", "delta", delta, DELTAS)
    check_choice("tree_energy", "reduction", reduction, REDUCTIONS)
    check_choice("tree_energy", "roi", roi, ROIS)
    offset = check_number("tree_energy", "offset", offset)
    unlabelled = _check_label("tree_energy", unlabelled)
    classes, size = logits.shape[1], (logits.shape[2], logits.shape[3])
    region = unlabelled_region(label, size, unlabelled=unlabelled, classes=classes, roi=roi)
    with torch.autocast(autocast_device(logits), enabled=False):
        wide = torch.promote_types(logits.dtype, torch.float32)
        probability = logits.to(wide).softmax(1)
        with torch.no_grad():
            small = functional.interpolate(image.to(wide), size, mode="bilinear")
        affinities = {"low": tree_affinity(small, sigma, mass=share, offset=offset)}
        if embed is not None:
            affinities["high"] = tree_affinity(embed.to(wide), offset=offset)
        _, targets = pseudo_labels(probability, affinities, aggregation)
        losses = []
        for pseudo in targets:
            inside = (difference(probability, pseudo, delta) * region).flatten(1).sum(1)
            count = region.flatten(1).sum(1)
            if reduction == "image":
                losses.append((inside / count.clamp_min(1)).mean())
            else:
                losses.append(inside.sum() / count.sum().clamp_min(1))
        return torch.stack(losses).mean()


def _check_label(function: str, unlabelled: int) -> int:
    number = check_integer(function, "unlabelled", unlabelled)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{function}: unlabelled must be in the range of int64, got {unlabelled}")
    return number


def _check_map(function: str, name: str, value: Tensor, batch: int | None = None) -> None:
    """TypeError or ValueError if ``value`` is no (B, C, H, W) tensor with at least one pixel."""
    check_tensor(function, name, value, "float")
    if value.ndim != 4 or 0 in value.shape[2:] or (batch is not None and value.shape[0] != batch):
        raise ValueError(
            f"{function}: {name} must have shape (B, C, H, W) with H, W > 0, "
            f"got {tuple(value.shape)}"
        )


def _check(logits: Tensor, image: Tensor, label: Tensor, embed: Tensor | None) -> None:
    name = "tree_energy"
    check_tensor(name, "logits", logits, "float")
    check_tensor(name, "image", image, "float")
    check_tensor(name, "label", label, "int")
    check_devices(name, "logits", logits, image=image, label=label)
    for what, value in (("logits", logits), ("image", image)):
        _check_map(name, what, value, logits.shape[0] if what == "image" else None)
    if image.shape[1] == 0:
        raise ValueError(f"{name}: image must have channels, got {tuple(image.shape)}")
    if logits.shape[1] == 0:
        raise ValueError(f"{name}: logits must have classes, got {tuple(logits.shape)}")
    if label.shape != (image.shape[0], *image.shape[2:]):
        raise ValueError(
            f"{name}: label must have shape (B, H, W) like the image {tuple(image.shape)}, "
            f"got {tuple(label.shape)}"
        )
    if embed is not None:
        check_tensor(name, "embed", embed, "float")
        check_devices(name, "logits", logits, embed=embed)
        expected = (logits.shape[0], *logits.shape[2:])
        if embed.ndim != 4 or (embed.shape[0], *embed.shape[2:]) != expected:
            raise ValueError(
                f"{name}: embed must have shape (B, C, h, w) like the logits "
                f"{tuple(logits.shape)}, got {tuple(embed.shape)}"
            )
    values = values_of(image.detach())
    if values is not None and values.numel():
        low, high = (v.item() for v in values.aminmax())
        if not (low >= COLOUR_RANGE[0] and high <= COLOUR_RANGE[1]):
            raise ValueError(
                f"{name}: image must have values in [0, 1], neither normalised by mean and "
                f"deviation nor 0 to 255, got values from {low:.3g} to {high:.3g}"
            )
