"""The most memory that is alive at any time of a step of the loss, counted without a GPU."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import treefilter as tf
from gpu.cases import Case
from treefilter._native import _C


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that ops return while it is active, until they are freed.

    ``bytes`` are alive now; ``most`` were at any time, with the workspaces of our kernels, which
    the emulation counts. What one of torch's ops allocates and frees within itself is not seen.
    """

    def __init__(self, *held: Tensor) -> None:
        super().__init__()
        self.bytes = self.most = 0
        self._alive: dict[int, int] = {}
        for tensor in held:
            self._hold(tensor)

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._alive:
            self._alive[storage._cdata] = storage.nbytes()
            self.bytes += storage.nbytes()
            weakref.finalize(storage, self._free, storage._cdata)

    def _free(self, key: int) -> None:
        self.bytes -= self._alive.pop(key)

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        _C.take_counts()
        result = func(*args, **(kwargs or {}))
        workspaces = sum(counts[-1] for counts in _C.take_counts().values())
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._hold(leaf)
        self.most = max(self.most, self.bytes + workspaces)
        return result


def peak(case: Case) -> tuple[int, int]:
    """Of a step of the loss on an image and features: what must be there, and the most that is.

    The former are the inputs and the gradients of two of them: logits and features.
    """
    shape = (case.batch, case.channels, *case.shape)
    logits = torch.rand(shape).requires_grad_()
    features = torch.rand(case.batch, case.width, *case.shape).requires_grad_()
    image = torch.rand(case.batch, 3, *case.shape)
    label = torch.full((case.batch, *case.shape), -1)
    inputs = (logits, image, label, features)
    with LiveBytes(*inputs) as live:
        tf.losses.tree_energy(logits, image, label, features).backward()
    needed = sum(tensor.nbytes for tensor in (*inputs, logits, features))
    return needed, live.most
