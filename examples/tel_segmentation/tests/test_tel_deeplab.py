import pytest
import torch
from torch import nn

from tel_segmentation.config import Model
from tel_segmentation.networks.deeplab import ASPP, DeepLab
from tel_segmentation.networks.segmenter import build_model


def images(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build():
    torch.manual_seed(0)
    return build_model(Model(name="resnet18", output_stride=8), 5)


@pytest.mark.parametrize(
    ("stride", "rates", "expected"),
    [(16, None, (6, 12, 18)), (8, None, (12, 24, 36)), (16, (12, 24, 36), (12, 24, 36))],
)
def test_rates_of_the_aspp(stride, rates, expected):
    network = DeepLab("resnet18", stride, rates)
    assert tuple(branch[0].dilation[0] for branch in network.aspp.branches[1:]) == expected


def test_aspp_sees_the_whole_image():
    torch.manual_seed(0)
    aspp = ASPP(8, (6, 12, 18)).eval()
    x = images(1, 8, 50, 50).requires_grad_()
    aspp(x)[0, :, 0, 0].sum().backward()
    assert x.grad[0, :, -1, -1].any()


def test_embedding_is_of_the_feature_behind_the_first_decoder_convolution():
    model = build()
    seen = {}
    model.features.fuse.register_forward_hook(lambda _, __, out: seen.update(feature=out))
    prediction = model(images(2, 3, 32, 32))
    assert torch.equal(model.embedding(seen["feature"]), prediction.embed)
    assert (prediction.embed >= 0).all()


def test_dropout_only_in_training():
    model = build().eval()
    x = images(1, 3, 32, 32)
    assert torch.equal(model(x), model(x))
    dropouts = [part for part in model.modules() if isinstance(part, nn.Dropout) and part.p > 0]
    assert [dropout.p for dropout in dropouts] == [0.1]


def test_single_image_in_training_of_deeplab():
    model = build()
    with pytest.raises(ValueError, match=r"batch must be at least 2 images in training.* got 1"):
        model(images(1, 3, 64, 64))
    assert model.eval()(images(1, 3, 64, 64)).shape == (1, 5, 64, 64)


def test_the_papers_backbone_computes():
    torch.manual_seed(0)
    model = build_model(Model(name="resnet101"), 5)
    full, logits, embed = model(images(2, 3, 64, 64))
    assert full.isfinite().all()
    assert (logits.shape, embed.shape) == ((2, 5, 16, 16), (2, 256, 16, 16))
    (full.mean() + full.square().mean() + embed.square().mean()).backward()
    gradients = {name: part.grad for name, part in model.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
    assert model.features.backbone.conv1.weight.grad.any()
