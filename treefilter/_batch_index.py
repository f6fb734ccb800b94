"""What a batch of trees can be indexed with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._autograd import readable
from ._checks import check_integer, check_tensor

Index = int | slice | Tensor | np.ndarray | list[int] | list[bool]

_EXPECTED = "an integer, a slice, a list or a one-dimensional tensor of integers or bools"


def batch_index(index: Any, batch: int, device: torch.device) -> slice | Tensor:
    """An index of a batch, checked, in a form that keeps the batch's dimension."""
    if isinstance(index, slice):
        return _slice(index, batch)
    if isinstance(index, Tensor):
        return _tensor(index, batch, device)
    if isinstance(index, np.ndarray):
        return _tensor(_of_numpy(index), batch, device)
    if isinstance(index, list):
        return _tensor(_of_list(index, batch), batch, device)
    i = check_integer("Tree", "index", index, _EXPECTED)
    _check_range(i, batch)
    return slice(i, i + 1 or None)


def _check_range(i: int, batch: int) -> None:
    if not -batch <= i < batch:
        raise IndexError(f"Tree: index must be in [-{batch}, {batch}), got {i}")


def _slice(index: slice, batch: int) -> slice | Tensor:
    for part in (index.start, index.stop, index.step):
        if part is not None and not isinstance(part, int | torch.SymInt):
            try:
                part.__index__()
            except (AttributeError, TypeError):
                raise TypeError(
                    f"Tree: index must be a slice of integers, got {type(part).__name__}"
                ) from None
    if index.step is None or index.step > 0:
        return index
    if index.step == 0:
        raise ValueError("Tree: index must be a slice with a step other than 0, got 0")
    return torch.tensor(range(batch)[index], dtype=torch.int64)  # torch has no negative steps


def _of_numpy(index: np.ndarray) -> Tensor:
    """A copy, since torch takes neither every order of bytes nor every stride."""
    kind = index.dtype.kind
    if kind not in "iub" or isinstance(index, np.ma.MaskedArray):
        masked = "masked " if isinstance(index, np.ma.MaskedArray) else ""
        raise TypeError(
            "Tree: index must be a NumPy array of integers or bools, got a "
            f"{masked}NumPy array of {index.dtype}"
        )
    if kind == "u" and index.size and index.max() > np.iinfo(np.int64).max:
        raise IndexError(f"Tree: index must be less than 2**63, got {index.max()}")
    return torch.from_numpy(np.array(index, dtype=bool if kind == "b" else np.int64, order="C"))


def _of_list(index: list[Any], batch: int) -> Tensor:
    kinds = {isinstance(i, bool | np.bool_) for i in index}
    if len(kinds) > 1:
        raise TypeError("Tree: index must be a list of integers or of bools, got both")
    if kinds == {True} and len(index) == batch:
        return torch.tensor([i for i, chosen in enumerate(index) if chosen], dtype=torch.int64)
    if kinds == {True}:
        raise ValueError(f"Tree: index must have shape ({batch},), got ({len(index)},)")
    numbers = [check_integer("Tree", "index", i, "a list of integers") for i in index]
    for i in numbers:
        _check_range(i, batch)
    return torch.tensor(numbers, dtype=torch.int64)


def _tensor(where: Tensor, batch: int, device: torch.device) -> Tensor:
    mask = where.dtype == torch.bool
    check_tensor("Tree", "index", where, "bool" if mask else "int")
    if where.is_meta or where.device.type not in ("cpu", device.type):
        raise ValueError(f"Tree: index must be on cpu or on {device}, got {where.device}")
    if where.ndim != 1 or (mask and len(where) != batch):
        expected = f"({batch},)" if mask else "(K,)"
        raise ValueError(f"Tree: index must have shape {expected}, got {tuple(where.shape)}")
    values = where if torch.compiler.is_compiling() else readable(where)
    if mask:
        if values is not where:  # how many trees there would be is not known
            raise ValueError(
                "Tree: index must be integers under torch.vmap and without values, got bools"
            )
        return where
    where = where.long()
    if where.device.type == "cpu" and values is not None:
        outside = (values < -batch) | (values >= batch)
        if outside.any():
            _check_range(int(values[outside][0]), batch)
    return where
