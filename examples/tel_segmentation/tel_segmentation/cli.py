"""The command ``tel``: one sub-command for each step from annotations to the report."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# But for `train`, a command is the module of its name: its `run`, and its class of that name.
COMMANDS = {
    "train": "train a network from a preset, or go on with a run (--resume FOLDER)",
    "evaluate": "mIoU, per-class and boundary IoU of a trained network on a data set",
    "predict": "segment images with a trained network",
    "report": "one HTML page of a set of runs: tables, curves, pictures",
    "annotate": "make point, scribble or block annotations from dense labels",
    "compare-annotations": "how far two folders of annotations agree",
    "prepare": "unpack the archives of Pascal VOC, Cityscapes or ADE20K for training",
    "check-data": "look through a data set before hours are spent on it",
    "experiments": "the paper's tables as experiments: numbers, needs, hours",
    "run": "run one of the paper's experiments: train, evaluate, record",
    "demo": "train three small networks on generated scenes and show what came out",
    "measure": "make the runs of the published results",
    "cost": "measure what the trees add to an iteration",
    "publish": "copy run records, make the published tables of them",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command.

    Returns:
        The exit status: 0 done, 1 problems found, 2 a mistake in the call or its data, 130 stopped.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        print(f"tel: no command {command!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        return _run(command, rest)
    except _stops() as stop:
        print(f"tel {command}: {stop}", file=sys.stderr)
        return 130
    except _mistakes() as error:
        print(f"tel {command}: {error}", file=sys.stderr)
        return 2


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  tel {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join([__doc__.split("\n")[0], "", *lines, "", "tel COMMAND --help explains each."])


def _stops() -> tuple[type[BaseException], ...]:
    from tel_segmentation.interrupts import Interrupted

    return (Interrupted, KeyboardInterrupt)


def _mistakes() -> tuple[type[BaseException], ...]:
    import torch

    from tel_segmentation.engine import NonFiniteLossError

    return (ValueError, OSError, NonFiniteLossError, ImportError, torch.OutOfMemoryError)


def _run(command: str, arguments: list[str]) -> int:
    if command == "train":
        return _train(arguments)
    import tyro

    module = importlib.import_module(f"tel_segmentation.{command.replace('-', '_')}")
    kind = getattr(module, command.title().replace("-", ""))
    options: Any = tyro.cli(kind, prog=f"tel {command}", args=arguments)
    status = module.run(options)
    return status if isinstance(status, int) else 0


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its last checkpoint, with the configuration it was started with."""

    resume: Path
    """The run's folder."""


def _train(arguments: list[str]) -> int:
    import tyro

    from tel_segmentation import config, presets
    from tel_segmentation.engine import CONFIG, train

    if any(a == "--resume" or a.startswith("--resume=") for a in arguments):
        folder = tyro.cli(Resume, prog="tel train", args=arguments).resume
        options = config.load(folder / CONFIG)
        # The folder may have been moved since.
        result = train(config.moved(options, folder), resume=True)
    else:
        options = tyro.extras.overridable_config_cli(
            presets.PRESETS, prog="tel train", args=arguments, description=TRAIN
        )
        result = train(options)
    if result["finished"]:
        last = result["evaluation"]["last"]
        scores = f"mIoU {100 * last['miou']:.1f}, accuracy {100 * last['accuracy']:.1f}"
        print(f"{options.output}: {scores} on {result['evaluation']['split']}")
    return 0


TRAIN = """Train a network. Choose a preset; every field can be overridden:

    tel train scenes --loss.method tel --loss.tel.level low --output runs/tel
    tel train photos --data.source camvid.toml --data.annotation point --output runs/point
    tel train --resume runs/point
"""


if __name__ == "__main__":
    sys.exit(main())
