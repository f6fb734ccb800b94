"""How the official code trains, and where the paper says otherwise.

``official``: the scripts and JSON files of megvii-research/TreeEnergyLoss (a4bf602), from whose
runs the README's numbers are. ``paper``: the text; what it leaves open is as in the official code,
but for the code's own departures from common practice (dilations of the ASPP at output stride 16,
BGR input, +1 on the trees' weights, the squashed evaluation).

Both: SGD with momentum 0.9, lr · (1 − t / T)^0.9 stepped every iteration, no warm-up of the
learning rate or of the loss, fp16 with a scaler around the network (the losses are float32 here),
batch statistics over all processes, seed 304. The order of augmentations differs between the
official scripts (scale, crop, flip, or flip first), which changes nothing but rounding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

from tel_segmentation import config

Recipe = Literal["official", "paper"]
GPUS = 4
"""Of the official scripts; the loss is a mean over each one's part of the batch."""
SEED = 304


class Setting(NamedTuple):
    """A column of the recipes' table; total batch, over all GPUs."""

    crop: tuple[int, int]  # height, width
    batch: int
    iterations: int
    lr: float
    head: float  # everything but the backbone learns this much faster
    weight_decay: float
    weight: float  # λ
    sigma: float
    stride: Literal[8, 16, 32]  # of the backbone; HRNet has 4 whatever is said
    eval_every: int


OFFICIAL: dict[tuple[str, str], Setting] = {
    ("voc", "dlv3p"): Setting((512, 512), 16, 80_000, 1e-3, 10, 1e-4, 0.4, 0.02, 16, 500),
    ("voc", "ltf"): Setting((512, 512), 32, 80_000, 1e-3, 10, 1e-4, 0.6, 0.02, 32, 1000),
    # not released: the recipe of DeepLabV3+ at DeepLabV2's usual stride, our choice
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
"""What the paper says otherwise."""

SOURCES = {"voc": "voc", "cs": "cityscapes", "ade": "ade20k"}
"""Kinds of ``config.Data.source``."""
FOLDERS = {"voc": "voc2012", "cs": "cityscapes", "ade": "ade20k"}
"""Of the data root, named as by the official code."""
NETWORKS: dict[str, config.Model] = {
    "dlv3p": config.Model("resnet101s", "deeplabv3+", weights="resnet101-imagenet.pth"),
    "ltf": config.Model("resnet101s", "ltf", weights="resnet101-imagenet.pth"),
    "hrnet": config.Model("hrnet_w48", "hrnet", weights="hrnetv2_w48_imagenet_pretrained.pth"),
    "dlv2": config.Model("resnet101", "deeplabv2", weights="resnet101-63fe2227.pth"),
}
"""With the names of their files of weights: openseg's, HRNet's and torchvision's."""


def setting(dataset: str, network: str, recipe: Recipe = "official") -> Setting:
    """The numbers of a recipe.

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
    """The whole configuration of TEL with both levels; whose batch is the total one.

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
        workers=4,
    )
    model = replace(
        NETWORKS[network],
        output_stride=chosen.stride,
        # "stride" is 8 in every JSON file, whatever the backbone's
        rates=(12, 24, 36) if official and network == "dlv3p" else None,
        # DeepLabV2 is not released: torchvision's weights get the red, green, blue they know
        bgr=official and network != "dlv2",
    )
    tree = config.TreeEnergy(sigma=chosen.sigma, mst_offset=1.0 if official else 0.0)
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
    """The official code's, in training."""
    if dataset == "voc":
        return config.Evaluation(protocol="squash", size=(512, 512))
    if dataset == "ade":
        return config.Evaluation(protocol="short-side", size=(512, 512))
    return _single_scale(model)  # whole: 2048 × 1024 is a multiple


def divided(options: config.Train, processes: int, per_process: int | None = None) -> config.Train:
    """The same total batch on any number of processes, accumulated where they are few.

    Args:
        options: whose ``batch`` is the total one.
        processes: that train together.
        per_process: images at once in one process; by default what each of the official four GPUs
            has, or the largest number below it that divides the batch.

    Raises:
        ValueError: the total batch cannot be divided so.
    """
    total = options.batch
    if total % processes:
        raise ValueError(f"processes must divide the total batch of {total}, got {processes}")
    share = total // processes
    if per_process is None:
        least = 2 if processes == 1 else 1  # a single image has no statistics
        most = max(least, total // GPUS)
        per_process = max(n for n in range(1, most + 1) if share % n == 0)
    if per_process < 1 or share % per_process:
        raise ValueError(
            f"per-process-batch must divide {share}, the total batch of {total} over {processes}"
            f" processes, got {per_process}"
        )
    return replace(options, batch=per_process, accumulate=share // per_process)
