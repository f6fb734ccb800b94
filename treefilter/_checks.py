"""What every public function requires of its arguments.

Messages have one form: *function: argument must be what was expected, got what was given*.
"""

from __future__ import annotations

import math
import numbers
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.masked import MaskedTensor

from ._native import _C
from ._ops import JIT_MESSAGE, sum_dtype

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_KINDS = {
    "float": (_FLOATS, "a float32, float64, bfloat16 or float16 tensor"),
    "int": (_INTEGERS, "an integer tensor"),
    "int32": ((torch.int32,), "an int32 tensor"),
    "bool": ((torch.bool,), "a bool tensor"),
}
# meta: shapes without values, as torch.compile traces them
_DEVICES = ("cpu", "meta", *(["cuda"] if _C.with_cuda else []))

# The range of the normal numbers of a type, looked up once.
_NORMAL = {
    dtype: (torch.finfo(dtype).tiny, torch.finfo(dtype).max)
    for dtype in (torch.float32, torch.float64)
}
# numbers.Integral and numbers.Real have NumPy's scalars among them, but neither arrays nor tensors.
_INTEGER_TYPES = (int, torch.SymInt, numbers.Integral)
NUMBER_TYPES = (int, float, torch.SymFloat, numbers.Real)


# ---- tensors ----


def check_tensor(function: str, name: str, value: Any, kind: str) -> None:
    """TypeError if ``value`` is no tensor of that kind, RuntimeError if its device has no code."""
    dtypes, expected = _KINDS[kind]
    if type(value) is not Tensor and (
        not isinstance(value, Tensor) or isinstance(value, MaskedTensor)
    ):
        raise TypeError(f"{function}: {name} must be {expected}, got {type(value).__name__}")
    if value.dtype not in dtypes or value.layout is not torch.strided or value.is_nested:
        kind_of = "a nested tensor" if value.is_nested else f"{value.dtype} {value.layout}"
        raise TypeError(f"{function}: {name} must be {expected}, got {kind_of}")
    if value.device.type not in _DEVICES:
        raise RuntimeError(
            f"{function}: {name} must be on the CPU{' or CUDA' if _C.with_cuda else ''}, which this"
            f" build of treefilter is for, got a tensor on {value.device}"
        )


def check_devices(function: str, name: str, value: Tensor, **others: Any) -> None:
    """ValueError if one of ``others``, tensors or trees, is on another device than ``value``.

    A tensor on the meta device has no values: beside one on the CPU it would give a result that
    nobody computed.
    """
    device = value.device
    for other, thing in others.items():
        try:
            where = thing.device
        except AttributeError:  # a tree that torch.utils._pytree has made of something else
            raise TypeError(
                f"{function}: {other} must consist of tensors, got {type(thing.parent).__name__}"
            ) from None
        if where != device:
            raise ValueError(f"{function}: {other} must be on {device} like {name}, got {where}")


def check_target(function: str, device: Any, source: Tensor) -> torch.device:
    """The device that ``source`` can be moved to; RuntimeError if it is not there."""
    try:
        target = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{function}: device must be a torch.device, got {device!r}") from None
    if target.type not in _DEVICES:
        raise RuntimeError(
            f"{function}: device must be {', '.join(_DEVICES[:-1])} or {_DEVICES[-1]}, which this"
            f" build of treefilter is for, got {target}"
        )
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        raise RuntimeError(
            f"{function}: device must be one that torch finds on this machine, got {target}"
        )
    if source.is_meta and target.type != "meta":
        raise ValueError(f"{function}: device must be meta as there are no values, got {target}")
    return target


def check_batch(function: str, name: str, value: Tensor, tree: Any, what: str = "tree") -> None:
    """ValueError if there is neither one tree for all nor one for each of ``value``'s batch."""
    trees, batch = tree.parent.shape[0], value.shape[0]
    if trees != batch and trees != 1:
        raise ValueError(f"{function}: {name} must have batch {trees} like the {what}, got {batch}")


def has_nan(values: Tensor) -> bool:
    """Whether a value is NaN: the largest value is then, and is found in one pass."""
    return values.numel() > 0 and bool(values.amax().isnan())


def check_edge_values(function: str, weight: Tensor) -> None:
    """ValueError if ``weight`` has not the shape (B, E)."""
    if weight.ndim != 2:
        raise ValueError(f"{function}: weight must have shape (B, E), got {tuple(weight.shape)}")


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


def widen(value: Tensor) -> Tensor:
    """Under autocast 16-bit inputs are computed with, and returned, as float32."""
    if value.dtype in (torch.float16, torch.bfloat16):
        device = value.device.type
        if device != "meta" and torch.is_autocast_enabled(device):  # there is no autocast for meta
            return value.float()
    return value


def autocast_device(value: Tensor) -> str:
    """The kind of device whose autocast is to be turned off for ``value``."""
    return "cpu" if value.is_meta else value.device.type  # there is no autocast for meta


# ---- what is no tensor ----


def check_instance(function: str, name: str, value: Any, kind: type) -> None:
    """TypeError if ``value`` is not of our class ``kind``."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{function}: {name} must be a treefilter.{kind.__name__}, got {type(value).__name__}"
        )


def check_choice(function: str, name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """ValueError if ``value`` is none of the allowed names, TypeError if it is no name."""
    if not isinstance(value, str):
        raise TypeError(f"{function}: {name} must be a string, got {type(value).__name__}")
    if value not in allowed:
        raise ValueError(f"{function}: {name} must be one of {', '.join(allowed)}, got {value!r}")


def check_flag(function: str, name: str, value: Any) -> None:
    """TypeError if ``value`` is neither true nor false."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{function}: {name} must be a bool, got {type(value).__name__}")


def check_integer(function: str, name: str, value: Any, expected: str = "an integer") -> int:
    """``value``, Python's integer or NumPy's, as Python's; TypeError if it is none."""
    if isinstance(value, bool) or not isinstance(value, _INTEGER_TYPES):
        if torch.jit.is_tracing():  # type: ignore[attr-defined] # sizes are tensors there
            raise RuntimeError(JIT_MESSAGE)
        raise TypeError(f"{function}: {name} must be {expected}, got {type(value).__name__}")
    return cast(int, value) if isinstance(value, int | torch.SymInt) else int(value)


def check_size(function: str, name: str, value: Any) -> int:
    """``value`` as a number of channels or the like: at least 1, and less than 2³¹."""
    size = check_integer(function, name, value)
    if size < 1:
        raise ValueError(f"{function}: {name} must be at least 1, got {value}")
    if size >= 2**31:
        raise ValueError(f"{function}: {name} must be less than 2**31, got {value}")
    return size


def check_number(function: str, name: str, value: Any) -> float:
    """``value``, any real number, as a float; TypeError if it is none, ValueError if not finite."""
    if isinstance(value, bool) or not isinstance(value, NUMBER_TYPES):
        raise TypeError(f"{function}: {name} must be a number, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an integer or a fraction beyond float64
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{function}: {name} must be a finite number, got {number}")
    return number


def as_float(number: Any) -> float:
    """A real number as a float; what lies beyond float64, as integers may, as an infinity."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def check_shape(function: str, value: Any, num_nodes: int) -> tuple[int, ...] | None:
    """The shape of the grid whose vertices a tree joins, as a tuple; None if there is no grid."""
    if value is None:
        return None
    if not isinstance(value, tuple | list):
        raise TypeError(f"{function}: shape must be a tuple or None, got {type(value).__name__}")
    sizes = tuple(check_integer(function, "shape", size, "integers") for size in value)
    if not sizes or min(sizes) < 1 or math.prod(sizes) != num_nodes:
        raise ValueError(
            f"{function}: shape must have {num_nodes} vertices like parent, got {sizes}"
        )
    return sizes


def check_sigma(function: str, sigma: Any, dtype: torch.dtype) -> float:
    """σ, a number, as a float; it must be a positive normal number of ``dtype``.

    A smaller one may be 0 in the computation (1e-46 is, in float32), and weight/σ then NaN.
    """
    if isinstance(sigma, bool) or not isinstance(sigma, NUMBER_TYPES):
        raise TypeError(
            f"{function}: sigma must be a number or a tensor, got {type(sigma).__name__}"
        )
    if not cast(float, sigma) > 0:
        raise ValueError(f"{function}: sigma must be positive, got {sigma}")
    try:
        value = float(sigma)
    except OverflowError:  # an integer or a fraction beyond float64
        value = math.inf
    smallest, largest = _NORMAL[dtype]
    if not smallest <= value <= largest:
        raise ValueError(
            f"{function}: sigma must be in [{smallest:.3g}, {largest:.3g}] for {dtype}, "
            f"got {value:g}"
        )
    return value


def check_sigma_values(function: str, sigma: Tensor) -> None:
    """ValueError if a value of the σ tensor is not a positive normal number of its computation."""
    if sigma.numel() == 0:
        return
    sigma = sigma.detach()  # torch 2.11 has no tangents of aminmax
    low, high = [sigma.item()] * 2 if sigma.numel() == 1 else [v.item() for v in sigma.aminmax()]
    smallest, largest = _NORMAL[sum_dtype(sigma)]
    if not (low > 0 and high > 0):  # both are NaN if one value is
        raise ValueError(f"{function}: sigma must be positive, got a value that is not")
    if low < smallest or high > largest:
        raise ValueError(
            f"{function}: sigma must be in [{smallest:.3g}, {largest:.3g}], got {low:g} to {high:g}"
        )
