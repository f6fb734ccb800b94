"""Persistence pairs: the elder rule vertex by vertex, and SciPy's components at every threshold."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from strategies import SEEDS, graphs, normal, photograph, uniform

import treefilter as tf
from treefilter import _ops

KINDS = {  # how to draw values of a shape
    "distinct": lambda rng, shape: rng.permutation(np.prod(shape)).reshape(shape) - 5.0,
    "ties": lambda rng, shape: rng.integers(0, 4, shape).astype(float),
    "constant": lambda rng, shape: np.zeros(shape),
    "infinite": lambda rng, shape: rng.choice([-np.inf, -1, 0, 2, np.inf], shape),
    "below float32": lambda rng, shape: 1 + rng.permutation(np.prod(shape)).reshape(shape) * 1e-12,
}


def draw_values(seed, kind, *shape):
    return torch.from_numpy(KINDS[kind](np.random.default_rng(seed), shape))


def pairs(birth, death):
    """The pairs of one image, sorted, without the padding."""
    return sorted((b, d) for b, d in zip(birth.tolist(), death.tolist(), strict=True) if b >= 0)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), seed=SEEDS)
def test_pairs_are_those_of_the_reference(device, kind, data, seed):
    graph = data.draw(graphs(40))
    dims = [0, 1] if graph.connectivity in (4, 8) else [0]
    dim, superlevel = data.draw(st.sampled_from(dims)), data.draw(st.booleans())
    values = draw_values(seed, kind, 2, graph.num_nodes)
    arguments = {"dim": dim, "superlevel": superlevel}
    there = graph.to(device)
    birth, death = (t.cpu() for t in tf.persistence(values.to(device), there, **arguments))
    expected = tf.reference.persistence(values, graph, **arguments)
    assert birth.shape == death.shape == (2, graph.num_nodes)
    for b in range(2):
        assert birth[b].tolist() == expected[0][b].tolist()  # in the same order, too
        assert death[b].tolist() == expected[1][b].tolist()
        count = int((birth[b] >= 0).sum())
        assert (birth[b, count:] == -1).all()
        paired = int((death[b] >= 0).sum())
        assert (death[b, paired:] == -1).all()  # what lasts is last
    for dtype in (torch.float32, torch.float16):
        if kind != "below float32":
            single = tf.persistence(values.to(device, dtype), there, **arguments)
            assert torch.equal(single[0].cpu(), birth)


GRAPHS = {
    "grid, 4": tf.grid(41, 37),
    "grid, 8": tf.grid(41, 37, connectivity=8),
    "line": tf.grid(1, 500),
    "volume, 6": tf.grid(7, 9, 11),
    "volume, 26": tf.grid(7, 9, 11, connectivity=26),
    "list": tf.graph(torch.from_numpy(np.random.default_rng(3).integers(0, 600, (2, 1500))), 600),
}


@pytest.mark.parametrize("kind", [*KINDS, "photograph"])
@pytest.mark.parametrize("name", GRAPHS)
def test_pairs_are_those_of_trees_and_dendrograms(name, kind):
    """What runs on a GPU, on graphs too large for the reference."""
    graph = GRAPHS[name]
    if kind == "photograph":
        values = photograph(82, 37)[0].mean(0).flatten()[: 2 * graph.num_nodes].double()
        values = values.view(2, -1)
    else:
        values = draw_values(4, kind, 2, graph.num_nodes)
    for superlevel in (False, True):
        got = tf.persistence(values, graph, superlevel=superlevel)
        made = _ops.pairs_by_merges(values, graph._edges, graph._layout, False, superlevel)
        assert all(map(torch.equal, got, made))
        if graph.connectivity in (4, 8):
            other = tf.grid(*graph.shape, connectivity=12 - graph.connectivity)._layout
            got = tf.persistence(values, graph, dim=1, superlevel=superlevel)
            made = _ops.pairs_by_merges(values, None, other, True, superlevel)
            assert all(map(torch.equal, got, made))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_the_largest_number_is_not_infinite(device, dtype):
    largest = torch.finfo(dtype).max
    pool = torch.tensor([torch.inf, -torch.inf, largest, -largest, 0], dtype=dtype)
    draws = torch.randint(5, (30, 3, 4), generator=torch.Generator().manual_seed(1))
    values = pool[draws]
    for connectivity in (4, 8):
        graph = tf.grid(3, 4, connectivity=connectivity)
        for dim in (0, 1):
            for superlevel in (False, True):
                arguments = {"dim": dim, "superlevel": superlevel}
                got = tf.persistence(values.to(device), graph, **arguments)
                expected = tf.reference.persistence(values, graph, **arguments)
                for ours, right in zip(got, expected, strict=True):
                    assert torch.equal(ours.cpu(), right)


def betti(image, connectivity, dim):
    """The number of components, or of holes, of a set of pixels, by SciPy."""
    own = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    other = ndimage.generate_binary_structure(2, 2 if connectivity == 4 else 1)
    if dim == 0:
        return ndimage.label(image, own)[1]
    return ndimage.label(np.pad(~image, 1, constant_values=True), other)[1] - 1


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("kind", ["noise", "ties", "photograph"])
def test_betti_numbers_at_every_threshold(device, kind, dim, connectivity):
    grey = {
        "noise": uniform(1, 24, 30),
        "ties": uniform(2, 24, 30).mul(9).round(),
        "photograph": (photograph(64, 80)[0].mean(0) * 31).round().double(),
    }[kind]
    graph = tf.grid(*grey.shape, connectivity=connectivity)
    for superlevel in (False, True):
        birth, death = tf.persistence(grey[None].to(device), graph, dim=dim, superlevel=superlevel)
        sign = -1 if superlevel else 1
        f = sign * grey.flatten().numpy()
        births = f[birth[0][birth[0] >= 0].cpu()]
        deaths = np.append(f, np.inf)[death[0][birth[0] >= 0].cpu()]
        assert (births < deaths).all()
        for t in np.unique(f)[::7]:
            expected = betti((f <= t).reshape(grey.shape), connectivity, dim)
            assert ((births <= t) & (deaths > t)).sum() == expected


def test_a_ring(device):
    """One component, and one hole that is born where the ring closes and dies at its middle."""
    values = torch.tensor([[[1.0, 1, 1], [1, 9, 2], [1, 1, 1]]], device=device)
    birth, death = tf.persistence(values, tf.grid(3, 3), dim=1)
    assert (birth[0, 0], death[0, 0]) == (5, 4)
    assert (birth[0, 1:] == -1).all()
    birth, death = tf.persistence(values, tf.grid(3, 3))
    assert (birth[0].tolist(), death[0].tolist()) == ([0] + [-1] * 8, [-1] * 9)


def test_gradient_by_gather(device):
    values = normal(1, 1, 6, 7).to(device).requires_grad_()
    graph = tf.grid(6, 7)

    def total(values):
        birth, death = tf.persistence(values, graph)
        flat, lives = values.flatten(1), (death >= 0).double()
        bars = flat.gather(1, death.clamp(min=0)) - flat.gather(1, birth.clamp(min=0))
        return (bars.square() * lives).sum()

    assert torch.autograd.gradcheck(total, values)
    assert torch.autograd.gradgradcheck(total, values)


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (5, 1), (2, 2)])
def test_smallest_sizes(device, dim, batch, shape):
    graph = tf.grid(*shape)
    values = torch.arange(graph.num_nodes, device=device).float().expand(batch, -1)
    birth, death = tf.persistence(values.reshape(batch, *shape), graph, dim=dim)
    assert birth.shape == death.shape == (batch, graph.num_nodes)
    assert (death == -1).all()
    assert (birth[:, :1] == (0 if dim == 0 else -1)).all()
    assert (birth[:, 1:] == -1).all()


def test_same_bits_at_any_thread_count_and_batch_position(device, assert_same_bits):
    graph = tf.grid(65, 77)
    values = uniform(1, 3, 65, 77, dtype=torch.float32).mul(50).round().to(device)

    def run(images=slice(None)):
        f = values[images]
        return [*tf.persistence(f, graph), *tf.persistence(f, graph, dim=1)]

    assert_same_bits(run, batch=3)


ERRORS = {
    "persistence: values must be a float32": lambda f, g: tf.persistence(f.long(), g),
    "persistence: graph must be a treefilter.Graph": lambda f, g: tf.persistence(f, f),
    r"persistence: values must have shape \(B, 2, 3\) or \(B, 6\), got \(1, 5\)": (
        lambda f, g: tf.persistence(f.flatten(1)[:, 1:], g)
    ),
    "persistence: dim must be 0 or 1, got 2": lambda f, g: tf.persistence(f, g, dim=2),
    "persistence: superlevel must be a bool": lambda f, g: tf.persistence(f, g, superlevel=1),
    "persistence: graph must be a two-dimensional grid for dim=1": (
        lambda f, g: tf.persistence(f, tf.grid(1, 2, 3), dim=1)
    ),
    r"persistence: graph must be one for all images, got Graph\(.*batch=2": (
        lambda f, g: tf.persistence(
            f.view(1, 6), tf.graph(torch.zeros(2, 2, 1, dtype=torch.int64), 6)
        )
    ),
    "persistence: values must not be NaN, got NaN": lambda f, g: tf.persistence(f * torch.nan, g),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message):
    values = torch.arange(6.0).view(1, 2, 3)
    values = values if "dim=1" not in message else values.view(1, 1, 2, 3)
    with pytest.raises((TypeError, ValueError), match=message):
        ERRORS[message](values, tf.grid(2, 3))
