"""Gather and scatter-add with the same bits every time.

On CUDA ``gather``'s gradient and ``scatter_add`` add up by atomics, in whatever order the threads
arrive. Indexing and its gradient sort first.
"""

import torch
from torch import Tensor


def take(x: Tensor, index: Tensor) -> Tensor:
    """``x.gather(-1, index)``, with a gradient that is added up in a fixed order."""
    return x.gather(-1, index) if x.device.type == "cpu" else indexed(x, index)


def give(x: Tensor, index: Tensor) -> Tensor:
    """The transpose of :func:`take`: zeros of the shape of x, to which x is added at ``index``."""
    if x.device.type == "cpu":
        return torch.zeros_like(x).scatter_add(-1, index, x)
    return added(x, index)


def indexed(x: Tensor, index: Tensor) -> Tensor:
    """:func:`take` by indexing."""
    return x[(*_leading(x), index)]


def added(x: Tensor, index: Tensor) -> Tensor:
    """:func:`give` by indexing."""
    return torch.zeros_like(x).index_put((*_leading(x), index), x, accumulate=True)


def _leading(x: Tensor) -> list[Tensor]:
    sizes = (torch.arange(size, device=x.device) for size in x.shape[:-1])
    return [rows.unsqueeze(-1) for rows in torch.meshgrid(*sizes, indexing="ij")]
