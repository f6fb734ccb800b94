"""The runs of this package's measured results, and the command ``tel measure`` that makes them.

    tel measure scenes --output runs/scenes
    tel measure photos --source camvid.toml --output runs/camvid
    tel measure street --source camvid.toml --output runs/camvid
    tel measure mass --source camvid.toml --output runs/camvid

The command skips finished runs and resumes unfinished ones, so it can be stopped at any time.
Several of these commands, each with its ``--part``, can work on the same folder. All methods of an
experiment have the same data and number of iterations and, for the same seed, the same initial
weights, annotations and order of samples. So their results can be compared seed by seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import tyro
from tqdm import tqdm

from tel_segmentation import config, presets
from tel_segmentation.config import Loss, TreeEnergy
from tel_segmentation.losses import methods
from tel_segmentation.runtime.run_folder import RESULT
from tel_segmentation.training.engine import train
from tel_segmentation.training.record import default_experiment
from tel_segmentation.training.same_run import has_begun


class Planned(NamedTuple):
    """A run of the plan."""

    options: config.Train
    experiment: str
    method: str


LOW = Loss(tel=TreeEnergy(level="low"))
TEL = [LOW, Loss(tel=TreeEnergy(level="high")), Loss()]
COMPARED = [
    Loss(method="partial"),
    Loss(method="naive"),
    Loss(method="gated_crf"),
    Loss(method="dense_crf"),
    *TEL,
]
FULL = Loss(method="full")
SHUFFLED = Loss(tel=TreeEnergy(level="low", shuffle_guide=True))
SIGMAS = (0.002, 0.005, 0.05, 0.1)
WEIGHTS = (0.1, 0.2, 0.8)
MAY_DIFFER = ("output", "threads", "experiment", "method")
"""Settings that may change when an unfinished run is resumed."""
NAMES = {"/": " ", "+": " ", "σ": "sigma", "λ": "lambda", "=": "", "%": ""}
"""How signs in a method's title are written in the name of a folder."""
WARMUP = 0.2  # the head starts at random: its first predictions are no useful pseudo labels


def scenes(seeds: int) -> Iterator[Planned]:
    """Generated scenes: the table, the adverse preset, the control, the sweeps."""
    base = presets.PRESETS["scenes"][1]
    for annotation in ("point", "scribble", "block20"):
        for seed in range(seeds):
            for loss in COMPARED:
                yield _plan(base, loss, annotation, seed)
            if annotation == "point":
                yield _plan(base, FULL, "dense", seed)
    adverse = replace(base, data=replace(base.data, source="scenes:adverse"))
    for seed in range(seeds):
        for loss in (COMPARED[0], LOW, Loss()):
            yield _plan(adverse, loss, "point", seed)
        yield _plan(adverse, FULL, "dense", seed)
    for seed in range(seeds):
        yield _plan(base, SHUFFLED, "point", seed, part="/control")
    for seed in range(seeds):
        for sigma in SIGMAS:
            loss = Loss(tel=TreeEnergy(level="low", sigma=sigma))
            yield _plan(base, loss, "point", seed, f"TEL low σ={sigma:g}", "/sweeps")
        for weight in WEIGHTS:
            loss = replace(LOW, weight=weight)
            yield _plan(base, loss, "point", seed, f"TEL low λ={weight:g}", "/sweeps")


def photos(seeds: int, source: Path) -> Iterator[Planned]:
    """A data set of photographs, with annotations made by ``tel annotate`` beside its TOML file."""
    base = replace(_photographs(source), amp="bf16")
    partial, both = COMPARED[0], base.loss
    low = replace(both, tel=replace(both.tel, level="low"))
    by_mass = replace(low, tel=replace(low.tel, sigma="auto"))
    crfs = [loss for loss in COMPARED if loss.method in ("dense_crf", "gated_crf")]
    for seed in range(seeds):
        for loss in (partial, low):
            yield _plan(base, loss, "point", seed)
        yield _plan(base, FULL, "dense", seed)
        yield _plan(base, both, "point", seed)
        for loss in (partial, low, both):
            yield _plan(base, loss, "block20", seed)
        for annotation in ("point", "block20"):
            for loss in (low, both):
                later, title = replace(loss, warmup=WARMUP), methods.title(loss)
                yield _plan(base, later, annotation, seed, f"{title} from {WARMUP:.0%}")
            yield _plan(base, replace(by_mass, warmup=WARMUP), annotation, seed)
        for loss in (partial, low):
            yield _plan(base, loss, "block20-image", seed)
        for annotation in ("point", "block20"):
            for loss in crfs:
                yield _plan(base, loss, annotation, seed)
        for loss in (partial, low, by_mass, both):
            yield _plan(base, loss, "scribble", seed)
        yield _plan(base, replace(low, weight=1.0), "point", seed, "TEL low λ=1", "/sweeps")
        wide = f"TEL low σ={LOW.tel.sigma}"
        yield _plan(base, LOW, "point", seed, wide, "/sweeps")
        later = replace(LOW, warmup=WARMUP)
        yield _plan(base, later, "point", seed, f"{wide} from {WARMUP:.0%}", "/sweeps")


def street(seeds: int, source: Path) -> Iterator[Planned]:
    """Street photographs instead of Cityscapes (Tab. 2): blocks of 10, 20 and 50 %.

    Aspect ratio and augmentation are those for Cityscapes, crops about a quarter as high and wide.
    The optimizer is AdamW, since there are fewer iterations.
    """
    base = _photographs(source)
    data = replace(base.data, crop=(120, 240), scale=(0.5, 2.0), aspect=(0.9, 1.1))
    base = replace(base, data=data, amp="bf16", iterations=200, eval_every=200)
    compared = (
        Loss(method="partial"),
        Loss(method="dense_crf", warmup=WARMUP),
        replace(base.loss, warmup=WARMUP),
    )
    for seed in range(seeds):
        yield _plan(base, FULL, "dense", seed, part="/street")
        for annotation in ("block10", "block20", "block50"):
            for loss in compared:
                title = methods.title(replace(loss, warmup=0.0))
                yield _plan(base, loss, annotation, seed, title, part="/street")


def mass(seeds: int, source: Path) -> Iterator[Planned]:
    """A σ for each image by its mass beside one σ for all, in short trainings in float32.

    An eighth of the images of ``photos``, so that a processor without bfloat16 can make these runs.
    """
    base = replace(_photographs(source), batch=4, iterations=120, eval_every=120)
    low = replace(base.loss, tel=replace(base.loss.tel, level="low"))
    by_mass = replace(low, tel=replace(low.tel, sigma="auto"))
    for seed in range(seeds):
        for annotation in ("point", "block20", "scribble"):
            for loss in (low, by_mass, COMPARED[0]):
                warmup = 0.0 if annotation == "scribble" else WARMUP
                yield _plan(base, replace(loss, warmup=warmup), annotation, seed, inside="mass")


def _photographs(source: Path) -> config.Train:
    """The preset for photographs with the σ of the published runs: the paper's for streets."""
    base = presets.PRESETS["photos"][1]
    tel = replace(base.loss.tel, sigma=0.002)
    return replace(
        base, data=replace(base.data, source=str(source)), loss=replace(base.loss, tel=tel)
    )


def _plan(
    base: config.Train,
    loss: Loss,
    annotation: str,
    seed: int,
    method: str | None = None,
    part: str = "",
    inside: str = "",
) -> Planned:
    """A run of the experiment DATA[/inside]/ANNOTATION[part]."""
    options = replace(
        base,
        # Images and labels are resized as in the published runs, which new ones are compared with.
        loss=replace(loss, tel=replace(loss.tel, roi="nearest")),
        seed=seed,
        data=replace(base.data, annotation=annotation, labels="nearest", keep_aspect=False),
        tensorboard=False,
    )
    title = method or methods.title(loss)
    data, _, rest = default_experiment(options).rpartition("/")
    experiment = f"{data}/{inside}/{rest}{part}" if inside else f"{data}/{rest}{part}"
    words = f"{experiment} {title} s{seed}"
    for sign, name in NAMES.items():
        words = words.replace(sign, name)
    return Planned(replace(options, output=Path("-".join(words.split()))), experiment, title)


@dataclass(frozen=True)
class Measure:
    """Make the runs of the published results."""

    what: tyro.conf.Positional[Literal["scenes", "photos", "street", "mass"]]
    output: Path = Path("runs")
    """The folder of the runs."""
    source: Path = Path("camvid.toml")
    """The data set's TOML file (photos, street, mass)."""
    seeds: int = 3
    threads: int = 1
    """CPU threads of each run."""
    part: tuple[int, int] = (0, 1)
    """``I N``: every N-th run, starting with run I; the first is 0."""
    only: str = ""
    """Only the runs whose name contains this text."""


def run(options: Measure) -> int:
    """Makes the runs that are not finished."""
    plans = {
        "scenes": lambda: scenes(options.seeds),
        "photos": lambda: photos(options.seeds, options.source),
        "street": lambda: street(options.seeds, options.source),
        "mass": lambda: mass(options.seeds, options.source),
    }
    plan = list(plans[options.what]())
    first, step = options.part
    chosen = [p for p in plan if options.only in str(p.options.output)][first::step]
    for planned in tqdm(chosen, desc="runs"):
        folder = options.output / planned.options.output
        if (folder / RESULT).exists():
            continue
        wanted = dataclasses.replace(
            planned.options,
            output=folder,
            threads=options.threads,
            experiment=planned.experiment,
            method=planned.method,
        )
        train(wanted, resume=has_begun(wanted, MAY_DIFFER))
    return 0
