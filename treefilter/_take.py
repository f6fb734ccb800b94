"""Values at computed places, with gradients that are the same bits every time."""

import torch
from torch import Tensor


def take(x: Tensor, index: Tensor) -> Tensor:
    """``x.gather(-1, index)``, but what several places give to one is added up in a fixed order.

    On CUDA the gradient of ``gather`` is added up by atomics, as they happen to come; that of
    indexing is sorted first.
    """
    return x.gather(-1, index) if x.device.type == "cpu" else indexed(x, index)


def indexed(x: Tensor, index: Tensor) -> Tensor:
    """The same by indexing."""
    leading = torch.meshgrid(
        *(torch.arange(size, device=x.device) for size in x.shape[:-1]), indexing="ij"
    )
    return x[(*(rows.unsqueeze(-1) for rows in leading), index)]
