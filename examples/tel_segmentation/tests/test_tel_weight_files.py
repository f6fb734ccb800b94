"""Weight files: synthetic ones with exactly the names and shapes of the public ones."""

import re

import pytest
import torch

from tel_segmentation.networks.backbones import dilated_backbone, pyramid_backbone
from tel_segmentation.networks.hrnet import HRNet
from tel_segmentation.networks.pretrained import load_backbone
from tel_segmentation.networks.weight_files import timm_names

# The files. Each tensor is filled with its own number in the file. So tensors are views of a single
# value, which needs little memory, and tests can see where each tensor ends up.


def numbered(shapes):
    return {
        name: torch.tensor(i + 1).float().expand(shape) for i, (name, shape) in enumerate(shapes)
    }


def norm(name, width):
    return [(f"{name}.{part}", (width,)) for part in ("weight", "bias", "running_mean")] + [
        (f"{name}.running_var", (width,))
    ]


def conv(name, inside, outside, size):
    return [(f"{name}.weight", (outside, inside, size, size))]


def bottleneck(name, inside, planes):
    shapes = conv(f"{name}.conv1", inside, planes, 1) + norm(f"{name}.bn1", planes)
    shapes += conv(f"{name}.conv2", planes, planes, 3) + norm(f"{name}.bn2", planes)
    shapes += conv(f"{name}.conv3", planes, 4 * planes, 1) + norm(f"{name}.bn3", 4 * planes)
    return shapes


def downsample(name, inside, outside):
    return conv(f"{name}.downsample.0", inside, outside, 1) + norm(f"{name}.downsample.1", outside)


def resnet_stages(inside, blocks=(3, 4, 23, 3)):
    shapes = []
    for stage, (count, planes) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True)):
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            shapes += bottleneck(name, inside, planes)
            if block == 0:
                shapes += downsample(name, inside, 4 * planes)
            inside = 4 * planes
    return [*shapes, ("fc.weight", (1000, 2048)), ("fc.bias", (1000,))]


def deep_stem(parts, widths=(64, 64, 128)):
    inside, shapes = 3, []
    for i, width in enumerate(widths):
        shapes += conv(parts[2 * i], inside, width, 3) + norm(parts[2 * i + 1], width)
        inside = width
    return shapes


def torchvision_resnet101():
    """Like resnet101-63fe2227.pth and its predecessors."""
    return numbered(conv("conv1", 3, 64, 7) + norm("bn1", 64) + resnet_stages(64))


OPENSEG = ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")


def openseg_resnet101():
    """Like resnet101-imagenet.pth of openseg and of CSAIL."""
    return numbered(deep_stem(OPENSEG) + resnet_stages(128))


def openmmlab_resnet101():
    """Like resnet101_v1c-e67eebb6.pth."""
    stem = ("stem.0", "stem.1", "stem.3", "stem.4", "stem.6", "stem.7")
    return numbered(deep_stem(stem, (32, 32, 64)) + resnet_stages(64))


def timm_resnet101s():
    stem = ("conv1.0", "conv1.1", "conv1.3", "conv1.4", "conv1.6", "bn1")
    return numbered(deep_stem(stem) + resnet_stages(128))


def basic_block(name, width):
    return [
        *conv(f"{name}.conv1", width, width, 3),
        *norm(f"{name}.bn1", width),
        *conv(f"{name}.conv2", width, width, 3),
        *norm(f"{name}.bn2", width),
    ]


def exchange(name, widths):
    shapes = []
    for branch, width in enumerate(widths):
        for block in range(4):
            shapes += basic_block(f"{name}.branches.{branch}.{block}", width)
    for i, to in enumerate(widths):
        for j, width in enumerate(widths):
            fuse = f"{name}.fuse_layers.{i}.{j}"
            if j > i:
                shapes += conv(f"{fuse}.0", width, to, 1) + norm(f"{fuse}.1", to)
            for step in range(i - j):
                outside = to if step == i - j - 1 else width
                shapes += conv(f"{fuse}.{step}.0", width, outside, 3)
                shapes += norm(f"{fuse}.{step}.1", outside)
    return shapes


def hrnet_w48():
    """Like hrnetv2_w48_imagenet_pretrained.pth."""
    widths = (48, 96, 192, 384)
    shapes = conv("conv1", 3, 64, 3) + norm("bn1", 64) + conv("conv2", 64, 64, 3)
    shapes += norm("bn2", 64)
    for block in range(4):
        shapes += bottleneck(f"layer1.{block}", 64 if block == 0 else 256, 64)
        shapes += downsample("layer1.0", 64, 256) if block == 0 else []
    shapes += conv("transition1.0.0", 256, 48, 3) + norm("transition1.0.1", 48)
    shapes += conv("transition1.1.0.0", 256, 96, 3) + norm("transition1.1.0.1", 96)
    shapes += exchange("stage2.0", widths[:2])
    shapes += conv("transition2.2.0.0", 96, 192, 3) + norm("transition2.2.0.1", 192)
    for module in range(4):
        shapes += exchange(f"stage3.{module}", widths[:3])
    shapes += conv("transition3.3.0.0", 192, 384, 3) + norm("transition3.3.0.1", 384)
    for module in range(3):
        shapes += exchange(f"stage4.{module}", widths)
    for branch, (width, planes) in enumerate(zip(widths, (32, 64, 128, 256), strict=True)):
        shapes += bottleneck(f"incre_modules.{branch}.0", width, planes)
        shapes += downsample(f"incre_modules.{branch}.0", width, 4 * planes)
    for step, width in enumerate((128, 256, 512)):
        name = f"downsamp_modules.{step}"
        shapes += [*conv(f"{name}.0", width, 2 * width, 3), (f"{name}.0.bias", (2 * width,))]
        shapes += norm(f"{name}.1", 2 * width)
    shapes += [*conv("final_layer.0", 1024, 2048, 1), ("final_layer.0.bias", (2048,))]
    shapes += norm("final_layer.1", 2048)
    return numbered([*shapes, ("classifier.weight", (1000, 2048)), ("classifier.bias", (1000,))])


# Loading the files.


def resnet(name):
    return dilated_backbone(name, 16)[0]


def save(folder, state):
    path = folder / "weights.pth"
    torch.save(state, path)
    return str(path)


def places(backbone):
    """The number that fills each of the backbone's tensors."""
    found = {}
    for name, value in backbone.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert (value == value.flatten()[0]).all(), name
            found[name] = value.flatten()[0].item()
    return found


def numbers(state, without):
    return {
        name: value.flatten()[0].item()
        for name, value in state.items()
        if not name.startswith(without)
    }


def test_synthetic_files_are_as_large_as_the_public_ones():
    """Published numbers of parameters: 44.5 M of torchvision's ResNet-101, 77.5 M of HRNet-W48."""

    def parameters(state):
        return sum(v.numel() for name, v in state.items() if "running" not in name)

    assert parameters(torchvision_resnet101()) == 44_549_160
    assert parameters(openseg_resnet101()) == 44_549_160 + 123_776
    assert parameters(hrnet_w48()) == 77_469_864


def test_torchvisions_and_timms(tmp_path):
    for name, state in (("resnet101", torchvision_resnet101()), ("resnet101s", timm_resnet101s())):
        backbone, path = resnet(name), save(tmp_path, state)
        said = load_backbone(backbone, name, path)
        assert said == f"backbone weights of the file {path}, without its fc"
        assert places(backbone) == numbers(state, without="fc")


@pytest.mark.parametrize("prefix", ["", "resinit.", "module.backbone.resinit.", "backbone.prefix."])
def test_openseg(tmp_path, prefix):
    """The file that the paper's DeepLabV3+ and LTF start from, and networks trained from it."""
    plain = openseg_resnet101()
    outer = prefix.removesuffix("resinit.").removesuffix("prefix.")
    state = {
        (prefix if name.startswith(OPENSEG) else outer) + name: value
        for name, value in plain.items()
    }
    backbone = pyramid_backbone("resnet101s")[0]
    said = load_backbone(backbone, "resnet101s", save(tmp_path, state))
    assert said.endswith("weights.pth, without its fc")
    found, expected = places(backbone), numbers(plain, without="fc")
    stem = {"conv1.0": "conv1", "conv1.1": "bn1", "conv1.3": "conv2", "conv1.4": "bn2"}
    stem |= {"conv1.6": "conv3", "bn1": "bn3"}
    for ours, theirs in stem.items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            if f"{ours}.{part}" in found:
                assert found.pop(f"{ours}.{part}") == expected.pop(f"{theirs}.{part}")
    assert found == expected


def test_openmmlab(tmp_path):
    state = openmmlab_resnet101()
    backbone = resnet("resnet101c")
    load_backbone(backbone, "resnet101c", save(tmp_path, state))
    assert sorted(places(backbone).values()) == sorted(numbers(state, without="fc").values())
    assert places(backbone)["bn1.bias"] == state["stem.7.bias"][0]


@pytest.mark.parametrize("prefix", ["", "module.backbone."])
def test_hrnet(tmp_path, prefix):
    state = hrnet_w48()
    head = ("incre_modules", "downsamp_modules", "final_layer", "classifier")
    features = HRNet("hrnet_w48")
    path = save(tmp_path, {prefix + name: value for name, value in state.items()})
    said = load_backbone(features.backbone, "hrnet_w48", path)
    assert said.endswith(", without its classifier, downsamp_modules, final_layer, incre_modules")
    assert places(features.backbone) == numbers(state, without=head)


def test_counters_are_not_needed_and_do_not_matter(tmp_path):
    state = {
        name.replace("running_var", "num_batches_tracked"): torch.tensor(7)
        for name in openseg_resnet101()
        if "running_var" in name
    } | openseg_resnet101()
    load_backbone(resnet("resnet101s"), "resnet101s", save(tmp_path, state))


# Files that are refused.


@pytest.mark.parametrize(
    ("name", "state", "message"),
    [
        (
            "resnet101s",
            torchvision_resnet101,
            "with a stem of one 7×7 convolution (64 wide) where the network has three 3×3"
            " convolutions (64, 64, 128 wide); they are for resnet101",
        ),
        (
            "resnet101",
            openseg_resnet101,
            "with a stem of three 3×3 convolutions (64, 64, 128 wide) where the network has one 7×7"
            " convolution (64 wide); they are for resnet101s",
        ),
        (
            "resnet101s",
            openmmlab_resnet101,
            "three 3×3 convolutions (32, 32, 64 wide) where the network has three 3×3 convolutions"
            " (64, 64, 128 wide); they are for resnet101c",
        ),
    ],
)
def test_another_stem(tmp_path, name, state, message):
    backbone = resnet(name)
    before = backbone.conv1.state_dict()
    with pytest.raises(ValueError, match=rf"weights must fit {name}, got .*{re.escape(message)}$"):
        load_backbone(backbone, name, save(tmp_path, state()))
    after = backbone.conv1.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_another_depth_lists_what_does_not_match(tmp_path):
    with pytest.raises(ValueError, match=r"unknown tensors: layer3.6.conv1.weight, .* 250 more$"):
        load_backbone(resnet("resnet50"), "resnet50", save(tmp_path, torchvision_resnet101()))


def test_both_sides_of_a_misfit_are_listed(tmp_path):
    state = openseg_resnet101()
    state["layer2.0.convolution.weight"] = state.pop("layer2.0.conv1.weight")
    message = r"missing: layer2.0.conv1.weight; unknown tensors: layer2.0.convolution.weight$"
    with pytest.raises(ValueError, match=message):
        load_backbone(resnet("resnet101s"), "resnet101s", save(tmp_path, state))


def test_a_resnets_file_for_an_hrnet_and_the_other_way(tmp_path):
    with pytest.raises(ValueError, match=r"must fit hrnet_w48, .* stem or width: conv1.weight is"):
        load_backbone(
            HRNet("hrnet_w48").backbone, "hrnet_w48", save(tmp_path, torchvision_resnet101())
        )
    with pytest.raises(ValueError, match=r"must fit resnet101s, got .*"):
        load_backbone(resnet("resnet101s"), "resnet101s", save(tmp_path, hrnet_w48()))


def test_networks_that_have_a_third_convolution_keep_their_names():
    state = {"conv3.weight": torch.zeros(1), "bn1.weight": torch.zeros(1)}
    assert list(timm_names(state, own=state)) == list(state)
    assert list(timm_names(state, own={})) == ["conv1.6.weight", "conv1.1.weight"]
