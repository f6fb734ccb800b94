"""What an experiment needs: files that the user must provide, and hours on a GPU."""

from __future__ import annotations

from pathlib import Path

from tel_segmentation.paper import numbers, recipes
from tel_segmentation.paper.experiment import Experiment
from tel_segmentation.paper.experiments import shared
from tel_segmentation.paper.recipes import Recipe

COST = 0.3
"""Hours that a measurement of time and memory takes: a guess."""
PLACES = {
    "voc": ("voc2012", "VOCdevkit", "voc"),
    "cs": ("cityscapes",),
    "ade": ("ade20k", "ADEChallengeData2016"),
}
"""Names that a data set's folder may have in the data root; the first is the official code's."""
PRETRAINED = "pretrained"
"""Folder for files of weights, in the data root."""
_DATA = {
    "voc": "Pascal VOC 2012, SBD",
    "cs": "Cityscapes",
    "ade": "ADE20K (SceneParse150)",
}
_ANNOTATIONS = {
    "point": "the two JSON files of points",
    "scribble": "voc_scribbles.zip",
}


def files(experiment: Experiment) -> str:
    """The data, the annotations and the weights that an experiment needs, in words."""
    own = shared(experiment)
    weights = recipes.NETWORKS[own.network].weights
    if experiment.kind == "cost":
        return "a CUDA GPU"
    parts = [_DATA[own.dataset]]
    if own.annotation.startswith("block"):
        percent = own.annotation.removeprefix("block")
        parts.append(f"blocks of {percent} % (official, or tel annotate)")
    elif own.annotation in _ANNOTATIONS:
        parts.append(_ANNOTATIONS[own.annotation])
    if experiment.kind == "test":
        parts.append("the test images, and the VOC server for the number")
    if experiment.crf:
        parts.append("pydensecrf2")
    return "; ".join([*parts, weights])


def folder(dataset: str, root: Path) -> Path:
    """The data set's folder in the data root.

    Raises:
        ValueError: the folder does not exist; the message names the paths.
    """
    places = [root / name for name in PLACES[dataset]]
    for place in places:
        if place.is_dir():
            return place
    kind = recipes.SOURCES[dataset]
    raise ValueError(
        f"{_DATA[dataset]} must be in {' or '.join(map(str, places))}, got no such folder; tel"
        f" prepare {kind} makes it from the archives, and --data-root says where it is"
    )


def weights(name: str, given: str | None, root: Path) -> str:
    """The value for ``config.Model.weights``.

    Args:
        name: the name of the public file.
        given: a file, a folder with the public file, ``none`` or ``timm``; by default the folder
            ``pretrained`` of the data root.
        root: the data root.

    Raises:
        ValueError: the file does not exist; the message has its path.
    """
    if given in ("none", "timm"):
        return given
    file = Path(given) if given is not None else root / PRETRAINED
    if file.is_dir() or given is None:
        file = file / name
    if not file.is_file():
        raise ValueError(
            f"ImageNet weights must be in {file}, got no such file: put {name} there, or give"
            " --weights a file, a folder with that file, timm (downloads) or none"
        )
    return str(file)


def gpu_hours(experiment: Experiment, recipe: Recipe = "official") -> float:
    """Estimated hours of training on one V100, without evaluations.

    Pascal VOC: four times the hours of the paper's Tab. 5 (four GPUs), scaled from its batch of 16
    to the experiment's batch. Others: the hours of DeepLabV3+, scaled by the ratio of multiply–add
    operations, iterations · batch · ``GMACS``. The time of DenseCRF and of other terms is not
    known; they count as partial cross entropy. Each teacher counts as one more training. The
    teachers' forward passes in the training of the student are not counted.
    """
    if experiment.kind == "cost":
        return COST
    own = shared(experiment)
    chosen = recipes.setting(own.dataset, own.network, recipe)
    levels = {"low+high": "both", "low": "low", "none": "none", "high": "both"}
    trees = own.loss.get("method", "tel") in ("tel", "seminar_lite")
    level = levels[str(own.tel.get("level", "low+high"))] if trees else "none"
    hours = {n: numbers.PAPER[f"t5.{n}.{level}"] * recipes.GPUS for n in ("dlv3p", "ltf")}
    runs = 1 + len(own.loss.get("teachers", ()))
    work = runs * chosen.batch * chosen.iterations / (16 * 80_000)
    if own.dataset == "voc" and own.network in hours:
        return hours[own.network] * work
    ratio = GMACS[own.dataset, own.network] / GMACS["voc", "dlv3p"]
    return hours["dlv3p"] * work * ratio


GMACS = {
    ("voc", "dlv3p"): 98.4,
    ("voc", "ltf"): 347.5,
    ("voc", "dlv2"): 189.3,
    ("cs", "dlv3p"): 555.9,
    ("cs", "hrnet"): 322.8,
    ("ade", "dlv3p"): 278.5,
    ("ade", "hrnet"): 162.9,
}
"""Multiply–add operations of a forward pass on one crop, in 10⁹, counted by torch."""
