"""Evaluation protocols: the pixels that a network sees, and the positions of its logits."""

import dataclasses
import itertools

import pytest
import torch
from torch import nn

from tel_segmentation import config
from tel_segmentation.config import Evaluation
from tel_segmentation.data.augment import MEAN, STD, normalize
from tel_segmentation.evaluation import protocols
from tel_segmentation.evaluation.protocols import ProtocolOptions, predict_logits
from tel_segmentation.networks.segmenter import build_model


class Colours(nn.Module):
    """A model whose logits are the colours of its input in [0, 1]."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape[-2:]))
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        return x * std + mean


class Row(nn.Module):
    """A model whose logits tell the row of a pixel in its input."""

    def forward(self, x):
        row = torch.linspace(0, 1, x.shape[-2])[:, None].expand(x.shape[-2:])
        return row.expand(len(x), 1, -1, -1)


def smooth(height, width):
    """An image without edges, which resizing hardly changes."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    image = torch.stack((y, x, (x + y) / 2)) * 200 + 20
    return image.round().to(torch.uint8)[None]


SIZES = [(48, 48), (40, 64), (70, 33)]
PROTOCOLS = [
    Evaluation(),
    Evaluation(multiple=16),
    Evaluation("squash", (64, 48)),
    Evaluation("short-side", (50, 50)),
    Evaluation("sliding", (32, 40)),
    Evaluation("sliding", (32, 32), overlap=0.0),
    Evaluation("sliding", (100, 100)),
]


@pytest.mark.parametrize("evaluation", PROTOCOLS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("more", [{}, {"flip": True}, {"scales": (0.75, 1.0, 1.5)}])
def test_every_protocol_puts_pixels_back_where_they_were(evaluation, size, more):
    image = smooth(*size)
    evaluation = dataclasses.replace(evaluation, **more)
    logits = predict_logits(Colours(), image, evaluation)
    assert logits.shape == (1, 3, *size)
    # Resizing is not exact at the border and where the network's input is padded.
    assert (logits - image / 255).abs().max() < 0.06
    assert (logits - image / 255)[..., 6:-6, 6:-6].abs().max() < 0.015


def test_what_the_network_sees():
    image, model = smooth(40, 60), Colours()

    def seen(**options):
        model.seen.clear()
        predict_logits(model, image, Evaluation(**options), (80, 120))
        return model.seen

    assert seen() == [(40, 60)]
    assert seen(multiple=16) == [(48, 64)]
    assert seen(multiple=20) == [(40, 60)]
    assert seen(multiple=32, scales=(0.5, 2.0), flip=True) == [(32, 32)] * 2 + [(96, 128)] * 2
    assert seen(scales=(0.5, 2.0), flip=True) == [(32, 32)] * 2 + [(80, 120)] * 2
    assert seen(protocol="squash", size=(64, 64)) == [(64, 64)]
    assert seen(protocol="squash", size=(64, 64), scales=(1.5,)) == [(96, 96)]
    # 50 rows and 75 columns, padded to multiples of 8
    assert seen(protocol="short-side", size=(50, 50)) == [(56, 80)]
    assert seen(protocol="sliding", size=(32, 32)) == [(32, 32)] * 2 * 3
    assert seen(protocol="sliding", size=(64, 64)) == [(64, 64)]


class Kept(Colours):
    """A model that keeps its inputs."""

    def forward(self, x):
        self.given = x
        return super().forward(x)


@pytest.mark.parametrize(
    ("evaluation", "colour"),
    [
        (Evaluation(multiple=32), (0.485, 0.456, 0.406)),
        (Evaluation("short-side", (45, 45)), (0, 0, 0)),
    ],
)
def test_the_colour_of_padding(evaluation, colour):
    """The mean colour, 0 after normalisation; for short-side black, as in the official code."""
    image, model = smooth(45, 61), Kept()
    logits = predict_logits(model, image, evaluation)
    height, width = model.given.shape[-2:]
    assert height * width > 45 * 61
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    shown = model.given * std + mean
    expected = torch.tensor(colour, dtype=torch.float32)
    for part in (shown[0, :, 45:], shown[0, :, :, 61:]):
        torch.testing.assert_close(part.flatten(1).mT, expected.expand(part[0].numel(), 3))
    assert (evaluation.multiple == 32) == bool((model.given[0, :, 45:] == 0).all())
    torch.testing.assert_close(logits, image / 255)


@pytest.mark.parametrize(
    "model",
    [
        config.Model(),
        config.Model("resnet18", output_stride=16),
        config.Model("resnet18", output_stride=8),
        config.Model("resnet26", "deeplabv2", 8),
        config.Model("hrnet_w18_small", "hrnet"),
        config.Model("resnet18", "ltf", 32),
    ],
    ids=lambda m: f"{m.network}-{m.name}-{m.output_stride}",
)
def test_networks_and_sizes_that_are_no_multiples(model):
    """Networks take any size, and padding changes the result.

    So ``Evaluation()`` does not pad; for multiples of the stride, both give the same.
    """
    torch.manual_seed(0)
    network = build_model(model, 3).eval()
    padded = protocols.named("ss", config.Train(model=model))
    assert padded.multiple > 1
    noise = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    image = noise.to(torch.uint8)
    with torch.no_grad():
        plain, same = (predict_logits(network, image, each) for each in (Evaluation(), padded))
        assert torch.equal(plain, same)
        image = image[..., :45, :61]
        plain, other = (predict_logits(network, image, each) for each in (Evaluation(), padded))
        assert plain.shape == other.shape == (1, 3, 45, 61)
        assert torch.equal(plain, network(normalize(image / 255)))
    assert not torch.allclose(plain, other)


@pytest.mark.parametrize(
    ("protocol", "mode"),
    [("native", "bilinear"), ("squash", "bicubic"), ("short-side", "bicubic")],
)
def test_how_logits_are_resized(protocol, mode):
    """The logits are noise, on which interpolation modes differ; the image is not resized."""
    image = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    image = image.to(torch.uint8)
    logits = predict_logits(Colours(), image, Evaluation(protocol, (64, 64)), (90, 100))
    expected = nn.functional.interpolate(
        image / 255, (90, 100), mode=mode, align_corners=False, antialias=mode == "bicubic"
    )
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_the_longer_side_may_be_either():
    model = Colours()
    predict_logits(model, smooth(100, 50), Evaluation("short-side", (64, 64)))
    assert model.seen == [(128, 64)]


@pytest.mark.parametrize(
    ("length", "window", "overlap"),
    list(itertools.product([32, 33, 64, 100, 101], [32], [0.0, 1 / 3, 0.5, 0.9])),
)
def test_windows_cover_and_overlap(length, window, overlap):
    starts = protocols._starts(length, window, overlap)
    assert starts[0] == 0
    assert starts[-1] == length - window
    for a, b in itertools.pairwise(starts):
        assert 0 < b - a <= max(1, int(window * (1 - overlap)))


def test_overlapping_windows_are_averaged():
    image = torch.zeros(1, 3, 48, 32, dtype=torch.uint8)
    logits = predict_logits(Row(), image, Evaluation("sliding", (32, 32), overlap=0.5))[0, 0, :, 0]
    window = torch.linspace(0, 1, 32)
    expected = torch.cat((window[:16], (window[16:] + window[:16]) / 2, window[16:]))
    torch.testing.assert_close(logits, expected)


def test_flip_is_undone():
    class Left(nn.Module):
        def forward(self, x):
            column = torch.arange(x.shape[-1]).float().expand(len(x), 1, *x.shape[-2:])
            return column

    logits = predict_logits(Left(), smooth(32, 40), Evaluation(flip=True))
    assert (logits == 19.5).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": ()}, r"evaluation\.scales must be positive"),
        ({"scales": (1.0, float("nan"))}, r"evaluation\.scales must be positive"),
        ({"protocol": "squash"}, r"evaluation\.size must be at least 32 × 32 .* squash, got None"),
        ({"protocol": "sliding", "size": (16, 64)}, r"evaluation\.size must be .*\(16, 64\)"),
        ({"protocol": "sliding", "size": (64, 64), "overlap": 1.0}, r"overlap must be in \[0, 1\)"),
        ({"multiple": 0}, r"evaluation\.multiple must be at least 1, .* got 0 for native"),
        ({"protocol": "squash", "size": (64, 64), "multiple": 16}, "got 16 for squash"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        predict_logits(Colours(), smooth(32, 32), Evaluation(**options))


def test_names_of_protocols():
    squash = Evaluation("squash", (512, 512))
    options = config.Train(evaluation=squash)
    assert protocols.named("ss", options) == Evaluation(multiple=16)
    for network, stride, multiple in (("deeplabv2", 8, 8), ("ltf", 32, 32), ("hrnet", 16, 32)):
        model = config.Model("some", network, stride)
        named = protocols.named("ss", dataclasses.replace(options, model=model))
        assert named == Evaluation(multiple=multiple)
    msf = protocols.named("msf", options)
    assert (msf.protocol, msf.flip, msf.multiple) == ("native", True, 16)
    assert msf.scales == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    official = protocols.named("official", options)
    assert official == dataclasses.replace(msf, protocol="squash", size=(512, 512), multiple=1)
    # Only Pascal VOC's script has several scales: Cityscapes whole, ADE20K by its shorter side.
    for own in (Evaluation(), Evaluation("short-side", (512, 512))):
        assert protocols.named("official", config.Train(evaluation=own)) == own
    with pytest.raises(ValueError, match="protocols must be of ss, msf, official, got 'mss'"):
        protocols.named("mss", options)


def test_options_of_commands_fall_back_on_the_run():
    trained = config.Train(
        data=config.Data(crop=(64, 96)), evaluation=Evaluation("squash", (512, 512))
    )
    assert ProtocolOptions().evaluation(trained) == trained.evaluation
    assert ProtocolOptions(protocol="native").evaluation(trained) == Evaluation()
    sliding = ProtocolOptions(protocol="sliding", protocol_size=(64, 64), flip=True)
    assert sliding.evaluation(trained) == Evaluation("sliding", (64, 64), flip=True)
    plain = dataclasses.replace(trained, evaluation=Evaluation(multiple=16))
    assert ProtocolOptions().evaluation(plain) == plain.evaluation
    assert ProtocolOptions(protocol="native", multiple=8).evaluation(plain).multiple == 8
    assert ProtocolOptions(protocol="squash").evaluation(plain).multiple == 1
    assert ProtocolOptions(protocol="sliding").evaluation(plain).size == (64, 96)
