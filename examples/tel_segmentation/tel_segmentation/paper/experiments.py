"""The paper's tables and figures as experiments with ids and configurations.

Several numbers come from the same run: δ = L1, both levels, λ = 0.4 and σ = 0.02 are all the
scribble row of Tab. 1. Such an experiment names the run that it shares, so that nothing is trained
twice.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from tel_segmentation import config
from tel_segmentation.losses import methods
from tel_segmentation.paper import recipes, stages
from tel_segmentation.paper.experiment import NETWORK_TITLES, Experiment
from tel_segmentation.paper.recipes import Recipe

FULL = {"method": "full"}
PARTIAL = {"method": "partial"}
DENSE_CRF = {"method": "dense_crf"}
SEMINAR = (
    "inspired by: the Seminar code is private; two runs with a mean teacher beside TEL, then one"
    " that learns from both"
)
BASELINE, TEL = "t1.scribble.dlv3p.baseline", "t1.scribble.dlv3p.tel"


@lru_cache(maxsize=1)
def experiments() -> dict[str, Experiment]:
    """All experiments by id, in the paper's order."""
    parts = (_table1(), _table2(), _table3(), _table4_and_5(), _table6(), _table7(), _figures())
    return {each.id: each for part in parts for each in part}


def find(id: str) -> Experiment:
    """The experiment with an id.

    Raises:
        ValueError: there is none; the message lists similar ids.
    """
    known = experiments()
    if id not in known:
        start = id.split(".")[0].lower()
        near = [name for name in known if name.startswith(start)] or sorted(
            {name.split(".")[0] for name in known}
        )
        raise ValueError(
            f"id must be one of the paper's experiments (tel experiments), got {id!r}; similar ids:"
            f" {', '.join(near[:12])}"
        )
    return known[id]


def matching(patterns: tuple[str, ...]) -> list[Experiment]:
    """Experiments whose ids match any pattern (``t3*``, ``*.ltf.*``); without patterns, all.

    A pattern that is an id matches only this id, even if another id begins with it.
    """
    known = experiments()

    def matches(id: str, pattern: str) -> bool:
        if pattern in known:
            return id == pattern
        return fnmatch.fnmatch(id, pattern) or id.startswith(pattern)

    return [
        each
        for each in known.values()
        if not patterns or any(matches(each.id, pattern) for pattern in patterns)
    ]


def resolve(experiment: Experiment, recipe: Recipe = "official") -> config.Train:
    """The configuration of an experiment's run; its batch is the total over all processes.

    Raises:
        ValueError: there is no such recipe.
    """
    own = shared(experiment)
    base = recipes.resolve(own.dataset, own.network, recipe)
    is_tel = own.loss.get("method", "tel") == "tel"
    tree = replace(base.loss.tel, **own.tel)
    # The recipe's λ is for TEL; other methods have their own weight.
    fields = {"weight": base.loss.weight if is_tel else None, **own.loss, "tel": tree}
    loss = replace(base.loss, **fields)
    annotation = "dense" if own.annotation == "full" else own.annotation
    place = f"{recipes.SOURCES[own.dataset]}/{annotation}/{NETWORK_TITLES[own.network]}"
    return replace(
        base,
        data=replace(base.data, annotation=annotation),
        loss=loss,
        experiment=place if recipe == "official" else f"{place}/paper's recipe",
        method=method_title(loss, base.loss),
        paper_id=own.id,
        pictures=8,
    )


def shared(experiment: Experiment) -> Experiment:
    """The experiment whose run this one uses: in most cases itself."""
    return experiments().get(experiment.shares, experiment)


def method_title(loss: config.Loss, base: config.Loss) -> str:
    """The method's name in reports, which is different for runs with different settings."""
    title = methods.title(loss)
    if loss.method == "naive":
        return f"{title} τ={loss.threshold:g}"
    if loss.method == "tel":
        if loss.weight != base.weight:
            title += f" λ={loss.weight:g}"
        if loss.tel.sigma not in (base.tel.sigma, "auto"):
            title += f" σ={loss.tel.sigma:g}"
    return title


def _table1() -> Iterator[Experiment]:
    for annotation in ("point", "scribble"):
        start = f"t1.{annotation}"
        yield Experiment(
            f"{start}.dlv3p.baseline", "partial CE", "voc", annotation, "dlv3p", PARTIAL
        )
        yield Experiment(f"{start}.dlv3p.tel", "TEL", "voc", annotation, "dlv3p")
        yield Experiment(f"{start}.ltf.tel", "TEL", "voc", annotation, "ltf")
        if annotation == "point":
            yield Experiment(
                f"{start}.dlv3p.tel_seminar",
                "TEL with Seminar",
                "voc",
                annotation,
                "dlv3p",
                {**stages.FIRST_STAGE, "teachers": stages.TEACHERS},
                note=SEMINAR,
            )
    for network in ("dlv3p", "ltf"):
        yield Experiment(f"t1.full.{network}", "full supervision", "voc", "full", network, FULL)


def _table2() -> Iterator[Experiment]:
    for dataset in ("cs", "ade"):
        for network in ("hrnet", "dlv3p"):
            start = f"t2.{dataset}.{network}"
            for percent in (10, 20, 50):
                for method, title, loss in (
                    ("baseline", "partial CE", PARTIAL),
                    ("densecrf", "DenseCRF loss", DENSE_CRF),
                    ("tel", "TEL", {}),
                ):
                    yield Experiment(
                        f"{start}.b{percent}.{method}",
                        title,
                        dataset,
                        f"block{percent}",
                        network,
                        loss,
                    )
            yield Experiment(
                f"{start}.b100.baseline", "full supervision", dataset, "full", network, FULL
            )


def _scribble(
    id: str,
    title: str,
    loss: Mapping[str, Any] | None = None,
    tel: Mapping[str, Any] | None = None,
    shares: str = "",
) -> Experiment:
    return Experiment(id, title, "voc", "scribble", "dlv3p", loss or {}, tel or {}, shares)


def _table3() -> Iterator[Experiment]:
    for delta, title in (("ce", "cross entropy"), ("dot", "dot product"), ("l2", "L2")):
        yield _scribble(f"t3a.{delta}", f"δ: {title}", tel={"delta": delta})
    yield _scribble("t3a.l1", "δ: L1", shares=TEL)
    yield _scribble("t3b.none", "no level", PARTIAL, shares=BASELINE)
    yield _scribble("t3b.low", "low", tel={"level": "low"})
    yield _scribble("t3b.high", "high", tel={"level": "high"})
    yield _scribble("t3b.both", "low and high", shares=TEL)
    yield _scribble("t3c.low.bf", "low: bilateral filter", {"method": "bilateral"})
    yield _scribble("t3c.low.mst", "low: tree", tel={"level": "low"}, shares="t3b.low")
    yield _scribble("t3c.high.nl", "high: non-local", {"method": "non_local"})
    yield _scribble("t3c.high.mst", "high: tree", tel={"level": "high"}, shares="t3b.high")
    yield replace(
        _scribble("t3d.lhp", "LH-P", tel={"aggregation": "LH-P"}),
        note="the mean of the two losses; the paper does not say whether mean or sum",
    )
    yield _scribble("t3d.hlc", "HL-C", tel={"aggregation": "HL-C"})
    yield _scribble("t3d.lhc", "LH-C", shares=TEL)
    for weight in (0.1, 0.2, 0.3, 0.4, 0.5):
        yield _scribble(
            f"t3e.lambda.{weight}",
            f"λ = {weight}",
            {"weight": weight},
            shares=TEL if weight == 0.4 else "",
        )
    for sigma in (0.01, 0.02, 0.03, 0.04, 0.05):
        yield _scribble(
            f"t3f.sigma.{sigma}",
            f"σ = {sigma}",
            tel={"sigma": sigma},
            shares=TEL if sigma == 0.02 else "",
        )


def _table4_and_5() -> Iterator[Experiment]:
    for table, what in (("t4", "memory"), ("t5", "time")):
        for network in ("dlv3p", "ltf"):
            for level, tel in (("none", "no trees"), ("low", "low"), ("both", "low and high")):
                yield Experiment(
                    f"{table}.{network}.{level}",
                    f"{what}, {tel}",
                    "voc",
                    "scribble",
                    network,
                    shares=f"cost.{network}",
                    kind="cost",
                    note="only the ratios can be compared",
                )


def _table6() -> Iterator[Experiment]:
    for tau in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0):
        yield _scribble(
            f"t6.tau.{tau}",
            f"τ = {tau}",
            {"method": "naive", "threshold": tau},
            # with τ = 1 no pixel is confident enough
            shares=BASELINE if tau == 1 else "",
        )


def _table7() -> Iterator[Experiment]:
    note = "own choice of everything: the paper says nothing and the code is not released"
    parts: dict[str, Any] = {"dataset": "voc", "annotation": "scribble", "kind": "test"}
    yield Experiment("t7.dlv2.tel", "TEL", network="dlv2", note=note, **parts)
    yield Experiment(
        "t7.dlv2.tel_crf", "TEL, CRF", network="dlv2", crf=True, shares="t7.dlv2.tel", note=note,
        **parts,
    )  # fmt: skip
    yield Experiment("t7.ltf.tel", "TEL", network="ltf", shares="t1.scribble.ltf.tel", **parts)


def _figures() -> Iterator[Experiment]:
    both: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
        ("baseline", "partial CE", PARTIAL),
        ("tel", "TEL", {}),
    )
    yield replace(_scribble("f5", "pseudo labels of TEL", shares=TEL), kind="panels")
    for name, title, loss in both:
        shares = BASELINE if name == "baseline" else TEL
        yield replace(_scribble(f"f6.{name}", title, loss, shares=shares), kind="panels")
    for name, title, loss in both:
        yield Experiment(
            f"f7.{name}", title, "cs", "block20", "hrnet", loss, {}, f"t2.cs.hrnet.b20.{name}",
            "curves",
        )  # fmt: skip
