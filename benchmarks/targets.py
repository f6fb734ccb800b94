"""The targets: one table, and how each row is computed from the records."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from race import OURS, Record, quartiles, ratio

SCIPY, ROOTED, PHOTOGRAPH = "scipy", "scipy, rooted", "treefilter, photograph"
MEMCPY, FORWARD, SLICING = "memcpy", "treefilter, forward", "torch slicing"
ONE_THREAD, GATHER = "treefilter, 1 thread", "torch gather"
ARITHMETIC = "arithmetic, 1 thread", "arithmetic"
ARITHMETIC_SCALES = 1.8


class Measured(NamedTuple):
    """A number, and how it is printed."""

    value: float
    text: str
    judged: bool = True


Measure = Callable[[Sequence[Record]], list[Measured]]


@dataclass(frozen=True)
class Target:
    case: str
    measure: Measure
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "×"
    cases: int | None = None  # how many cases the full set measures, where that is known

    @property
    def goal(self) -> str:
        limit, sign = (self.at_most, "≤") if self.at_least is None else (self.at_least, "≥")
        return f"{sign} {limit:g}{self.unit}"

    def worst(self, records: Sequence[Record]) -> Measured | None:
        found = self.measure(records)
        if not found:
            return None
        pick = max if self.at_least is None else min
        return pick(found, key=lambda measured: measured.value)

    def met(self, measured: Measured) -> bool:
        if self.at_least is None:
            return measured.value <= self.at_most
        return measured.value >= self.at_least

    def row(self, records: Sequence[Record]) -> tuple[str, str, str, str]:
        """case, goal, measured, met."""
        worst = self.worst(records)
        if worst is None:
            return self.case, self.goal, "not measured", "–"
        if not worst.judged:
            return self.case, self.goal, worst.text, "not judged"
        count = len(self.measure(records))
        text = worst.text
        if self.cases and count < self.cases:
            text += f"; {count} of {self.cases} cases measured"
        return self.case, self.goal, text, "yes" if self.met(worst) else "**no**"


def _matching(
    records: Iterable[Record], task: str, inputs: Sequence[str], shapes: Sequence[str]
) -> list[Record]:
    return [
        record
        for record in records
        if record.device == "cpu"
        and record.task == task
        and (not inputs or record.input in inputs)
        and (not shapes or record.shape in shapes)
    ]


def times(
    over: str,
    under: str,
    task: str,
    inputs: Sequence[str] = (),
    shapes: Sequence[str] = (),
    unit: str = "×",
) -> Measure:
    """How many times as long ``over`` takes as ``under``, in each of these races."""

    def measure(records: Sequence[Record]) -> list[Measured]:
        found = []
        for record in _matching(records, task, inputs, shapes):
            if over in record.seconds and under in record.seconds:
                r = ratio(record.seconds[over], record.seconds[under])
                text = f"{r.value:.3g}{unit} ({r.low:.3g} to {r.high:.3g}): "
                found.append(Measured(r.value, f"{text}{record.input} {record.shape}"))
        return found

    return measure


def microseconds(task: str, *inputs: str) -> Measure:
    """What a call of ours takes."""

    def measure(records: Sequence[Record]) -> list[Measured]:
        found = []
        for record in _matching(records, task, inputs, ()):
            q = quartiles([1e6 * s for s in record.seconds[OURS]])
            text = (
                f"{q.median:.3g} µs ({q.lower:.3g} to {q.upper:.3g}): {record.input} {record.shape}"
            )
            found.append(Measured(q.median, text))
        return found

    return measure


def two_threads(*inputs: str) -> Measure:
    """The gain of a second thread, judged only if plain arithmetic gained enough at that time."""

    def measure(records: Sequence[Record]) -> list[Measured]:
        found = []
        for record in _matching(records, "scaling, threads", inputs, ("2 threads",)):
            gain = ratio(record.seconds[ONE_THREAD], record.seconds[OURS])
            arithmetic = ratio(*(record.seconds[name] for name in ARITHMETIC)).value
            text = f"{gain.value:.3g}× ({gain.low:.3g} to {gain.high:.3g}): {record.input}; "
            judged = arithmetic >= ARITHMETIC_SCALES
            text += f"two threads of arithmetic scale {'' if judged else 'only '}{arithmetic:.3g}×"
            found.append(Measured(gain.value, text, judged))
        return found

    return measure


def floats_beside_gradient(records: Sequence[Record]) -> list[Measured]:
    """Peak memory of edge_weight beyond the gradient, in floats per pixel."""
    found = []
    for record in _matching(records, "edge_weight, forward and backward", ("C=256",), ()):
        if OURS in record.memory:
            beside = record.memory[OURS] - 4 * record.items
            floats = beside / 4 / (record.items / 256)
            mebibytes = ", ".join(f"{k} {v / 2**20:.0f} MiB" for k, v in record.memory.items())
            found.append(Measured(floats, f"{floats:.3g}·B·N: {record.shape} ({mebibytes})"))
    return found


def squares(records: Iterable[Record]) -> list[Record]:
    """The photograph's trees at sizes that are squares."""
    return [
        record
        for record in records
        if record.task == "mst" and record.input == "photograph" and record.seconds
        if len(set(record.shape.split("x"))) == 1
    ]


def spread_over_sizes(records: Sequence[Record]) -> list[Measured]:
    """The largest time per pixel over the smallest."""
    cost = {
        record.shape: quartiles(record.seconds[OURS]).median / record.items
        for record in sorted(squares(records), key=lambda record: record.items)
        if record.device == "cpu"
    }
    if len(cost) < 2:
        return []
    dearest, cheapest = max(cost, key=cost.__getitem__), min(cost, key=cost.__getitem__)
    spread = cost[dearest] / cost[cheapest]
    named = (f"{cost[shape] * 1e9:.3g} ns at {shape}" for shape in (dearest, cheapest))
    first, *_, last = cost
    return [Measured(spread, f"{spread:.3g}×: {', '.join(named)}; from {first} to {last}")]


KINDS = "photograph", "random", "8-bit"
DEGENERATE = "constant", "ramp", "snake"
SMALL, BATCH, MIDDLE, LARGE, HUGE = "128x128", "16x128x128", "512x512", "1024x2048", "4096x4096"
EDGES = "mst, edge set"
COPIES = " memcpys"


def copies(task: str, inputs: Sequence[str], shapes: Sequence[str]) -> Measure:
    return times(OURS, MEMCPY, task, inputs, shapes, COPIES)


# fmt: off
TARGETS = (
    Target("edge set vs scipy, 128², 16×128², 512²",
           times(SCIPY, OURS, EDGES, KINDS, (SMALL, BATCH, MIDDLE)), at_least=9, cases=9),
    Target("edge set vs scipy, 1024×2048", times(SCIPY, OURS, EDGES, KINDS, (LARGE,)), 16, cases=3),
    Target("edge set vs scipy, 4096²", times(SCIPY, OURS, EDGES, KINDS, (HUGE,)), 25, cases=3),
    Target("edge set vs higra, 128²", times("higra", OURS, EDGES, KINDS, (SMALL,)), 16, cases=3),
    Target("edge set vs higra, 512²", times("higra", OURS, EDGES, KINDS, (MIDDLE,)), 30, cases=3),
    Target("edge set vs higra, 1024×2048",
           times("higra", OURS, EDGES, KINDS, (LARGE,)), 40, cases=3),
    Target("edge set vs igraph, 512²", times("igraph", OURS, EDGES, KINDS, (MIDDLE,)), 25, cases=3),
    Target("`mst` vs scipy's rooted tree, 128², 16×128², 512²",
           times(ROOTED, OURS, "mst", KINDS, (SMALL, BATCH, MIDDLE)), 7, cases=9),
    Target("`mst` vs scipy's rooted tree, 1024×2048",
           times(ROOTED, OURS, "mst", KINDS, (LARGE,)), 11, cases=3),
    Target("`mst` vs scipy's rooted tree, 4096²",
           times(ROOTED, OURS, "mst", KINDS, (HUGE,)), 15, cases=3),
    Target("constant, ramp, snake vs scipy's rooted tree",
           times(ROOTED, OURS, "mst", DEGENERATE), 1.2, cases=9),
    Target("constant, ramp, snake: time over the photograph's",
           times(OURS, PHOTOGRAPH, "mst", DEGENERATE), at_most=2, cases=9),
    Target("`filter`, C = 21, 128²", copies("filter", ("C=21",), (SMALL,)), at_most=5, unit=COPIES),
    Target("`filter`, C = 64 and 256 at 512², C = 64 at 1024×2048",
           copies("filter", ("C=64", "C=256"), (MIDDLE, LARGE)), at_most=7, unit=COPIES, cases=3),
    Target("`filter`, channels last, C = 64 and 256, 128² and 512²",
           copies("filter, channels last", (), (SMALL, MIDDLE)), at_most=4.5, unit=COPIES, cases=4),
    Target("`filter`, C = 1, 128²", copies("filter", ("C=1",), (SMALL,)), at_most=9, unit=COPIES),
    Target("`filter`, C = 3, 128²", copies("filter", ("C=3",), (SMALL,)), at_most=10, unit=COPIES),
    Target("`filter`, C = 1, 512²", copies("filter", ("C=1",), (MIDDLE,)), at_most=24, unit=COPIES),
    Target("`filter`, C = 3, 512²", copies("filter", ("C=3",), (MIDDLE,)), at_most=16, unit=COPIES),
    Target("`filter` backward over forward, C = 21, 128²",
           times(OURS, FORWARD, "filter, backward", ("C=21",), (SMALL,)), at_most=2.5),
    Target("`filter` backward over forward, C = 64, 512²",
           times(OURS, FORWARD, "filter, backward", ("C=64",), (MIDDLE,)), at_most=2.5),
    Target("`edge_weight`, C = 256, 128², forward and backward vs torch slicing",
           times(SLICING, OURS, "edge_weight, forward and backward", ("C=256",), (SMALL,)), 3),
    Target("the same: peak memory beside the gradient, in floats",
           floats_beside_gradient, at_most=2, unit="·B·N"),
    Target("`affinity` over `torch.gather` and `exp`, 128²",
           times(OURS, GATHER, "affinity", (), (SMALL,)), at_most=0.8),
    Target("`affinity` over `torch.gather` and `exp`, 512²",
           times(OURS, GATHER, "affinity", (), (MIDDLE,)), at_most=0.5),
    Target("`mst` and `dendrogram` vs higra, 128²",
           times("higra", OURS, "dendrogram", (), (SMALL,)), 12, cases=2),
    Target("`mst` and `dendrogram` vs higra, 512² and 1024×2048",
           times("higra", OURS, "dendrogram", (), (MIDDLE, LARGE)), 15, cases=4),
    Target("`mst` and `watershed` vs scikit-image, 512² and 128³",
           times("scikit-image", OURS, "watershed"), 10, cases=2),
    Target("single linkage of 100,000 points vs scipy's tree",
           times("scipy", OURS, "single linkage"), 3, cases=1),
    Target("the same from points vs fast_hdbscan",
           times("fast_hdbscan", OURS, "single linkage"), 1, cases=1),
    Target("`distance_transform` of maxima over sums",
           times(OURS, "treefilter, sums", "distance_transform, max"), at_most=2.5, cases=3),
    Target("`persistence` of 512², dimensions 0 and 1, vs gudhi",
           times("gudhi", OURS, "persistence", (), (MIDDLE,)), 10, cases=1),
    Target("the same vs cripser",
           times("cripser", OURS, "persistence", (), (MIDDLE,)), 10, cases=1),
    Target("`filter`, smallest affinities over products",
           times(OURS, "treefilter, product", "filter, min"), at_most=6, cases=4),
    Target("a call of 4 pixels, no gradient: each function",
           microseconds("a call", "edge_weight", "mst", "affinity", "filter", "distance"),
           at_most=25, unit=" µs", cases=5),
    Target("the same: `nn.TreeFilter2d`",
           microseconds("a call", "nn.TreeFilter2d"), at_most=110, unit=" µs", cases=1),
    Target("a call that records a gradient over one that does not",
           times("treefilter, recording a gradient", OURS, "a call"), at_most=2, cases=5),
    Target("`mst` of general graphs vs scipy's rooted tree",
           times(ROOTED, OURS, "mst of an edge list"), 5, cases=3),
    Target("`mst` of a 128³ grid vs scipy's rooted tree",
           times(ROOTED, OURS, "mst of a volume"), 8, cases=2),
    Target("the same with 26 neighbours",
           times(ROOTED, OURS, "mst of a volume, 26 neighbours"), 12, cases=1),
    Target("two threads, `mst` 1024×2048", two_threads("mst 1024x2048"), 1.5),
    Target("two threads, `mst` of 16×128²", two_threads("mst 16x128x128"), 1.5),
    Target("two threads, `filter` C = 32 and 64, 512²",
           two_threads("filter C=32 512x512", "filter C=64 512x512"), 1.6, cases=2),
    Target("threads for all cores, one of which is busy, over one thread",
           times(OURS, ONE_THREAD, "scaling, busy core"), at_most=1.3, cases=6),
    Target("workers of a DataLoader over processes of their own",
           times(OURS, "processes of their own", "scaling, workers"), at_most=1.1, cases=1),
    Target("cost per pixel of `mst`, 128² to 8192²", spread_over_sizes, at_most=2),
)
# fmt: on
