"""What every public function asks of its arguments.

Messages have one form: *function: argument must be what was expected, got what was given*.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._native import _C

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_KINDS = {
    "float": (_FLOATS, "a float32, float64, bfloat16 or float16 tensor"),
    "int": (_INTEGERS, "an integer tensor"),
    "bool": ((torch.bool,), "a bool tensor"),
}
# meta: shapes without values, as torch.compile traces them
_DEVICES = ("cpu", "meta", *(["cuda"] if _C.with_cuda else []))


def check_tensor(function: str, name: str, value: Any, kind: str) -> None:
    """TypeError if ``value`` is no tensor of that kind, RuntimeError if its device has no code."""
    dtypes, expected = _KINDS[kind]
    if not isinstance(value, Tensor):
        raise TypeError(f"{function}: {name} must be {expected}, got {type(value).__name__}")
    if value.dtype not in dtypes or value.layout is not torch.strided:
        raise TypeError(f"{function}: {name} must be {expected}, got {value.dtype} {value.layout}")
    if value.device.type not in _DEVICES:
        raise RuntimeError(
            f"{function}: {name} must be on the CPU{' or CUDA' if _C.with_cuda else ''}, which this"
            f" build of treefilter is for, got a tensor on {value.device}"
        )


def check_instance(function: str, name: str, value: Any, kind: type) -> None:
    """TypeError if ``value`` is not of our class ``kind``."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{function}: {name} must be a treefilter.{kind.__name__}, got {type(value).__name__}"
        )


def check_choice(function: str, name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """ValueError if ``value`` is none of the allowed names."""
    if value not in allowed:
        raise ValueError(f"{function}: {name} must be one of {', '.join(allowed)}, got {value!r}")


def check_batch(function: str, name: str, value: Tensor, tree: Any) -> None:
    """ValueError if there is neither one tree for all nor one for each of ``value``'s batch."""
    trees, batch = tree.parent.shape[0], value.shape[0]
    if trees != batch and trees != 1:
        raise ValueError(f"{function}: {name} must have batch {trees} like the tree, got {batch}")


def describe(batch: str, channels: str, shape: tuple[int, ...] | None, num_nodes: int) -> str:
    """The shapes that a tensor over the vertices may have, for messages."""
    flat = f"({batch}, {channels}{num_nodes})"
    if shape is None:
        return flat
    return f"({batch}, {channels}{', '.join(map(str, shape))}) or {flat}"


def check_nodes(
    function: str, name: str, value: Tensor, shape: tuple[int, ...] | None, num_nodes: int
) -> None:
    """ValueError if ``value`` has neither the shape (B, C, *shape) nor (B, C, N)."""
    spatial = tuple(value.shape[2:])
    if value.ndim < 3 or (spatial != (num_nodes,) and spatial != shape):
        expected = describe("B", "C, ", shape, num_nodes)
        raise ValueError(f"{function}: {name} must have shape {expected}, got {tuple(value.shape)}")


def accumulate_in(*values: Tensor) -> torch.dtype:
    """The type that results are computed in: float64 if any input is, otherwise float32."""
    return torch.float64 if any(v.dtype == torch.float64 for v in values) else torch.float32


def widen(value: Tensor) -> Tensor:
    """Under autocast 16-bit inputs are computed with, and returned, as float32."""
    if value.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(
        value.device.type
    ):
        return value.float()
    return value
