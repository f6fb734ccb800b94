"""Quality of a segmentation: one confusion matrix over a whole set, and metrics from it.

mIoU is ``diag / (row + column - diag)`` of the confusion matrix of *all* pixels with a class,
averaged over the classes that occur (in the truth or in the prediction), as Pascal VOC defines it.
It is not a mean over images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor


class ConfusionMatrix:
    """Exact counts (int64) of truth × prediction over any number of updates.

    Args:
        num_classes: K.
        device: where the counts live; the same as that of the predictions.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        if num_classes < 1:
            raise ValueError(f"ConfusionMatrix: num_classes must be at least 1, got {num_classes}")
        self.num_classes = num_classes
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Counts the pixels of a batch.

        Args:
            prediction: (…) integers in 0..K-1 wherever the truth has a class.
            truth: the same shape, integers in 0..K-1; negative where there is no class (ignored).

        Raises:
            ValueError: the shapes differ, or a value is not a class.
        """
        if prediction.shape != truth.shape:
            raise ValueError(
                "ConfusionMatrix.update: truth must have the prediction's shape"
                f" {tuple(prediction.shape)}, got {tuple(truth.shape)}"
            )
        valid = truth >= 0
        row, column = truth[valid].to(torch.int64), prediction[valid].to(torch.int64)
        for name, values in (("truth", row), ("prediction", column)):
            if values.numel() and (values.min() < 0 or values.max() >= self.num_classes):
                raise ValueError(
                    f"ConfusionMatrix.update: {name} must be in 0..{self.num_classes - 1},"
                    f" got {int(values.min())}..{int(values.max())}"
                )
        index = row * self.num_classes + column
        counts = torch.bincount(index, minlength=self.num_classes**2)
        self.counts += counts.view_as(self.counts).to(self.counts.device)

    def merge(self, other: ConfusionMatrix) -> None:
        """Adds the counts of another matrix of the same classes."""
        if other.num_classes != self.num_classes:
            raise ValueError(
                f"ConfusionMatrix.merge: other must have {self.num_classes} classes,"
                f" got {other.num_classes}"
            )
        self.counts += other.counts.to(self.counts.device)

    def all_reduce(self) -> None:
        """Sums the counts over the processes if ``torch.distributed`` is initialised."""
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(self.counts)

    def iou(self) -> list[float | None]:
        """Intersection over union of each class; None for a class that occurs nowhere."""
        counts = self.counts.cpu().double()
        hit = counts.diagonal()
        union = counts.sum(0) + counts.sum(1) - hit
        return [h / u if u else None for h, u in zip(hit.tolist(), union.tolist(), strict=True)]

    def miou(self) -> float | None:
        """Mean of ``iou`` over the classes that occur; None if no pixel was counted."""
        present = [value for value in self.iou() if value is not None]
        return sum(present) / len(present) if present else None

    def accuracy(self) -> float | None:
        """Fraction of the pixels with the right class; None if no pixel was counted."""
        total = int(self.counts.sum())
        return int(self.counts.diagonal().sum()) / total if total else None


def boundary_band(truth: Tensor, width: int) -> Tensor:
    """The pixels near a border between classes.

    A pixel is in the band if it has a class and a pixel of another class is at most ``width``
    pixels away (chessboard distance). Void (negative) is not a class here: void pixels are not in
    the band, and a border between a class and void does not count.

    Args:
        truth: (…, H, W) integers; negative: no class.
        width: in pixels; 0 gives an empty band.

    Returns:
        bool, the shape of ``truth``.
    """
    if width < 0:
        raise ValueError(f"boundary_band: width must not be negative, got {width}")
    if truth.ndim < 2:
        raise ValueError(f"boundary_band: truth must be (…, H, W), got {tuple(truth.shape)}")
    # A window holds a second class exactly where its largest and its smallest label differ.
    valid = truth >= 0
    label = truth.to(torch.int32)
    end = torch.iinfo(torch.int32).max
    largest = _window(label, width, torch.maximum)  # void is below every class
    smallest = _window(label.masked_fill(~valid, end), width, torch.minimum)
    return valid & (largest != smallest)


def _window(values: Tensor, width: int, pick: Callable[..., Tensor]) -> Tensor:
    """The extreme value of the square window around every pixel; an axis after the other.

    ``max_pool2d`` is four times slower on a CPU.
    """
    for axis in (-1, -2):
        extreme, length = values.clone(), values.shape[axis]
        for shift in range(1, min(width, length - 1) + 1):
            for to, of in ((0, shift), (shift, 0)):
                part = extreme.narrow(axis, to, length - shift)
                pick(part, values.narrow(axis, of, length - shift), out=part)
        values = extreme
    return values
