"""Configurations by name, with which ``tel train PRESET`` starts."""

from __future__ import annotations

from dataclasses import replace

from tel_segmentation import config
from tel_segmentation.paper import recipes

LOSS_PRESETS: dict[str, config.Loss] = {
    # the paper's and its official code's settings, by data set
    "voc": config.Loss(tel=config.TreeEnergy(sigma=0.02, roi="nearest")),
    "cityscapes": config.Loss(tel=config.TreeEnergy(sigma=0.002, roi="nearest")),
    "ade20k": config.Loss(tel=config.TreeEnergy(sigma=0.002, roi="nearest")),
    "official": config.Loss(tel=config.TreeEnergy(sigma=0.02, mst_offset=1.0, roi="nearest")),
    "ltf_official": config.Loss(
        weight=0.6, tel=config.TreeEnergy(sigma=0.02, mst_offset=1.0, roi="nearest")
    ),
}

CAMVID = config.Train(
    data=config.Data(
        source="",
        size=(180, 240),
        keep_aspect=True,
        crop=(180, 240),
        scale=(0.75, 1.5),
        brightness=10,
    ),
    model=config.Model(name="tf_efficientnet_lite0", weights="package"),
    # The paper's σ for street scenes. Photographs are smooth: at 0.02 the trees carry a class over
    # most of an image, and filtering a prediction makes it worse instead of better.
    loss=config.Loss(tel=config.TreeEnergy(sigma=0.002)),
    optimizer=config.Optimizer(lr=1e-3, head_lr_factor=1.0, weight_decay=1e-2),
    iterations=500,
    eval_every=250,
)


def _official(dataset: str, network: str) -> config.Train:
    """The official code's recipe; one process accumulates the whole batch."""
    return replace(recipes.divided(recipes.resolve(dataset, network), 1), protocols=())


PRESETS: dict[str, tuple[str, config.Train]] = {
    "smoke": (
        "Seconds: 32 scenes of 48 × 48, 40 iterations.",
        config.Train(
            data=config.Data(crop=(48, 48), train=32, val=16, test=16),
            iterations=40,
            batch=4,
            eval_every=20,
            checkpoint_every=20,
        ),
    ),
    "scenes": (
        "A minute on a CPU: 160 generated scenes of 64 × 64, the tiny network.",
        config.Train(),
    ),
    "scenes-gpu": (
        "Minutes on a GPU: 2,000 scenes of 256 × 256, DeepLabV3+ on ResNet-18 from scratch.",
        config.Train(
            data=config.Data(crop=(256, 256), train=2000, val=200, test=500, workers=8),
            model=config.Model(name="resnet18"),
            optimizer=config.Optimizer(name="sgd", lr=0.05),
            iterations=3000,
            batch=16,
            amp="bf16",
            eval_every=500,
            checkpoint_every=500,
        ),
    ),
    "photos": (
        "A data set of photographs (--data.source FILE.toml): DeepLabV3+ on EfficientNet-Lite0"
        " with ImageNet weights, 240 × 180.",
        CAMVID,
    ),
    "voc-deeplab": (
        "The official recipe for Pascal VOC: DeepLabV3+ on ResNet-101, 512 × 512.",
        _official("voc", "dlv3p"),
    ),
    "voc-ltf": (
        "The official recipe for Pascal VOC: the learnable tree filter network, 512 × 512.",
        _official("voc", "ltf"),
    ),
    "cityscapes-hrnet": (
        "The official recipe for Cityscapes: HRNet-W48, 1024 × 512.",
        _official("cs", "hrnet"),
    ),
    "ade20k-hrnet": (
        "The official recipe for ADE20K: HRNet-W48, 512 × 512.",
        _official("ade", "hrnet"),
    ),
}
