"""The command ``tel run``: reproduces one number of the paper, from the data to the record."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from tel_segmentation import config
from tel_segmentation.commands.cost import measure_recipe
from tel_segmentation.commands.predict import Predict
from tel_segmentation.commands.predict import run as predict
from tel_segmentation.evaluation.protocols import SCALES
from tel_segmentation.networks.segmenter import SMALLEST
from tel_segmentation.paper import needs, recipes, stages
from tel_segmentation.paper.experiment import Experiment
from tel_segmentation.paper.experiments import find, resolve
from tel_segmentation.paper.readiness import check_ready
from tel_segmentation.paper.recipes import SEED, Recipe
from tel_segmentation.paper.sameness import ON_RESUME, differences
from tel_segmentation.runtime.distributed import session
from tel_segmentation.runtime.run_folder import COST, LAST, RESULT
from tel_segmentation.training.engine import train
from tel_segmentation.training.same_run import has_begun

TINY_CROP = (64, 64)
TINY_IMAGES = 4


@dataclass(frozen=True)
class Run:
    """Run an experiment of the paper: train, evaluate, record. An unfinished run is resumed.

    Under torchrun the total batch is divided over the processes; if there are few of them,
    gradients are accumulated. The record has both numbers.
    """

    id: Positional[str]
    """The experiment; ``tel experiments`` lists the ids."""
    recipe: Recipe = "official"
    """Settings of the official code, or of the paper's text."""
    data_root: Path = Path("data")
    """Folder with voc2012, cityscapes, ade20k, and pretrained (files of ImageNet weights)."""
    output: Path = Path("runs/paper")
    """Folder of the runs; each run has its own folder in it, named by id, recipe and seed."""
    weights: str | None = None
    """ImageNet weights: a file, a folder with the public file, timm (downloads them; the network
    then sees RGB), or none. By default the folder ``pretrained`` of the data root."""
    ignore: tuple[int, ...] = ()
    """Further numbers that mean no class in your annotations, besides those of the data set."""
    encoding: Literal["auto", "labelIds", "trainIds"] = "auto"
    """What the numbers in your annotations of Cityscapes mean, if they are not labelIds."""
    seed: int = SEED
    iterations: int | None = None
    """Instead of the recipe's number; the result is then not the experiment's."""
    per_process_batch: int | None = None
    """Images per step of a process; by default as on each of the official code's four GPUs."""
    protocols: tuple[Literal["ss", "msf", "official"], ...] | None = None
    """Evaluations at the end, besides the recipe's own; by default all that apply."""
    backbone: str | None = None
    """Another timm backbone for the same network; the result is then not the experiment's."""
    tiny: bool = False
    """A rehearsal with the real data, in minutes: two iterations of a small network on crops of
    64 × 64, with the first images of each split."""
    amp: Literal["off", "bf16", "fp16"] | None = None
    """Mixed precision. By default fp16 on a GPU, as in the official code, and off on a CPU."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``."""
    threads: int = 0
    """CPU threads; with 0, torch chooses."""
    workers: int | None = None
    """Processes that read and augment images, for each process that trains."""


def run(options: Run) -> int:
    """The command ``tel run``.

    Raises:
        ValueError: the experiment does not exist; data or weights are missing (the message has
            their paths); the folder has a run with other settings; annotations are read with the
            wrong encoding.
        ModuleNotFoundError: the experiment needs a dense CRF, which is not installed.
    """
    experiment = find(options.id)
    if experiment.kind == "cost":
        return _cost(options, experiment)
    settings = plan(options, experiment)
    folder = settings.output
    result = _finished(settings)
    if result is None:
        if (other := check_ready(experiment, settings)) and not _rank():
            print(f"{folder}: will be in no table: {'; '.join(other)}", file=sys.stderr)
        with session(options.device):
            for teacher in stages.teachers(settings):
                if _finished(teacher) is None:
                    train(teacher, resume=(teacher.output / LAST).exists())
            result = train(settings, resume=(folder / LAST).exists())
    if _rank():
        return 0
    print(comparison(experiment, result))
    if experiment.kind == "test":
        _predict_test(options, experiment, settings)
    return 0


def _rank() -> int:
    """The rank of this process under torchrun, else 0."""
    return int(os.environ.get("RANK", "0"))


def plan(options: Run, experiment: Experiment) -> config.Train:
    """The complete configuration of the run, for this process.

    Raises:
        ValueError: data or weights are missing, or the batch cannot be divided.
    """
    settings = resolve(experiment, options.recipe)
    root, model = options.data_root, settings.model
    place = needs.folder(experiment.dataset, root)
    data = replace(
        settings.data,
        source=f"{recipes.SOURCES[experiment.dataset]}:{place}",
        ignore=options.ignore,
        encoding=options.encoding,
    )
    if options.workers is not None:
        data = replace(data, workers=options.workers)
    if not options.tiny:
        weights = needs.weights(model.weights, options.weights, root)
        model = replace(model, weights=weights, bgr=model.bgr and weights != "timm")
    if options.backbone is not None:
        model = replace(model, name=options.backbone)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    settings = replace(
        settings,
        data=data,
        model=model,
        output=options.output / folder_name(options, experiment),
        seed=options.seed,
        amp=options.amp or ("fp16" if _on_gpu(options.device) else "off"),
        device=options.device,
        threads=options.threads,
        protocols=settings.protocols if options.protocols is None else options.protocols,
    )
    if options.tiny:
        settings = _tiny(settings, options, processes)
    if options.iterations is not None:
        settings = replace(settings, iterations=options.iterations)
    return stages.placed(recipes.divided(settings, processes, options.per_process_batch))


def folder_name(options: Run, experiment: Experiment) -> str:
    """The name of the run's folder: the id, options other than the defaults, and the seed."""
    parts = [experiment.run]
    if options.recipe != "official":
        parts.append(options.recipe)
    if options.tiny:
        parts.append("tiny")
    if options.backbone is not None:
        parts.append(options.backbone)
    if options.iterations is not None:
        parts.append(f"{options.iterations}it")
    return "-".join([*parts, f"s{options.seed}"])


def _on_gpu(device: str) -> bool:
    import torch

    return torch.cuda.is_available() if device == "auto" else device.startswith("cuda")


def _tiny(settings: config.Train, options: Run, processes: int) -> config.Train:
    """Makes all but the data small; with ``--backbone``, the network stays that of the recipe."""
    model = replace(settings.model, weights="none")
    if options.backbone is None:
        model = config.Model(name="tiny", embedding=model.embedding)
    evaluation = settings.evaluation
    if evaluation.size is not None:
        evaluation = replace(evaluation, size=TINY_CROP)
    data = replace(settings.data, crop=TINY_CROP, workers=0, limit=TINY_IMAGES)
    if data.short_side is not None:
        data = replace(data, short_side=max(SMALLEST, TINY_CROP[0]))
    return replace(
        settings, data=data, model=model, evaluation=evaluation, iterations=2, pictures=1,
        batch=2 * processes, tensorboard=False, experiment=f"tiny/{settings.experiment}",
    )  # fmt: skip


def _finished(settings: config.Train) -> dict[str, Any] | None:
    """The record of a finished run, else None.

    Raises:
        ValueError: the folder has a run with other settings; the message names them.
    """
    has_begun(settings, ON_RESUME, differences)
    if not (settings.output / RESULT).exists():
        return None
    result: dict[str, Any] = json.loads((settings.output / RESULT).read_text(encoding="utf-8"))
    return result


def comparison(experiment: Experiment, result: dict[str, Any]) -> str:
    """One line: our mIoU by every protocol, and the published numbers."""
    evaluation = result["evaluation"]
    ours = [("recipe's evaluation", evaluation["last"])]
    ours += [(name, both["last"]) for name, both in evaluation.get("protocols", {}).items()]
    texts = [f"{name} {100 * metrics['miou']:.1f}" for name, metrics in ours]
    theirs = [
        f"{name} {value}"
        for name, value in (("paper", experiment.paper), ("README", experiment.readme))
        if value is not None
    ]
    return f"{experiment.id}: mIoU on {evaluation['split']}: {', '.join([*texts, *theirs])}"


def _predict_test(options: Run, experiment: Experiment, settings: config.Train) -> None:
    """Writes PNG files for the VOC server: last iterate, several scales, mirrored images."""
    tree = settings.output / ("voc-test-crf" if experiment.crf else "voc-test")
    source = settings.data.source.partition(":")[2]
    predict(
        Predict(
            settings.output,
            (),
            voc_test=Path(source),
            output=tree,
            protocol="native",
            multiple=settings.model.coarsest_stride,
            scales=SCALES,
            flip=True,
            crf=experiment.crf,
            limit=TINY_IMAGES if options.tiny else None,
            device=options.device,
        )
    )
    print(f"{experiment.id}: pack {tree / 'results'} and send it to the VOC server for the number")


def _cost(options: Run, experiment: Experiment) -> int:
    """Measures time and memory of all levels, interleaved."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise ValueError(f"{experiment.id} must be run by one process, got {processes}")
    settings = dataclasses.replace(
        resolve(experiment, options.recipe),
        amp=options.amp or ("fp16" if _on_gpu(options.device) else "off"),
        device=options.device,
        threads=options.threads,
    )
    if options.backbone is not None:
        model = replace(settings.model, name=options.backbone)
        settings = replace(settings, model=model)
    if options.tiny:
        settings = _tiny(settings, options, 1)
    settings = recipes.divided(settings, 1, options.per_process_batch)
    output = options.output / folder_name(options, experiment) / COST
    if output.exists():
        print(f"{experiment.id}: already measured: {output}")
        return 0
    measure_recipe(settings, experiment.run, output, rounds=2 if options.tiny else 15)
    print(f"{experiment.id}: {output}")
    return 0
