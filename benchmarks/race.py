"""Statistics of a race: contenders that ran one after the other in each of several rounds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
SEED = 8


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

    Both contenders of a round are drawn together: what slowed the machine down slowed both.
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
