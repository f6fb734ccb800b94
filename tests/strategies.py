"""Strategies for hypothesis: graphs, weights, trees with data; and fixed images for larger tests.

Sizes and kinds are drawn one by one, so that failures shrink; the numbers come from a drawn seed.
"""

import numpy as np
import torch
from hypothesis import strategies as st

import treefilter as tf

SEEDS = st.integers(0, 2**32 - 1)

GRIDS = [  # shape, connectivity: all kinds, odd sizes, lines and points
    *[((5, 7), 4), ((1, 9), 4), ((9, 1), 4), ((1, 1), 4)],
    *[((5, 7), 8), ((1, 9), 8), ((9, 1), 8), ((1, 1), 8), ((2, 2), 8)],
    *[((3, 5, 3), 6), ((1, 5, 7), 6), ((1, 1, 9), 6), ((9, 1, 1), 6), ((1, 1, 1), 6)],
    *[((3, 3, 5), 26), ((1, 5, 7), 26), ((7, 1, 5), 26), ((5, 7, 1), 26), ((1, 1, 1), 26)],
]


@st.composite
def grids(draw, max_nodes=60):
    """Grids of all four connectivities; every size may be 1."""
    connectivity = draw(st.sampled_from([4, 8, 6, 26]))
    shape, left = [], max_nodes
    for _ in range(2 if connectivity in (4, 8) else 3):
        shape.append(draw(st.integers(1, min(left, 11))))
        left //= shape[-1]
    return tf.grid(*shape, connectivity=connectivity)


@st.composite
def edge_lists(draw, max_nodes=40):
    """Multigraphs: self-loops, parallel edges and isolated vertices are likely."""
    num_nodes = draw(st.integers(1, max_nodes))
    num_edges = draw(st.integers(0, 3 * num_nodes))
    rng = np.random.default_rng(draw(SEEDS))
    return tf.graph(torch.from_numpy(rng.integers(0, num_nodes, (2, num_edges))), num_nodes)


def graphs(max_nodes=60):
    return grids(max_nodes) | edge_lists(max_nodes)


WEIGHTS = {  # every entry: how to draw weights of a shape
    "random": lambda rng, shape: rng.standard_exponential(shape),
    "ties": lambda rng, shape: rng.integers(0, 4, shape),
    "constant": lambda rng, shape: np.full(shape, rng.standard_normal()),
    "negative": lambda rng, shape: rng.standard_normal(shape),
    "negative ties": lambda rng, shape: rng.integers(-2, 3, shape),
    "zeros": lambda rng, shape: rng.choice([0.0, -0.0], shape),
    "denormal": lambda rng, shape: rng.integers(-3, 4, shape) * 1.401298464324817e-45,
    "huge": lambda rng, shape: rng.choice([3e38, -3e38, 3.4e38, 1.0], shape),
    "half infinite": lambda rng, shape: rng.choice([np.inf, 1.0, 2.0], shape, p=[0.5, 0.3, 0.2]),
    "mostly infinite": lambda rng, shape: np.where(rng.random(shape) < 0.8, np.inf, 1.0),
    # distinct in float64 and equal, or about to overflow, in float32
    "below float32": lambda rng, shape: 1 + rng.integers(0, 9, shape) * 2.0**-25,
    "beyond float32": lambda rng, shape: rng.choice([1e39, 1e300, 3.4e38, 1.0], shape),
}


@st.composite
def weights(draw, graph, batch=1, kinds=tuple(WEIGHTS)):
    """(batch, E) of one kind; float64 where the kind needs it, else float32 or float64."""
    kind = draw(st.sampled_from(kinds))
    double = kind.endswith("float32") or draw(st.booleans())
    values = WEIGHTS[kind](np.random.default_rng(draw(SEEDS)), (batch, graph.num_edges))
    return torch.from_numpy(np.asarray(values)).to(torch.float64 if double else torch.float32)


@st.composite
def forests(draw, max_nodes=40, batch=1):
    """(graph, weight, tree): float64 weights, non-negative, also forests, any root."""
    graph = draw(graphs(max_nodes))
    kinds = ("random", "random", "ties", "half infinite")
    weight = draw(weights(graph, batch, kinds)).double()
    root = draw(st.integers(0, graph.num_nodes - 1))
    return graph, weight, tf.mst(weight, graph, root=root)


def normal(seed, *shape, dtype=torch.float64):
    """Normally distributed numbers that depend on the seed only."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def uniform(seed, *shape, low=0.0, high=1.0, dtype=torch.float64):
    """Uniform numbers that depend on the seed only."""
    numbers = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return low + (high - low) * numbers


def photograph(height, width):
    """(1, 3, H, W) float32 in [0, 1]: a photograph, mirrored at its borders to fill the size."""
    from skimage.data import astronaut

    image = astronaut()
    pad = [(0, height - min(height, image.shape[0])), (0, width - min(width, image.shape[1]))]
    image = np.pad(image[:height, :width], [*pad, (0, 0)], mode="symmetric")
    return torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None].contiguous()


def snake(height, width):
    """(graph, weight, path): a grid whose tree is one path, left to right and back again.

    Turning points are at alternating ends of the rows; all other vertical edges have large weights.
    """
    graph = tf.grid(height, width)
    vertical = torch.full((height - 1, width), 2.0)
    vertical[::2, -1] = 1.0
    vertical[1::2, 0] = 1.0
    weight = torch.cat([vertical.flatten(), torch.ones(height * (width - 1))])[None]
    path = torch.arange(height * width).view(height, width)
    path[1::2] = path[1::2].flip(1)
    return graph, weight, path.flatten()
