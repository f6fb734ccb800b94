"""Tree filtering on minimum spanning trees: exact, differentiable, O(N).

guide ──edge_weight──▶ weight ──mst──▶ Tree ──affinity──▶ a ──filter──▶ y
(B,C,H,W)              (B,E)           B rooted trees     (B,N)         like x
                                         ├──distance / distance_transform──▶ (B,S,N) / (B,N)
                                         └──dendrogram / watershed──▶ hierarchies, regions

Vertices are numbered in row-major order.
"""

from typing import NoReturn as _NoReturn

import torch as _torch  # noqa: F401  first: its OpenMP runtime is the one that ours shares

from . import _ops, compat, losses, nn, reference, tiled
from .affinity import affinity
from .cut import cut
from .dendrogram import Dendrogram, altitude, dendrogram
from .distance import distance, distance_matrix, distance_transform
from .edge_weight import edge_weight
from .filter import filter, leaf_to_root, mass, root_to_leaf
from .graph import Graph, graph, grid
from .linkage import linkage
from .malis import malis_pairs
from .mst import mst
from .persistence import persistence
from .random_tree import random_tree
from .sigma_for_mass import sigma_for_mass
from .tree import Tree
from .watershed import watershed

__version__ = "0.2.0.dev0"


def _script() -> _NoReturn:
    raise RuntimeError(_ops.JIT_MESSAGE)


for _function in (
    *(affinity, altitude, cut, dendrogram, distance, distance_matrix, distance_transform),
    *(edge_weight, filter, graph, grid, leaf_to_root, linkage, losses.tree_energy, malis_pairs),
    *(mass, mst, persistence, random_tree, root_to_leaf, sigma_for_mass, watershed),
):
    # What torch.jit.script calls of a function, or of one that is called by its function.
    setattr(_function, "__prepare_scriptable__", _script)  # noqa: B010  mypy knows no such name

__all__ = [
    "Dendrogram",
    "Graph",
    "Tree",
    "affinity",
    "altitude",
    "compat",
    "cut",
    "dendrogram",
    "distance",
    "distance_matrix",
    "distance_transform",
    "edge_weight",
    "filter",
    "graph",
    "grid",
    "leaf_to_root",
    "linkage",
    "losses",
    "malis_pairs",
    "mass",
    "mst",
    "nn",
    "persistence",
    "random_tree",
    "reference",
    "root_to_leaf",
    "sigma_for_mass",
    "tiled",
    "watershed",
]
