"""The native module, any build of it. Shapes and meanings are in src/*.h.

_native.py says which build is imported; tensors are checked in src/python/tensor.h.
"""

import enum

from torch import Tensor

with_cuda: bool
emulated: bool

def take_counts() -> dict[str, list[int]]: ...  # only in emulated builds

instruction_set: str

class Psi(enum.Enum):
    IDENTITY = 0
    SIGN = 1
    EUCLIDEAN = 2

class Pass(enum.Enum):
    LEAF_TO_ROOT = 0
    ROOT_TO_LEAF = 1
    SUM = 2
    MEAN = 3

def edge_list(edge_index: Tensor, num_nodes: int, out: Tensor) -> None: ...
def edge_inner(
    f: Tensor,
    t: Tensor,
    edges: Tensor | None,
    layout: list[int],
    psi: Psi,
    weight: Tensor,
    threads: int,
) -> None: ...
def edge_scatter(
    weight: Tensor,
    f: Tensor,
    edges: Tensor | None,
    layout: list[int],
    psi: Psi,
    distance: Tensor | None,
    out: Tensor,
    threads: int,
) -> None: ...
def edge_argmax(
    f: Tensor,
    edges: Tensor | None,
    layout: list[int],
    out: Tensor,
    distance: Tensor,
    threads: int,
) -> None: ...
def rank_weights(weight: Tensor, out: Tensor, threads: int) -> None: ...
def mst(
    weight: Tensor,
    edges: Tensor | None,
    layout: list[int],
    num_nodes: int,
    roots: Tensor | None,
    root: int,
    parent: Tensor,
    edge: Tensor,
    order: Tensor,
    plan: Tensor,
    threads: int,
) -> None: ...
def plan_size(num_nodes: int) -> int: ...
def plan(parent: Tensor, out: Tensor) -> None: ...
def order(parent: Tensor, order: Tensor, ordered: Tensor, threads: int) -> None: ...
def rank_trees(
    parent: Tensor,
    order: Tensor,
    most: int,
    index: Tensor,
    above: Tensor,
    children: Tensor,
    needed: Tensor,
    threads: int,
) -> None: ...
def mst_edges(
    weight: Tensor,
    edges: Tensor | None,
    layout: list[int],
    num_nodes: int,
    out: Tensor,
    threads: int,
) -> None: ...
def sort_edges(
    weight: Tensor, parent: Tensor, edge: Tensor, out: Tensor, function: str, threads: int
) -> None: ...
def merge(
    parent: Tensor,
    edge: Tensor,
    sorted: Tensor,
    nodes: Tensor,
    edges: Tensor,
    children: Tensor,
    limb: Tensor | None,
    function: str,
    threads: int,
) -> None: ...
def join_limbs(
    limb: Tensor, merge: Tensor, nodes: Tensor, edges: Tensor, children: Tensor, function: str
) -> None: ...
def lowest_leaf(value: Tensor, parent: Tensor, plan: Tensor, out: Tensor, threads: int) -> None: ...
def persistence(
    values: Tensor,
    edges: Tensor | None,
    layout: list[int],
    holes: bool,
    superlevel: bool,
    birth: Tensor,
    death: Tensor,
    threads: int,
) -> None: ...
def count_pairs(
    parent: Tensor,
    children: Tensor,
    label: Tensor,
    equal: Tensor,
    different: Tensor,
    threads: int,
) -> None: ...
def bottleneck_sums(x: Tensor, children: Tensor, k: Tensor, out: Tensor, threads: int) -> None: ...
def watershed(
    weight: Tensor,
    parent: Tensor,
    edge: Tensor,
    markers: Tensor,
    out: Tensor,
    function: str,
    threads: int,
) -> None: ...
def tree_weight(
    weight: Tensor, edge: Tensor, out: Tensor, function: str, name: str, threads: int
) -> None: ...
def tree_weight_backward(
    grad: Tensor, edge: Tensor, out: Tensor, function: str, threads: int
) -> None: ...
def affinity(
    weight: Tensor, edge: Tensor, sigma: Tensor | None, all: float, out: Tensor, threads: int
) -> None: ...
def affinity_backward(
    grad: Tensor,
    a: Tensor,
    edge: Tensor,
    sigma: Tensor | None,
    all: float,
    out: Tensor,
    threads: int,
) -> None: ...
def coefficients(
    parent: Tensor, order: Tensor, plan: Tensor, affinity: Tensor, out: Tensor
) -> None: ...
def propagate(
    kind: Pass,
    x: Tensor,
    parent: Tensor,
    order: Tensor,
    plan: Tensor,
    affinity: Tensor,
    coefficients: Tensor | None,
    out: Tensor,
    threads: int,
) -> None: ...
def filter_backward(
    kind: Pass,
    grad: Tensor,
    x: Tensor,
    parent: Tensor,
    order: Tensor,
    plan: Tensor,
    affinity: Tensor,
    coefficients: Tensor | None,
    grad_x: Tensor,
    grad_affinity: Tensor | None,
    threads: int,
) -> None: ...
def parent_dot(
    p: Tensor, q: Tensor, parent: Tensor, groups: int, out: Tensor, threads: int
) -> None: ...
def distance(
    weight: Tensor,
    parent: Tensor,
    order: Tensor,
    plan: Tensor,
    source: Tensor,
    distance: Tensor,
    via: Tensor,
    bottleneck: Tensor | None,
    function: str,
    threads: int,
) -> None: ...
def distance_transform(
    weight: Tensor,
    parent: Tensor,
    order: Tensor,
    plan: Tensor,
    seeds: Tensor,
    distance: Tensor,
    nearest: Tensor,
    via: Tensor,
    bottleneck: Tensor | None,
    threads: int,
) -> None: ...
def path_sums(
    weight: Tensor,
    parent: Tensor,
    order: Tensor,
    plan: Tensor,
    via: Tensor,
    out: Tensor,
    threads: int,
) -> None: ...
def accumulate_sums(
    grad: Tensor,
    parent: Tensor,
    order: Tensor,
    plan: Tensor,
    via: Tensor,
    out: Tensor,
    threads: int,
) -> None: ...
def l1_difference(x: Tensor, y: Tensor, out: Tensor, sign: Tensor | None, threads: int) -> None: ...
def l1_difference_backward(
    grad: Tensor, sign: Tensor, grad_x: Tensor, grad_y: Tensor | None, threads: int
) -> None: ...
