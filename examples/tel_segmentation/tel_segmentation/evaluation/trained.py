"""Networks from checkpoints, for whoever uses one: ``tel evaluate``, ``tel predict``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from tel_segmentation import config
from tel_segmentation.networks.segmenter import Segmenter, build_model
from tel_segmentation.runtime import checkpoint
from tel_segmentation.runtime.distributed import pick_device
from tel_segmentation.runtime.run_folder import BEST, LAST

Which = Literal["last", "best", "raw", "teacher"]


class Trained(NamedTuple):
    """A network from a checkpoint, with what is needed to use it."""

    model: Segmenter
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    config: config.Train
    iteration: int
    path: Path


def load_trained(path: Path, which: Which = "last", device: str = "auto") -> Trained:
    """The network of a run's folder or checkpoint, in eval mode.

    Nothing is executed from the file, and no pretrained weights are needed.

    Args:
        path: of a folder or a file.
        which: the last iterate or the best on the validation set (averaged where the run was asked
            for an average), the last without averaging (``raw``), or ``teacher``: the average that
            the run keeps for whatever purpose, if it has one.
        device: where to.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: it is corrupt or does not fit its own configuration.
    """
    file = path / (BEST if which == "best" else LAST) if path.is_dir() else path
    saved = _read_checkpoint(file)
    try:
        options = config.build(config.Train, json.loads(saved["config"]))
        # A mean teacher is an average too, but not what is evaluated.
        averaged = which == "teacher" or (which != "raw" and options.optimizer.ema > 0)
        state = _averaged(saved["ema"]) if averaged and saved["ema"] else saved["model"]
        model = _fitting_model(options.model, len(saved["classes"]), state)
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{file} must fit its own configuration, got: {error}") from error
    colors = tuple((int(r), int(g), int(b)) for r, g, b in saved["colors"])
    model.to(pick_device(device)).eval()
    return Trained(model, tuple(saved["classes"]), colors, options, int(saved["iteration"]), file)


def load_teachers(
    paths: Sequence[str], classes: Sequence[str], device: torch.device
) -> tuple[Segmenter, ...]:
    """The networks that a run learns from (``config.Loss.teachers``), frozen, in eval mode.

    Args:
        paths: folders of finished runs, of which the mean teacher is taken where there is one, or
            checkpoints.
        classes: of the data.
        device: where to.

    Raises:
        ValueError: there is no such run or checkpoint, it is not finished, or has other classes.
    """
    return tuple(_teacher(Path(path), tuple(classes), device) for path in paths)


def _teacher(path: Path, classes: tuple[str, ...], device: torch.device) -> Segmenter:
    try:
        trained = load_trained(path, "teacher", str(device))
    except FileNotFoundError as error:
        raise ValueError(
            f"loss.teachers must be folders of finished runs, or checkpoints, got {str(path)!r}:"
            f" {error}"
        ) from error
    if path.is_dir() and trained.iteration < trained.config.iterations:
        raise ValueError(
            f"loss.teachers must be finished runs, got {str(path)!r} at iteration"
            f" {trained.iteration} of {trained.config.iterations}"
        )
    if trained.classes != classes:
        raise ValueError(
            f"loss.teachers must have the data's classes, {', '.join(classes)}, got {str(path)!r}"
            f" with {', '.join(trained.classes)}"
        )
    return trained.model.requires_grad_(False)


def _read_checkpoint(file: Path) -> dict[str, Any]:
    saved = checkpoint.load(file)
    missing = {"ema", "classes", "colors"} - saved.keys()
    if missing:
        raise ValueError(f"{file} must be a checkpoint of a run, got one without {sorted(missing)}")
    return saved


def _averaged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's state within that of torch's ``AveragedModel``."""
    if "n_averaged" not in state:
        return state
    return {
        name.removeprefix("module."): value for name, value in state.items() if name != "n_averaged"
    }


def _fitting_model(options: config.Model, classes: int, state: dict[str, Tensor]) -> Segmenter:
    """The network with or without the embedding branch, whichever was saved."""
    options = dataclasses.replace(options, weights="none")
    for embed in (True, False):
        model = build_model(options, classes, embed=embed)
        if embed is False or model.state_dict().keys() == state.keys():
            model.load_state_dict(state)
            break
    return model
