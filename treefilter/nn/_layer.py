"""What all layers have in common."""

from __future__ import annotations

from typing import NoReturn

from torch import nn

from .. import _ops


class Layer(nn.Module):
    """A module that torch.export takes, and torch.jit does not."""

    def __prepare_scriptable__(self) -> NoReturn:
        """Called by torch.jit.script."""
        raise RuntimeError(_ops.JIT_MESSAGE)
