"""The options of a run's loss; import them from ``config``."""

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
MASS = 0.005  # as in treefilter.sigma_for_mass


@dataclass(frozen=True)
class TreeEnergy:
    """The tree energy loss."""

    sigma: float | Literal["auto"] = 0.02
    """Width of the low-level affinity, on squared distances of colours in [0, 1] (0.02 for VOC,
    0.002 for Cityscapes and ADE20K). ``auto``: for each image the σ at which its median pixel
    averages over ``mass`` of it. The high level has no σ in either case: the network scales its
    embedding itself."""
    mass: float = MASS
    """A share of an image, in (0, 1], for ``sigma`` ``auto``."""
    level: Level = "low+high"
    """The trees that are used: none, that of the colours (low), that of the embedding (high), or
    both."""
    aggregation: Aggregation = "LH-C"
    """The order of the trees: low then high (LH-C), high then low (HL-C), or in parallel (LH-P)."""
    delta: Delta = "l1"
    """The difference of prediction P and pseudo label Y: |P − Y|, (P − Y)², −Y log P or −P Y."""
    detach: Detach = "none"
    """Where gradients are stopped: nowhere, at the pseudo label (target), or at the high-level
    affinities (affinity)."""
    parallel: Literal["mean", "sum"] = "mean"
    """How the two losses of LH-P are combined."""
    reduction: Reduction = "batch"
    """The mean is over the unlabelled pixels of this process's batch, of each image, or of all
    processes (global)."""
    classes: Literal["sum", "mean"] = "sum"
    """How the difference is reduced over the classes."""
    resize: Literal["bilinear", "antialias", "area"] = "bilinear"
    """How the guide is resized to the prediction: bilinear without or with antialiasing, or by
    area means."""
    roi: Literal["nearest", "any"] = "any"
    """A pixel of the prediction counts as labelled if any pixel that it covers is (any), so that no
    label vanishes, or if the one at its upper left corner is (nearest), as in the official
    code."""
    exclude_void: bool = False
    """Leave void pixels (of no class) out of the loss; the loss must be given their mask."""
    mask_padding: bool = False
    """Leave padding out of the trees; by default its pixels are vertices like all others."""
    mst_offset: float = 0.0
    """Added to the weights only while the trees are built; the official code adds 1."""
    guide_range: tuple[float, float] | None = None
    """The smallest and the largest value that a guide may have; by default −0.1 and 1.5, for
    colours in [0, 1]."""
    shuffle_guide: bool = False
    """Control experiment: build the low-level tree from another image of the batch."""


@dataclass(frozen=True)
class Kernel:
    """Kernel widths of the comparison methods; by default each method has its own."""

    sigma_xy: float | None = None
    """Width in pixels of the full-resolution image (the input of the network)."""
    sigma_rgb: float | None = None
    """Width in units of colours in [0, 1]."""
    radius: int | None = None
    """Radius of the Gated CRF's window, in pixels of the prediction."""


@dataclass(frozen=True)
class Loss:
    """Partial cross entropy plus the method's term for pixels without a label."""

    method: Method = "tel"
    weight: float | None = None
    """Factor of the method's term; by default that of its authors."""
    warmup: float = 0.0
    """Fraction of the training before the term is switched on."""
    ramp: float = 0.0
    """Fraction of the training over which the term then grows to its full weight."""
    threshold: float = 0.9
    """Confidence above which naive self-training uses a prediction as a label, and the second stage
    of seminar_lite that of its teachers."""
    teacher_ramp: int = 100
    """Iterations until the consistency with the mean teacher (seminar_lite) has its full weight;
    the teacher's decay is 0.99 until then and 0.999 afterwards."""
    teacher_ramp_part: float | None = None
    """The same as a fraction of the training; if given, ``teacher_ramp`` is not used."""
    teachers: tuple[str, ...] = ()
    """Folders of finished runs, or checkpoints, whose networks teach. With teachers, seminar_lite
    is its second stage, with cross entropy to the labels on which they agree; without, its
    first."""
    reduction: Literal["batch", "global"] = "batch"
    """Cross entropy is the mean over the labelled pixels of this process's batch, or of all
    processes (global)."""
    resolution: Literal["full", "prediction"] = "full"
    """Cross entropy is computed at the labels' resolution (full), or at the prediction's. Labels
    are then made smaller as ``data.labels`` says; nearest then takes the one at each pixel's upper
    left corner."""
    tel: TreeEnergy = field(default_factory=TreeEnergy)
    kernel: Kernel = field(default_factory=Kernel)
