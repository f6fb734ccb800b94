"""torch.vmap of the native ops: the mapped dimension becomes part of the batch.

All ops work on batches, and every image of a batch is computed as if it were alone. So mapping an
op is one call with a larger batch, and its results have the bits of a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# What belongs to the graph and is the same for the whole batch.
_WITHOUT_BATCH = ("edges", "edge_index")


def folded(op: Callable[..., Any], names: list[str], shared: tuple[str, ...]) -> Callable[..., Any]:
    """The vmap rule of ``op``.

    Args:
        op: The op. The first dimension of its tensors is the batch B.
        names: The names of its arguments.
        shared: The arguments that may have a batch of 1 for all of B.
    """

    def rule(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        mapped = info.batch_size
        tensors = {
            name: (value, dim)
            for name, value, dim in zip(names, arguments, in_dims, strict=False)
            if isinstance(value, Tensor)
        }
        for name in _WITHOUT_BATCH:
            if name in tensors and tensors[name][1] is not None:
                raise ValueError(f"{op}: {name} must be the same for all of vmap, got a mapped one")
        sizes = [
            value.shape[0 if dim is None else int(dim == 0)]
            for name, (value, dim) in tensors.items()
            if name not in _WITHOUT_BATCH
        ]
        batch = next((size for size in sizes if size != 1), 1)

        def fold(name: str, value: Any) -> Any:
            if name not in tensors or name in _WITHOUT_BATCH:
                return value
            _, dim = tensors[name]
            if dim is None:
                if name in shared and value.shape[0] == 1:
                    return value
                value = value.unsqueeze(0).expand(mapped, *value.shape)
            else:
                value = value.movedim(dim, 0)
            if name in shared and value.shape[1] == 1:
                value = value.expand(mapped, batch, *value.shape[2:])
            return value.flatten(0, 1)

        results = op(*map(fold, names, arguments))
        single = isinstance(results, Tensor)
        outs, out_dims = [], []
        for result in [results] if single else results:
            # A result that was not asked for is empty, of shape (0,).
            whole = result.ndim > 1 or result.shape[0] == mapped * batch
            outs.append(result.unflatten(0, (mapped, batch)) if whole else result)
            out_dims.append(0 if whole else None)
        return (outs[0], out_dims[0]) if single else (tuple(outs), tuple(out_dims))

    return rule


def register(
    op: torch._ops.OpOverload, shared: tuple[str, ...], library: torch.library.Library
) -> None:
    """Gives ``op`` its vmap rule."""
    names = [argument.name for argument in op._schema.arguments]
    torch.library.register_vmap(op, folded(op, names, shared), lib=library)
