"""Experiments in two stages: the teachers of a network are trained first.

The second stage of ``seminar_lite`` has teachers (``config.Loss.teachers``): finished runs of the
first stage, with different seeds, in sub-folders of the second stage's folder.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tel_segmentation import config

TEACHERS = ("teacher1", "teacher2")
"""Sub-folders of the first stage's runs."""
FIRST_STAGE = {"method": "seminar_lite", "teacher_ramp_part": 0.25}
"""The ramp takes a quarter of the training, about as in Laine and Aila: 80 of 300 epochs."""


def placed(settings: config.Train) -> config.Train:
    """The settings, with the teachers' folders inside the run's own folder."""
    places = tuple(str(settings.output / name) for name in settings.loss.teachers)
    return replace(settings, loss=replace(settings.loss, teachers=places))


def teachers(settings: config.Train) -> list[config.Train]:
    """The runs of the first stage: the same settings without teachers, with seeds s, s + 1, ….

    They are not experiments of the paper, and are evaluated only by their own protocol.
    """
    first = replace(
        settings,
        loss=replace(settings.loss, teachers=()),
        experiment=f"{settings.experiment}/first stage",
        method="",
        paper_id="",
        protocols=(),
    )
    return [
        replace(first, output=Path(place), seed=seed)
        for seed, place in enumerate(settings.loss.teachers, settings.seed)
    ]
