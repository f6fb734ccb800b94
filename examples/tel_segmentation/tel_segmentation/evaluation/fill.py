"""Dense labels from sparse ones along the trees of the image, without a network or training."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

import treefilter as tf

AT_ONCE = 4  # classes that are filtered together: memory for this many maps of the image


class Filled(NamedTuple):
    """A label for every pixel, and how sure it is."""

    label: Tensor
    """(H, W) int64; −1 everywhere if nothing was labelled."""
    confidence: Tensor
    """(H, W) float64 in [0, 1]: the part of the labels' weights that is of this class."""


def fill(image: Tensor, label: Tensor, sigma: float | None = None, mass: float = 0.005) -> Filled:
    """Spreads labels over the image's minimum spanning tree.

    Every labelled pixel j votes for its class at pixel i with the weight A_ij, the product of the
    affinities on the tree path between them. The class with the largest sum wins; its part of all
    votes is the confidence. Labelled pixels keep their class. Where all votes are too small for
    float64, the label with the nearest tree distance wins with confidence 1, which is the limit for
    σ → 0. A confidence says how much the labels agree, not how near they are.

    This is what the low-level tree energy does with a prediction (Liang et al., CVPR 2022), done
    with the labels themselves; so it shows what σ means before any training.

    Args:
        image: (3, H, W) uint8.
        label: (H, W) integers, negative where nothing is labelled.
        sigma: σ > 0 of the affinities, as ``config.TreeEnergy.sigma``: differences are of colours
            in [0, 1], squared and summed. By default the σ at which half of the pixels average over
            ``mass`` or more, see ``treefilter.sigma_for_mass``.
        mass: a share of the image's pixels, in (0, 1].

    Returns:
        See ``Filled``; on the CPU. Takes O(H · W) for each class in the label.

    Raises:
        ValueError: a shape is wrong, σ is not positive, or the mass is not in (0, 1].

    Example:
        >>> import torch
        >>> from tel_segmentation.evaluation.fill import fill
        >>> image = torch.tensor([[0, 0, 9, 9]], dtype=torch.uint8).expand(3, 1, 4)
        >>> filled = fill(image, torch.tensor([[-1, 2, -1, 0]]), sigma=0.001)
        >>> filled.label
        tensor([[2, 2, 0, 0]])
    """
    if image.ndim != 3 or image.shape[0] != 3 or label.shape != image.shape[1:]:
        raise ValueError(
            "fill: image must be (3, H, W) and label (H, W), got"
            f" {tuple(image.shape)} and {tuple(label.shape)}"
        )
    seeds = label >= 0
    if not seeds.any():
        return Filled(label.new_full(label.shape, -1), torch.zeros(label.shape, dtype=torch.double))
    graph = tf.grid(*label.shape)
    weight = tf.edge_weight(image[None].double() / 255, graph)
    tree = tf.mst(weight, graph)
    width = tf.sigma_for_mass(weight, tree, mass)[:, None] if sigma is None else sigma
    affinity = tf.affinity(weight, tree, width)
    best = torch.zeros(label.shape, dtype=torch.double)
    total = torch.zeros_like(best)
    winner = torch.full(label.shape, -1, dtype=torch.int64)
    for some in torch.unique(label[seeds]).split(AT_ONCE):
        votes = (label[None, None] == some[None, :, None, None]).double()
        votes = tf.filter(votes, tree, affinity, normalize=False)[0]
        most, index = votes.max(0)
        better = most > best
        winner = torch.where(better, some[index], winner)
        best = torch.where(better, most, best)
        total += votes.sum(0)
    confidence = torch.where(total > 0, best / total, 1.0)
    if (winner < 0).any():
        _, nearest = tf.distance_transform(weight, tree, seeds[None])
        winner = torch.where(winner < 0, label.flatten()[nearest[0]].view_as(label), winner)
    return Filled(torch.where(seeds, label, winner), torch.where(seeds, 1.0, confidence))
