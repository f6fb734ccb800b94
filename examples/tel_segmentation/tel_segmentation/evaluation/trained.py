"""Networks from checkpoints, for ``tel evaluate``, ``tel predict`` and runs with teachers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from tel_segmentation import config
from tel_segmentation.data.image_files import is_text
from tel_segmentation.networks.segmenter import Segmenter, build_model
from tel_segmentation.runtime import checkpoint
from tel_segmentation.runtime.distributed import pick_device
from tel_segmentation.runtime.run_folder import BEST, LAST

Which = Literal["last", "best", "raw", "teacher"]


class Trained(NamedTuple):
    """A network from a checkpoint, with everything that its use needs."""

    model: Segmenter
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    config: config.Train
    iteration: int
    path: Path


def load_trained(path: Path, which: Which = "last", device: str = "auto") -> Trained:
    """Loads the network of a run's folder or of a checkpoint, in eval mode.

    No code from the file is executed, and no pretrained weights are needed.

    Args:
        path: a run's folder or a checkpoint.
        which: ``last``, the last iterate, or ``best``, the best on the validation set (both with
            averaged weights if the run's configuration averages them); ``raw``, the last without
            averaging; ``teacher``, the averaged weights that the run keeps for any purpose, or the
            last iterate if it keeps none.
        device: where the network is put.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: the checkpoint is corrupt or does not fit its own configuration.
    """
    file = path / (BEST if which == "best" else LAST) if path.is_dir() else path
    saved = _read_checkpoint(file)
    try:
        options = config.build(config.Train, json.loads(saved["config"]))
        # A mean teacher is an average, too, but by default it is not evaluated.
        averaged = which == "teacher" or (which != "raw" and options.optimizer.ema > 0)
        state = _averaged(saved["ema"]) if averaged and saved["ema"] else saved["model"]
        model = _fitting_model(options.model, len(saved["classes"]), state)
    except (
        ValueError, TypeError, KeyError, RuntimeError, AttributeError, RecursionError,
    ) as error:  # fmt: skip
        raise ValueError(f"{file} must fit its own configuration, got: {error}") from error
    colors = tuple((int(r), int(g), int(b)) for r, g, b in saved["colors"])
    model.to(pick_device(device)).eval()
    return Trained(model, tuple(saved["classes"]), colors, options, int(saved["iteration"]), file)


def load_teachers(
    paths: Sequence[str], classes: Sequence[str], device: torch.device
) -> tuple[Segmenter, ...]:
    """Loads the teachers of a run (``config.Loss.teachers``), frozen and in eval mode.

    Args:
        paths: folders of finished runs, or checkpoints. A mean teacher is preferred to the network
            that it was trained with.
        classes: the names of the data set's classes.
        device: where the networks are put.

    Raises:
        ValueError: a run or checkpoint does not exist, is not finished, or has other classes.
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
    if odd := [ascii(name) for name in saved["classes"] if not is_text(str(name))]:
        raise ValueError(f"{file} must have class names without control characters, got {odd[0]}")
    return saved


def _averaged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of the network inside a state of torch's ``AveragedModel``."""
    if "n_averaged" not in state:
        return state
    return {
        name.removeprefix("module."): value for name, value in state.items() if name != "n_averaged"
    }


def _fitting_model(options: config.Model, classes: int, state: dict[str, Tensor]) -> Segmenter:
    """The network, with the embedding branch if it was saved with one."""
    options = dataclasses.replace(options, weights="none")
    for embed in (True, False):
        model = build_model(options, classes, embed=embed)
        if embed is False or model.state_dict().keys() == state.keys():
            model.load_state_dict(state)
            break
    return model
