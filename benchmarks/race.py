"""A race: contenders that run alternately, round by round, and the statistics of their times.

The speed of a machine changes by a factor of two within minutes, but hardly within a round. So only
contenders of one race are compared with each other, as a ratio of medians.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 2000
SEED = 8
MAX_ROUNDS, MIN_ROUNDS, HUGE_ROUNDS = 60, 5, 3
HUGE = 2.0
"""Seconds; of longer rounds there are only ``HUGE_ROUNDS``."""
OURS = "treefilter"


# --- times ----------------------------------------------------------------------------------------


@dataclass
class Record:
    """What a race measured: one line of the report, one entry of the JSON file."""

    task: str
    input: str
    shape: str
    items: int  # what the time is divided by in "per item": vertices, or values
    device: str = "cpu"
    threads: int = 1
    seconds: dict[str, list[float]] = field(default_factory=dict)  # by contender, round by round
    memory: dict[str, int] = field(default_factory=dict)  # peak bytes above the inputs

    def to_json(self) -> dict:
        """Samples in whole nanoseconds of three digits."""
        content = asdict(self)
        seconds = content.pop("seconds")
        content["nanoseconds"] = {
            name: [int(float(f"{s * 1e9:.3g}")) for s in times] for name, times in seconds.items()
        }
        return content

    @classmethod
    def from_json(cls, content: dict) -> "Record":
        content = dict(content)
        times = content.pop("nanoseconds")
        seconds = {name: [n / 1e9 for n in samples] for name, samples in times.items()}
        return cls(**content, seconds=seconds)


def timed(call: Callable[[], Any]) -> float:
    """One call, without a warm-up: the caches are as the other contenders have left them."""
    start = perf_counter()
    call()
    return perf_counter() - start


def enter(calls: dict[str, Callable[[], Any]]) -> tuple[dict[str, Any], float]:
    """Calls all once or twice: the results by name, and the duration of a round."""
    results, duration = {}, 0.0
    for name, call in calls.items():
        start = perf_counter()
        results[name] = call()
        once = perf_counter() - start
        # The very first call also loads libraries.
        duration += once if once > HUGE / 4 else timed(call)
    return results, duration


def number_of_rounds(duration: float, budget: float) -> int:
    """As many as fit into the budget, but enough for quartiles and not more than are kept."""
    fewest = HUGE_ROUNDS if duration > HUGE else MIN_ROUNDS
    return max(fewest, min(MAX_ROUNDS, int(budget / duration)))


# --- statistics -----------------------------------------------------------------------------------


class Quartiles(NamedTuple):
    lower: float
    median: float
    upper: float


class Ratio(NamedTuple):
    """A ratio of medians and its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether the interval excludes 1."""
        return self.low > 1 or self.high < 1


def quartiles(samples: Sequence[float]) -> Quartiles:
    return Quartiles(*np.quantile(np.asarray(samples, float), [0.25, 0.5, 0.75]).tolist())


def ratio(
    numerator: Sequence[float], denominator: Sequence[float], confidence: float = 0.95
) -> Ratio:
    """Ratio of the medians; the interval by bootstrap over rounds (percentiles, fixed seed).

    Both contenders of a round are drawn together, because a slow machine slows both.
    """
    above, below = np.asarray(numerator, float), np.asarray(denominator, float)
    if above.shape != below.shape or above.ndim != 1 or not above.size:
        raise ValueError(
            f"ratio: samples must come from the same rounds, got {above.shape} and {below.shape}"
        )
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, above.size, (RESAMPLES, above.size))
    ratios = np.median(above[drawn], 1) / np.median(below[drawn], 1)
    low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return Ratio(float(np.median(above) / np.median(below)), low, high)
