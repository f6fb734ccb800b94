"""The training loop: one function, from the configuration to the result.

An iteration (``step``) is a pure function of the state at its start: its number determines the
samples (``data.loading``) and the random numbers of the network's dropout.
A run that is killed and resumed from its last checkpoint therefore ends with the same weights as an
uninterrupted one: bit by bit on a CPU; on a GPU the order of sums differs from run to run.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from tel_segmentation import config
from tel_segmentation.data.aspect import turned_images
from tel_segmentation.data.loading import (
    WorkersLostError,
    open_source,
    open_validation,
    training_batches,
    workers_watched,
)
from tel_segmentation.data.order import first_pass
from tel_segmentation.data.reach import check_training, check_truth
from tel_segmentation.data.sample import Batch, Source
from tel_segmentation.evaluation import protocols
from tel_segmentation.runtime import distributed, memory
from tel_segmentation.runtime.interrupts import (
    Interrupted,
    Signals,
    Woken,
    collected_signals,
    prepare_worker,
)
from tel_segmentation.runtime.run_folder import LAST, RESULT
from tel_segmentation.training import outcome, start
from tel_segmentation.training.diagnosis import Labels, Window, panels
from tel_segmentation.training.state import State
from tel_segmentation.training.step import check_weights, tuned_convolutions, update
from tel_segmentation.training.tracking import Board, History


def train(options: config.Train, *, resume: bool = False, extend: bool = False) -> dict[str, Any]:
    """Trains a network and writes everything into ``options.output``.

    Args:
        options: the run. Paths are made absolute.
        resume: go on from ``last.pt`` in the run's folder, or start where there is none yet.
        extend: when resuming, ``options.iterations`` may be another number than before.

    Returns:
        The run's record, which is also ``result.json``.

    Raises:
        ValueError: options, data or a checkpoint that cannot be used.
        FileExistsError: the folder has a run already, and ``resume`` is false.
        LockedError: another training runs in the folder.
        NonFiniteLossError: with the iteration, the loss's terms and the files they are of.
        WorkersLostError: a process that reads images has died; the checkpoint is written.
        Interrupted: after SIGINT, SIGTERM or SIGHUP, when the checkpoint is written.
        OthersFailedError: another process of this training has failed.
    """
    options = config.absolute(options)
    _check(options)
    with (
        distributed.session(options.device) as device,
        distributed.failing_together(),
        start.opened(options, resume, device) as saved,
    ):
        if options.threads:
            torch.set_num_threads(options.threads)
        memory.reset_peak(device)
        changes = start.same_settings(options, saved, extend) if saved else []
        source = open_source(options.data, "train", options.seed)
        validation = open_validation(options.data, options.seed)
        labels = check_training(source, options.data, options.seed)
        if validation is not None:
            check_truth(validation, "val")
        state = State(options, source, device, begun=saved is not None)
        if saved is not None:
            state.restore(saved)
        history = None
        if distributed.world()[0] == 0:
            history = History(options.output, state.iteration)  # read before anything is replaced
            _begin(options, state, changes, validation, labels)
        seconds = _loop(options, state, source, validation, history)
        return outcome.finish(options, state, source, seconds)


def _check(options: config.Train) -> None:
    """Checks all options first: those of the evaluation are used late in a run."""
    config.check(options)
    protocols.check(options.evaluation)
    for name in options.protocols:
        protocols.named(name, options)


def _begin(
    options: config.Train,
    state: State,
    changes: list[str],
    validation: Source | None,
    labels: str,
) -> None:
    """Says how the run begins, and writes its configuration."""
    lines = [str(state.model.weights), labels]
    if state.iteration:
        lines = [f"resumed from iteration {state.iteration} of {options.iterations}", labels]
    lines += [f"changed since the checkpoint: {each}" for each in changes]
    if validation is None:
        lines.append(
            "the data set has no val split: nothing is evaluated during the training, and its"
            " result is on the training images (--data.holdout 0.1 holds out a tenth of them)"
        )
    for line in lines:
        print(f"{options.output}: {line}", file=sys.stderr)
    if any(each.startswith("iterations:") for each in changes):
        state.save(options.output / LAST)  # with the new number: it decides, not config.json
        (options.output / RESULT).unlink(missing_ok=True)
    start.write_config(options)


def _loop(
    options: config.Train,
    state: State,
    source: Source,
    validation: Source | None,
    history: History | None,
) -> list[float]:
    """Runs the iterations that are left and returns the seconds that each took."""
    rank, world = distributed.world()
    objective = state.distributed()
    board = Board(options.output, options.tensorboard and rank == 0, state.iteration)
    window = Window(len(source.classes), state.device)
    turned = turned_images(source, options.data)
    place = (state.iteration, rank, world)
    batches = training_batches(source, options, *place, prepare=prepare_worker, turned=turned)
    labels = Labels(options, first_pass(options, turned, world))
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

    def evaluate(stop: Signals) -> None:
        assert validation is not None
        with stop.waiting(wake=world == 1):
            found = outcome.validate(options, state, validation)
        metrics = outcome.keep_best(options, state, found)
        state.unevaluated = False
        add({"evaluation": metrics})
        _show_evaluation(options, state, metrics)
        if options.tensorboard:  # in every process: a term may reduce over all of them
            for name, picture in panels(state.objective, source, 2, state.device):
                board.picture(name, np.asarray(picture), state.iteration)
        window.started = time.perf_counter()

    def iterate(stop: Signals) -> None:
        began = time.perf_counter()
        try:
            parts = _taken(batches, options.accumulate, stop, state.device)
        except (ValueError, OSError) as error:
            if world > 1 or not durations:
                raise
            save()
            if isinstance(error, WorkersLostError):
                raise WorkersLostError(f"{error}; {_goes_on(options, state)}") from error
            raise
        lr = state.set_learning_rate()
        with tuned_convolutions(state.device):
            update(options, state, objective, parts, window)
        state.iteration += 1
        durations.append(time.perf_counter() - began)
        state.seconds += durations[-1]
        bar.update()
        labels.check(parts, len(durations), state.device)
        stopped = distributed.anyone(bool(stop), state.device)
        due = functools.partial(_due, state.iteration, options=options)
        state.unevaluated = validation is not None and due(options.eval_every)
        if stopped or state.unevaluated or due(options.checkpoint_every):
            check_weights(state, parts)
        if due(options.log_every):
            line = window.line()
            add({**line, "lr": lr, "seconds": state.seconds})
            pace = (time.perf_counter() - started) / len(durations)  # with evaluations
            _show(bar, options, state.iteration, line, pace, memory.peak(state.device))
            window.reset()
        if stopped:
            raise Woken
        if state.unevaluated:
            evaluate(stop)
        if due(options.checkpoint_every):
            save()

    with contextlib.closing(board), collected_signals() as stop, contextlib.closing(batches), bar:
        try:
            if state.unevaluated:
                evaluate(stop)
            while state.iteration < options.iterations:
                iterate(stop)
        except Woken:
            save()
            raise Interrupted(_goes_on(options, state)) from None
    return durations


def _taken(
    batches: Iterator[Batch], count: int, stop: Signals, device: torch.device
) -> list[Batch]:
    """The batches of an iteration, all of them before anything is changed.

    With several processes a signal does not end the wait, since the others may be in the iteration
    already; and if one of them fails, all of them do.
    """
    problem: Exception | None = None
    batch: list[Batch] = []
    try:
        with workers_watched(), stop.waiting(wake=distributed.world()[1] == 1):
            batch = [next(batches) for _ in range(count)]
    except (Woken, ValueError, OSError) as error:
        problem = error
    if distributed.anyone(problem is not None, device):
        raise problem or distributed.OthersFailedError
    return batch


def _goes_on(options: config.Train, state: State) -> str:
    return (
        f"stopped after iteration {state.iteration} of {options.iterations};"
        f" go on with --resume {options.output}"
    )


def _show(
    bar: Any,
    options: config.Train,
    iteration: int,
    line: dict[str, float],
    pace: float,
    used: float | None,
) -> None:
    """Losses, speed and memory beside the bar; a line each time where there is no terminal.

    The bar knows the time left; the line has it from ``pace``, the seconds of an iteration.
    """
    shown = {name: f"{value:.3f}" for name, value in line.items() if name.startswith("loss")}
    shown["img/s"] = f"{line['images_per_second']:.1f}"
    if used is not None:
        shown["peak memory"] = f"{used:,.0f} MB"
    bar.set_postfix(shown, refresh=False)
    if bar.disable and distributed.world()[0] == 0:
        text = ", ".join(f"{name} {value}" for name, value in shown.items())
        left = tqdm.format_interval(pace * (options.iterations - iteration))
        print(
            f"{options.output.name}: {iteration}/{options.iterations}: {text}, {left} left",
            file=sys.stderr,
        )


def _show_evaluation(options: config.Train, state: State, metrics: dict[str, Any]) -> None:
    """A line with the metrics and the best so far."""
    if distributed.world()[0] == 0:
        best, at = state.best["miou"], state.best["iteration"]
        tqdm.write(
            f"{options.output.name}: {state.iteration}/{options.iterations}: on val: mIoU"
            f" {_percent(metrics['miou'])}, accuracy {_percent(metrics['accuracy'])}; best mIoU"
            f" {_percent(best)}, at {at}",
            file=sys.stderr,
        )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _due(iteration: int, every: int, options: config.Train) -> bool:
    return iteration % every == 0 or iteration == options.iterations
