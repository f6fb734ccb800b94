"""The command ``tel train``: from a preset to a trained network."""

from __future__ import annotations

from dataclasses import dataclass, field, is_dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tyro

from tel_segmentation import config, presets
from tel_segmentation.data.loading import check_place
from tel_segmentation.runtime.run_folder import CONFIG
from tel_segmentation.training.engine import train

BASIC = (
    "output", "iterations", "batch", "device", "data.source", "data.annotation", "data.size",
    "data.crop", "data.workers", "data.holdout", "loss.method", "loss.warmup", "loss.tel.sigma",
)  # fmt: skip
"""The fields that ``tel train PRESET --help`` shows: what own photographs may need."""
ALL = "--help-all"
DESCRIPTION = """Train a network. Choose a preset; every field can be overridden:

    tel train scenes --loss.method tel --loss.tel.level low --output runs/tel
    tel train photos --data.source camvid.toml --data.annotation point --output runs/point
    tel train --resume runs/point

tel train PRESET --help shows the options that are needed most, tel train PRESET --help-all all of
them.
"""


@dataclass(frozen=True)
class ResumeData:
    """What may differ: where the data are now, and how they are read."""

    source: str | None = None
    """The data set's new place, if it has moved."""
    annotation: str | None = None
    """The new place of annotations that were given by a folder's path."""
    workers: int | None = None
    """Number of processes that read images."""


@dataclass(frozen=True)
class Resume:
    """Resume a run from its last checkpoint, with the configuration it was started with."""

    resume: Path
    """The run's folder."""
    iterations: int | None = None
    """Another number of iterations, to train a run longer. From here on the learning rate follows
    the schedule of that number."""
    data: ResumeData = field(default_factory=ResumeData)


def main(arguments: list[str]) -> int:
    """Trains or resumes a run, and prints the result.

    The options depend on the presets; so they are no class, as the options of other commands are.
    """
    if any(a == "--resume" or a.startswith("--resume=") for a in arguments):
        options, result = _resume(tyro.cli(Resume, prog="tel train", args=arguments))
    else:
        known: dict[str, tuple[str, config.Train]] = presets.PRESETS
        if {"-h", "--help"} & set(arguments) and ALL not in arguments:
            known = {
                name: (f"{what}\n\nAll options: tel train {name} {ALL}", _basic(options))
                for name, (what, options) in known.items()
            }
        given = ["--help" if argument == ALL else argument for argument in arguments]
        options = tyro.extras.overridable_config_cli(
            known, prog="tel train", args=given, description=DESCRIPTION
        )
        result = train(options)
    if result["finished"]:
        last = result["evaluation"]["last"]
        scores = ", ".join(
            f"{title} {'–' if last[name] is None else f'{100 * last[name]:.1f}'}"
            for name, title in (("miou", "mIoU"), ("accuracy", "accuracy"))
        )
        print(f"{options.output}: {scores} on {result['evaluation']['split']}")
    return 0


def _basic(options: Any, prefix: str = "") -> Any:
    """The same options in a subclass of their class that hides all fields but ``BASIC``."""
    kinds = get_type_hints(type(options))
    values: dict[str, Any] = {}
    shown: list[tuple[str, Any]] = []
    for name, value in vars(options).items():
        path = f"{prefix}{name}"
        values[name] = value
        if is_dataclass(value) and any(each.startswith(f"{path}.") for each in BASIC):
            values[name] = _basic(value, f"{path}.")
            shown.append((name, type(values[name])))
        else:
            kind = kinds[name]
            shown.append((name, kind if path in BASIC else Annotated[kind, tyro.conf.Suppress]))
    defaults = [(name, kind, field(default=values[name])) for name, kind in shown]
    made = make_dataclass(type(options).__name__, defaults, bases=(type(options),), frozen=True)
    made.__doc__ = type(options).__doc__
    return made(**values)


def _resume(given: Resume) -> tuple[config.Train, dict[str, Any]]:
    """Resumes a run.

    Raises:
        ValueError: the folder has no run, or the data are not where they were.
    """
    # "." has no name, which the record needs. The folder may have been moved since.
    folder = given.resume if given.resume.name else given.resume.resolve()
    if not (folder / CONFIG).is_file():
        raise ValueError(f"resume must be the folder of a run, got {folder}, without {CONFIG}")
    options = config.moved(config.load(folder / CONFIG), folder)
    changes = {name: value for name, value in vars(given.data).items() if value is not None}
    options = replace(options, data=replace(options.data, **changes))
    if given.iterations is not None:
        options = replace(options, iterations=given.iterations)
    check_place(options.data)
    return options, train(options, resume=True, extend=given.iterations is not None)
