"""A run's record, ``result.json``, from which reports and tables are made."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tel_segmentation import config
from tel_segmentation.data.dataset_file import open_dataset
from tel_segmentation.data.datasets.public import public_dataset
from tel_segmentation.data.manifest import MANIFEST, read_manifest
from tel_segmentation.data.sample import Source
from tel_segmentation.losses import methods
from tel_segmentation.runtime import checkpoint, distributed, memory
from tel_segmentation.runtime.run_folder import HISTORY, RESULT
from tel_segmentation.training.state import State
from tel_segmentation.training.tracking import read_history

PACKAGES = ("treefilter", "torch", "torchvision", "timm", "numpy")
DIAGNOSTICS = (
    "affinity_low",
    "affinity_low_median",
    "affinity_high",
    "affinity_high_median",
    "unlabelled",
    "accuracy_prediction",
    "accuracy_pseudo",
)


def make(
    options: config.Train,
    state: State,
    source: Source,
    durations: list[float],
    evaluation: dict[str, Any],
) -> dict[str, Any]:
    """The record of a finished run; complete on the first process only, which writes it.

    The fraction of labelled pixels needs the whole training set to be read. The other processes do
    not read it: their record has None instead.
    """
    lines = [x for x in read_history(options.output / HISTORY) if "loss" in x]
    last = lines[-1] if lines else {}
    return {
        "name": options.output.name,
        "experiment": options.experiment or default_experiment(options),
        "method": options.method or methods.title(options.loss),
        "seed": options.seed,
        "finished": True,
        "iterations": options.iterations,
        "paper": {"id": options.paper_id, "recipe": options.recipe} if options.paper_id else None,
        "batch": _batch(options),
        "classes": state.classes,
        "colors": state.colors,
        "training_images": len(source),
        "annotate": annotate_options(source),
        "labelled_ratio": labelled_ratio(source) if distributed.world()[0] == 0 else None,
        "wall_seconds": state.seconds,
        "seconds_per_iteration": statistics.median(durations) if durations else None,
        "peak_memory_mb": memory.peak(state.device),
        "device": device_name(state.device),
        "threads": torch.get_num_threads(),
        "git": revision(),
        "versions": {"python": platform.python_version(), **_versions()},
        "parameters": sum(p.numel() for p in state.model.parameters()),
        "weights": state.model.weights,
        "evaluation": evaluation,
        "diagnostics": {name: last[name] for name in DIAGNOSTICS if name in last},
        "config": json.loads(config.to_json(portable(options))),
    }


def _batch(options: config.Train) -> dict[str, int]:
    """How the images of an iteration are divided among processes and steps."""
    processes = distributed.world()[1]
    return {
        "total": options.batch * options.accumulate * processes,
        "processes": processes,
        "per_process": options.batch,
        "accumulate": options.accumulate,
        "normalised_together": options.batch * processes,  # by batch norm
    }


def portable(options: config.Train) -> config.Train:
    """The configuration with the names of files and folders instead of their paths."""
    data, model = options.data, options.model
    if public := public_dataset(data.source):
        kind, folder = public
        data = replace(
            data, source=f"{kind}:{folder.resolve().name}", annotation=Path(data.annotation).name
        )
    elif not data.source.startswith("scenes:"):
        data = replace(data, source=Path(data.source).name, annotation=Path(data.annotation).name)
    model = replace(model, weights=Path(model.weights).name)
    loss = replace(options.loss, teachers=tuple(Path(x).name for x in options.loss.teachers))
    return replace(options, data=data, model=model, loss=loss, output=Path(options.output.name))


def write(folder: Path, record: dict[str, Any]) -> None:
    """Writes ``result.json``."""
    checkpoint.write_text(folder / RESULT, json.dumps(record, indent=1) + "\n")


def default_experiment(options: config.Train) -> str:
    """Data set and annotation: the default heading of the report's table."""
    source = options.data.source
    if public := public_dataset(source):
        name = public[0]
    elif source.startswith("scenes:"):
        name = source.replace(":", "/")
    else:
        name = open_dataset(source).name if Path(source).is_file() else Path(source).stem
    return f"{name}/{Path(options.data.annotation).name}"


def annotate_options(source: Source) -> dict[str, Any] | None:
    """How ``tel annotate`` made the annotations that training saw; None if it did not make them."""
    folder: Path | None = getattr(source, "annotation_folder", None)  # generated scenes have none
    try:
        manifest = read_manifest(folder / MANIFEST) if folder is not None else None
    except (ValueError, OSError):  # not of tel annotate, which must not fail a run
        manifest = None
    if manifest is None:
        return None
    return {**manifest["options"], **{k: manifest[k] for k in ("encoding",) if k in manifest}}


def labelled_ratio(source: Source) -> float:
    """The fraction of the training pixels that have a label."""
    labelled = total = 0
    for index in range(len(source)):
        label = source[index].label
        labelled += int((label >= 0).sum())
        total += label.numel()
    return labelled / max(total, 1)


def device_name(device: torch.device) -> str:
    """The GPU's name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def revision() -> str | None:
    """The commit of the source tree that this package runs from; None if there is no git tree."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
