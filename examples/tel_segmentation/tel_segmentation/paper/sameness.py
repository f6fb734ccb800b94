"""Whether a run has the settings of the experiment that it is named after."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from tel_segmentation import config
from tel_segmentation.data.datasets import ade20k, cityscapes, voc_classes
from tel_segmentation.data.datasets.encoding import Encoding
from tel_segmentation.data.datasets.public import published_counts
from tel_segmentation.paper.experiments import experiments, resolve
from tel_segmentation.paper.recipes import Recipe
from tel_segmentation.training import same_run
from tel_segmentation.training.record import portable

ON_RESUME = (
    "output", "batch", "accumulate", "threads", "device", "data.workers", "log_every",
    "checkpoint_every", "pictures", "tensorboard", "protocols",
)  # fmt: skip
"""Settings that may change when a run is resumed: each iteration still has the same images."""
STILL_THE_EXPERIMENT = (
    *ON_RESUME, "seed", "amp", "eval_every", "boundary", "data.ignore", "data.encoding",
)  # fmt: skip
"""Settings in which a run may differ from its experiment; the encoding, for example, since files of
the same annotations have different numbers. Total batch, numbers of images and ignored classes are
compared separately."""


def deviations(result: dict[str, Any]) -> list[str]:
    """Differences of a record from its experiment, each as ``name: ours instead of theirs``.

    Args:
        result: the result of a run made by ``tel run``.

    Raises:
        ValueError: the record belongs to no experiment, or its configuration cannot be read.
    """
    settings, wanted = _both(result)
    found = differences(settings, wanted, STILL_THE_EXPERIMENT)
    kind = wanted.data.source.partition(":")[0]
    made = result.get("annotate") or {}
    total = result.get("batch", {}).get("total")
    if total != wanted.batch:
        found.append(f"total batch: {total} instead of {wanted.batch}")
    return [
        *found,
        *_other_images(kind, result),
        *_other_annotations(made, wanted.data.annotation),
        *ignored_classes(kind, settings.data, made.get("encoding")),
    ]


def cost_deviations(cost: dict[str, Any]) -> list[str]:
    """The same for measured time and memory; their batch is that of one process.

    Args:
        cost: what ``tel run`` writes for an experiment that measures time and memory.

    Raises:
        ValueError: as ``deviations``.
    """
    return differences(*_both(cost), STILL_THE_EXPERIMENT)


def other_counts(kind: str, training: set[Any], evaluated: set[Any]) -> list[str]:
    """Numbers of images that differ from those of the published data set.

    Points, scribbles and blocks are published for every training image.

    Args:
        kind: ``voc``, ``cityscapes`` or ``ade20k``.
        training: the numbers of training images; None if unknown.
        evaluated: the numbers of images in the evaluations.
    """
    counts = published_counts(kind)
    return [
        f"{name}: {number} instead of {published}"
        for name, numbers, published in (
            ("training images", training, counts["train"]),
            ("evaluated images", evaluated, counts["val"]),
        )
        for number in numbers
        if number != published
    ]


def ignored_classes(kind: str, data: config.Data, made: str | None = None) -> list[str]:
    """Classes without labels in training, because their numbers are ignored.

    Args:
        kind: ``voc``, ``cityscapes`` or ``ade20k``.
        data: the options ``ignore`` and ``encoding``.
        made: the encoding in the manifest of ``tel annotate``, if that made the annotations.
    """
    encoding = _encoding(kind, made or data.encoding)
    classes = {"voc": voc_classes, "cityscapes": cityscapes, "ade20k": ade20k}[kind].CLASSES
    return [
        f"data.ignore: {number}, which is {classes[encoding.values.index(number)]}"
        for number in data.ignore
        if number in encoding.values
    ]


def _encoding(kind: str, said: str) -> Encoding:
    if kind == "cityscapes":
        return cityscapes.TRAIN_IDS if said == "trainIds" else cityscapes.LABEL_IDS
    return voc_classes.ENCODING if kind == "voc" else ade20k.ADE20K


def _other_images(kind: str, result: dict[str, Any]) -> list[str]:
    """Differences in the numbers of images, and in the split of the evaluation."""
    evaluation = result.get("evaluation", {})
    each = [evaluation, *evaluation.get("protocols", {}).values()]
    evaluated = {
        metrics[name].get("images") for metrics in each for name in ("last", "best")
        if name in metrics
    }  # fmt: skip
    counts = other_counts(kind, {result.get("training_images")}, evaluated)
    return counts if evaluation.get("split") == "val" else ["evaluation: not on val", *counts]


def _other_annotations(made: dict[str, Any], wanted: str) -> list[str]:
    """Annotations of ``tel annotate`` that are not of the kind that the experiment has."""
    if not made:
        return []
    kind = made.get("kind")
    name = f"block{100 * made.get('ratio', 0):g}" if kind == "block" else str(kind)
    return [] if name == wanted else [f"annotations: {name} instead of {wanted}"]


def _both(result: dict[str, Any]) -> tuple[config.Train, config.Train]:
    """The configuration of a record, and that of its experiment."""
    settings = config.build(config.Train, result["config"])
    experiment = experiments().get(settings.paper_id)
    if experiment is None:
        raise ValueError(f"paper_id must be an experiment's, got {settings.paper_id!r}")
    recipe: Recipe = "paper" if settings.recipe == "paper" else "official"
    return settings, resolve(experiment, recipe)


def differences(found: config.Train, wanted: config.Train, ignored: Collection[str]) -> list[str]:
    """Fields that differ; paths are compared by file name, public data sets by kind."""
    return same_run.differences(_as_published(found), _as_published(wanted), ignored)


def _as_published(settings: config.Train) -> config.Train:
    settings = portable(settings)
    kind = settings.data.source.partition(":")[0]
    return replace(settings, data=replace(settings.data, source=kind))
