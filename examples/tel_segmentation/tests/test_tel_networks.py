"""The paper's networks at their full size: shapes and numbers of parameters."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from tel_segmentation.config import Model
from tel_segmentation.networks.segmenter import build_model
from tel_segmentation.paper import needs, recipes

FULL_SIZE = {
    "VOC": (Model(name="resnet101s", rates=(12, 24, 36)), 21, (512, 512), (128, 128)),
    "7×7": (Model(name="resnet101"), 21, (512, 512), (128, 128)),
    "Cityscapes": (Model(name="resnet101s", output_stride=8), 19, (512, 1024), (128, 256)),
    "ADE20K": (Model(name="resnet101s", output_stride=8), 150, (512, 512), (128, 128)),
    "HRNet": (Model(name="hrnet_w48", network="hrnet"), 19, (512, 1024), (128, 256)),
    "LTF": (
        Model(name="resnet101s", network="ltf", output_stride=32),
        21,
        (512, 512),
        (128, 128),
    ),
    "DeepLabV2": (
        Model(name="resnet101", network="deeplabv2", output_stride=8),
        21,
        (321, 321),
        (41, 41),
    ),
}


@pytest.mark.parametrize("case", FULL_SIZE)
def test_shapes_at_full_size(case):
    options, classes, size, low = FULL_SIZE[case]
    with FakeTensorMode():  # only shapes, without computation
        model = build_model(options, classes)
        full, logits, embed = model(torch.empty(2, 3, *size))
        assert full.shape == (2, classes, *size)
        assert logits.shape == (2, classes, *low)
        assert embed.shape == (2, 256, *low)
        assert model.eval()(torch.empty(1, 3, *size)).shape == (1, classes, *size)


@pytest.mark.parametrize("case", needs.GMACS, ids=" ".join)
def test_operations_behind_the_hours(case):
    """Operations of a forward pass on one crop in evaluation, so without the embedding."""
    options = recipes.resolve(*case)
    classes = {"voc": 21, "cs": 19, "ade": 150}[case[0]]
    with FakeTensorMode(), FlopCounterMode(display=False) as counter, torch.no_grad():
        model = build_model(replace(options.model, weights="none"), classes)
        model.eval()(torch.empty(1, 3, *options.data.crop))
    counted = counter.get_total_flops() / 2 / 1e9  # a multiplication and an addition
    assert needs.GMACS[case] == pytest.approx(counted, rel=0.005)


def conv(inside, outside, size=1, norm=True, bias=False):
    """The number of parameters of a convolution with batch norm."""
    return inside * outside * size**2 + 2 * outside * norm + outside * bias


def resnet101(stem, inside):
    total = stem
    for count, planes in ((3, 64), (4, 128), (23, 256), (3, 512)):
        total += conv(inside, 4 * planes)  # the shortcut of the first block
        for _ in range(count):
            total += conv(inside, planes) + conv(planes, planes, 3) + conv(planes, 4 * planes)
            inside = 4 * planes
    return total


SEVEN = resnet101(conv(3, 64, 7), 64)
DEEP = resnet101(conv(3, 64, 3) + conv(64, 64, 3) + conv(64, 128, 3), 128)
HRNET_W48 = 65_325_120  # 65.8 M with the published network's own head
DECODER = conv(256, 48) + conv(304, 256, 3) + conv(256, 256, 3)
ASPPS = 2 * conv(2048, 256) + 3 * conv(2048, 256, 3) + conv(1280, 256, 3)


def residual(inside):
    return conv(inside, 512, norm=False) + conv(512, 512, 3) + conv(512, 512, 3, norm=False)


REFINEMENT = sum(map(residual, (2048, 1024, 512, 256))) + 4 * residual(512)
TREES = 3 * conv(512, 256, norm=False)

PARAMETERS = {
    "VOC": (DEEP, ASPPS + DECODER + 256 * 21 + 21 + conv(256, 256)),
    "7×7": (SEVEN, ASPPS + DECODER + 256 * 21 + 21 + conv(256, 256)),
    "Cityscapes": (DEEP, ASPPS + DECODER + 256 * 19 + 19 + conv(256, 256)),
    "ADE20K": (DEEP, ASPPS + DECODER + 256 * 150 + 150 + conv(256, 256)),
    "HRNet": (HRNET_W48, conv(720, 720, 3, bias=True) + 720 * 19 + conv(720, 256)),
    "LTF": (
        DEEP,
        conv(2048, 512) + REFINEMENT + TREES + residual(512) + 512 * 21 + 21 + conv(512, 256),
    ),
    "DeepLabV2": (SEVEN, 4 * conv(2048, 21, 3, norm=False, bias=True) + conv(2048, 256)),
}


@pytest.mark.parametrize("case", FULL_SIZE)
def test_number_of_parameters(case):
    options, classes, *_ = FULL_SIZE[case]
    with torch.device("meta"):
        model = build_model(options, classes)
    counts = [
        sum(parameter.numel() for parameter in part)
        for part in (model.backbone_parameters(), model.head_parameters())
    ]
    assert tuple(counts) == PARAMETERS[case]


def test_resnet101_has_the_published_number_of_parameters():
    assert SEVEN + 2048 * 1000 + 1000 == 44_549_160
