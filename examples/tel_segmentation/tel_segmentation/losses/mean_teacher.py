"""Consistency with a mean teacher: the first stage of "seminar_lite".

The method is inspired by, but does not reproduce: Chen, H., Wang, J., Chen, H.C., et al.: Seminar
Learning for Click-Level Weakly Supervised Semantic Segmentation. ICCV 2021, whose code is not
public. This is its first stage with the tree energy loss instead of the DenseCRF loss: partial
cross entropy + λ · tree energy loss + μ(t) · consistency. The second stage is ``teacher_ensemble``.

The teacher is the network with the exponential moving average of the student's weights, which the
training loop keeps. It is run without gradient, in training mode, on the student's input. The
average's decay has two values, as in Tarvainen, A., Valpola, H.: Mean teachers are better role
models. NeurIPS 2017: 0.99 while the student changes fast, then 0.999. The ramp μ(t) is that of
Laine, S., Aila, T.: Temporal Ensembling for Semi-Supervised Learning. ICLR 2017.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tel_segmentation.config import TreeEnergy
from tel_segmentation.data.sample import size_of
from tel_segmentation.losses.inputs import (
    LossInputs,
    LossOutput,
    known_labels,
    unlabelled_region,
)
from tel_segmentation.losses.tree_energy import TreeEnergyLoss
from tel_segmentation.runtime.precision import full_precision, probabilities

EARLY_DECAY, LATE_DECAY = 0.99, 0.999


def teacher_decay(iteration: int, length: int) -> float:
    """The decay of the teacher's average: 0.99 before iteration ``length``, then 0.999."""
    return EARLY_DECAY if iteration < length else LATE_DECAY


def sigmoid_ramp(iteration: int, length: int) -> float:
    """exp(-5 (1 - t)²) with t = iteration / length, and 1 from iteration ``length`` on."""
    if iteration >= length:
        return 1.0
    return math.exp(-5 * (1 - max(iteration, 0) / length) ** 2)


@full_precision
def mean_teacher_loss(
    logits: Tensor,
    teacher: Tensor,
    label: Tensor,
    *,
    ramp: float = 1.0,
    ignore_index: int | None = None,
) -> LossOutput:
    """Ramp · Σ_i |P_i - T_i|² / |Ω_U| over the unlabelled pixels of the batch, summed over classes.

    Args:
        logits: (B, K, h, w) of the student; P is their softmax.
        teacher: (B, K, h, w) logits of the teacher; T is their softmax, which gets no gradient.
        label: (B, H, W) integers; class, -1 unlabelled, -2 padding.
        ramp: Factor μ(t), see ``sigmoid_ramp``.
        ignore_index: A further number in ``label`` that means unlabelled.

    Returns:
        The loss, the pseudo label "final" (T), and in the logs the number of unlabelled pixels and
        the ramp.

    Raises:
        ValueError: the shapes do not match, or the label has another number (on CUDA: see
            ``known_labels``).
    """
    label = known_labels("mean_teacher_loss", logits, label, ignore_index)
    if teacher.shape != logits.shape:
        raise ValueError(
            f"mean_teacher_loss: teacher must have the logits' shape {tuple(logits.shape)}, "
            f"got {tuple(teacher.shape)}"
        )
    prob = probabilities(logits)
    target = probabilities(teacher.detach()).to(prob.dtype)
    region = unlabelled_region(label, size_of(prob))
    count = region.sum()
    difference = ((prob - target).square() * region).sum()
    logs = {"unlabelled": count, "ramp": torch.tensor(ramp)}
    return LossOutput(ramp * difference / count.clamp_min(1), {"final": target}, logs)


class MeanTeacherLoss(nn.Module):
    """``mean_teacher_loss`` as a module.

    Args:
        ramp: Iterations until the loss has its full weight.
    """

    def __init__(self, ramp: int = 0) -> None:
        super().__init__()
        self.ramp = ramp

    def forward(self, inputs: LossInputs) -> LossOutput:
        """The loss of a batch.

        Raises:
            ValueError: there is no teacher, or more than one.
        """
        if len(inputs.teachers) != 1:
            raise ValueError(
                "mean_teacher_loss: inputs.teachers must be the logits of one teacher, got"
                f" {len(inputs.teachers)}"
            )
        ramp = sigmoid_ramp(inputs.iteration, self.ramp)
        return mean_teacher_loss(
            inputs.logits,
            inputs.teachers[0],
            inputs.label,
            ramp=ramp,
            ignore_index=inputs.ignore_index,
        )


class SeminarLite(nn.Module):
    """λ · tree energy loss + μ(t) · consistency: what "TEL w. Seminar" adds to cross entropy.

    Args:
        options: Options of the tree energy loss, which has its default weight.
        ramp: Iterations until the consistency has its full weight, which is 1 (our choice, not the
            authors').
    """

    def __init__(self, options: TreeEnergy, ramp: int = 0) -> None:
        super().__init__()
        self.tree_energy = TreeEnergyLoss(options)
        self.consistency = MeanTeacherLoss(ramp)

    def forward(self, inputs: LossInputs) -> LossOutput:
        """The loss of a batch; its pseudo labels are those of the trees and, as ``teacher``, T.

        Raises:
            ValueError: there is no teacher, or more than one.
        """
        consistency: LossOutput = self.consistency(inputs)
        tree: LossOutput = self.tree_energy(inputs)
        logs = {**consistency.logs, **tree.logs, "consistency": consistency.loss.detach()}
        return LossOutput(
            TreeEnergyLoss.default_weight * tree.loss + consistency.loss,
            {**tree.pseudo, "teacher": consistency.pseudo["final"]},
            logs,
        )
