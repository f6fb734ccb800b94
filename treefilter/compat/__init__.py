"""Drop-in replacements for the tree filter extensions of published research code.

Two lines, before the first import of that code, let its own Python files run without a compiler,
on CPU and CUDA::

    import treefilter.compat
    treefilter.compat.install()

The modules :mod:`~treefilter.compat.tree_filter`, :mod:`~treefilter.compat.tree_filter_v2`,
:mod:`~treefilter.compat.tree_scan`, :mod:`~treefilter.compat.apro` and
:mod:`~treefilter.compat.tel` have the classes of that code. New code calls the library itself, or
the layers of :mod:`treefilter.nn`: docs/migration.md shows both for every family.

Names, orders, shapes and dtypes are those of the research code, and so are the trees: ties
included, "+1" included. What differs: inputs are not modified; wrong shapes, graphs that are not
connected and vertices with too many neighbours are errors.
"""

from __future__ import annotations

from . import apro, tel, tree_filter, tree_filter_v2, tree_scan
from ._install import install, uninstall

__all__ = [
    "apro",
    "install",
    "tel",
    "tree_filter",
    "tree_filter_v2",
    "tree_scan",
    "uninstall",
]
