"""Evaluations of a run: during training on the validation set, and at its end for the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from tel_segmentation import config
from tel_segmentation.data.loading import open_reported
from tel_segmentation.data.sample import Source
from tel_segmentation.evaluation import failures, protocols
from tel_segmentation.evaluation.evaluate_model import evaluate_model
from tel_segmentation.runtime import checkpoint, distributed
from tel_segmentation.runtime.run_folder import BEST, FAILURES, PANELS
from tel_segmentation.training import record
from tel_segmentation.training.diagnosis import panels
from tel_segmentation.training.state import State

DETAILS = ("confusion", "image_miou")
"""Parts of an evaluation that are too long for a history."""


def validate(options: config.Train, state: State, validation: Source) -> dict[str, Any]:
    """Metrics on the validation set; see ``keep_best``."""
    return _brief(_metrics(options, state, validation, options.evaluation))


def _brief(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name not in DETAILS}


def keep_best(options: config.Train, state: State, metrics: dict[str, Any]) -> dict[str, Any]:
    """Keeps the best network so far; returns the metrics for the history."""
    if (metrics["miou"] or 0.0) > state.best.get("miou", -1.0):
        state.best = metrics
        if distributed.world()[0] == 0:
            state.save(options.output / BEST)
    return {k: v for k, v in metrics.items() if k not in ("protocol", "iteration")}


def _evaluated(state: State) -> nn.Module:
    """The network that is evaluated: the moving average where one was asked for."""
    averaged = state.ema is not None and state.options.optimizer.ema > 0
    return state.ema.module if averaged else state.model  # type: ignore[union-attr]


def _metrics(
    options: config.Train, state: State, source: Source, evaluation: config.Evaluation
) -> dict[str, Any]:
    rank, world = distributed.world()
    # Where the inputs may be larger than in training, a whole batch may not fit into memory.
    whole = evaluation.scales == (1.0,) and evaluation.protocol != "sliding"
    metrics = evaluate_model(
        _evaluated(state),
        source,
        device=state.device,
        batch=options.batch if whole else 1,
        boundary=options.boundary,
        evaluation=evaluation,
        rank=rank,
        world=world,
    )
    return {**metrics, "iteration": state.iteration}


def finish(
    options: config.Train,
    state: State,
    source: Source,
    durations: list[float],
) -> dict[str, Any]:
    """Evaluates the last and the best network, draws the pictures, writes the record."""
    split, reported = open_reported(options.data, options.seed)
    more = {name: protocols.named(name, options) for name in options.protocols}
    last, last_more, details = _final_metrics(options, state, reported, more)
    pictures = panels(state.objective, source, options.pictures, state.device)
    worst: list[dict[str, Any]] = []
    if distributed.world()[0] == 0:
        _write_panels(options.output / PANELS, pictures)
        found = failures.worst(details["image_miou"], options.pictures)
        shown = failures.pictures(
            _evaluated(state), reported, found, options.evaluation, state.device
        )
        worst = _write_failures(options.output / FAILURES, shown)
    best: dict[str, Any] = state.best or last  # without a validation set none is chosen
    best_more: dict[str, dict[str, Any]] = {} if state.best else last_more
    if state.best and (split != "val" or more):  # otherwise it was evaluated when it was saved
        iteration, seconds = state.iteration, state.seconds
        state.restore(checkpoint.load(options.output / BEST))
        known = best if split == "val" else None
        best, best_more, _ = _final_metrics(options, state, reported, more, known)
        state.iteration, state.seconds = iteration, seconds
    evaluation = {
        "split": split,
        "last": last,
        "best": best,
        "confusion": details["confusion"],
        "failures": worst,
    }
    if more:
        evaluation["protocols"] = {
            name: {"last": last_more[name], "best": best_more[name]} for name in more
        }
    result = record.make(options, state, source, durations, evaluation)
    if distributed.world()[0] == 0:
        record.write(options.output, result)
    return result


def _final_metrics(
    options: config.Train,
    state: State,
    source: Source,
    more: dict[str, config.Evaluation],
    found: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], dict[str, Any]]:
    """Metrics by the protocol of the training, and by other ones, both without ``DETAILS``; these.

    With ``found``, the metrics by the protocol of the training are known; there are no details.
    """
    details: dict[str, Any] = {}
    if not found:
        found = _metrics(options, state, source, options.evaluation)
        details = {name: found[name] for name in DETAILS}
    done = {options.evaluation: _brief(found)}
    for evaluation in more.values():
        if evaluation not in done:  # two names may mean the same protocol
            done[evaluation] = _brief(_metrics(options, state, source, evaluation))
    others = {name: done[each] for name, each in more.items()}
    return done[options.evaluation], others, details


def _write_panels(folder: Path, pictures: list[tuple[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    for name, picture in pictures:
        picture.save(folder / f"{_file_name(name)}.png")


def _write_failures(folder: Path, shown: list[failures.Failure]) -> list[dict[str, Any]]:
    """Writes the pictures; returns name, mIoU and file of each for the record."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):  # of a run that is now longer
        old.unlink()
    listed = []
    for number, (name, miou, picture) in enumerate(shown, 1):
        file = folder / f"{number:02}-{_file_name(name)}.png"
        picture.save(file)
        listed.append({"name": name, "miou": miou, "file": file.name})
    return listed


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
