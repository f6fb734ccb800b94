"""The demo: three networks, one with a few dots per image and the trees, side by side in one page.

    tel demo

Trains the tiny network on generated scenes three times: on points alone, on the same points with
the tree energy loss, and on the label of every pixel. Minutes on two cores; stopped and started
again, it goes on.
"""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass, replace
from pathlib import Path

from tel_segmentation import config, presets
from tel_segmentation.commands.report import Report
from tel_segmentation.commands.report import run as report
from tel_segmentation.config import Loss
from tel_segmentation.losses import methods
from tel_segmentation.runtime.run_folder import RESULT
from tel_segmentation.training.engine import train
from tel_segmentation.training.same_run import has_begun

RUNS = (
    (Loss(method="partial"), "point", "what the points alone teach"),
    (Loss(), "point", "the same points, and the trees"),
    (Loss(method="full"), "dense", "every pixel labelled: what is aimed at"),
)


@dataclass(frozen=True)
class Demo:
    """Train three networks and show what the tree energy loss is good for."""

    output: Path = Path("runs/demo")
    """The folder of the runs and of the page."""
    preset: str = "scenes"
    iterations: int | None = None
    """Of each run; by default the preset's."""
    browser: bool = True
    """Open the page."""


def run(options: Demo) -> int:
    """Trains what is missing, writes the page, opens it."""
    base = presets.PRESETS[options.preset][1]
    for number, (loss, annotation, why) in enumerate(RUNS, 1):
        name = methods.title(loss)
        folder = options.output / f"{number}-{name.replace(' ', '-').replace('+', '-')}"
        settings = replace(
            base,
            loss=loss,
            data=replace(base.data, annotation=annotation),
            output=folder,
            iterations=options.iterations or base.iterations,
        )
        print(f"{number} of {len(RUNS)}  {name}: {why}", flush=True)
        _train(settings)
    page = options.output / "report.html"
    report(Report(runs=(options.output,), output=page))
    if options.browser and not webbrowser.open(page.resolve().as_uri()):
        print("There is no browser here; open it in yours.")
    return 0


def _train(settings: config.Train) -> None:
    """A run, unless it is there: with these settings, finished or to go on with."""
    started = has_begun(settings)
    if not (settings.output / RESULT).exists():
        train(settings, resume=started)
