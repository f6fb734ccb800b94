"""First and second derivatives of Euclidean edge weights, for differences of any magnitude."""

import numpy as np
import pytest
import torch
from strategies import normal
from torch.func import grad, jvp, vjp

import treefilter as tf

EPS = {torch.float32: 2.0**-23, torch.float64: 2.0**-52, torch.bfloat16: 2.0**-8}
# Exponents of differences: one for all, or another one for every vertex.
UNIFORM = {
    torch.float32: [126, 84, 40, 0, -40, -84, -120, -140],
    torch.float64: [1022, 700, 540, 200, 0, -200, -540, -700, -1000, -1060],
    torch.bfloat16: [126, 84, 0, -84, -120],
}
WIDE = {torch.float32: (-140, 126), torch.float64: (-1060, 1022), torch.bfloat16: (-120, 126)}


class Exact:
    """In long double, whose range is far beyond that of float64: brute force over the edges."""

    def __init__(self, guide, graph, dtype):
        x = guide.detach().double().cpu().numpy().astype(np.longdouble)[0]
        self.u, self.v = graph.edge_index.cpu().numpy()
        self.nodes = graph.num_nodes
        self.d = x[:, self.u] - x[:, self.v]
        self.r = np.sqrt((self.d**2).sum(0))
        largest = torch.finfo(dtype).max
        self.constant = (self.r == 0) | (self.r >= largest)
        self.r[self.constant] = 1
        self.n = np.where(self.constant, 0, self.d / self.r)

    def scatter(self, terms):
        """The sum at every vertex, and that of the magnitudes of its terms."""
        total, size = (np.zeros((len(terms), self.nodes), np.longdouble) for _ in range(2))
        for sums, values in ((total, -terms), (size, abs(terms))):
            np.add.at(sums.T, self.v, values.T)
            np.add.at(sums.T, self.u, abs(values.T) if sums is size else terms.T)
        return total, size

    def ends(self, t):
        t = t.double().cpu().numpy().astype(np.longdouble)[0]
        return np.where(self.constant, 0, t[:, self.u] - t[:, self.v])

    def first(self, w):
        return self.scatter(w * self.n)

    def along(self, t):
        terms = self.n * self.ends(t)
        return terms.sum(0), abs(terms).sum(0)

    def second(self, w, t):
        d = self.ends(t)
        along = (self.n * d).sum(0)
        total, _ = self.scatter(w * (d - self.n * along) / self.r)
        return total, self.scatter(abs(w) * (abs(d) + abs(self.n) * abs(along)) / self.r)[1]

    def twice(self, t):
        d = self.ends(t)
        squares, along = (d**2).sum(0), (self.n * d).sum(0) ** 2
        return (squares - along) / self.r, (squares + along) / self.r


def assert_right(got, expected, dtype, digits):
    """To ``digits``, relative to the terms that are added up; nothing is said beyond the type."""
    value, size = expected
    info = torch.finfo(dtype)
    got = got.detach().double().cpu().numpy().reshape(value.shape)
    beyond = size > info.max / 4
    error = np.where(beyond, 0, abs(np.where(beyond, 0, got) - value))
    allowed = 64 * max(EPS[dtype], digits) * size + 8 * info.smallest_normal * EPS[dtype]
    assert not np.isnan(got[~beyond]).any()
    assert (error <= allowed).all(), (error / allowed).max()


def check(function, guide, graph, w, t, compute):
    exact = Exact(guide, graph, compute)
    # A subnormal distance has few digits, and its derivatives no more.
    info = torch.finfo(compute)
    digits = float(info.smallest_normal * EPS[compute] / exact.r.min())
    probe, tangent = w.double().cpu().numpy().astype(np.longdouble), t[None]
    loss = lambda f: (function(f, graph, "euclidean") * w).sum()  # noqa: E731
    leaf = guide.clone().requires_grad_()
    (plain,) = torch.autograd.grad(loss(leaf), leaf)
    (first,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    pulled = vjp(lambda f: function(f, graph, "euclidean"), guide)[1](w[None])[0]
    for gradient in (plain, first, pulled, grad(loss)(guide)):
        assert_right(gradient, exact.first(probe), guide.dtype, digits)
    pushed = jvp(lambda f: function(f, graph, "euclidean"), (guide,), (tangent,))[1]
    assert_right(pushed, exact.along(tangent), compute, digits)
    (second,) = torch.autograd.grad(first, leaf, tangent)
    turned = jvp(grad(loss), (guide,), (tangent,))[1]
    for product in (second, turned):
        assert_right(product, exact.second(probe, tangent), guide.dtype, digits)

    def directional(f):
        return jvp(lambda f: function(f, graph, "euclidean"), (f,), (tangent,))[1]

    assert_right(jvp(directional, (guide,), (tangent,))[1], exact.twice(tangent), compute, digits)


def inputs(dtype, exponents, device):
    unit = normal(1, 1, 3, 12).clamp(-1, 1)
    unit[0, :, 3] = unit[0, :, 2]  # one distance of 0
    unit[0, 0] = unit[0, 0, 0]  # a channel without differences
    guide = (unit * 2.0 ** torch.as_tensor(exponents).double()).to(dtype)
    t = normal(2, 3, 12).to(dtype)
    return guide.to(device), t.to(device)


def graphs(device):
    grid = tf.grid(3, 4, connectivity=8)
    return grid, tf.graph(grid.edge_index.to(device), 12)


@pytest.mark.parametrize("dtype", UNIFORM)
def test_at_one_magnitude(device, dtype):
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    for exponent in UNIFORM[dtype]:
        guide, t = inputs(dtype, exponent, device)
        for graph in graphs(device):
            w = normal(3, graph.num_edges).to(device, compute)
            check(tf.edge_weight, guide, graph, w, t, compute)
        check(tf.reference.edge_weight, guide, graph, w, t, compute)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("seed", [4, 5])
def test_at_all_magnitudes_in_one_image(device, dtype, seed):
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    low, high = WIDE[dtype]
    generator = torch.Generator().manual_seed(seed)
    exponents = torch.randint(low, high, (12,), generator=generator)
    guide, t = inputs(dtype, exponents, device)
    for graph in graphs(device):
        w = normal(3, graph.num_edges).to(device, compute)
        check(tf.edge_weight, guide, graph, w, t, compute)
    check(tf.reference.edge_weight, guide, graph, w, t, compute)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_along_the_guide_itself(device, dtype):
    """r is homogeneous: along f its derivative is r, and that of its derivative is 0."""
    graph = tf.grid(3, 4)
    for exponent in UNIFORM[dtype]:
        guide, _ = inputs(dtype, exponent, device)
        r, along = jvp(lambda f: tf.edge_weight(f, graph, "euclidean"), (guide,), (guide,))
        saturated = r == torch.finfo(dtype).max
        last_digit = torch.finfo(dtype).smallest_normal * EPS[dtype]
        right = r.masked_fill(saturated, 0)
        torch.testing.assert_close(along, right, rtol=1e-5, atol=2 * last_digit)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock", "chebyshev"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [tf.edge_weight, tf.reference.edge_weight])
def test_what_stands_for_all_beyond_is_constant(device, function, dtype, metric):
    """Derivatives of saturated weights are 0 in every mode; those of others are as without them."""
    graph = tf.grid(1, 5)
    largest = torch.finfo(dtype).max
    guide = torch.tensor([1.0, 3.0, largest, -largest, -largest], dtype=dtype, device=device)
    guide = torch.stack([guide, guide])[None]  # (1, 2, 5)
    t = normal(1, 1, 2, 5).to(device, dtype)

    def weight(f):
        return function(f, graph, metric)

    assert (weight(guide)[0, 1:3] == largest).all()
    leaf = guide.clone().requires_grad_()
    w = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=dtype, device=device)
    (first,) = torch.autograd.grad(weight(leaf), leaf, w, create_graph=True)
    near = guide[..., :2].clone().requires_grad_()
    expected = function(near, tf.grid(1, 2), metric)
    (alone,) = torch.autograd.grad(expected, near, w[:, :1], create_graph=True)
    for gradient in (first, vjp(weight, guide)[1](w)[0]):
        torch.testing.assert_close(gradient[..., :2], alone)
        assert (gradient[..., 2:] == 0).all()
    tangent = jvp(weight, (guide,), (t,))[1]
    assert (tangent[0, 1:3] == 0).all()
    assert tangent.isfinite().all()
    if metric not in ("cityblock", "chebyshev"):
        (second,) = torch.autograd.grad(first, leaf, t)
        torch.testing.assert_close(second[..., :2], torch.autograd.grad(alone, near, t[..., :2])[0])
        assert (second[..., 2:3] == 0).all()
        turned = jvp(lambda f: vjp(weight, f)[1](w)[0], (guide,), (t,))[1]
        torch.testing.assert_close(turned, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cosine_at_all_magnitudes(device, dtype):
    """The weight does not depend on lengths: along t its derivative is that of lengths of 1."""
    graph = tf.grid(3, 4)
    limit = 120 if dtype == torch.float32 else 1000
    unit, t = normal(1, 1, 3, 12), normal(2, 1, 3, 12)
    unit[0, :, 5] = 0
    generator = torch.Generator().manual_seed(3)
    for exponents in (limit, -limit, torch.randint(-limit, limit, (12,), generator=generator)):
        scale = 2.0 ** torch.as_tensor(exponents).double()
        guide, tangent = (x * scale for x in (unit, t))
        for function in (tf.edge_weight, tf.reference.edge_weight):

            def along(f, t, dtype=dtype, function=function):
                f, t = f.to(device, dtype), t.to(device, dtype)
                weight = lambda f: function(f, graph, "cosine")  # noqa: E731
                first = jvp(weight, (f,), (t,))[1]
                second = jvp(lambda f: jvp(weight, (f,), (t,))[1], (f,), (t,))[1]
                return first, second

            for got, expected in zip(along(guide, tangent), along(unit, t), strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def second_derivatives(weight, guide, w, t):
    """Along t: of the sum of weights times ``w``, in three ways; then of the weights, twice."""
    leaf = guide.clone().requires_grad_()
    (first,) = torch.autograd.grad(weight(leaf), leaf, w, create_graph=True)
    yield torch.autograd.grad(first, leaf, t)[0]
    yield jvp(lambda f: vjp(weight, f)[1](w)[0], (guide,), (t,))[1]
    yield vjp(lambda f: jvp(weight, (f,), (t,))[1], guide)[1](w)[0]
    yield jvp(lambda f: jvp(weight, (f,), (t,))[1], (guide,), (t,))[1]


# Powers of two: of vectors, of the directions, of w.
MAGNITUDES = {
    torch.float32: [
        *((-126, -126, -126), (-126, 0, -126), (-149, 0, -149), (-149, 0, -60), (-60, 60, -126)),
        *((-100, -126, -126), (0, 122, -60), (0, -126, 100), (60, 110, 60), (115, 115, 115)),
    ],
    torch.float64: [
        *((-1022, -1022, -1022), (-1022, -600, -600), (-1022, -60, -1022), (-1074, -600, -600)),
        *((-500, 400, -1022), (0, 900, -500), (900, 900, 900)),
    ],
}


@pytest.mark.parametrize("dtype", MAGNITUDES)
@pytest.mark.parametrize("function", [tf.edge_weight, tf.reference.edge_weight])
def test_second_derivatives_of_cosine_at_all_magnitudes(device, function, dtype):
    """They are finite where the right value is, however large or small the terms are."""
    graph = tf.grid(3, 4)
    unit, t = (normal(seed, 1, 3, 12).mul(3).round().to(device) for seed in (1, 2))
    unit[0, :, 5] = 0
    w = normal(3, 1, graph.num_edges).mul(4).round().to(device)
    limits = torch.finfo(dtype)

    def weight(f):
        return function(f, graph, "cosine")

    right = list(second_derivatives(weight, unit, w, t))
    for length, along, factor in MAGNITUDES[dtype]:
        arguments = (
            torch.ldexp(x, torch.tensor(e)).to(dtype)
            for x, e in ((unit, length), (w, factor), (t, along))
        )
        exponents = [along + factor - 2 * length] * 3 + [2 * (along - length)]
        seconds = second_derivatives(weight, *arguments)
        for got, expected, exponent in zip(seconds, right, exponents, strict=True):
            if abs(exponent) < 0.9 * np.log2(limits.max):
                got = got.double() / 2.0**exponent
                torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock", "chebyshev"])
@pytest.mark.parametrize("listed", [False, True])
def test_compiled_derivatives_beyond_half_of_the_largest_number(device, listed, metric):
    """Compiled code cannot see that differences are infinite; 0 · ∞ was NaN there."""
    grid = tf.grid(5, 17)
    graph = tf.graph(grid.edge_index.to(device), 85) if listed else grid
    guide = normal(1, 2, 3, 85).float().to(device)
    far = torch.finfo(torch.float32).max * 0.9
    guide[:, :, ::4] = far * normal(2, 1, 3, 22).sign().to(guide)
    guide = guide if listed else guide.view(2, 3, 5, 17)

    def gradient(function):
        x = guide.clone().requires_grad_()
        y = function(x)
        return torch.autograd.grad(y, x, torch.ones_like(y))[0]

    right = gradient(lambda x: tf.edge_weight(x, graph, metric))
    assert right.isfinite().all()
    compiled = torch.compile(lambda x: tf.edge_weight(x, graph, metric), backend="aot_eager")
    torch.testing.assert_close(gradient(compiled), right)
