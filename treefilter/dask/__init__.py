"""Exact trees, tree filters and watersheds of dask arrays that are larger than memory.

    import treefilter.dask as tfd

    y = tfd.filter(x, guide, sigma=0.02)

It needs ``pip install 'treefilter[dask]'``. The tasks are the functions of :mod:`treefilter.tiled`.
"""

from .filter import filter
from .mst import Tree, mst
from .sigma_for_mass import sigma_for_mass
from .watershed import watershed

__all__ = ["Tree", "filter", "mst", "sigma_for_mass", "watershed"]
