"""The table of methods: what each adds to (partial) cross entropy, and with which weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from tel_segmentation import config
from tel_segmentation.losses.cross_entropy import NaiveSelfTraining
from tel_segmentation.losses.dense_crf import DenseCRFLoss, KernelCutLoss, NormCutLoss
from tel_segmentation.losses.gated_crf import GatedCRFLoss
from tel_segmentation.losses.grid_crf import GridCRFLoss
from tel_segmentation.losses.mean_teacher import SeminarLite
from tel_segmentation.losses.pseudo_labels import BilateralLoss, NonLocalLoss
from tel_segmentation.losses.teacher_ensemble import TaughtTreeEnergy
from tel_segmentation.losses.tree_energy import TreeEnergyLoss


class Method(NamedTuple):
    """A row of the table."""

    title: str  # the name in reports
    term: Callable[[config.Loss], nn.Module] | None  # None: cross entropy alone
    weight: float = 0.0  # of the term, unless the configuration has one


METHODS: dict[str, Method] = {
    "partial": Method("partial CE", None),
    "full": Method("full supervision", None),
    "naive": Method("naive self-training", lambda o: NaiveSelfTraining(o.threshold), 0.4),
    "tel": Method("TEL", lambda o: TreeEnergyLoss(o.tel), TreeEnergyLoss.default_weight),
    "bilateral": Method(
        "bilateral filter", lambda o: BilateralLoss(o.kernel), BilateralLoss.default_weight
    ),
    "non_local": Method("non-local", lambda _: NonLocalLoss(), NonLocalLoss.default_weight),
    "gated_crf": Method("Gated CRF", lambda o: GatedCRFLoss(o.kernel), GatedCRFLoss.default_weight),
    "dense_crf": Method(
        "DenseCRF loss", lambda o: DenseCRFLoss(o.kernel), DenseCRFLoss.default_weight
    ),
    "norm_cut": Method("NormCut", lambda o: NormCutLoss(o.kernel), NormCutLoss.default_weight),
    "kernel_cut": Method(
        "KernelCut", lambda o: KernelCutLoss(o.kernel), KernelCutLoss.default_weight
    ),
    "grid_crf": Method("GridCRF", lambda o: GridCRFLoss(o.kernel), GridCRFLoss.default_weight),
    "seminar_lite": Method(
        "TEL with a mean teacher",
        lambda o: (
            TaughtTreeEnergy(o.tel, o.threshold)
            if o.teachers
            else SeminarLite(o.tel, o.teacher_ramp)
        ),
        1.0,
    ),
}

TAUGHT = "TEL with an ensemble of teachers"  # the second stage of seminar_lite


def term(options: config.Loss) -> tuple[nn.Module | None, float]:
    """A method's term and its weight λ."""
    method = METHODS[options.method]
    weight = method.weight if options.weight is None else options.weight
    return (method.term(options) if method.term else None), weight


def title(options: config.Loss) -> str:
    """The method's name in tables."""
    name = TAUGHT if options.teachers else METHODS[options.method].title
    if METHODS[options.method].term is None:
        return name
    warmup = [f"from {options.warmup:.0%}"] if options.warmup else []
    if options.method != "tel":
        return " ".join([name, *warmup])
    tel = options.tel
    changes = {
        f"mass={tel.mass:g}": tel.sigma == "auto" and "low" in tel.level,
        tel.aggregation: tel.level == "low+high" and tel.aggregation != "LH-C",
        tel.delta: tel.delta != "l1",
        "shuffled guide": tel.shuffle_guide,
    }
    return " ".join([name, tel.level, *(text for text, said in changes.items() if said), *warmup])
