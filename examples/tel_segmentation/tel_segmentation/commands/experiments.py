"""The command ``tel experiments``: lists the paper's experiments, which ``tel run`` runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tel_segmentation.paper.experiment import Experiment
from tel_segmentation.paper.experiments import find, matching, resolve
from tel_segmentation.paper.listing import listing
from tel_segmentation.paper.needs import files, gpu_hours
from tel_segmentation.paper.recipes import Recipe
from tel_segmentation.runtime.checkpoint import write_text


@dataclass(frozen=True)
class Experiments:
    """List the paper's experiments: their numbers, what they need, how long they take."""

    ids: Positional[tuple[str, ...]] = ()
    """Beginnings of ids, or patterns: t1, t3e, '*.ltf.*'. By default all are listed. If only one
    experiment matches, everything about it is shown."""
    recipe: Recipe = "official"
    """The recipe whose hours and settings are shown."""
    markdown: Path | None = None
    """Write the page of all experiments, recipes and methods as Markdown."""


def run(options: Experiments) -> int:
    """Prints a line for each experiment, or everything about a single one.

    Raises:
        ValueError: no experiment matches.
    """
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.markdown, listing())
        print(f"written: {options.markdown}")
        return 0
    chosen = matching(options.ids)
    if not chosen:
        find(options.ids[0])
    if len(chosen) == 1:
        print(described(chosen[0], options.recipe))
        return 0
    width = max(len(each.id) for each in chosen)
    print(f"{'id':<{width}}  paper  README  V100 h  needs")
    for each in chosen:
        numbers = (f"{'' if value is None else value:>6}" for value in (each.paper, each.readme))
        hours = f"= {each.run}" if each.shares else f"{gpu_hours(each, options.recipe):6.0f}"
        rest = hours if each.shares else f"{hours}  {files(each)}"
        print(f"{each.id:<{width}} {next(numbers)}  {next(numbers)}  {rest}")
    return 0


def described(experiment: Experiment, recipe: Recipe) -> str:
    """Everything about one experiment, including the settings of its run."""
    settings = resolve(experiment, recipe)
    data, optimizer, loss = settings.data, settings.optimizer, settings.loss
    lines = {
        "what": f"{experiment.table}: {experiment.title}",
        "paper": experiment.paper,
        "README": experiment.readme,
        "run": f"tel run {experiment.id}",
        "shares": f"the run of {experiment.shares}" if experiment.shares else "",
        "needs": files(experiment),
        "V100 hours": f"{gpu_hours(experiment, recipe):.1f} (estimated, training alone)",
        "note": experiment.note,
        "recipe": recipe,
        "data": f"{data.source}, {data.annotation}, crop {data.crop[1]} × {data.crop[0]}, scale"
        f" {data.scale}, aspect {data.aspect}, shorter side {data.short_side or 'as it is'}",
        "model": f"{settings.model.network} on {settings.model.name}, output stride"
        f" {settings.model.output_stride}, rates {settings.model.rates or 'default'},"
        f" {'BGR' if settings.model.bgr else 'RGB'}",
        "loss": f"{settings.method}, weight {loss.weight}, σ {loss.tel.sigma}",
        "optimizer": f"{optimizer.name}, lr {optimizer.lr:g} (head × {optimizer.head_lr_factor:g}),"
        f" weight decay {optimizer.weight_decay:g}, momentum {optimizer.momentum:g}",
        "batch": f"{settings.batch} in all, {settings.iterations:,} iterations, {settings.amp}",
    }
    width = max(map(len, lines))
    text = [f"{name:<{width}}  {value}" for name, value in lines.items() if value not in (None, "")]
    return "\n".join([experiment.id, *text])
