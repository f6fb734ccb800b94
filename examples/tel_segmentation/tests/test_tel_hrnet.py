"""HRNet, compared with a second implementation from its definition."""

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import interpolate, relu

from tel_segmentation.config import Model
from tel_segmentation.networks.hrnet import HRNet
from tel_segmentation.networks.segmenter import build_model

NAME = "hrnet_w18_small"


def images(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(seed=0):
    torch.manual_seed(seed)
    return HRNet(NAME)


def beside(coarse, fine):
    return interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=True)


def expected_stage(stage, maps):
    for module in stage:
        maps = [branch(x) for branch, x in zip(module.branches, maps, strict=True)]
        fused = []
        for i, own in enumerate(maps):
            total = own
            for j, other in enumerate(maps):
                if j > i:
                    total = total + beside(module.fuse_layers[i][j](other), own)
                elif j < i:
                    total = total + module.fuse_layers[i][j](other)
            fused.append(relu(total))
        maps = fused
    return maps


def expected(network, image):
    """Stem, one branch, then two, three and four with exchange; their upsampled concatenation."""
    b = network.backbone
    x = relu(b.bn1(b.conv1(image)))
    x = b.layer1(relu(b.bn2(b.conv2(x))))
    maps = expected_stage(b.stage2, [b.transition1[0](x), b.transition1[1](x)])
    maps = expected_stage(b.stage3, [*maps, b.transition2[2](maps[-1])])
    maps = expected_stage(b.stage4, [*maps, b.transition3[3](maps[-1])])
    return torch.cat([maps[0], *(beside(each, maps[0]) for each in maps[1:])], 1)


@pytest.mark.parametrize("size", [(64, 96), (37, 50)])
def test_forward_is_that_of_the_definition(size):
    model = network().eval()
    image = images(1, 3, *size)
    features = model(image)
    assert features.shape == (1, model.channels, -(-size[0] // 4), -(-size[1] // 4))
    torch.testing.assert_close(features, expected(model, image), rtol=1e-4, atol=1e-4)


def test_parameters_have_timms_names():
    whole = timm.create_model(NAME).state_dict()
    own = network().backbone.state_dict()
    head = ("incre_modules", "downsamp_modules", "final_layer", "classifier")
    assert list(own) == [key for key in whole if not key.startswith(head)]
    assert all(own[key].shape == whole[key].shape for key in own)


def test_at_a_multiple_of_32_only_the_upsampling_differs_from_timms():
    """On constant maps, bilinear and nearest upsampling give the same values."""
    model = network().eval()
    theirs = timm.create_model(
        NAME, features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
    ).eval()
    theirs.load_state_dict(model.backbone.state_dict())
    image = images(1, 3, 64, 64)
    ours, other = model.backbone(image), theirs(image)
    assert [part.shape for part in ours] == [part.shape for part in other]
    assert not torch.allclose(ours[0], other[0])
    for module in theirs.modules():
        if isinstance(module, nn.Upsample):
            module.mode, module.align_corners = "bilinear", True
    for mine, timms in zip(ours, theirs(image), strict=True):
        torch.testing.assert_close(mine, timms)


def test_head_and_embedding_are_of_the_concatenated_branches():
    torch.manual_seed(0)
    model = build_model(Model(name=NAME, network="hrnet"), 5)
    c = model.features.channels
    conv, norm, act, drop, classify = model.head
    assert (conv.in_channels, conv.out_channels, conv.kernel_size) == (c, c, (3, 3))
    assert conv.bias is not None
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(act, nn.ReLU)
    assert isinstance(drop, nn.Dropout2d)
    assert drop.p == 0.1
    assert classify.bias is None
    assert model.embedding[0].in_channels == c
    assert model.embedding[0].out_channels == 256


def test_one_image_is_enough():
    model = build_model(Model(name=NAME, network="hrnet"), 5)
    assert model(images(1, 3, 64, 64)).full.isfinite().all()


def test_of_timms_hrnets_only():
    with pytest.raises(ValueError, match=r"must be one of timm's hrnet_\*, got 'resnet18'"):
        HRNet("resnet18")
    with pytest.raises(ValueError, match=r"near are .*hrnet_w48"):
        HRNet("hrnet_w47")
