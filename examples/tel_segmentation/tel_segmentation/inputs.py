"""What a loss may look at, and what it gives back.

The dense truth is not here: it is carried beside the batch for diagnosis and never reaches a loss.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class LossInputs(NamedTuple):
    """Everything that a term of the loss may use."""

    logits: Tensor  # (B, K, h, w): the main prediction
    embed: Tensor | None  # (B, 256, h, w): the high-level embedding F
    image: Tensor  # (B, 3, H, W): the guide, in [0, 1], not normalised, not jittered
    label: Tensor  # (B, H, W) int64: class, -1 unlabelled, -2 padding
    iteration: int = 0
    teacher: Tensor | None = None  # (B, K, h, w): logits of the mean teacher


class LossOutput(NamedTuple):
    """A term of the loss with what it is worth to look at."""

    loss: Tensor  # scalar, differentiable
    pseudo: dict[str, Tensor]  # (B, K, h, w), detached: the pseudo labels, as probabilities
    logs: dict[str, Tensor]  # scalars, detached
