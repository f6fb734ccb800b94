"""``tel tune-sigma``: which σ suits a data set's photographs, judged by its labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from tyro.conf import Positional

from tel_segmentation.data.folder import Folder
from tel_segmentation.evaluation.tune_sigma import held_out, sigmas_of


@dataclass(frozen=True)
class TuneSigma:
    """Hold out labels of each image, predict them from its others along the tree, compare σ.

    Seconds, without any training. Two tables: one σ for all images, and a σ for each image by its
    mass, the share of the image that the median pixel averages over. The marked line of each is
    the smallest σ whose accuracy is within a standard error of the best: larger ones carry labels
    farther without being right more often.
    """

    data: Positional[Path]
    """The data set's TOML file."""
    annotation: str = "point"
    """The sparse labels, as --data.annotation."""
    split: str = "train"
    size: tuple[int, int] = (180, 240)
    """Height and width at which photographs are looked at; σ is for this size, as in training.
    They keep their aspect ratio, and portraits are looked at upright, as the preset photos does."""
    sigmas: tuple[float, ...] = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
    """Widths that are the same for all images."""
    masses: tuple[float, ...] = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
    """Masses, from each of which every image gets a width of its own."""
    images: int = 50
    """At most so many images, spread over the split."""


def run(options: TuneSigma) -> None:
    """The command ``tel tune-sigma``.

    Raises:
        ValueError: an option or the data set is invalid, or no image has two objects.
    """
    for name in ("sigmas", "masses"):
        values = getattr(options, name)
        if not values or not all(value > 0 for value in values) or list(values) != sorted(values):
            raise ValueError(f"{name} must be above 0 and ascend, got {values}")
    if options.images < 1:
        raise ValueError(f"images must be at least 1, got {options.images}")
    source = Folder(
        options.data.expanduser(), options.split, options.annotation, options.size, keep_aspect=True
    )
    chosen = range(0, len(source), -(-len(source) // options.images) or 1)
    fixed, by_mass = Sums(len(options.sigmas)), Sums(len(options.masses))
    widths = []
    for index in tqdm(chosen, unit="img", desc="tune-sigma", disable=None):
        sample = source[index]
        own = sigmas_of(sample.image, options.masses)
        widths.append(own)
        for sums, sigmas in ((fixed, torch.tensor(options.sigmas)), (by_mass, own)):
            sums.add(*held_out(sample.image, sample.label, sigmas, len(source.classes)))
    if not fixed.objects:
        raise ValueError(
            f"{options.data}: an image must have two or more labelled objects, got none among"
            f" {len(chosen)} images of {options.split} ({options.annotation})"
        )
    print(f"{fixed.objects} objects of {len(chosen)} images, each predicted from the others")
    print(table("sigma", [f"{sigma:g}" for sigma in options.sigmas], fixed))
    middle = torch.stack(widths).median(0).values.tolist()
    names = [f"{m:g} (sigma {s:.2g})" for m, s in zip(options.masses, middle, strict=True)]
    print(table("mass (median)", names, by_mass))
    mass, sigma = options.masses[by_mass.chosen], options.sigmas[fixed.chosen]
    print(f"A sigma for each image: --loss.tel.sigma auto --loss.tel.mass {mass:g}")
    print(f"One for all images: --loss.tel.sigma {sigma:g}")


class Sums:
    """Means over the objects of all images."""

    def __init__(self, count: int) -> None:
        self._likelihood = torch.zeros(count, dtype=torch.double)
        self._accuracy = torch.zeros(count, dtype=torch.double)
        self.objects = 0

    def add(self, likelihood: Tensor, accuracy: Tensor, objects: int) -> None:
        """Adds an image's means."""
        self._likelihood += objects * likelihood
        self._accuracy += objects * accuracy
        self.objects += objects

    @property
    def likelihood(self) -> Tensor:
        """(S,) mean logarithm of the right class's probability."""
        return self._likelihood / self.objects

    @property
    def accuracy(self) -> Tensor:
        """(S,) share of right pixels."""
        return self._accuracy / self.objects

    @property
    def chosen(self) -> int:
        """The first whose accuracy is within a standard error of the best (Breiman et al. 1984).

        Not the one of the largest likelihood: that judges how sure the votes are, and is led by
        objects that no other object of the image can tell anything about.
        """
        best = float(self.accuracy.max())
        error = math.sqrt(best * (1 - best) / self.objects)
        return int((self.accuracy >= best - error).nonzero()[0])


def table(head: str, names: list[str], sums: Sums) -> str:
    """A line for each σ; that of the chosen one has a star."""
    width = max(len(head), *map(len, names))
    lines = [f"\n{head:<{width}}  log-likelihood  accuracy"]
    for number, name in enumerate(names):
        values = f"{sums.likelihood[number]:>14.3f}  {100 * sums.accuracy[number]:>7.1f}%"
        lines.append(f"{name:<{width}}  {values}{' *' * (number == sums.chosen)}")
    return "\n".join(lines)
