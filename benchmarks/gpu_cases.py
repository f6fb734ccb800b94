"""What is measured on a GPU: the cases, what each stage must move, and what was predicted for it.

Nothing here was measured. Predictions were made before any GPU was at hand, and stay as they were
made: the page sets measurements beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

IMAGE, FEATURES = "image", "features"
KINDS = ("ramp", "snake")
"""Guides that are weights already, of inputs.weights."""
EDGE_WEIGHT, MST, AFFINITY, FILTER = "edge_weight", "mst", "affinity", "filter"
FILTER_BACKWARD, GUIDE_BACKWARD = "filter, backward", "affinity and edge_weight, backward"
ONE_TREE = "mst, of one guide"
DISTANCE, TRANSFORM = "distance", "distance_transform"
STEP = "whole step"


@dataclass(frozen=True)
class Case:
    """A step of the tree energy loss, or a part of one.

    Each guide makes a tree and its affinities; x goes through the filter of each in turn.
    """

    name: str
    batch: int
    channels: int  # of x
    shape: tuple[int, int]
    guides: tuple[str, ...]
    width: int = 256  # channels of the guide "features"
    per_channel: bool = False  # an affinity for each channel, of a σ for each
    backward: bool = True

    @property
    def nodes(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def edges(self) -> int:
        height, width = self.shape
        return (height - 1) * width + height * (width - 1)

    @property
    def trees(self) -> int:
        return self.batch * len(self.guides)

    @property
    def groups(self) -> int:
        return self.channels if self.per_channel else 1

    @property
    def title(self) -> str:
        guides = " and ".join(
            f"{self.width}-channel features" if guide == FEATURES else guide
            for guide in self.guides
        )
        affinities = ", an affinity per channel" if self.per_channel else ""
        ways = "forward and backward" if self.backward else "forward"
        height, width = self.shape
        shape = f"{height}²" if height == width else f"{height}×{width}"
        return f"{shape}, C={self.channels}, B={self.batch}: {guides}{affinities}; {ways}"

    def guide_channels(self, guide: str) -> int:
        return self.width if guide == FEATURES else 3

    @property
    def stages(self) -> list[str]:
        """In the order of the pipeline, the whole step last."""
        measured = [guide for guide in self.guides if guide not in KINDS]
        found = [weight_of(guide) for guide in measured]
        found += [MST, ONE_TREE] if len(self.guides) > 1 else [MST]
        found += [AFFINITY, FILTER]
        if self.backward:
            found.append(FILTER_BACKWARD)
            found += [GUIDE_BACKWARD] if FEATURES in self.guides else []
        return [*found, DISTANCE, TRANSFORM, *([STEP] if measured else [])]


def weight_of(guide: str) -> str:
    return f"{EDGE_WEIGHT}, {guide}"


BOTH = (IMAGE, FEATURES)
CASES = (
    Case("TEL 128² B=4", 4, 21, (128, 128), BOTH),
    Case("TEL 128² B=16", 16, 21, (128, 128), BOTH),
    Case("TEL 256×128 B=4", 4, 19, (256, 128), BOTH),
    Case("TEL 512² B=4", 4, 21, (512, 512), BOTH),
    Case("1024×2048", 1, 19, (1024, 2048), (IMAGE,), backward=False),
    Case("1024×2048 ramp", 1, 19, (1024, 2048), ("ramp",), backward=False),
    Case("1024×2048 snake", 1, 19, (1024, 2048), ("snake",), backward=False),
    Case("per channel 56² B=64", 64, 192, (56, 56), (FEATURES,), width=192, per_channel=True),
    Case("4096²", 1, 1, (4096, 4096), (IMAGE,), backward=False),
)
DRY_CASES = (
    Case("dry, both", 2, 3, (9, 7), BOTH, width=5),
    Case("dry, per channel", 2, 4, (6, 6), (FEATURES,), width=4, per_channel=True),
    Case("dry, forward", 1, 2, (8, 11), (IMAGE,), backward=False),
    Case("dry, snake", 1, 2, (8, 11), ("snake",), backward=False),
)


# --- what must be moved ---------------------------------------------------------------------------

FLOAT = INDEX = 4
PLAN_ROUNDS = 34


def bytes_moved(case: Case, stage: str) -> int:
    """Every tensor that a stage is given, read once; every one that it returns, written once.

    What it keeps in between is not counted, nor is the loss; a step is the sum of its stages.
    """
    nodes, batch = case.nodes, case.batch
    x = batch * case.channels * nodes * FLOAT
    a = batch * case.groups * nodes * FLOAT  # of one tree a guide
    weight = batch * case.edges * FLOAT
    edge = batch * nodes * INDEX
    plan = batch * (4 * nodes + 1 + PLAN_ROUNDS) * INDEX
    count = len(case.guides)
    if stage.startswith(EDGE_WEIGHT + ", "):
        channels = case.guide_channels(stage.removeprefix(EDGE_WEIGHT + ", "))
        return batch * channels * nodes * FLOAT + weight
    features = batch * case.width * nodes * FLOAT
    learnt = 1 if FEATURES in case.guides else 0  # guides with a gradient
    if stage == STEP:
        parts = set(case.stages) - {ONE_TREE, DISTANCE, TRANSFORM, STEP}
        return sum(bytes_moved(case, part) for part in parts)
    return {
        MST: count * (weight + 3 * edge + plan),
        ONE_TREE: weight + 3 * edge + plan,
        AFFINITY: count * (weight + edge + a),
        FILTER: count * (2 * x + a + plan),
        # The gradient in, that in x out; where the affinity has one, x in, and its out.
        FILTER_BACKWARD: count * (2 * x + a + plan) + learnt * (x + a),
        # The gradient in the affinity, the affinity, the edge's number; features in, gradient out.
        GUIDE_BACKWARD: 2 * a + edge + 2 * features,
        DISTANCE: weight + edge + plan + batch * nodes * FLOAT,
        TRANSFORM: weight + edge + plan + batch * nodes * (1 + FLOAT + 8),
    }[stage]


# --- what was predicted ---------------------------------------------------------------------------

PROVENANCE = """\
Predictions are for an H200, ±40 %, and were derived before any GPU was at hand: from the shapes
of image trees counted on a CPU, and the constants that are called assumed above. They count steps
that depend on each other and bytes, and nothing of the code that is measured here. A range is
from the better of two designs, pointer doubling or several blocks for an image, to the simpler
one. The backward pass of the filters includes the element-wise work that was predicted for a
step. "–": nothing was predicted."""
PREDICTED_FOR = "H200"

Range = tuple[float, float]


def _tel(
    image: float, features: float, mst: float, plan: Range, gather: float, filters: float,
    rest: float, guide: float, total: float,
) -> dict[str, Range]:  # fmt: skip
    """One column of the cost model, in µs: the time of all calls of a stage."""
    return {
        weight_of(IMAGE): (image, image),
        weight_of(FEATURES): (features, features),
        MST: (mst + plan[0], mst + plan[1]),
        AFFINITY: (gather, gather),
        FILTER: (filters, filters),
        FILTER_BACKWARD: (filters + rest, filters + rest),
        GUIDE_BACKWARD: (guide, guide),
        STEP: (total, total),
    }


PREDICTIONS: dict[str, dict[str, Range]] = {
    "TEL 128² B=4": _tel(3, 19, 50, (25, 55), 3, 36, 12, 33, 250),
    "TEL 128² B=16": _tel(6, 68, 55, (28, 58), 4, 60, 56, 130, 500),
    "TEL 256×128 B=4": _tel(6, 35, 55, (30, 65), 3, 56, 18, 65, 360),
    "1024×2048": {
        weight_of(IMAGE): (8, 8),
        MST: (400 + 450, 600 + 1700),
        AFFINITY: (10, 10),
        FILTER: (500, 1500),
        STEP: (1500, 3800),
    },
    "per channel 56² B=64": {  # without the gradient of the features, so not for the whole step
        weight_of(FEATURES): (40, 40),
        MST: (67, 67),
        FILTER: (170, 170),
        FILTER_BACKWARD: (260, 260),
    },
}
"""µs by case and stage."""

ASSUMED: dict[str, str] = {
    "kernel launch, one after the other": "2.5 µs",
    "graph node": "0.9 µs",
    "block barrier": "20 to 40 cycles",
    "grid barrier": "1.2 to 1.8 µs",
    "latency of shared memory": "30 cycles",
    "latency of L2": "270 cycles",
    "copy bandwidth, cudaMemcpy": "4.3 TB/s",
    "copy bandwidth, kernel": "4.3 TB/s",
    "copy bandwidth in L2": "5.5 TB/s",
}
"""What the predictions took for granted, by the beginning of a constant's name."""


def assumed(constant: str) -> str:
    fitting = [name for name in ASSUMED if constant.startswith(name)]
    return ASSUMED[max(fitting, key=len)] if fitting else "–"


# --- what must be reached -------------------------------------------------------------------------

Medians = dict[tuple[str, str], float]
"""Seconds by case and stage."""


@dataclass(frozen=True)
class Goal:
    """At most so much: of a time in ms, or of its ratio to another one's."""

    case: str
    stage: str
    at_most: float
    over: tuple[str, str] | None = None  # the case and stage that it is divided by
    over_floor: bool = False

    @property
    def words(self) -> str:
        if self.over_floor:
            return f"≤ {self.at_most:g}× its bandwidth floor"
        return f"≤ {self.at_most:g}× {self.over[0]}" if self.over else f"≤ {self.at_most:g} ms"

    def value(self, medians: Medians, floors: Medians) -> float | None:
        """In the goal's unit; None where something is missing."""
        key = self.case, self.stage
        below = floors.get(key) if self.over_floor else medians.get(self.over or key)
        if key not in medians or below is None:
            return None
        return medians[key] / below if self.over or self.over_floor else medians[key] * 1e3


GOALS: Sequence[Goal] = (
    Goal("TEL 128² B=4", STEP, 0.25),
    Goal("TEL 128² B=16", STEP, 0.5),
    Goal("TEL 128² B=16", STEP, 2, over_floor=True),
    Goal("1024×2048", STEP, 3),
    Goal("1024×2048 ramp", MST, 10, over=("1024×2048", MST)),
    Goal("1024×2048 snake", MST, 10, over=("1024×2048", MST)),
    Goal("1024×2048 ramp", FILTER, 10, over=("1024×2048", FILTER)),
    Goal("1024×2048 snake", FILTER, 10, over=("1024×2048", FILTER)),
)
GOALS_FOR = "H200"
