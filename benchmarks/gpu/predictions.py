"""What was predicted for the cases before any GPU was at hand, and what must be reached.

Nothing here was measured. Predictions stay as they were made: the page sets measurements beside
them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gpu.cases import (
    AFFINITY,
    FEATURES,
    FILTER,
    FILTER_BACKWARD,
    GUIDE_BACKWARD,
    IMAGE,
    MST,
    STEP,
    weight_of,
)

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
