"""How well labels that are held out are predicted by the others, along the trees, for each σ.

No network and no training: what the low-level tree energy does with predictions is done with the
labels themselves (``fill``), and σ is judged by labels that it did not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import treefilter as tf
from tel_segmentation.data.sparse_labels import marks_of, objects_of

FOLDS = 5
DOUBT = 1e-3
"""The part of every prediction that is shared equally among the classes: a likelihood of 0 would
let a single pixel decide."""


class HeldOut(NamedTuple):
    """Means over the objects that were held out."""

    likelihood: Tensor
    """(S,) mean logarithm of the probability of an object's class, for each σ."""
    accuracy: Tensor
    """(S,) share of an object's pixels whose most probable class is right."""
    objects: int
    """How many were held out; 0 where there is nothing to predict them from."""


def sigmas_of(image: Tensor, masses: Sequence[float]) -> Tensor:
    """The σ of each mass in an image (3, H, W) uint8: ``treefilter.sigma_for_mass``, (S,)."""
    weight, tree = _tree(image)
    return torch.cat([tf.sigma_for_mass(weight, tree, mass) for mass in masses])


def held_out(image: Tensor, label: Tensor, sigmas: Tensor, num_classes: int) -> HeldOut:
    """Predicts objects from the other objects of the same image, for each σ.

    An object is a connected component of one class in the annotation: a point, a stroke, a block.
    Objects are held out in five parts of about the same size; each part is predicted from the
    others. Every object counts the same, whatever its size is.

    Args:
        image: (3, H, W) uint8.
        label: (H, W) integers, negative where nothing is labelled.
        sigmas: (S,) widths of the affinities, as ``config.TreeEnergy.sigma``.
        num_classes: K.

    Returns:
        See ``HeldOut``. Takes O(H · W · K) for each σ and part.
    """
    marks = marks_of(label.numpy().astype(np.int64))
    component, count = objects_of(label.numpy().astype(np.int64), marks)
    if count < 2:
        return HeldOut(torch.zeros(len(sigmas)), torch.zeros(len(sigmas)), 0)
    weight, tree = _tree(image)
    place = torch.from_numpy(marks.y * label.shape[1] + marks.x)
    value = torch.from_numpy(marks.value)
    which = torch.from_numpy(np.asarray(component, np.int64))
    # Neighbouring objects, whose numbers follow each other, go to different parts.
    part = which % min(FOLDS, count)
    sizes = torch.bincount(which, minlength=count).double()
    likelihood, accuracy = [], []
    for sigma in sigmas.tolist():
        affinity = tf.affinity(weight, tree, sigma)
        right, log = torch.zeros(count).double(), torch.zeros(count).double()
        for fold in range(int(part.max()) + 1):
            given, asked = part != fold, part == fold
            seeds = torch.zeros(1, num_classes, label.numel(), dtype=torch.double)
            seeds[0, value[given], place[given]] = 1
            votes = tf.filter(seeds, tree, affinity, normalize=False)[0][:, place[asked]]
            total = votes.sum(0)
            share = torch.where(total > 0, votes / total.clamp_min(1e-300), 1 / num_classes)
            share = (1 - DOUBT) * share + DOUBT / num_classes
            mine = share.gather(0, value[asked][None])[0]
            hit = (share.argmax(0) == value[asked]) & (total > 0)
            log.index_add_(0, which[asked], mine.log())
            right.index_add_(0, which[asked], hit.double())
        likelihood.append((log / sizes).mean())
        accuracy.append((right / sizes).mean())
    return HeldOut(torch.stack(likelihood), torch.stack(accuracy), count)


def _tree(image: Tensor) -> tuple[Tensor, tf.Tree]:
    graph = tf.grid(*image.shape[1:])
    weight = tf.edge_weight(image[None].double() / 255, graph)
    return weight, tf.mst(weight, graph)
