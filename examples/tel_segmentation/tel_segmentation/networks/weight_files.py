"""Files of pretrained weights: how they are read, and which names of tensors are known.

Besides files with timm's own names, those from which the Tree Energy Loss and its competitors start
are read (the files also have a classification head, ``fc`` or HRNet's, which is not needed):

===========================================  =====================================================
file                                         names of the stem's tensors; all others are as timm's
===========================================  =====================================================
torchvision's resnet101                      ``conv1`` (7×7), ``bn1``
openseg's resnet101-imagenet.pth             ``conv1``, ``bn1``, ``conv2``, ``bn2``, ``conv3``,
(also of CSAIL, and hszhao's)                ``bn3``; the same under ``resinit.`` or ``prefix.`` in
                                             checkpoints of segmentation networks
OpenMMLab's resnet101_v1c                    ``stem.0``, ``stem.1``, ``stem.3``, ``stem.4``,
                                             ``stem.6``, ``stem.7``
hrnetv2_w48_imagenet_pretrained.pth          ``conv1``, ``bn1``, ``conv2``, ``bn2``
===========================================  =====================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import Tensor

NESTED = ("state_dict", "model")
SHOWN = 5

# The parts of a stem of three convolutions by timm's names.
DEEP_STEM = ("conv1.0", "conv1.1", "conv1.3", "conv1.4", "conv1.6", "bn1")
OPENSEG_STEM = ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")
OPENMMLAB_STEM = ("stem.0", "stem.1", "stem.3", "stem.4", "stem.6", "stem.7")
STEM_PREFIXES = ("resinit.", "prefix.")
LETTERS = {(64,): "", (64, 64, 128): "s", (32, 32, 64): "c"}  # suffixes of timm's ResNets, by stem

State = dict[str, Tensor]


def file_state(path: Path) -> State:
    """The tensors of a file, by their names within the backbone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a state dict.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"load_backbone: weights must be 'none', 'package', 'timm' or the path of a state"
            f" dict, got {path}"
        )
    state = {key.removeprefix("module."): value for key, value in read_state(path).items()}
    inside = {
        key.partition("backbone.")[2]: value for key, value in state.items() if "backbone." in key
    }
    return inside or state


def read_state(path: Path) -> State:
    """Reads a state dict without executing anything.

    Raises:
        ValueError: the file is not a mapping from names to tensors, or has other values too.
    """
    try:
        state: Any = (
            safetensors.torch.load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # of many types; torch's message recommends unsafe loading
        raise ValueError(
            f"{path} must be a state dict that can be read as data alone, got"
            f" {type(error).__name__} while reading"
        ) from error
    for nested in NESTED:
        if isinstance(state, dict) and isinstance(state.get(nested), dict):
            state = state[nested]
    if not isinstance(state, dict) or not state:
        raise ValueError(f"{path} must be a state dict, got a {type(state).__name__}")
    odd = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        raise ValueError(
            f"{path} must hold tensors only, got others called {', '.join(odd[:SHOWN])}"
        )
    return state


def timm_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> State:
    """The tensors of a file by timm's names.

    Only the names in stems of three convolutions differ; a tensor with an unknown name keeps it.

    Args:
        state: tensors by the names of one of the files above.
        own: the backbone's tensors.
    """
    for prefix in STEM_PREFIXES:
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    for stem in (OPENSEG_STEM, OPENMMLAB_STEM):
        # The stem of HRNet has no third convolution, a 7×7 stem has no second one either.
        last = f"{stem[4]}.weight"
        if last in state and last not in own:
            names = dict(zip(stem, DEEP_STEM, strict=True))
            return {_renamed(key, names): value for key, value in state.items()}
    return dict(state)


def _renamed(key: str, names: Mapping[str, str]) -> str:
    part, _, tensor = key.rpartition(".")
    return f"{names.get(part, part)}.{tensor}" if part else key


def check_stem(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], name: str, source: str
) -> None:
    """Rejects weights of a ResNet with another stem.

    Args:
        state: the file's tensors, by timm's names.
        own: the backbone's tensors.
        name: timm's name of the backbone.
        source: name of the file in the message.

    Raises:
        ValueError: the stems differ; the message says how, and which backbone would fit.
    """
    theirs, ours = _stem(state), _stem(own)
    if theirs is None or ours is None or theirs == ours:
        return
    base = re.match(r"resnet\d+", name)
    fitting = f"{base[0]}{LETTERS[theirs]}" if base and theirs in LETTERS else ""
    hint = f"; they are for {fitting}" if timm.is_model(fitting) else ""
    raise ValueError(
        f"load_backbone: weights must fit {name}, got {source} with a stem of {_described(theirs)}"
        f" where the network has {_described(ours)}{hint}"
    )


def _stem(state: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """The widths of a ResNet's stem; None if it is not one of the two kinds."""
    if all(f"{part}.weight" in state for part in DEEP_STEM):
        return tuple(state[f"{part}.weight"].shape[0] for part in DEEP_STEM[::2])
    first = state.get("conv1.weight")
    return (first.shape[0],) if first is not None and first.shape[2:] == (7, 7) else None


def _described(stem: tuple[int, ...]) -> str:
    kind = "one 7×7 convolution" if len(stem) == 1 else "three 3×3 convolutions"
    return f"{kind} ({', '.join(map(str, stem))} wide)"
