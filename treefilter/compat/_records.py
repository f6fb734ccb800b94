"""What is known of tensors that were returned to the caller, who passes them to the next function.

A tree that one function made would have to be checked and sorted again by each that it is given to.
A record lives as long as its tensor, and counts as long as none of its tensors has been written to.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.utils.weak import WeakIdKeyDictionary

Value = TypeVar("Value")


class Records(Generic[Value]):
    """Values by the identity of tensors: of the first, to which the record belongs, and others."""

    def __init__(self) -> None:
        self._of = WeakIdKeyDictionary()

    def keep(self, value: Value, first: Tensor, *others: Tensor) -> None:
        """The value must not hold ``first``, which would live for ever; it may hold ``others``."""
        if _is_plain(first, *others):
            self._of[first] = (_states(first, *others), others, value)

    def find(self, first: Tensor, *others: Tensor) -> Value | None:
        """What was kept for these tensors, if they are as they were."""
        if not _is_plain(first, *others):
            return None
        states, kept, value = self._of.get(first, (None, (), None))
        if len(kept) != len(others) or any(a is not b for a, b in zip(kept, others, strict=True)):
            return None
        return value if states == _states(first, *others) else None

    def take(self, first: Tensor, *others: Tensor) -> Value | None:
        """The same, once."""
        value = self.find(first, *others)
        if value is not None:
            self._of.pop(first, None)
        return value


def _is_plain(*tensors: Tensor) -> bool:
    """Whether the tensors count what is written to them, and nothing is being traced."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or any(
            type(t) is not Tensor or is_functorch_wrapped_tensor(t) or t.is_inference()
            for t in tensors
        )
    )


def _states(*tensors: Tensor) -> list[tuple[int, int]]:
    return [(t._version, t.data_ptr()) for t in tensors]
