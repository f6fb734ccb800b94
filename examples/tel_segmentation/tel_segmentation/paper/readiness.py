"""Checks before an experiment is trained, so that nothing fails only after the training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tel_segmentation import config
from tel_segmentation.data.datasets.cityscapes import Cityscapes
from tel_segmentation.data.datasets.public import public_dataset
from tel_segmentation.data.loading import dense, open_source
from tel_segmentation.data.sample import Source
from tel_segmentation.evaluation.postprocess import DenseCrf
from tel_segmentation.paper.experiment import Experiment
from tel_segmentation.paper.sameness import ignored_classes, other_counts


def check_ready(experiment: Experiment, settings: config.Train) -> list[str]:
    """Opens everything that the experiment reads, also what it needs only after the training.

    Args:
        experiment: the requested experiment, not the one whose run it shares.
        settings: the configuration of its run, with the data set's folder.

    Returns:
        Differences to the paper's experiment with which it can still be run: a number of images
        other than published, ignored classes.

    Raises:
        ValueError: files are missing (the message has their paths), or the numbers in annotations
            are read with the wrong encoding.
        ModuleNotFoundError: the dense CRF is not installed.
    """
    data = replace(settings.data, limit=None)  # a rehearsal uses few images
    training = open_source(data, "train", settings.seed)
    validation = open_source(dense(data), "val")
    _check_encoding(training, data)
    if experiment.kind == "test":
        open_source(dense(data), "test")
    if experiment.crf:
        DenseCrf()
    kind, _ = public_dataset(settings.data.source) or ("", Path())
    counts = other_counts(kind, {len(training)}, {len(validation)})
    return [*counts, *ignored_classes(kind, settings.data)]


def _check_encoding(source: Source, data: config.Data) -> None:
    """Refuses trainIds that are read as labelIds: all numbers are valid, so nothing else fails."""
    if not isinstance(source, Cityscapes) or data.encoding != "auto":
        return
    if folders := source.like_train_ids():
        raise ValueError(
            f"the numbers in {folders[0]} must be labelIds, which have some above 19, got none:"
            " give --encoding trainIds if they are trainIds, or --encoding labelIds if they are not"
        )
