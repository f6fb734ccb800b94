"""The page of all experiments, recipes and methods, as Markdown: ``results/experiments.md``."""

from __future__ import annotations

import dataclasses
from typing import Any

from tel_segmentation import config
from tel_segmentation.networks.deeplab import default_rates
from tel_segmentation.networks.deeplab_v2 import RATES
from tel_segmentation.paper import recipes
from tel_segmentation.paper.experiment import DATASET_TITLES, NETWORK_TITLES, Experiment
from tel_segmentation.paper.methods import METHODS
from tel_segmentation.paper.needs import files, gpu_hours
from tel_segmentation.paper.tables import BLANK, TITLES, Table, markdown_table, of_table


def listing() -> str:
    """The page of experiments, recipes and methods, as Markdown."""
    parts = [INTRODUCTION]
    for name, title in TITLES.items():
        rows = [["id", "what", "network", "data", "paper", "README", "run", "V100 hours", "needs"]]
        for each in of_table(name):
            hours = BLANK if each.shares else f"{gpu_hours(each):.0f}"
            rows.append([
                f"`{each.id}`", each.title + (f" ({each.note})" if each.note else ""),
                NETWORK_TITLES[each.network],
                f"{DATASET_TITLES[each.dataset]}, {each.annotation}",
                *(_number(value, each) for value in (each.paper, each.readme)),
                f"`{each.run}`" if each.shares else "own", hours, files(each),
            ])  # fmt: skip
        parts += [f"## {title}", markdown_table(rows)]
    parts += ["## Recipes", RECIPES, markdown_table(recipe_table()), "## Methods", METHODS_TEXT]
    rows = [["method", "here", "experiment or option", "why, how"]]
    rows += [[x.name, x.state, f"`{x.id}`" if x.id else "", x.why] for x in METHODS]
    parts.append(markdown_table(rows))
    return "\n\n".join(parts) + "\n"


def _number(value: float | None, experiment: Experiment) -> str:
    if value is None:
        return BLANK
    return f"{value:g}" if experiment.kind == "cost" else f"{value:.1f}"


INTRODUCTION = """# The paper's experiments

`tel experiments --markdown` writes this page. The results in it are the paper's; this package
measured none of them. `tel run ID` runs an experiment, and `tel report RUNS --paper` shows its
result beside the paper's.

If the column "run" names another id, both experiments have the same run, which is trained once.
`cost.…` measures time and memory of all three levels, interleaved; each id that names it starts the
same measurement. Hours are estimates for the training alone, on one V100. For Pascal VOC they are
four times the hours of the paper's Table 5 (which used four GPUs), scaled from its batch of 16 to
the experiment's batch. For the other data sets, they are the hours of DeepLabV3+, scaled by the
ratio of multiply–add operations. mIoU is in percent, memory in GB, time in hours."""

RECIPES = """`official`: the settings of the official code's scripts, which gave the numbers of
its README. `paper`: the settings of the paper's text where they differ from the code, and common
practice where the code differs from it and the text says nothing. Both have: SGD with momentum 0.9,
learning rate lr · (1 − t / T)^0.9 in every iteration, no warm-up, no clipping; fp16 in the network,
float32 in the losses, synchronised batch statistics; flip with probability 0.5, scale 0.5 to 2,
brightness ± 10 grey levels for the network's input only; images padded with 0 and labels with −2,
the image at a random position; seed 304. The batch is the total over all processes. `tel run`
divides it among them, and accumulates gradients if there are few."""

METHODS_TEXT = "For every method in the paper's tables: whether this package has it, and how."


def recipe_table() -> Table:
    """Both recipes of every data set and network, from the resolved configurations."""
    head = ["", *(f"{d} {NETWORK_TITLES[n]}, {r}" for d, n, r in _recipes())]
    columns = [_settings(recipes.resolve(d, n, r)) for d, n, r in _recipes()]
    return [head, *([name, *(column[name] for column in columns)] for name in columns[0])]


def _recipes() -> list[tuple[str, str, recipes.Recipe]]:
    both: tuple[recipes.Recipe, ...] = ("official", "paper")
    return [(d, n, recipe) for d, n in recipes.OFFICIAL for recipe in both]


def _rates(model: config.Model) -> str:
    if model.network == "deeplabv3+":
        return ", ".join(map(str, model.rates or default_rates(model.output_stride)))
    return f"{', '.join(map(str, RATES))}, summed" if model.network == "deeplabv2" else "no ASPP"


def _settings(options: Any) -> dict[str, str]:
    data, model, optimizer = options.data, options.model, options.optimizer
    evaluation = dataclasses.asdict(options.evaluation)
    size = f" {evaluation['size'][1]} × {evaluation['size'][0]}" if evaluation["size"] else ""
    return {
        "crop": f"{data.crop[1]} × {data.crop[0]}",
        "aspect": f"{data.aspect[0]} to {data.aspect[1]}",
        "shorter side first": str(data.short_side or "as it is"),
        "batch": str(options.batch),
        "iterations": f"{options.iterations:,}",
        "lr, backbone": f"{optimizer.lr:g}",
        "lr, rest": f"{optimizer.lr * optimizer.head_lr_factor:g}",
        "weight decay": f"{optimizer.weight_decay:g}",
        "λ": f"{options.loss.weight:g}",
        "σ": f"{options.loss.tel.sigma}",
        "added to the trees' weights": f"{options.loss.tel.mst_offset:g}",
        "output stride": "4" if model.network == "hrnet" else str(model.output_stride),
        "ASPP rates": _rates(model),
        "colours": "BGR" if model.bgr else "RGB",
        "weights": model.weights,
        "evaluation in training": evaluation["protocol"] + size,
        "every": str(options.eval_every),
    }
