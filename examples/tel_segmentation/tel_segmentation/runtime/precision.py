"""Float32 or float64 in losses, trees and batch statistics, where networks run in half precision.

In half precision, small differences of probabilities and their squares would be flushed to 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Disables autocast inside a function, for the device of its first tensor argument."""

    @functools.wraps(function)
    def island(*args: P.args, **kwargs: P.kwargs) -> T:
        first = next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        with torch.autocast(first.device.type, enabled=False):
            return function(*args, **kwargs)

    return island


def lifted(values: Tensor) -> Tensor:
    """The same values in float32; float64 stays float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def probabilities(logits: Tensor) -> Tensor:
    """Softmax over dimension 1 in float32; float64 stays float64."""
    return lifted(logits).softmax(dim=1)
