"""The training loop: one function, from the configuration to the result.

An iteration (``step``) is a pure function of the state at its start: its number determines the
samples (``data.loading``) and the random numbers of the network's dropout.
A run that is killed and resumed from its last checkpoint therefore ends with the same weights as an
uninterrupted one: bit by bit on a CPU; on a GPU the order of sums differs from run to run.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from tel_segmentation import config
from tel_segmentation.data.loading import open_source, training_batches
from tel_segmentation.data.reach import check_training, check_truth
from tel_segmentation.data.sample import Source
from tel_segmentation.evaluation import protocols
from tel_segmentation.runtime import checkpoint, distributed, memory
from tel_segmentation.runtime.interrupts import Interrupted, collected_signals
from tel_segmentation.runtime.run_folder import CONFIG, LAST
from tel_segmentation.training import outcome
from tel_segmentation.training.diagnosis import Window, panels
from tel_segmentation.training.state import State
from tel_segmentation.training.step import tuned_convolutions, update
from tel_segmentation.training.tracking import Board, History


def train(options: config.Train, *, resume: bool = False) -> dict[str, Any]:
    """Trains a network and writes everything into ``options.output``.

    Args:
        options: the run.
        resume: go on from ``last.pt`` in the run's folder, or start where there is none yet.

    Returns:
        The run's record, which is also ``result.json``.

    Raises:
        ValueError: options, data or a checkpoint that cannot be used.
        FileExistsError: the folder has a run already, and ``resume`` is false.
        NonFiniteLossError: with the iteration, the loss's terms and the files they are of.
        Interrupted: after SIGINT or SIGTERM, when the checkpoint is written.
    """
    _check(options)
    with distributed.session(options.device) as device:
        if options.threads:
            torch.set_num_threads(options.threads)
        memory.reset_peak(device)
        saved = _earlier(options, resume, device)
        source = open_source(options.data, "train", options.seed)
        validation = open_source(outcome.dense(options.data), "val")
        labels = check_training(source, options.data, options.seed)
        check_truth(validation, "val")
        state = State(options, source, device)
        if saved is not None:
            state.restore(saved)
        if distributed.world()[0] == 0:
            _start_folder(options.output, options)
            print(f"{options.output}: {state.model.weights}", file=sys.stderr)
            print(f"{options.output}: {labels}", file=sys.stderr)
        seconds = _loop(options, state, source, validation)
        return outcome.finish(options, state, source, seconds)


def _check(options: config.Train) -> None:
    """Checks all options first: those of the evaluation are used late in a run."""
    config.check(options)
    protocols.check(options.evaluation)
    for name in options.protocols:
        protocols.named(name, options)


def _earlier(options: config.Train, resume: bool, device: torch.device) -> dict[str, Any] | None:
    """The checkpoint to resume from, or None. An existing run that is not resumed is an error."""
    # All processes look before one of them writes the configuration.
    exists = distributed.anyone((options.output / CONFIG).exists(), device)
    if exists and not resume:
        raise FileExistsError(
            f"{options.output} has a run already: go on with --resume {options.output},"
            " or choose another --output"
        )
    last = options.output / LAST
    return checkpoint.load(last) if resume and last.exists() else None


def _start_folder(folder: Path, options: config.Train) -> None:
    """Makes the run's folder, writes the configuration, and removes unfinished files."""
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(".*.tmp"):
        unfinished.unlink()
    if not (folder / CONFIG).exists():
        checkpoint.write_text(folder / CONFIG, config.to_json(options) + "\n")


def _loop(options: config.Train, state: State, source: Source, validation: Source) -> list[float]:
    """Runs the iterations that are left and returns the seconds that each took."""
    rank, world = distributed.world()
    objective = state.distributed()
    history = History(options.output, state.iteration) if rank == 0 else None
    board = Board(options.output, options.tensorboard and rank == 0, state.iteration)
    window = Window(len(source.classes), state.device)
    batches = training_batches(source, options, start=state.iteration, rank=rank, world=world)
    durations: list[float] = []
    started = time.perf_counter()
    bar = tqdm(
        total=options.iterations,
        initial=state.iteration,
        desc=options.output.name,
        disable=rank > 0 or None,  # shown on terminals
        unit="it",
    )

    def add(line: dict[str, Any]) -> None:
        if history is not None:
            history.add({"iteration": state.iteration, **line})
            board.scalars(line.get("evaluation", line), state.iteration)

    def save() -> None:
        if rank == 0:
            state.save(options.output / LAST)

    with bar, collected_signals() as stop:
        while state.iteration < options.iterations:
            began = time.perf_counter()
            lr = state.set_learning_rate()
            with tuned_convolutions(state.device):
                update(options, state, objective, batches, window)
            state.iteration += 1
            durations.append(time.perf_counter() - began)
            state.seconds += durations[-1]
            bar.update()
            if _due(state.iteration, options.log_every, options):
                line = window.line()
                add({**line, "lr": lr, "seconds": state.seconds})
                pace = (time.perf_counter() - started) / len(durations)  # with evaluations
                _show(bar, options, state.iteration, line, pace)
                window.reset()
            if _due(state.iteration, options.eval_every, options):
                add({"evaluation": outcome.validate(options, state, validation)})
                if options.tensorboard:  # in every process: a term may reduce over all of them
                    for name, picture in panels(state.objective, source, 2, state.device):
                        board.picture(name, np.asarray(picture), state.iteration)
                window.started = time.perf_counter()
            if _due(state.iteration, options.checkpoint_every, options):
                save()
            if distributed.anyone(bool(stop), state.device):
                save()
                board.close()
                raise Interrupted(
                    f"stopped after iteration {state.iteration} of {options.iterations};"
                    f" go on with --resume {options.output}"
                )
    board.close()
    return durations


def _show(
    bar: Any, options: config.Train, iteration: int, line: dict[str, float], pace: float
) -> None:
    """The losses and the speed beside the bar; a line each time where there is no terminal.

    The bar knows the time left; the line has it from ``pace``, the seconds of an iteration.
    """
    shown = {name: f"{value:.3f}" for name, value in line.items() if name.startswith("loss")}
    shown["img/s"] = f"{line['images_per_second']:.1f}"
    bar.set_postfix(shown, refresh=False)
    if bar.disable and distributed.world()[0] == 0:
        text = ", ".join(f"{name} {value}" for name, value in shown.items())
        left = tqdm.format_interval(pace * (options.iterations - iteration))
        print(
            f"{options.output.name}: {iteration}/{options.iterations}: {text}, {left} left",
            file=sys.stderr,
        )


def _due(iteration: int, every: int, options: config.Train) -> bool:
    return iteration % every == 0 or iteration == options.iterations
