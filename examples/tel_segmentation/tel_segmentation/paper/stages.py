"""Experiments whose network learns from networks: those are trained first, beside it.

The second stage of ``seminar_lite`` has teachers (``config.Loss.teachers``): finished runs of its
first stage, in folders inside its own, which differ in their seeds.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tel_segmentation import config

TEACHERS = ("teacher1", "teacher2")
"""Folders of the first stage's runs."""
FIRST_STAGE = {"method": "seminar_lite", "teacher_ramp_part": 0.25}
"""The ramp's part of the training is near that of Laine and Aila, 80 of 300 epochs."""


def placed(settings: config.Train) -> config.Train:
    """The same with its teachers inside its folder."""
    places = tuple(str(settings.output / name) for name in settings.loss.teachers)
    return replace(settings, loss=replace(settings.loss, teachers=places))


def teachers(settings: config.Train) -> list[config.Train]:
    """The runs of the first stage: the same without teachers, by seeds s, s + 1, ….

    They are no experiment of the paper's, and are not evaluated by other protocols.
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
