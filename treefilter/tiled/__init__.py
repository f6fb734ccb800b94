"""x"""
from .candidates import Part, candidates
from .edges import tree_edges
from .geometry import Lattice, Tile, Tiling
from .reduce import Choice, choose, merge
