from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from tel_segmentation.config import Model
from tel_segmentation.networks.backbones import Renormalization, dilated_backbone, pyramid_backbone
from tel_segmentation.networks.deeplab import DeepLab
from tel_segmentation.networks.segmenter import build_model

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
    """``third``, ``fourth``: the dilations of the stage's first block and of its other blocks."""
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


NETWORKS = {
    "DeepLabV3+": Model(name="resnet26", output_stride=8),
    "DeepLabV2": Model(name="resnet18", network="deeplabv2", output_stride=8),
    "LTF": Model(name="resnet18", network="ltf", output_stride=32),
    "HRNet": Model(name="hrnet_w18_small", network="hrnet"),
    "tiny": Model(),
}


def norms(module):
    return {n: m for n, m in module.named_modules() if isinstance(m, nn.BatchNorm2d)}


@pytest.mark.parametrize("network", NETWORKS)
def test_batch_norm_starts_as_the_identity(network):
    """This includes the last batch norm of a residual block, which timm would initialise with 0."""
    for name, norm in norms(build_model(NETWORKS[network], 3)).items():
        assert (norm.weight == 1).all(), name
        assert (norm.bias == 0).all(), name


@pytest.mark.parametrize("network", NETWORKS)
def test_batch_norm_of_networks_and_heads(network):
    """eps 1e-5 and momentum 0.1 everywhere: pooled branch, context, decoder, head, embedding."""
    model = build_model(NETWORKS[network], 3)
    found = norms(model)
    outside = {name for name in found if not name.startswith("features.backbone.")}
    expected = {
        "DeepLabV3+": {"features.aspp.pooled", "features.aspp.project", "features.fuse", "head.0"},
        "LTF": {"features.context", "features.refine.0", "head.0"},
        "HRNet": {"head.1"},
    }.get(network, set())
    for part in (*expected, "embedding"):
        assert any(name.startswith(part) for name in outside), part
    for name, norm in found.items():
        assert (norm.eps, norm.momentum) == (1e-5, 0.1), name
        assert norm.track_running_stats
        assert norm.affine


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0"])
def test_other_initial_weights_are_timms(name):
    """For a model with the option to start without zeros, and for one without this option."""
    torch.manual_seed(0)
    ours = dilated_backbone(name, 16)[0].state_dict()
    torch.manual_seed(0)
    theirs = timm.create_model(name, features_only=True, output_stride=16).state_dict()
    zeros = {key for key, value in theirs.items() if key.endswith("bn2.weight") and not value.any()}
    assert bool(zeros) == (name == "resnet18")
    for key in ours.keys() - zeros:
        assert torch.equal(ours[key], theirs[key]), key


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
