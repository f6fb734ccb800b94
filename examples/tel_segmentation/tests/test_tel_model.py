from dataclasses import replace

import pytest
import timm
import torch
from timm.layers import convert_sync_batchnorm
from torch import nn

from tel_segmentation.config import Model
from tel_segmentation.networks.segmenter import Prediction, build_model

IMAGENET = (timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD)
TINY = Model()
RESNET = Model(name="resnet18", output_stride=8)
LITE = Model(name="tf_efficientnet_lite0")
HRNET = Model(name="hrnet_w18_small", network="hrnet")
LTF = Model(name="resnet18", network="ltf", output_stride=32)
V2 = Model(name="resnet18", network="deeplabv2", output_stride=8)
ALL = pytest.mark.parametrize(
    "options",
    [TINY, RESNET, LITE, HRNET, LTF, V2],
    ids=lambda options: f"{options.network}-{options.name}",
)


def build(options, classes=5, embed=True, seed=0):
    torch.manual_seed(seed)
    return build_model(options, classes, embed)


def images(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check_shapes(model, batch, height, width, stride, classes=5):
    low = (-(-height // stride), -(-width // stride))
    prediction = model.train()(images(batch, 3, height, width))
    assert isinstance(prediction, Prediction)
    assert prediction.full.shape == (batch, classes, height, width)
    assert prediction.logits.shape == (batch, classes, *low)
    assert prediction.embed.shape == (batch, 256, *low)
    assert {part.dtype for part in prediction} == {torch.float32}
    full = model.eval()(images(1, 3, height, width))
    assert isinstance(full, torch.Tensor)
    assert full.shape == (1, classes, height, width)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (65, 40)])
@pytest.mark.parametrize(
    ("options", "stride"), [(TINY, 2), (RESNET, 4), (LITE, 4), (HRNET, 4), (LTF, 4)]
)
def test_shapes_at_any_size(options, stride, height, width):
    check_shapes(build(options), 2, height, width, stride)


def test_tiny_is_small_and_trains_on_a_single_image():
    model = build(TINY, classes=6)
    assert sum(parameter.numel() for parameter in model.parameters()) <= 300_000
    assert model(images(1, 3, 32, 32)).full.isfinite().all()


@ALL
def test_full_is_the_logits_upsampled_corner_to_corner(options):
    full, logits, _ = build(options)(images(2, 3, 45, 64))
    corners = (..., (0, 0, -1, -1), (0, -1, 0, -1))
    torch.testing.assert_close(full[corners], logits[corners])


@ALL
def test_gradient_reaches_every_parameter(options):
    model = build(options)
    for part in model.modules():  # timm's residual branches begin with a factor of zero
        if isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
    prediction = model(images(2, 3, 64, 64))
    weighted = [(part * images(*part.shape, seed=i)).sum() for i, part in enumerate(prediction)]
    sum(weighted).backward()
    missing = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert missing == []


@ALL
def test_backbone_and_head_partition_the_parameters(options):
    model = build(options)
    backbone = [id(parameter) for parameter in model.backbone_parameters()]
    head = [id(parameter) for parameter in model.head_parameters()]
    assert backbone
    assert head
    assert sorted(backbone + head) == sorted(id(parameter) for parameter in model.parameters())


@ALL
def test_evaluation_leaves_the_embedding_alone(options):
    model = build(options)
    without = build(options, embed=False)
    assert without(images(2, 3, 32, 32)).embed is None
    without = build(options, embed=False)  # its batch norm has initial statistics
    called = []
    model.embedding.register_forward_hook(lambda *_: called.append(True))
    x = images(2, 3, 40, 40)
    torch.testing.assert_close(model.eval()(x), without.eval()(x), rtol=0, atol=0)
    assert called == []


def test_embedding_changes_no_random_number_of_others():
    build(TINY, embed=True)
    with_embedding = torch.rand(3)
    build(TINY, embed=False)
    assert torch.equal(with_embedding, torch.rand(3))


def test_embeddings():
    relu, linear = build(TINY), build(Model(embedding="linear"))
    x = images(2, 3, 32, 32)
    assert relu(x).embed.min() == 0
    assert linear(x).embed.min() < 0
    assert [type(part) for part in relu.embedding] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert sum(p.numel() for p in linear.embedding.parameters()) == 64 * 256  # no bias


@ALL
def test_seed_decides_everything(options):
    x = images(2, 3, 32, 32)
    first, again, other = (build(options, seed=seed)(x).full for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@ALL
def test_synchronised_batch_norm_computes_the_same(options):
    model = build(options).eval()
    x = images(1, 3, 33, 40)
    before, state = model(x), model.state_dict()
    model = convert_sync_batchnorm(model)  # torch's own drops the ReLU of timm's BatchNormAct2d
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(part, nn.SyncBatchNorm) for part in norms)
    assert list(model.state_dict()) == list(state)
    torch.testing.assert_close(model(x), before)


@ALL
def test_state_goes_from_one_model_to_another(options):
    first, second = build(options, seed=0).eval(), build(options, seed=1).eval()
    second.load_state_dict(first.state_dict())
    x = images(1, 3, 32, 32)
    assert torch.equal(first(x), second(x))


@ALL
def test_bfloat16(options):
    model = build(options)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = model(images(2, 3, 32, 32))
    assert all(part.isfinite().all() for part in prediction)


@pytest.mark.parametrize(
    ("options", "classes", "message"),
    [
        (Model(name="resnet19"), 5, "got 'resnet19'; near are .*resnet18"),
        (Model(name="not like any other name"), 5, "name must be 'tiny' or a timm model's"),
        (Model(name="vit_tiny_patch16_224"), 5, "can be dilated, got 'vit_tiny_patch16_224'"),
        (Model(name="hrnet_w18_small"), 5, "can be dilated, got 'hrnet_w18_small'"),
        (Model(name="resnet18", network="hrnet"), 5, r"HRNet: name must be .* got 'resnet18'"),
        (Model(name="resnet18", network="ltf"), 5, "output_stride must be 32 for 'ltf'.* got 16"),
        (
            Model(name="densenet121", network="ltf", output_stride=32),
            5,
            "LTF: name must be .* got 'densenet121'",
        ),
        (
            Model(name="resnet18", network="deeplabv2", output_stride=32),
            5,
            "output_stride must be 8 or 16, got 32",
        ),
        (
            Model(name="resnet18", network="deeplabv2", rates=(6, 12, 18)),
            5,
            r"rates must not be given for deeplabv2, .*got \(6, 12, 18\)",
        ),
        (replace(HRNET, rates=(6, 12, 18)), 5, "rates must not be given for hrnet"),
        (Model(network="ltf", output_stride=32), 5, "timm model's for 'ltf'.* got 'tiny'"),
        (Model(bgr=True), 5, "bgr=True, got 'tiny'"),
        (Model(network="fcn"), 5, r"network must be one of \('deeplabv3.*got 'fcn'"),
        (Model(name="resnet18", output_stride=32), 5, "output_stride must be 8 or 16, got 32"),
        (Model(embedding="cubic"), 5, "embedding must be 'relu' or 'linear', got 'cubic'"),
        (TINY, 1, "num_classes must be at least 2, got 1"),
    ],
)
def test_what_cannot_be_built(options, classes, message):
    with pytest.raises(ValueError, match=message):
        build_model(options, classes)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 4, 64, 64), (1, 3, 31, 64), (1, 3, 64, 31)])
def test_what_is_not_a_batch_of_images(shape):
    with pytest.raises(ValueError, match=r"image must be \(B, 3, H, W\) with H and W at least 32"):
        build(TINY)(torch.zeros(shape))


def test_tiny_learns_texture():
    """Horizontal and vertical stripes of any colour; the contrast is a third of the colours'."""
    generator = torch.Generator().manual_seed(0)
    across = torch.arange(32).view(-1, 1).expand(32, 32)
    label = torch.zeros(8, 32, 32, dtype=torch.int64)
    label[:4, :, 16:], label[4:, :, :16] = 1, 1
    stripes = torch.where(label == 1, across, across.T) // 3 % 2 * 2.0 - 1
    model = build(TINY, classes=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        colour, contrast = torch.randn(2, 8, 3, 1, 1, generator=generator)
        full = model(colour + 0.3 * contrast.sign() * stripes[:, None]).full
        optimizer.zero_grad()
        nn.functional.cross_entropy(full, label).backward()
        optimizer.step()
    assert (full.argmax(1) == label).float().mean() > 0.9
