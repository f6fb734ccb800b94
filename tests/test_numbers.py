"""Numbers at the limits of their types: nothing finite becomes "no edge", and NaN stays NaN."""

import math

import numpy as np
import oracle
import pytest
import torch
from strategies import normal
from test_mst import chosen

import treefilter as tf
from treefilter import _ops
from treefilter.edge_weight import METRICS

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
GRIDS = [((1, 2), 4), ((6, 16), 4), ((6, 16), 8), ((5, 7), 8), ((3, 4, 16), 6), ((3, 3, 5), 26)]


def graphs_of(shape, connectivity, device):
    """A grid, and the same graph as a list of edges."""
    grid = tf.grid(*shape, connectivity=connectivity)
    return grid, tf.graph(grid.edge_index.to(device), grid.num_nodes)


def exact_edge_weight(guide, graph, metric):
    """Float by float with Python's own: math.dist, which neither over- nor underflows."""
    compute = torch.float64 if guide.dtype == torch.float64 else torch.float32
    largest = torch.finfo(compute).max
    x = guide.double().cpu()
    rows = []
    for image in x.flatten(2):
        row = []
        for u, v in graph.edge_index.T.tolist():
            a, b = image[:, u].tolist(), image[:, v].tolist()
            if not all(map(math.isfinite, a + b)):
                row.append(math.nan)
                continue
            d = [abs(p - q) for p, q in zip(a, b, strict=True)]
            scale = max(1.0, max(d) / 1e150)
            if max(d) == math.inf:  # beyond the largest float64
                weight = math.inf
            elif metric == "euclidean":
                weight = math.dist(a, b)
            elif metric == "sqeuclidean":
                weight = math.fsum((p / scale) ** 2 for p in d) * scale * scale
            else:
                weight = max(d) if metric == "chebyshev" else sum(d)
            row.append(min(weight, largest))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


# ---- the order of edges ----


def test_float64_weights_are_compared_in_float64(device):
    triangle = tf.graph(torch.tensor([[0, 1, 0], [1, 2, 2]], device=device), 3)
    weight = torch.tensor([[2.0**24 + 1, 2.0**24, 2.0**24]], dtype=torch.float64, device=device)
    assert chosen(tf.mst(weight, triangle)).tolist() == [1, 2]
    assert chosen(tf.mst(weight.float(), triangle)).tolist() == [0, 1]  # all equal: by number
    tree = tf.reference.mst(weight.cpu(), tf.graph(triangle.edge_index.cpu(), 3))
    assert chosen(tree).tolist() == [1, 2]


@pytest.mark.parametrize(("shape", "connectivity"), [((33, 41), 4), ((20, 21), 8), ((5, 6, 7), 26)])
@pytest.mark.parametrize(
    "kind", ["near", "wide", "subnormal", "huge", "some exact", "ties", "negative", "few"]
)
def test_trees_of_float64_weights(device, shape, connectivity, kind):
    grid, listed = graphs_of(shape, connectivity, device)
    rng = np.random.default_rng(3)
    size = (3, grid.num_edges)
    weight = {
        "near": lambda: 1 + rng.integers(0, 1 << 20, size) * 2.0**-52,
        "wide": lambda: np.ldexp(rng.standard_normal(size), rng.integers(-1000, 1000, size)),
        "subnormal": lambda: rng.integers(-9, 10, size) * 5e-324,
        "huge": lambda: rng.choice([1e39, 1e300, -1e300, -1e39, 3.4e38], size),
        "some exact": lambda: np.where(rng.random(size) < 0.5, 0.5, rng.random(size)),
        "ties": lambda: rng.choice([0.1, 0.1 + 2.0**-50, -0.0, 0.0], size),
        "negative": lambda: -rng.random(size) - 1e6,
        "few": lambda: np.where(rng.random(size) < 0.5, np.inf, rng.random(size)),
    }[kind]()
    with np.errstate(over="ignore"):
        weight[1] = weight[1].astype(np.float32)  # exact in one image of the batch
    weight = torch.from_numpy(weight)
    tree = tf.mst(weight.to(device), grid)
    other = tf.mst(weight.to(device), listed)
    mask = _ops.mst_edges(weight.to(device), None, grid._layout, grid.num_nodes)
    for b in range(3):
        expected = oracle.kruskal(weight[b].numpy(), grid.edge_index.numpy(), grid.num_nodes)
        assert set(chosen(tree, b).tolist()) == expected
        assert set(chosen(other, b).tolist()) == expected
        assert set(mask[b].nonzero()[:, 0].tolist()) == expected


def test_exact_weights_give_the_tree_of_float32(device):
    graph = tf.grid(40, 50)
    weight = normal(5, 2, graph.num_edges).float().to(device)
    a, b = tf.mst(weight, graph), tf.mst(weight.double(), graph)
    for name in ("parent", "edge", "order"):
        assert torch.equal(getattr(a, name), getattr(b, name))


def test_ranks_do_not_depend_on_threads_or_batch(device, assert_same_bits):
    graph = tf.grid(70, 300)
    weight = (1 + normal(6, 3, graph.num_edges).abs() * 1e-9).to(device)

    def run(part=slice(None)):
        tree = tf.mst(weight[part], graph)
        return tree.parent, tree.edge, tree.order

    assert_same_bits(run, 3)


def test_ranks_from_torch_are_those_of_the_native_code(monkeypatch):
    """What CUDA does, with torch's sort, on the CPU."""
    rng = np.random.default_rng(4)
    size = (3, 5000)
    weight = np.ldexp(rng.standard_normal(size), rng.integers(-1000, 1000, size))
    weight[0, ::3] = 1 + rng.integers(0, 9, 1667) * 2.0**-52
    weight[1, ::5], weight[1, ::7], weight[1, ::11] = np.inf, -0.0, 0.0
    weight[2, ::13], weight[2, 1::13] = np.nan, -np.inf
    native = _ops._in_float32(torch.from_numpy(weight))
    monkeypatch.setattr(_ops._C, "emulated", True)
    ranked = _ops._in_float32(torch.from_numpy(weight))
    assert torch.equal(ranked.isnan(), torch.from_numpy(weight).isnan())
    assert torch.equal(ranked.isposinf(), torch.from_numpy(weight).isposinf())
    for row, values in ((native, weight), (ranked, weight)):
        for a, b in zip(row.numpy(), values, strict=True):
            defined = ~np.isnan(b)
            np.testing.assert_array_equal(
                np.argsort(a[defined], kind="stable"), np.argsort(b[defined], kind="stable")
            )
    torch.testing.assert_close(native, ranked, rtol=0, atol=0, equal_nan=True)


def test_nan_and_infinity_in_float64(device):
    graph = tf.grid(1, 4)
    weight = torch.tensor([[1 + 2.0**-40, torch.inf, 1.0]], dtype=torch.float64, device=device)
    assert chosen(tf.mst(weight, graph)).tolist() == [0, 2]
    weight[0, 1] = torch.nan
    if device.type == "cpu" and not _ops._C.emulated:
        with pytest.raises(ValueError, match="mst: weight must not be NaN"):
            tf.mst(weight, graph)
    else:
        assert chosen(tf.mst(weight, graph)).tolist() == [0, 2]


# ---- edge weights ----


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("metric", METRICS)
def test_weights_of_16_bit_guides_are_float32(device, metric, dtype):
    graph = tf.grid(12, 13)
    guide = (normal(1, 2, 256, 12, 13) * 20).to(device, dtype).requires_grad_()
    weight = tf.edge_weight(guide, graph, metric)
    assert weight.dtype == torch.float32
    assert weight.isfinite().all()
    assert len(tf.mst(weight.detach(), graph).roots.nonzero()) == 2  # one tree for each image
    wide = guide.detach().float().requires_grad_()
    torch.testing.assert_close(weight, tf.edge_weight(wide, graph, metric), rtol=1e-5, atol=1e-6)

    # First and second derivatives, in the guide's own type.
    probe = normal(2, *weight.shape).float().to(device)
    grads = []
    for x in (guide, wide):
        (first,) = torch.autograd.grad(
            tf.edge_weight(x, graph, metric), x, probe, create_graph=True
        )
        assert first.dtype == x.dtype
        second = None
        if metric not in ("cityblock", "chebyshev"):
            (second,) = torch.autograd.grad(first.float().square().sum(), x)
            assert second.dtype == x.dtype
        grads.append((first.detach(), second))
    info = torch.finfo(dtype)
    for a, b in zip(*grads, strict=True):
        if a is not None:
            error = (a.float() - b).abs().max()
            assert error <= 4 * info.eps * (b.abs().max() + info.smallest_normal), error


@pytest.mark.parametrize(("shape", "connectivity"), GRIDS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("metric", METRICS[:-1])
def test_distances_of_all_magnitudes(device, metric, dtype, shape, connectivity):
    info = torch.finfo(dtype)
    magnitudes = [info.max, info.max / 8, math.sqrt(info.max), 1.0]
    magnitudes += [math.sqrt(info.tiny), info.tiny * 4, info.smallest_normal * info.eps * 8]
    for seed, magnitude in enumerate(magnitudes):
        unit = normal(seed, 2, 5, *shape).clamp(-1, 1)
        guide = (unit * magnitude).to(device, dtype)
        guide[0, :, 0] = guide[0, :, -1]  # some distances are 0
        for graph in graphs_of(shape, connectivity, device):
            weight = tf.edge_weight(guide if graph.shape else guide.flatten(2), graph, metric)
            expected = exact_edge_weight(guide, graph, metric).to(weight.dtype)
            tiny = torch.finfo(weight.dtype).tiny * torch.finfo(weight.dtype).eps * 8
            torch.testing.assert_close(weight.cpu(), expected, rtol=2e-6, atol=tiny)
            assert weight.isfinite().all()
        reference = tf.reference.edge_weight(
            guide.cpu(), tf.grid(*shape, connectivity=connectivity), metric
        )
        torch.testing.assert_close(
            tf.edge_weight(guide, tf.grid(*shape, connectivity=connectivity), metric).cpu(),
            reference,
            rtol=2e-6,
            atol=tiny,
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", METRICS)
def test_the_largest_numbers_are_one_tree(device, metric, dtype):
    graph = tf.grid(9, 16)
    largest = torch.finfo(dtype).max
    sign = normal(3, 1, 4, 9, 16).sign().to(device, dtype)
    guide = sign * largest
    weight = tf.edge_weight(guide, graph, metric)
    assert weight.isfinite().all()
    assert tf.mst(weight, graph).roots.sum() == 1
    if metric != "cosine":
        assert set(weight.unique().tolist()) <= {0.0, largest}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("shape", "connectivity"), GRIDS[1:])
def test_nan_and_infinity_in_a_guide_are_nan(device, metric, dtype, bad, shape, connectivity):
    guide = normal(4, 2, 3, math.prod(shape)).to(device, dtype)
    pixels = [0, math.prod(shape) // 2, math.prod(shape) - 1]
    guide[0, 1, pixels] = bad
    guide[1, 0, pixels[1]] = bad
    guide[1, 2, pixels[1]] = -bad
    for graph in graphs_of(shape, connectivity, device):
        weight = tf.edge_weight(guide, graph, metric)
        ends = graph.edge_index.to(device)
        expected = ~guide.isfinite().all(1)[:, ends].all(1)
        assert torch.equal(weight.isnan(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_zero_or_equal_vectors(device, dtype):
    graph = tf.grid(4, 16)
    for value in (0.0, 1e-30, 3e38):
        guide = torch.full((1, 3, 4, 16), value, dtype=dtype, device=device, requires_grad=True)
        for metric in METRICS:
            weight = tf.edge_weight(guide, graph, metric)
            assert (weight == 0).all()
            (grad,) = torch.autograd.grad(weight.sum(), guide)
            assert (grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 1e20, 1e-30])
def test_cosine_does_not_depend_on_the_scale(device, dtype, scale):
    graph = tf.grid(7, 8)
    guide = normal(5, 2, 6, 7, 8).to(device, dtype)
    expected = tf.edge_weight(guide, graph, "cosine")
    power = 2.0 ** round(math.log2(scale) * (10 if dtype == torch.float64 else 1))
    scaled = (guide * power).requires_grad_()
    weight = tf.edge_weight(scaled, graph, "cosine")
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-5, atol=1e-6)
    assert torch.autograd.grad(weight.sum(), scaled)[0].isfinite().all()


@pytest.mark.parametrize(("shape", "connectivity"), GRIDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_derivative_of_euclidean_at_all_magnitudes(device, dtype, shape, connectivity):
    """It is the unit vector, whatever the length of the difference; 0 beyond the largest number."""
    info = torch.finfo(dtype)
    unit = normal(6, 2, 4, *shape).clamp(-1, 1).to(dtype).double()
    probe = normal(7, 2, tf.grid(*shape, connectivity=connectivity).num_edges)
    exponents = [127, 100, 30, 0, -40, -100, -120]
    if dtype == torch.float64:
        exponents = [1023, 900, 300, 0, -300, -900, -1000]
    for exponent in exponents:
        guide = torch.ldexp(unit, torch.tensor(exponent)).to(dtype)
        for size in (1.0, 1e-6):
            for graph in graphs_of(shape, connectivity, device):
                x = guide.to(device).flatten(2).requires_grad_()
                weight = tf.edge_weight(x, graph, "euclidean")
                (grad,) = torch.autograd.grad(weight, x, (probe * size).to(weight).detach())
                u, v = graph.edge_index.cpu()
                d = unit.flatten(2)[:, :, u] - unit.flatten(2)[:, :, v]
                norm = d.square().sum(1).sqrt()
                saturated = norm * 2.0**exponent >= torch.finfo(weight.dtype).max
                norm = norm.masked_fill(saturated, torch.inf)  # constant there
                terms = d / norm.unsqueeze(1) * (probe * size).unsqueeze(1)
                expected = torch.zeros_like(unit.flatten(2))
                expected.index_add_(2, u, terms).index_add_(2, v, -terms)
                tolerance = 8 * max(info.eps, 1e-7) * size * 4
                if 2.0**exponent < 1e3 * info.smallest_normal:
                    continue  # differences of subnormal numbers have few digits
                torch.testing.assert_close(
                    grad.double().cpu(), expected, rtol=8 * info.eps, atol=tolerance
                )
