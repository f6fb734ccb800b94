"""Modules of the extensions' names, in ``sys.modules``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .._checks import check_flag
from . import _filters, _ranks
from .apro import gp_forward

_TREES: dict[str, Callable[..., Any]] = {
    "mst_forward": _ranks.mst_forward,
    "bfs_forward": _ranks.bfs_forward,
}
_RANDOM = {"rst_forward": _ranks.rst_forward}
_V2 = (
    "tree_filter_refine_forward",
    "tree_filter_refine_backward_feature",
    "tree_filter_refine_backward_edge_weight",
    "tree_filter_refine_backward_self_weight",
)
_MEAN = ("refine_forward", "refine_backward_feature", "refine_backward_weight")
_SCAN = (
    "tree_scan_refine_forward",
    "tree_scan_refine_backward_feature",
    "tree_scan_refine_backward_edge_weight",
)


def _lan_bfs_forward(edge_index: Any, max_adj_per_node: int) -> tuple[Any, ...]:
    """As ``bfs_forward``, with a fourth result, the number of children of each rank."""
    index, parent, child = _ranks.bfs_forward(edge_index, max_adj_per_node)
    return index, parent, child, (child > 0).sum(2).int()


def _filters_named(names: Iterable[str]) -> dict[str, Callable[..., Any]]:
    return {name: getattr(_filters, name) for name in names}


V2_NAMES = {**_TREES, **_RANDOM, **_filters_named(_V2)}
"""What ``install(into=module)`` adds."""

MODULES: dict[str, dict[str, Callable[..., Any]]] = {
    "tree_filter_cuda": {**_TREES, **_filters_named(_MEAN)},
    "tree_scan._C": {**_TREES, **_RANDOM, **_filters_named(_SCAN)},
    "tree_scan_lan._C": {
        **_TREES,
        "bfs_forward": _lan_bfs_forward,
        "tree_scan_refine_forward": _filters.lan_refine_forward,
        "tree_scan_refine_backward_feature": _filters.lan_refine_backward_feature,
    },
    "GP_cuda": {**_TREES, "gp_forward": gp_forward},
}

_MARK = "__treefilter_compat__"
_replaced: dict[str, ModuleType | None] = {}
_added: list[tuple[ModuleType, str, Any]] = []
_ABSENT = object()


def install(
    names: Iterable[str] | None = None,
    *,
    into: ModuleType | None = None,
    force: bool = False,
) -> list[str]:
    """Puts modules with the names of the research code's extensions into ``sys.modules``.

    Call it before that code is imported. An extension that is really installed stays, unless
    ``force`` is true; its name is then not in the result. A second call changes nothing.

    Args:
        names: Some of ``tree_filter_cuda``, ``tree_scan._C``, ``tree_scan_lan._C``, ``GP_cuda``;
            all by default.
        into: A module, such as ``cvpods._C``, to which the functions of the second learnable tree
            filter are added instead; the ones that it has stay, unless ``force`` is true.
        force: Whether to replace what is there.

    Returns:
        The names that are ours after the call.

    Raises:
        ValueError: If a name is none of those above.
        TypeError: If an argument is of the wrong type.

    Example:
        >>> import treefilter.compat
        >>> treefilter.compat.install(["tree_filter_cuda"])
        ['tree_filter_cuda']
        >>> import tree_filter_cuda
        >>> tree_filter_cuda.mst_forward.__name__
        'mst_forward'
        >>> treefilter.compat.uninstall()
    """
    check_flag("install", "force", force)
    if into is not None:
        if not isinstance(into, ModuleType):
            raise TypeError(f"install: into must be a module, got {type(into).__name__}")
        return _add(into, force)
    wanted = list(MODULES) if names is None else list(names)
    for name in wanted:
        if name not in MODULES:
            raise ValueError(f"install: names must be of {', '.join(MODULES)}, got {name!r}")
    return [name for name in wanted if _put(name, force)]


def uninstall() -> None:
    """Removes everything that :func:`install` added."""
    for name, before in _replaced.items():
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before
    _replaced.clear()
    for module, name, value in reversed(_added):
        if value is _ABSENT:
            vars(module).pop(name, None)
        else:
            setattr(module, name, value)
    _added.clear()


def _put(name: str, force: bool) -> bool:
    """One module; whether it is ours now."""
    if hasattr(sys.modules.get(name), _MARK):
        return True
    if not force and _is_installed(name):
        return False
    parent, _, last = name.rpartition(".")
    if parent and parent not in sys.modules:  # _is_installed has tried to import it
        _set(parent, _module(parent, {}, is_package=True))
    module = _module(name, MODULES[name])
    _set(name, module)
    if parent:
        _attach(sys.modules[parent], last, module)
    return True


def _set(name: str, module: ModuleType) -> None:
    _replaced[name] = sys.modules.get(name)
    sys.modules[name] = module


def _attach(module: ModuleType, name: str, value: Any) -> None:
    _added.append((module, name, getattr(module, name, _ABSENT)))
    setattr(module, name, value)


def _add(module: ModuleType, force: bool) -> list[str]:
    ours = []
    for name, function in V2_NAMES.items():
        there = getattr(module, name, None)
        if there is None or (force and there is not function):
            _attach(module, name, function)
        if getattr(module, name) is function:
            ours.append(name)
    return ours


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError, OSError):  # a package that cannot be imported
        return False


def _module(
    name: str, functions: dict[str, Callable[..., Any]], is_package: bool = False
) -> ModuleType:
    module = ModuleType(name, "A module of treefilter.compat.")
    module.__spec__ = ModuleSpec(name, None, origin="treefilter.compat", is_package=is_package)
    if is_package:
        module.__path__ = []
    vars(module).update(functions)
    setattr(module, _MARK, True)
    return module
