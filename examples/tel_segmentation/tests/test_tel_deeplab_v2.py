import torch
from torch import nn
from torch.nn.functional import conv2d

from tel_segmentation.config import Model
from tel_segmentation.networks.deeplab_v2 import DeepLabV2, SummedASPP
from tel_segmentation.networks.segmenter import build_model


def images(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_logits_are_the_sum_of_four_dilated_convolutions():
    torch.manual_seed(0)
    head = SummedASPP(16, 5)
    for branch in head.branches:
        branch.bias.data.normal_()
    x = images(2, 16, 30, 31)
    expected = sum(
        conv2d(x, branch.weight, branch.bias, padding=rate, dilation=rate)
        for branch, rate in zip(head.branches, (6, 12, 18, 24), strict=True)
    )
    torch.testing.assert_close(head(x), expected)


def test_initialisation_of_the_head():
    torch.manual_seed(0)
    for branch in SummedASPP(512, 21).branches:
        assert abs(branch.weight.std() - 0.01) < 1e-4
        assert not branch.bias.any()


def test_logits_and_embedding_are_of_the_last_map():
    torch.manual_seed(0)
    model = build_model(Model(name="resnet18", network="deeplabv2", output_stride=8), 5)
    seen = {}
    model.features.backbone.register_forward_hook(lambda _, __, out: seen.update(maps=out))
    prediction = model(images(1, 3, 64, 72))
    assert model.features.channels == 512
    assert prediction.logits.shape == (1, 5, *seen["maps"][-1].shape[-2:])
    assert torch.equal(model.embedding(seen["maps"][-1]), prediction.embed)
    assert prediction.full.shape == (1, 5, 64, 72)
    assert not [part for part in model.modules() if isinstance(part, nn.Dropout) and part.p]


def test_pooling_keeps_the_last_row():
    """Pooling rounds up, as in Caffe: 321 pixels give 41 cells at stride 8."""
    features = DeepLabV2("resnet18", 8).eval()
    assert features(images(1, 3, 64, 321)).shape[-2:] == (9, 41)


def test_a_backbone_without_such_a_pool():
    assert DeepLabV2("tf_efficientnet_lite0", 8).eval()(images(1, 3, 64, 64)).shape[-1] == 8
