"""Pseudo labels on which trained networks agree: the second stage of "seminar_lite".

The method is inspired by, but does not reproduce, Chen et al.: Seminar Learning (see
``mean_teacher``, the first stage). A new student is trained with partial cross entropy +
λ · tree energy loss + cross entropy to the pseudo labels of an ensemble of the first stage's mean
teachers, which differ in their seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
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
from tel_segmentation.runtime.distributed import mean_over
from tel_segmentation.runtime.precision import full_precision, lifted, probabilities


def confident_agreement(
    teachers: Sequence[Tensor], threshold: float = 0.9
) -> tuple[Tensor, Tensor]:
    """The prediction of an ensemble, and where all of its networks are confident and agree.

    Args:
        teachers: (B, K, h, w) each, the probabilities of at least one network.
        threshold: in [0, 1].

    Returns:
        The mean probability (B, K, h, w), and where every network has the same argmax with a
        probability above the threshold, (B, h, w) bool.

    Raises:
        ValueError: there is no network, the shapes differ, or the threshold is outside [0, 1].
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
    logits: Tensor,
    teachers: Sequence[Tensor],
    label: Tensor,
    *,
    threshold: float = 0.9,
    ignore_index: int | None = None,
) -> LossOutput:
    """Cross entropy to the ensemble's argmax on the unlabelled pixels of confident agreement.

    These are the pixels where all networks have the same argmax, each with a probability above the
    threshold.

    Args:
        logits: (B, K, h, w) of the student.
        teachers: (B, K, h', w') each, logits of at least one network; they get no gradient. Their
            probabilities are resized to the student's size.
        label: (B, H, W) integers; class, -1 unlabelled, -2 padding.
        threshold: in [0, 1].
        ignore_index: a further number in ``label`` that means unlabelled.

    Returns:
        The mean over those pixels (0 if there is none), the ensemble's mean probability as pseudo
        label "final", and in the logs, as ``agreed``, their fraction of the unlabelled pixels.

    Raises:
        ValueError: the shapes do not match, there is no teacher, the threshold is outside [0, 1],
            or the label has another number (on CUDA: see ``known_labels``).
    """
    label = known_labels("teacher_ensemble_loss", logits, label, ignore_index)
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
        options: Options of the tree energy loss, which has its default weight.
        threshold: Threshold of the teachers' confidence. The cross entropy's weight is 1 (our
            choice, not the authors').
    """

    def __init__(self, options: TreeEnergy, threshold: float = 0.9) -> None:
        super().__init__()
        self.tree_energy = TreeEnergyLoss(options)
        self.threshold = threshold

    def forward(self, inputs: LossInputs) -> LossOutput:
        """The loss of a batch, with the trees' pseudo labels and, as ``teacher``, the ensemble's.

        Raises:
            ValueError: there is no teacher.
        """
        taught = teacher_ensemble_loss(
            inputs.logits,
            inputs.teachers,
            inputs.label,
            threshold=self.threshold,
            ignore_index=inputs.ignore_index,
        )
        tree: LossOutput = self.tree_energy(inputs)
        logs = {**taught.logs, **tree.logs, "taught": taught.loss.detach()}
        return LossOutput(
            TreeEnergyLoss.default_weight * tree.loss + taught.loss,
            {**tree.pseudo, "teacher": taught.pseudo["final"]},
            logs,
        )
