"""The command ``tel``: one sub-command for each step from annotations to the report."""

from __future__ import annotations

import itertools
import os
import select
import sys
from collections.abc import Callable
from typing import Any

COMMANDS = {
    "train": "train a network from a preset, or continue a run (--resume FOLDER)",
    "evaluate": "mIoU, per-class and boundary IoU of a trained network on a data set",
    "predict": "segment images with a trained network",
    "export": "write a trained network as one file: PyTorch's ExportedProgram or ONNX",
    "report": "one HTML page of a set of runs: tables, curves, pictures",
    "init": "make a data set from a folder of photographs and their annotations",
    "import": "read the annotations of labelme, CVAT, Label Studio, COCO, napari, …",
    "annotate": "make point, scribble or block annotations from dense labels",
    "compare-annotations": "measure how far two folders of annotations agree",
    "fill": "make dense labels from sparse ones along the trees, without training",
    "tune-sigma": "which sigma suits a data set's photographs, judged by its labels",
    "prepare": "unpack the archives of Pascal VOC, Cityscapes or ADE20K for training",
    "check-data": "check a data set before training on it",
    "experiments": "list the paper's experiments: numbers, required files, hours",
    "run": "run one of the paper's experiments: train, evaluate, record",
    "demo": "train three small networks on generated scenes and show the results",
    "measure": "make the runs of the published results",
    "cost": "measure the time and memory that the trees add to an iteration",
    "publish": "copy run records, and make the published tables from them",
}
COMPLETION = "--install-completion"


def main(arguments: list[str] | None = None) -> int:
    """Runs a command.

    Returns:
        The exit status: 0 done, 1 problems found, 2 invalid arguments or data, 130 interrupted.
    """
    _open_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    if command == COMPLETION:
        return _install_completion(rest)
    if command not in COMMANDS:
        print(f"tel: no command {command!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    given = [*rest, *(f"{a}={b}" for a, b in itertools.pairwise(rest))]
    if "--output=" in given:  # as a path, an empty text would be the current folder
        print(f"tel {command}: --output must be a path, got nothing", file=sys.stderr)
        return 2
    try:
        status = _run(command, rest)
        sys.stdout.flush()
        return status
    except BrokenPipeError as error:
        return _broken(command, error)
    except _stops() as stop:
        print(f"tel {command}: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 130
    except _mistakes() as error:
        print(f"tel {command}: {error}", file=sys.stderr)
        return 2


def _open_streams() -> None:
    """Opens standard streams that the caller has closed, on nothing.

    Otherwise the next file that is opened has a stream's number: what is printed would be in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number, this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _broken(command: str, error: BrokenPipeError) -> int:
    """The exit status after a broken pipe: silent if it is standard output's, as of ``| head``."""
    if not _is_read(sys.stdout.fileno()):
        # What is left in the buffer is written nowhere: at the exit it would be an error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # as a shell says for SIGPIPE
    print(f"tel {command}: {error}", file=sys.stderr)
    return 2


def _is_read(stream: int) -> bool:
    """Whether a stream is no pipe whose reader has left."""
    poll = select.poll()
    poll.register(stream, 0)
    return not any(events & select.POLLERR for _, events in poll.poll(0))


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  tel {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    hints = [
        "tel COMMAND --help explains each.",
        f"tel {COMPLETION} completes commands and options with the Tab key.",
    ]
    return "\n".join([__doc__.split("\n")[0], "", *lines, "", *hints])


def _install_completion(arguments: list[str]) -> int:
    """For the shell that is named, or for the user's."""
    from tel_segmentation.commands import completion

    try:
        if len(arguments) > 1:
            raise ValueError(f"shell must be one, got {' '.join(arguments)}")
        commands = {name: _command(name)[0] for name in COMMANDS if name != "train"}
        path = completion.install(commands, *arguments)
    except (ValueError, OSError) as error:
        print(f"tel {COMPLETION}: {error}", file=sys.stderr)
        return 2
    print(f"{path}: for shells that are started from now on")
    if path.name == "_tel":
        print(f"In ~/.zshrc, before compinit: fpath+=({path.parent})")
    return 0


def _stops() -> tuple[type[BaseException], ...]:
    from tel_segmentation.runtime.interrupts import Interrupted

    return (Interrupted, KeyboardInterrupt)


def _mistakes() -> tuple[type[BaseException], ...]:
    import torch

    from tel_segmentation.training.step import NonFiniteLossError

    return (ValueError, OSError, NonFiniteLossError, ImportError, torch.OutOfMemoryError)


def _run(command: str, arguments: list[str]) -> int:
    if command == "train":
        from tel_segmentation.commands import train

        return train.main(arguments)
    import tyro

    kind, run = _command(command)
    status = run(tyro.cli(kind, prog=f"tel {command}", args=arguments))
    return status if isinstance(status, int) else 0


def _command(name: str) -> tuple[type, Callable[[Any], object]]:
    """A command's options, and the function that runs it.

    Only the command's own module is imported, so that ``tel COMMAND --help`` starts quickly.
    """
    match name:
        case "annotate":
            from tel_segmentation.commands import annotate

            return annotate.Annotate, annotate.run
        case "check-data":
            from tel_segmentation.commands import check_data

            return check_data.CheckData, check_data.run
        case "compare-annotations":
            from tel_segmentation.commands import compare_annotations

            return compare_annotations.CompareAnnotations, compare_annotations.run
        case "cost":
            from tel_segmentation.commands import cost

            return cost.Cost, cost.run
        case "demo":
            from tel_segmentation.commands import demo

            return demo.Demo, demo.run
        case "evaluate":
            from tel_segmentation.commands import evaluate

            return evaluate.Evaluate, evaluate.run
        case "experiments":
            from tel_segmentation.commands import experiments

            return experiments.Experiments, experiments.run
        case "export":
            from tel_segmentation.commands import export

            return export.Export, export.run
        case "fill":
            from tel_segmentation.commands import fill

            return fill.Fill, fill.run
        case "import":
            from tel_segmentation.commands import import_, import_options

            return import_options.Import, import_.run
        case "init":
            from tel_segmentation.commands import init

            return init.Init, init.run
        case "measure":
            from tel_segmentation.commands import measure

            return measure.Measure, measure.run
        case "predict":
            from tel_segmentation.commands import predict

            return predict.Predict, predict.run
        case "prepare":
            from tel_segmentation.commands import prepare

            return prepare.Prepare, prepare.run
        case "publish":
            from tel_segmentation.commands import publish

            return publish.Publish, publish.run
        case "report":
            from tel_segmentation.commands import report

            return report.Report, report.run
        case "run":
            from tel_segmentation.commands import run

            return run.Run, run.run
        case "tune-sigma":
            from tel_segmentation.commands import tune_sigma

            return tune_sigma.TuneSigma, tune_sigma.run
    raise ValueError(f"command must be one of {', '.join(COMMANDS)}, got {name!r}")


if __name__ == "__main__":
    sys.exit(main())
