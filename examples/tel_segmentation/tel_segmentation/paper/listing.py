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

Made by `tel experiments --markdown`; nothing here is typed or measured by this package. Every id is
run by `tel run ID`, and `tel report RUNS --paper` puts the results beside these numbers.

An experiment whose run is another's is the same training by definition: nothing is trained twice.
`cost.…` is time and memory of all three levels by turns, which any of the ids beside it measures.
Hours are of one V100 and of training alone, estimated: on Pascal VOC four times the hours of the
paper's Table 5 times the batch over its 16; else those of DeepLabV3+ times the ratio of
multiply–add operations. mIoU in percent; memory in GB, time in hours."""

RECIPES = """`official`: the scripts of the official code, from whose runs the README's numbers are.
`paper`: the text where it says otherwise, and common practice where the code departs from it
without the text. In both: SGD, momentum 0.9, lr · (1 − t / T)^0.9 every iteration, no warm-up,
no clipping, fp16 around the network and float32 losses, synchronised batch statistics, flip with
probability 0.5, scale 0.5 to 2, brightness ± 10 grey levels of the network's input only, images
padded with 0 and labels with −2 at a random place, seed 304. The batch is the total over all
processes; `tel run` divides it, and accumulates gradients where processes are few."""

METHODS_TEXT = "Of every method that the paper's tables name, what is here."


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
        "σ": f"{options.loss.tel.sigma:g}",
        "added to the trees' weights": f"{options.loss.tel.mst_offset:g}",
        "output stride": "4" if model.network == "hrnet" else str(model.output_stride),
        "ASPP rates": _rates(model),
        "colours": "BGR" if model.bgr else "RGB",
        "weights": model.weights,
        "evaluation in training": evaluation["protocol"] + size,
        "every": str(options.eval_every),
    }
