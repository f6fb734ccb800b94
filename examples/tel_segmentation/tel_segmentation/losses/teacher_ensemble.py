"""Pseudo labels on which finished networks agree: the second stage of "seminar_lite".

Inspired by, not a reproduction of, Chen et al.: Seminar Learning (see ``mean_teacher``, the first
stage). A fresh student learns from partial cross entropy + λ · tree energy loss + cross entropy to
the pseudo labels of an ensemble of the first stage's mean teachers, which differ in their seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tel_segmentation.config import TreeEnergy
from tel_segmentation.data.sample import size_of
from tel_segmentation.losses.inputs import LossInputs, LossOutput, unlabelled_region
from tel_segmentation.losses.pairwise import check_label
from tel_segmentation.losses.precision import full_precision, lifted, probabilities
from tel_segmentation.losses.tree_energy import TreeEnergyLoss
from tel_segmentation.runtime.distributed import mean_over


def confident_agreement(
    teachers: Sequence[Tensor], threshold: float = 0.9
) -> tuple[Tensor, Tensor]:
    """What an ensemble says, and where all of it is sure of that.

    Args:
        teachers: (B, K, h, w) each, the probabilities of at least one network.
        threshold: in [0, 1].

    Returns:
        The mean probability (B, K, h, w), and where every network has the same argmax with a
        probability above the threshold, (B, h, w) bool.

    Raises:
        ValueError: no network, shapes that differ, or a threshold outside [0, 1].
    """
    if not teachers or any(each.shape != teachers[0].shape for each in teachers):
        shapes = ", ".join(str(tuple(each.shape)) for each in teachers)
        raise ValueError(
            "confident_agreement: teachers must be the probabilities of at least one network, all"
            f" of one shape, got {shapes or 'none'}"
        )
    if not 0 <= threshold <= 1:
        raise ValueError(f"confident_agreement: threshold must be in [0, 1], got {threshold}")
    confidence, argmax = torch.stack(tuple(teachers)).max(2)
    sure = (confidence > threshold).all(0) & (argmax == argmax[0]).all(0)
    return torch.stack(tuple(teachers)).mean(0), sure


@full_precision
def teacher_ensemble_loss(
    logits: Tensor, teachers: Sequence[Tensor], label: Tensor, *, threshold: float = 0.9
) -> LossOutput:
    """Cross entropy to the ensemble's argmax on the unlabelled pixels where it agrees confidently.

    Args:
        logits: (B, K, h, w) of the student.
        teachers: (B, K, h', w') each, logits of at least one network; constant. Those of another
            size than the student's are resized.
        label: (B, H, W) integers, of which only -1 is read.
        threshold: that each network's probability of its argmax must exceed.

    Returns:
        The mean over those pixels (0 where there is none), the ensemble's mean probability as
        pseudo label "final", and in the logs those pixels' part of the unlabelled ones.

    Raises:
        ValueError: shapes that do not fit, no teacher, or a threshold outside [0, 1].
    """
    check_label("teacher_ensemble_loss", logits, label)
    for teacher in teachers:
        if teacher.shape[:2] != logits.shape[:2]:
            raise ValueError(
                "teacher_ensemble_loss: teachers must have the batch and the classes of the logits,"
                f" {tuple(logits.shape)}, got {tuple(teacher.shape)}"
            )
    size = size_of(logits)
    with torch.no_grad():
        prob = [_resized(probabilities(teacher), size) for teacher in teachers]
        mean, sure = confident_agreement(prob, threshold)
    region = unlabelled_region(label, size)[:, 0]
    chosen = region & sure
    terms = F.cross_entropy(lifted(logits), mean.argmax(1), reduction="none") * chosen
    count = chosen.sum()
    logs = {"agreed": count / region.sum().clamp_min(1)}
    return LossOutput(mean_over(terms.sum(), count), {"final": mean}, logs)


def _resized(prob: Tensor, size: tuple[int, int]) -> Tensor:
    if size_of(prob) == size:
        return prob
    return F.interpolate(prob, size=size, mode="bilinear", align_corners=True)


class TaughtTreeEnergy(nn.Module):
    """λ · tree energy loss + cross entropy to what an ensemble of teachers agrees on.

    Args:
        options: Of the tree energy loss; its weight is its own default.
        threshold: Of the teachers' confidence. The cross entropy's weight is 1 (a choice, nothing
            of the authors').
    """

    def __init__(self, options: TreeEnergy, threshold: float = 0.9) -> None:
        super().__init__()
        self.tree_energy = TreeEnergyLoss(options)
        self.threshold = threshold

    def forward(self, inputs: LossInputs) -> LossOutput:
        """The loss of a batch, with the pseudo labels of the trees and, as ``teacher``, the other.

        Raises:
            ValueError: there is no teacher.
        """
        taught = teacher_ensemble_loss(
            inputs.logits, inputs.teachers, inputs.label, threshold=self.threshold
        )
        tree: LossOutput = self.tree_energy(inputs)
        logs = {**taught.logs, **tree.logs, "taught": taught.loss.detach()}
        return LossOutput(
            TreeEnergyLoss.default_weight * tree.loss + taught.loss,
            {**tree.pseudo, "teacher": taught.pseudo["final"]},
            logs,
        )
