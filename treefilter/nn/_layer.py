"""What all layers have in common."""

from __future__ import annotations

from typing import Literal, NoReturn

import torch
from torch import Tensor, nn

from .. import _ops
from .._autograd import values_of
from .._checks import check_sigma, check_sigma_values, check_tensor


class Layer(nn.Module):
    """A module that torch.export takes, and torch.jit does not."""

    def __prepare_scriptable__(self) -> NoReturn:
        """Called by torch.jit.script."""
        raise RuntimeError(_ops.JIT_MESSAGE)

    def _keep_sigma(
        self, function: str, sigma: float | Tensor | Literal["auto"], groups: int
    ) -> None:
        """Checks σ and makes it an attribute; a tensor a parameter or a buffer."""
        self.sigma: float | Tensor | Literal["auto"]
        if isinstance(sigma, str):
            self.sigma = "auto"
            return
        if not isinstance(sigma, Tensor):
            self.sigma = check_sigma(function, sigma, torch.float64)
            return
        check_tensor(function, "sigma", sigma, "float")
        if sigma.ndim > 2 or sigma.numel() == 0:
            raise ValueError(
                f"{function}: sigma must broadcast to (B, {groups}), got {tuple(sigma.shape)}"
            )
        values = values_of(sigma)
        if values is not None:
            check_sigma_values(function, values)
        if isinstance(sigma, nn.Parameter):
            self.sigma = sigma
        else:
            self.register_buffer("sigma", sigma)
