"""The table of methods: what each adds to (partial) cross entropy, and with which weight."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from tel_segmentation import config
from tel_segmentation.cross_entropy import NaiveSelfTraining
from tel_segmentation.tree_energy import TreeEnergyLoss

TERMS: dict[str, tuple[str, Callable[[config.Loss], nn.Module] | None, float]] = {
    # method: (name in tables, its term, its weight by default)
    "partial": ("partial CE", None, 0.0),
    "full": ("full supervision", None, 0.0),
    "naive": ("naive self-training", lambda o: NaiveSelfTraining(o.threshold), 0.4),
    "tel": ("TEL", lambda o: TreeEnergyLoss(o.tel), 0.4),
}


def term(options: config.Loss) -> tuple[nn.Module | None, float]:
    """A method's term and its weight λ."""
    _, make, weight = TERMS[options.method]
    return (make(options) if make else None), weight if options.weight is None else options.weight


def title(options: config.Loss) -> str:
    """The method's name in tables."""
    name = TERMS[options.method][0]
    if options.method != "tel":
        return name
    tel = options.tel
    parts = [name, tel.level]
    if tel.level == "low+high" and tel.aggregation != "LH-C":
        parts.append(tel.aggregation)
    if tel.delta != "l1":
        parts.append(tel.delta)
    if tel.shuffle_guide:
        parts.append("shuffled guide")
    return " ".join(parts)
