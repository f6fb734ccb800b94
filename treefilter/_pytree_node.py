"""Trees and dendrograms as pytrees: a few tensors, and the shape of a grid as their context."""

from __future__ import annotations

from typing import Any

from torch.utils import _pytree


def register(kind: type, names: tuple[str, ...]) -> None:
    """Makes a frozen class with the tensors ``names`` and the field ``shape`` a pytree.

    What a pytree holds need not be tensors (it may be what a function made of them): instances are
    made without the constructor, which would check that.
    """

    def flatten(value: Any) -> tuple[list[Any], Any]:
        return [getattr(value, name) for name in names], value.shape

    def flatten_with_keys(value: Any) -> tuple[list[tuple[Any, Any]], Any]:
        return [(_pytree.GetAttrKey(name), getattr(value, name)) for name in names], value.shape

    def unflatten(children: Any, shape: Any) -> Any:
        value: Any = object.__new__(kind)
        for name, child in zip(names, children, strict=True):
            object.__setattr__(value, name, child)
        object.__setattr__(value, "shape", None if shape is None else tuple(shape))
        return value

    _pytree.register_pytree_node(
        kind,
        flatten,
        unflatten,
        serialized_type_name=f"treefilter.{kind.__name__}",
        flatten_with_keys_fn=flatten_with_keys,
        to_dumpable_context=lambda shape: shape,
        from_dumpable_context=lambda shape: shape,
    )
