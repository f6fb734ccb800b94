from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from tel_segmentation.config import Model
from tel_segmentation.model import build_model
from tel_segmentation.networks.backbones import (
    Renormalization,
    dilated_backbone,
    pyramid_backbone,
)
from tel_segmentation.networks.deeplab import DeepLab

IMAGENET = (timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD)
LITE = Model(name="tf_efficientnet_lite0")
OPTIONS = [
    LITE,
    Model(name="resnet18", output_stride=8),
    Model(name="hrnet_w18_small", network="hrnet"),
    Model(name="resnet18", network="ltf", output_stride=32),
    Model(name="resnet18", network="deeplabv2", output_stride=8),
]


def images(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dilations(module):
    return [
        part.dilation[0]
        for part in module.modules()
        if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)
    ]


@pytest.mark.parametrize("name", ["resnet101", "resnet101s"])
@pytest.mark.parametrize(
    ("stride", "third", "fourth"), [(8, (1, 2), (2, 4)), (16, (1, 1), (1, 2)), (32, (1, 1), (1, 1))]
)
def test_dilations_of_the_papers_backbone(name, stride, third, fourth):
    """Of a stage's first block, half of the others'."""
    with torch.device("meta"):
        backbone = pyramid_backbone(name)[0] if stride == 32 else dilated_backbone(name, stride)[0]
    for stage, (first, others) in ((backbone.layer3, third), (backbone.layer4, fourth)):
        found = dilations(stage)
        assert found == [first] + [others] * (len(found) - 1)
    kernels = [m.kernel_size for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    assert kernels.count((7, 7)) == (name == "resnet101")
    assert not backbone.maxpool.ceil_mode


@pytest.mark.parametrize(("stride", "expected"), [(8, {1, 2, 4}), (16, {1, 2})])
def test_the_backbone_dilates_instead_of_striding(stride, expected):
    backbone = DeepLab("resnet18", stride).backbone
    assert set(dilations(backbone)) == expected
    assert backbone(images(1, 3, 64, 64))[-1].shape[-1] == 64 // stride


def test_input_in_the_normalisation_of_the_backbone():
    photo = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, std = (
        torch.tensor(values).view(3, 1, 1)
        for values in (timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD)
    )
    lite = DeepLab("tf_efficientnet_lite0")
    assert isinstance(lite.normalize, Renormalization)
    torch.testing.assert_close(lite.normalize((photo - mean) / std), (photo - 0.5) / 0.5)
    assert isinstance(DeepLab("resnet18").normalize, nn.Identity)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options.network)
def test_blue_first(options):
    """The network sees blue, green, red, normalised by its statistics of red, green, blue."""
    photo = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def normalized(colours, name=None):
        mean, std = ((0.5,), (0.5,)) if name == LITE.name else IMAGENET
        return (colours - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)

    model = build_model(replace(options, bgr=True), 5)
    seen = {}
    model.features.backbone.register_forward_pre_hook(lambda _, args: seen.update(image=args[0]))
    model(normalized(photo))
    torch.testing.assert_close(seen["image"], normalized(photo.flip(1), options.name))
