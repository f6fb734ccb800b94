"""The demo: three networks side by side on one page, to show what the tree energy loss does.

    tel demo

Trains the tiny network on generated scenes three times: on points alone, on the same points with
the tree energy loss, and on the label of every pixel. This takes minutes on two cores. If it is
stopped, the same command continues it.
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
    (Loss(method="partial"), "point", "only the points"),
    (Loss(), "point", "the same points, with the tree energy loss"),
    (Loss(method="full"), "dense", "every pixel labelled: the goal"),
)


@dataclass(frozen=True)
class Demo:
    """Train three networks and show the effect of the tree energy loss."""

    output: Path = Path("runs/demo")
    """The folder of the runs and of the page."""
    preset: str = "scenes"
    iterations: int | None = None
    """Iterations of each run; by default the preset's."""
    browser: bool = True
    """Open the page in a browser."""


def run(options: Demo) -> int:
    """Trains the runs that are not finished, writes the page and opens it."""
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
        print("No browser could be started; open the page yourself.")
    return 0


def _train(settings: config.Train) -> None:
    """Trains a run, or resumes it; does nothing if it is finished."""
    started = has_begun(settings)
    if not (settings.output / RESULT).exists():
        train(settings, resume=started)
