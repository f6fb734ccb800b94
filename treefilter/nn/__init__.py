"""Layers: the tree filter, the scan along trees, and what learns from them."""

from .mrf import TreeFilterMRF2d
from .tree_energy import TreeEnergyLoss
from .tree_filter import TreeFilter2d
from .tree_scan import TreeScan2d

__all__ = ["TreeEnergyLoss", "TreeFilter2d", "TreeFilterMRF2d", "TreeScan2d"]
