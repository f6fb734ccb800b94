"""The command ``tel train``: from a preset to a trained network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from tel_segmentation import config, presets
from tel_segmentation.runtime.run_folder import CONFIG
from tel_segmentation.training.engine import train

DESCRIPTION = """Train a network. Choose a preset; every field can be overridden:

    tel train scenes --loss.method tel --loss.tel.level low --output runs/tel
    tel train photos --data.source camvid.toml --data.annotation point --output runs/point
    tel train --resume runs/point
"""


@dataclass(frozen=True)
class Resume:
    """Resume a run from its last checkpoint, with the configuration it was started with."""

    resume: Path
    """The run's folder."""


def main(arguments: list[str]) -> int:
    """Trains or resumes a run, and prints the result.

    The options depend on the presets; so they are no class, as the options of other commands are.
    """
    if any(a == "--resume" or a.startswith("--resume=") for a in arguments):
        folder = tyro.cli(Resume, prog="tel train", args=arguments).resume
        options = config.load(folder / CONFIG)
        # The folder may have been moved since.
        result = train(config.moved(options, folder), resume=True)
    else:
        options = tyro.extras.overridable_config_cli(
            presets.PRESETS, prog="tel train", args=arguments, description=DESCRIPTION
        )
        result = train(options)
    if result["finished"]:
        last = result["evaluation"]["last"]
        scores = f"mIoU {100 * last['miou']:.1f}, accuracy {100 * last['accuracy']:.1f}"
        print(f"{options.output}: {scores} on {result['evaluation']['split']}")
    return 0
