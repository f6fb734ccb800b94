"""The difference between a prediction and its pseudo label, δ of the tree energy loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _ops
from .._autograd import Function, call, constant, recorded, save
from .._checks import check_choice, check_devices, check_tensor

DELTAS = ("l1", "l2", "ce", "dot")
SMALLEST_PROBABILITY = 1e-7  # the lower bound before the logarithm is taken


def difference(probability: Tensor, pseudo: Tensor, delta: str = "l1") -> Tensor:
    r"""δ(P, Ỹ) of every pixel, (B, 1, h, w).

    The sum over the classes of \|P − Y\| (``"l1"``), (P − Y)² (``"l2"``), −Y log P (``"ce"``) or
    −P Y (``"dot"``).

    Example:
        >>> import torch, treefilter as tf
        >>> p = torch.tensor([0.75, 0.25]).view(1, 2, 1, 1)
        >>> tf.losses.difference(p, p.flip(1)).item()
        1.0
    """
    check_choice("difference", "delta", delta, DELTAS)
    check_tensor("difference", "probability", probability, "float")
    check_tensor("difference", "pseudo", pseudo, "float")
    check_devices("difference", "probability", probability, pseudo=pseudo)
    if probability.ndim < 2 or pseudo.shape != probability.shape:
        raise ValueError(
            f"difference: pseudo must have the shape of probability {tuple(probability.shape)}, "
            f"(B, K, h, w), got {tuple(pseudo.shape)}"
        )
    if delta == "l1":
        return _l1_difference(probability, pseudo)
    if delta == "l2":
        terms = (probability - pseudo).square()
    elif delta == "ce":
        terms = -pseudo * probability.clamp_min(SMALLEST_PROBABILITY).log()
    else:
        terms = -pseudo * probability
    return terms.sum(1, keepdim=True)


def _l1_difference(x: Tensor, y: Tensor) -> Tensor:
    if x.ndim == 2:
        return _l1_difference(x.unsqueeze(2), y.unsqueeze(2)).squeeze(2)
    narrow, wide = torch.promote_types(x.dtype, y.dtype), _ops.sum_dtype(x, y)
    x, y = x.to(wide), y.to(wide)
    wanted = recorded(x, y)
    out, sign = constant(_ops.l1_difference, x.detach(), y.detach(), wanted)
    return (call(_L1Difference, x, y, out, sign) if wanted else out).to(narrow)


class _L1Difference(Function):
    """Σ |x − y| over channels, which is ``out``: it gets derivatives here."""

    @staticmethod
    def forward(x: Tensor, y: Tensor, out: Tensor, sign: Tensor) -> Tensor:
        return out.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        save(ctx, inputs[3])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (sign,) = ctx.saved_tensors
        both = ctx.needs_input_grad[1]
        if recorded(grad):
            grad_x = grad * sign
            return grad_x, -grad_x if both else None, None, None
        grad_x, grad_y = _ops.l1_difference_backward(grad, sign, both)
        return grad_x, grad_y if both else None, None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        (sign,), (x, y, _, _) = saved, tangents
        return (sign * (x if y is None else -y if x is None else x - y)).sum(1, keepdim=True)
