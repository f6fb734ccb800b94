"""What a batch of trees or dendrograms can be indexed with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._autograd import readable
from ._checks import check_integer, check_tensor

Index = int | slice | Tensor | np.ndarray | list[int] | list[bool]

_EXPECTED = "an integer, a slice, a list or a one-dimensional tensor of integers or bools"


def batch_index(owner: str, index: Any, batch: int, device: torch.device) -> slice | Tensor:
    """An index of a batch, checked, in a form that keeps the batch's dimension."""
    if isinstance(index, slice):
        return _slice(owner, index, batch)
    if isinstance(index, Tensor):
        return _tensor(owner, index, batch, device)
    if isinstance(index, np.ndarray):
        return _tensor(owner, _of_numpy(owner, index), batch, device)
    if isinstance(index, list):
        return _tensor(owner, _of_list(owner, index, batch), batch, device)
    i = check_integer(owner, "index", index, _EXPECTED)
    _check_range(owner, i, batch)
    return slice(i, i + 1 or None)


def _check_range(owner: str, i: int, batch: int) -> None:
    if not -batch <= i < batch:
        raise IndexError(f"{owner}: index must be in [-{batch}, {batch}), got {i}")


def _slice(owner: str, index: slice, batch: int) -> slice | Tensor:
    for part in (index.start, index.stop, index.step):
        if part is not None and not isinstance(part, int | torch.SymInt):
            try:
                part.__index__()
            except (AttributeError, TypeError):
                raise TypeError(
                    f"{owner}: index must be a slice of integers, got {type(part).__name__}"
                ) from None
    if index.step is None or index.step > 0:
        return index
    if index.step == 0:
        raise ValueError(f"{owner}: index must be a slice with a step other than 0, got 0")
    return torch.tensor(range(batch)[index], dtype=torch.int64)  # torch has no negative steps


def _of_numpy(owner: str, index: np.ndarray) -> Tensor:
    """A copy, since torch takes neither every order of bytes nor every stride."""
    kind = index.dtype.kind
    if kind not in "iub" or isinstance(index, np.ma.MaskedArray):
        masked = "masked " if isinstance(index, np.ma.MaskedArray) else ""
        raise TypeError(
            f"{owner}: index must be a NumPy array of integers or bools, got a "
            f"{masked}NumPy array of {index.dtype}"
        )
    if kind == "u" and index.size and index.max() > np.iinfo(np.int64).max:
        raise IndexError(f"{owner}: index must be less than 2**63, got {index.max()}")
    return torch.from_numpy(np.array(index, dtype=bool if kind == "b" else np.int64, order="C"))


def _of_list(owner: str, index: list[Any], batch: int) -> Tensor:
    kinds = {isinstance(i, bool | np.bool_) for i in index}
    if len(kinds) > 1:
        raise TypeError(f"{owner}: index must be a list of integers or of bools, got both")
    if kinds == {True} and len(index) == batch:
        return torch.tensor([i for i, chosen in enumerate(index) if chosen], dtype=torch.int64)
    if kinds == {True}:
        raise ValueError(f"{owner}: index must have shape ({batch},), got ({len(index)},)")
    numbers = [check_integer(owner, "index", i, "a list of integers") for i in index]
    for i in numbers:
        _check_range(owner, i, batch)
    return torch.tensor(numbers, dtype=torch.int64)


def _tensor(owner: str, where: Tensor, batch: int, device: torch.device) -> Tensor:
    mask = where.dtype == torch.bool
    check_tensor(owner, "index", where, "bool" if mask else "int")
    if where.is_meta or where.device.type not in ("cpu", device.type):
        raise ValueError(f"{owner}: index must be on cpu or on {device}, got {where.device}")
    if where.ndim != 1 or (mask and where.shape[0] != batch):
        expected = f"({batch},)" if mask else "(K,)"
        raise ValueError(f"{owner}: index must have shape {expected}, got {tuple(where.shape)}")
    values = where if torch.compiler.is_compiling() else readable(where)
    if torch.compiler.is_exporting() and not mask:
        values = None  # torch checks them when the program runs
    if mask:
        if values is not where:  # how many trees there would be is not known
            raise ValueError(
                f"{owner}: index must be integers under torch.vmap and without values, got bools"
            )
        return where
    where = where.long()
    if where.device.type == "cpu" and values is not None:
        outside = (values < -batch) | (values >= batch)
        if outside.any():
            _check_range(owner, int(values[outside][0]), batch)
    return where
