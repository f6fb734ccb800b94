"""The loss of a run: typed options, part of ``config``, where they are imported from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Method = Literal[
    "partial",
    "full",
    "naive",
    "tel",
    "bilateral",
    "non_local",
    "gated_crf",
    "dense_crf",
    "norm_cut",
    "kernel_cut",
    "grid_crf",
    "seminar_lite",
]
Level = Literal["none", "low", "high", "low+high"]
Aggregation = Literal["LH-C", "HL-C", "LH-P"]
Delta = Literal["l1", "l2", "ce", "dot"]
Detach = Literal["none", "target", "affinity"]
Reduction = Literal["batch", "image", "global"]


@dataclass(frozen=True)
class TreeEnergy:
    """The tree energy loss."""

    sigma: float = 0.02
    """Width of the low-level affinity, on squared distances of colours in [0, 1] (0.02 for VOC,
    0.002 for Cityscapes and ADE20K)."""
    level: Level = "low+high"
    aggregation: Aggregation = "LH-C"
    """Low then high (LH-C), high then low (HL-C), or both beside each other (LH-P)."""
    delta: Delta = "l1"
    detach: Detach = "none"
    """What is constant: nothing, the pseudo label, or the high-level affinities."""
    parallel: Literal["mean", "sum"] = "mean"
    """How LH-P joins its two losses."""
    reduction: Reduction = "batch"
    """Unlabelled pixels are averaged over this process's batch, each image, or all processes."""
    classes: Literal["sum", "mean"] = "sum"
    """How the difference is reduced over the classes."""
    resize: Literal["bilinear", "antialias", "area"] = "bilinear"
    """How the guide gets the prediction's size: bilinear without or with antialiasing, or means."""
    roi: Literal["nearest", "any"] = "nearest"
    """A low-resolution pixel counts as labelled if the pixel in its corner is, or if any is."""
    exclude_void: bool = False
    """Leave void pixels out, where they are known."""
    mask_padding: bool = False
    """Cut padding off the trees instead of letting it be vertices like others."""
    mst_offset: float = 0.0
    """Added to the weights for building the trees only; the official code has 1."""
    guide_range: tuple[float, float] | None = None
    """Values the guide may have; outside of about [0, 1] only if stated here."""
    shuffle_guide: bool = False
    """Control: the tree of another image of the batch."""


@dataclass(frozen=True)
class Kernel:
    """Widths of the comparison methods' kernels; what is not given is the method's own default."""

    sigma_xy: float | None = None
    """In pixels of the full-resolution image (the input of the network)."""
    sigma_rgb: float | None = None
    """In units of colours in [0, 1]."""
    radius: int | None = None
    """Of the window of the Gated CRF, in pixels of the prediction."""


@dataclass(frozen=True)
class Loss:
    """Partial cross entropy plus the method's term for pixels without a label."""

    method: Method = "tel"
    weight: float | None = None
    """Factor of the method's term; by default what its authors use."""
    warmup: float = 0.0
    """Part of the training before the term is switched on."""
    ramp: float = 0.0
    """Part of the training over which it then grows to its full weight."""
    threshold: float = 0.9
    """Confidence from which naive self-training believes the prediction, and the second stage of
    seminar_lite its teachers."""
    teacher_ramp: int = 100
    """Iterations until the consistency with the mean teacher (seminar_lite) has its full weight;
    the teacher's decay is 0.99 until then and 0.999 afterwards."""
    teacher_ramp_part: float | None = None
    """The same as a part of the training; it then counts instead of the iterations."""
    teachers: tuple[str, ...] = ()
    """Folders of finished runs, or checkpoints: seminar_lite is then its second stage, with cross
    entropy to the labels on which they agree. Without any it is the first."""
    reduction: Literal["batch", "global"] = "batch"
    """Cross entropy is the mean over this process's labelled pixels, or over all processes'."""
    resolution: Literal["full", "prediction"] = "full"
    """Cross entropy at the labels' resolution, or at the prediction's, with the label of each
    pixel's corner."""
    tel: TreeEnergy = field(default_factory=TreeEnergy)
    kernel: Kernel = field(default_factory=Kernel)
