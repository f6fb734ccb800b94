"""x"""
from .candidates import Part, candidates
from .edges import tree_edges
from .geometry import Lattice, Tile, Tiling
from .reduce import Choice, choose, merge
from .exchange import exchange, prune_tile
from .filter import finish, reduce_tile, result_dtype
from .skeleton import Skeleton
from .watershed import Flood, finish_flood, flood, flood_candidates
