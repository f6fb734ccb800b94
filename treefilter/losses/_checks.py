"""Checks that several functions of the losses make."""

from __future__ import annotations

from torch import Tensor

from .._checks import check_integer, check_tensor


def check_label(function: str, unlabelled: int) -> int:
    number = check_integer(function, "unlabelled", unlabelled)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{function}: unlabelled must be in the range of int64, got {unlabelled}")
    return number


def check_map(function: str, name: str, value: Tensor, batch: int | None = None) -> None:
    """TypeError or ValueError if ``value`` is no (B, C, H, W) tensor with at least one pixel."""
    check_tensor(function, name, value, "float")
    if value.ndim != 4 or 0 in value.shape[2:] or (batch is not None and value.shape[0] != batch):
        expected = f"({'B' if batch is None else batch}, C, H, W)"
        raise ValueError(
            f"{function}: {name} must have shape {expected} with H, W > 0, got {tuple(value.shape)}"
        )
