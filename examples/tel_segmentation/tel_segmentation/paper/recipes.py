"""Settings of the official code's training, and where the paper's text differs from them.

``official``: the scripts and JSON files of megvii-research/TreeEnergyLoss (a4bf602), which gave the
numbers of its README. ``paper``: the paper's text. Where the text leaves a choice open, it is as in
the official code, except where the code departs from common practice (dilations of the ASPP at
output stride 16, BGR input, +1 on the trees' weights, evaluation without keeping the aspect ratio).

Both: SGD with momentum 0.9, lr · (1 − t / T)^0.9 updated in every iteration, no warm-up of the
learning rate or of the loss, fp16 with a scaler in the network (our losses are float32), batch
statistics over all processes, seed 304. The order of augmentations differs between the official
scripts (scale, crop, flip, or flip first), which only changes rounding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

from tel_segmentation import config

Recipe = Literal["official", "paper"]
GPUS = 4
"""Number of GPUs in the official scripts; each takes the mean of the loss over its images."""
SEED = 304


class Setting(NamedTuple):
    """The settings that depend on data set and network; ``batch`` is the total over all GPUs."""

    crop: tuple[int, int]  # height, width
    batch: int
    iterations: int
    lr: float
    head: float  # factor of the learning rate for everything but the backbone
    weight_decay: float
    weight: float  # λ
    sigma: float
    stride: Literal[8, 16, 32]  # output stride of the backbone; HRNet always has 4
    eval_every: int


OFFICIAL: dict[tuple[str, str], Setting] = {
    ("voc", "dlv3p"): Setting((512, 512), 16, 80_000, 1e-3, 10, 1e-4, 0.4, 0.02, 16, 500),
    ("voc", "ltf"): Setting((512, 512), 32, 80_000, 1e-3, 10, 1e-4, 0.6, 0.02, 32, 1000),
    # not released; our choice: the recipe of DeepLabV3+ at DeepLabV2's usual stride
    ("voc", "dlv2"): Setting((512, 512), 16, 80_000, 1e-3, 10, 1e-4, 0.4, 0.02, 8, 500),
    ("cs", "hrnet"): Setting((512, 1024), 8, 40_000, 1e-2, 1, 5e-4, 0.4, 0.002, 16, 1000),
    ("cs", "dlv3p"): Setting((512, 1024), 8, 40_000, 5e-3, 1, 5e-4, 0.4, 0.002, 8, 1000),
    ("ade", "hrnet"): Setting((512, 512), 16, 150_000, 2e-2, 1, 1e-4, 0.4, 0.002, 16, 1000),
    ("ade", "dlv3p"): Setting((512, 512), 16, 150_000, 2e-2, 1, 1e-4, 0.4, 0.002, 8, 1000),
}

PAPER: dict[tuple[str, str], dict[str, float]] = {
    ("voc", "dlv3p"): {"head": 1},
    ("voc", "ltf"): {"head": 1, "batch": 16, "weight": 0.4},
    ("voc", "dlv2"): {"head": 1},
    ("cs", "hrnet"): {"weight_decay": 1e-4},
    ("cs", "dlv3p"): {"weight_decay": 1e-4, "lr": 1e-2},
    ("ade", "hrnet"): {},
    ("ade", "dlv3p"): {},
}
"""The settings in which the paper's text differs."""

SOURCES = {"voc": "voc", "cs": "cityscapes", "ade": "ade20k"}
"""Kinds of ``config.Data.source``."""
FOLDERS = {"voc": "voc2012", "cs": "cityscapes", "ade": "ade20k"}
"""The data sets' folders in the data root, named as in the official code."""
NETWORKS: dict[str, config.Model] = {
    "dlv3p": config.Model("resnet101s", "deeplabv3+", weights="resnet101-imagenet.pth"),
    "ltf": config.Model("resnet101s", "ltf", weights="resnet101-imagenet.pth"),
    "hrnet": config.Model("hrnet_w48", "hrnet", weights="hrnetv2_w48_imagenet_pretrained.pth"),
    "dlv2": config.Model("resnet101", "deeplabv2", weights="resnet101-63fe2227.pth"),
}
"""The networks, with the names of the weight files of openseg, HRNet and torchvision."""


def setting(dataset: str, network: str, recipe: Recipe = "official") -> Setting:
    """The settings of a recipe for a data set and a network.

    Raises:
        ValueError: there is no such recipe.
    """
    if recipe not in ("official", "paper") or (dataset, network) not in OFFICIAL:
        raise ValueError(
            f"recipe must be official or paper, of {', '.join(map(' '.join, OFFICIAL))}, got"
            f" {recipe!r} of {dataset} {network}"
        )
    own = OFFICIAL[dataset, network]
    return own if recipe == "official" else own._replace(**PAPER[dataset, network])  # type: ignore[arg-type]


def resolve(dataset: str, network: str, recipe: Recipe = "official") -> config.Train:
    """The complete configuration of TEL with both levels; its batch is the total over processes.

    Args:
        dataset: ``voc``, ``cs`` or ``ade``.
        network: ``dlv3p``, ``ltf``, ``hrnet`` or ``dlv2``.
        recipe: ``official`` or ``paper``.

    Raises:
        ValueError: there is no such recipe.
    """
    chosen = setting(dataset, network, recipe)
    official = recipe == "official"
    short_side = 512 if official and dataset == "ade" else None
    data = config.Data(
        source=f"{SOURCES[dataset]}:{FOLDERS[dataset]}",
        annotation="scribble" if dataset == "voc" else "block20",
        short_side=short_side,
        crop=chosen.crop,
        scale=(0.5, 2.0),
        aspect=(0.9, 1.1) if official else (1.0, 1.0),
        flip=0.5,
        brightness=10,
        labels="nearest",  # in both recipes; the text does not mention it
        workers=4,
    )
    model = replace(
        NETWORKS[network],
        output_stride=chosen.stride,
        # "stride" is 8 in every JSON file, even for backbones with another stride
        rates=(12, 24, 36) if official and network == "dlv3p" else None,
        # DeepLabV2 is not released; torchvision's weights are trained on RGB
        bgr=official and network != "dlv2",
    )
    tree = config.TreeEnergy(sigma=chosen.sigma, mst_offset=1.0 if official else 0.0, roi="nearest")
    return config.Train(
        data=data,
        model=model,
        loss=config.Loss(weight=chosen.weight, tel=tree),
        optimizer=config.Optimizer(
            name="sgd",
            lr=chosen.lr,
            head_lr_factor=chosen.head,
            weight_decay=chosen.weight_decay,
            momentum=0.9,
            power=0.9,
        ),
        evaluation=_evaluation(dataset, model) if official else _single_scale(model),
        recipe=recipe,
        protocols=("ss", "msf", "official") if official else ("ss", "msf"),
        iterations=chosen.iterations,
        batch=chosen.batch,
        seed=SEED,
        amp="fp16",
        log_every=50,
        eval_every=chosen.eval_every,
        checkpoint_every=500,
    )


def _single_scale(model: config.Model) -> config.Evaluation:
    """The protocol ``ss``: images of any size, padded to the network's stride."""
    return config.Evaluation(multiple=model.coarsest_stride)


def _evaluation(dataset: str, model: config.Model) -> config.Evaluation:
    """The protocol of the official code's evaluations during training."""
    if dataset == "voc":
        return config.Evaluation(protocol="squash", size=(512, 512))
    if dataset == "ade":
        return config.Evaluation(protocol="short-side", size=(512, 512))
    return _single_scale(model)  # whole images: 2048 × 1024 needs no padding


def divided(options: config.Train, processes: int, per_process: int | None = None) -> config.Train:
    """Divides the total batch over processes, with accumulation of gradients if they are few.

    Args:
        options: a configuration whose ``batch`` is the total.
        processes: number of processes that train together.
        per_process: images per step of one process; by default as many as on each of the official
            code's four GPUs, or the largest smaller number that divides the batch.

    Raises:
        ValueError: the total batch cannot be divided in this way.
    """
    total = options.batch
    if total % processes:
        raise ValueError(f"processes must divide the total batch of {total}, got {processes}")
    share = total // processes
    if per_process is None:
        least = 2 if processes == 1 else 1  # batch statistics need more than one image
        most = max(least, total // GPUS)
        per_process = max(n for n in range(1, most + 1) if share % n == 0)
    if per_process < 1 or share % per_process:
        raise ValueError(
            f"per-process-batch must divide {share}, the total batch of {total} over {processes}"
            f" processes, got {per_process}"
        )
    return replace(options, batch=per_process, accumulate=share // per_process)
