"""The part that all networks share, and the choice of the network that a configuration names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tel_segmentation import config
from tel_segmentation.networks.deeplab import DeepLab
from tel_segmentation.networks.deeplab_v2 import RATES, DeepLabV2
from tel_segmentation.networks.hrnet import HRNet
from tel_segmentation.networks.pretrained import load_backbone
from tel_segmentation.networks.tiny import Tiny
from tel_segmentation.networks.tree_fcn import TreeFCN

EMBEDDING = 256
SMALLEST = 32
NETWORKS = ("deeplabv3+", "deeplabv2", "hrnet", "ltf")

Features = Tiny | DeepLab | DeepLabV2 | HRNet | TreeFCN


class Prediction(NamedTuple):
    """What a network returns in training."""

    full: Tensor  # (B, K, H, W): logits at the input's resolution, for the cross entropy
    logits: Tensor  # (B, K, h, w): the main prediction, for the losses on unlabelled pixels
    embed: Tensor | None  # (B, 256, h, w): the high-level embedding F


class Segmenter(nn.Module):
    """A segmentation network: features, their logits, and in training their embedding F.

    Args:
        features: maps images to a feature map; has ``backbone``, ``channels`` and ``head``.
        num_classes: K.
        embedding: ``relu``: F is a 1×1 convolution without bias, batch norm and ReLU, as in the
            official code; ``linear``: the convolution alone, as the paper writes; None: no F.
        weights: a phrase that says which weights were loaded.
    """

    def __init__(
        self,
        features: Features,
        num_classes: int,
        embedding: str | None = "relu",
        weights: str = "random initialisation",
    ) -> None:
        super().__init__()
        self.weights = weights
        self.features = features
        self.head = features.head(num_classes)
        self.embedding = _embedding(features.channels, embedding) if embedding else None

    def forward(self, image: Tensor) -> Prediction | Tensor:
        """Predicts the classes of every pixel.

        Args:
            image: (B, 3, H, W) floating point, normalised by ImageNet's mean and deviation, H and W
                at least 32.

        Returns:
            In training a :class:`Prediction`; in evaluation the logits (B, K, H, W) alone, without
            computing the embedding.

        Raises:
            ValueError: the image has another shape, or in training of DeepLabV3+ or LTF the batch
                is a single image.
        """
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < SMALLEST:
            raise ValueError(
                f"Segmenter: image must be (B, 3, H, W) with H and W at least {SMALLEST}, got"
                f" {tuple(image.shape)}"
            )
        features = self.features(image)
        logits = self.head(features)
        full = functional.interpolate(
            logits, size=image.shape[-2:], mode="bilinear", align_corners=True
        )
        if not self.training:
            return full
        embed = self.embedding(features) if self.embedding is not None else None
        return Prediction(full, logits, embed)

    def classify(self, image: Tensor) -> Tensor:
        """The logits (B, K, h, w) of an image as in ``forward``, at the network's own stride."""
        logits: Tensor = self.head(self.features(image))
        return logits

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the backbone, for which there are pretrained weights."""
        return self.features.backbone.parameters()

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """All other parameters: decoder, classifier, embedding."""
        backbone = {id(parameter) for parameter in self.backbone_parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in backbone)


def _embedding(channels: int, kind: str) -> nn.Module:
    # With a random state of its own, so that a network starts with the same weights without F.
    with torch.random.fork_rng(devices=[]):
        convolution = nn.Conv2d(channels, EMBEDDING, 1, bias=False)
        if kind == "linear":
            return convolution
        return nn.Sequential(convolution, nn.BatchNorm2d(EMBEDDING), nn.ReLU(inplace=True))


def build_model(options: config.Model, num_classes: int, embed: bool = True) -> Segmenter:
    """The network that a configuration names, on the CPU, in training mode.

    Its random initialisation is drawn from torch's global generator.

    Args:
        options: network, backbone, output stride, pretrained weights.
        num_classes: K, at least 2.
        embed: whether to build the embedding F; without it, methods that do not use it save its
            cost, and no parameter is left unused.

    Returns:
        The network; its ``weights`` say which weights were loaded.

    Raises:
        ValueError: unknown name, a backbone or an option that the network cannot have, fewer than 2
            classes, or weights that do not fit the network.
        FileNotFoundError: the file of weights does not exist.
        ImportError: the package with the weights is not installed.
        OSError: the weights could not be downloaded.
    """
    if num_classes < 2:
        raise ValueError(f"build_model: num_classes must be at least 2, got {num_classes}")
    if options.embedding not in ("relu", "linear"):
        raise ValueError(
            f"build_model: embedding must be 'relu' or 'linear', got {options.embedding!r}"
        )
    features = build_features(options)
    weights = load_backbone(features.backbone, options.name, options.weights)
    return Segmenter(features, num_classes, options.embedding if embed else None, weights)


def build_features(options: config.Model) -> Features:
    """The network without its classifier, randomly initialised.

    Raises:
        ValueError: unknown name, or a backbone or an option that the network cannot have.
    """
    name, network = options.name, options.network
    if network not in NETWORKS:
        raise ValueError(f"build_model: network must be one of {NETWORKS}, got {network!r}")
    if options.rates is not None and network != "deeplabv3+":
        has = f"{RATES}, summed" if network == "deeplabv2" else "no ASPP"
        raise ValueError(
            f"build_model: rates must not be given for {network}, which has {has}, got"
            f" {options.rates}"
        )
    if name == "tiny":
        if network != "deeplabv3+" or options.bgr:
            raise ValueError(
                f"build_model: name must be a timm model's for {network!r} and bgr={options.bgr},"
                " got 'tiny', which is a small DeepLabV3+ from scratch"
            )
        return Tiny()
    if network == "hrnet":
        return HRNet(name, options.bgr)
    if network == "ltf":
        if options.output_stride != 32:
            raise ValueError(
                "build_model: output_stride must be 32 for 'ltf', whose stages are not dilated, got"
                f" {options.output_stride}"
            )
        return TreeFCN(name, options.bgr)
    if network == "deeplabv2":
        return DeepLabV2(name, options.output_stride, options.bgr)
    return DeepLab(name, options.output_stride, options.rates, options.bgr)
