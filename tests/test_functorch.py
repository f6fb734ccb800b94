"""torch.func: gradients inside and outside of vmap, modules, types, and tracing."""

import pytest
import torch
from differentiable import by_loop, case_fixture, every_case, loss, no_warnings_fixture, stacked  # noqa: F401  fixtures
from strategies import normal, uniform
from torch._subclasses import FakeTensorMode
from torch.func import functional_call, grad, jvp, stack_module_state, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close

import treefilter as tf

pytestmark = pytest.mark.usefixtures("no_warnings")
EXACT = {"rtol": 1e-9, "atol": 1e-11}


@every_case
def test_gradients_inside_and_outside_of_vmap(case):
    inputs, numbers = stacked(case), tuple(range(len(case.inputs)))

    def scalar(*inputs):
        return loss(case, *inputs)

    def by_autograd(*inputs):
        leaves = [t.clone().requires_grad_() for t in inputs]
        return torch.autograd.grad(scalar(*leaves), leaves)

    expected = by_loop(by_autograd, *inputs)
    assert_close(grad(scalar, numbers)(*case.inputs), by_autograd(*case.inputs), **EXACT)
    assert_close(vmap(grad(scalar, numbers))(*inputs), expected, **EXACT)
    outside = grad(lambda *inputs: vmap(scalar)(*inputs).sum(), numbers)
    assert_close(outside(*inputs), expected, **EXACT)
    leaves = [t.clone().requires_grad_() for t in inputs]
    assert_close(torch.autograd.grad(vmap(scalar)(*leaves).sum(), leaves), expected, **EXACT)
    # One gradient for an argument that is the same for all: their sum.
    shared = [t[0] for t in inputs[1:]]
    dims = (0, *[None] * len(shared))
    one = grad(lambda *args: vmap(scalar, in_dims=dims)(*args).sum(), numbers)(inputs[0], *shared)
    alone = [by_autograd(row, *shared) for row in inputs[0]]
    assert_close(one[0], torch.stack([g[0] for g in alone]), **EXACT)
    for argument in numbers[1:]:
        assert_close(one[argument], sum(g[argument] for g in alone), **EXACT)


@every_case
def test_products_with_many_vectors(case):
    y, pull = vjp(case.function, *case.inputs)
    vectors = torch.stack([normal(i, *y.shape).to(y.device) for i in range(3)])
    assert_close(vmap(pull)(vectors), by_loop(pull, vectors), **EXACT)
    leaves = [t.clone().requires_grad_() for t in case.inputs]
    together = torch.autograd.grad(case.function(*leaves), leaves, vectors, is_grads_batched=True)
    assert_close(together, by_loop(pull, vectors), **EXACT)


@every_case
def test_forward_mode_inside_and_outside_of_vmap(case):
    inputs = stacked(case)
    tangents = tuple(normal(i, *t.shape).to(t.device) for i, t in enumerate(inputs))
    count = len(inputs)

    def both(*pairs):
        return jvp(case.function, pairs[:count], pairs[count:])[1].nan_to_num()

    expected = by_loop(both, *inputs, *tangents)
    assert_close(vmap(both)(*inputs, *tangents), expected, **EXACT)
    outside = jvp(vmap(case.function), inputs, tangents)[1].nan_to_num()
    assert_close(outside, expected, **EXACT)


def parts_of(tree):
    return tree.parent, tree.edge, tree.order, tree._plan


# --- modules, types, tracing ----------------------------------------------------------------------


def test_ensemble(device):
    x, guide = normal(1, 2, 3, 4, 5).to(device), normal(2, 2, 2, 4, 5).to(device)

    def layer(sigma):
        sigma = torch.tensor(sigma, dtype=torch.float64, device=device)
        return tf.nn.TreeFilter2d(torch.nn.Parameter(sigma))

    layers = [layer(s) for s in (0.5, 1.0, 2.0)]
    parameters, _ = stack_module_state(layers)

    def apply(parameters, x):
        return functional_call(layers[0], parameters, (x, guide))

    outputs = vmap(apply, in_dims=(0, None))(parameters, x)
    assert torch.equal(outputs, torch.stack([module(x, guide) for module in layers]))
    gradients = vmap(grad(lambda p, x: apply(p, x).square().sum()), in_dims=(0, None))
    for module in layers:
        module(x, guide).square().sum().backward()
    expected = torch.stack([module.sigma.grad for module in layers])
    assert_close(gradients(parameters, x)["sigma"], expected, **EXACT)


def test_gradient_per_sample(device):
    guide = normal(2, 4, 2, 4, 5).to(device)
    layer = torch.nn.Conv2d(2, 3, 1, dtype=torch.float64, device=device)
    parameters = dict(layer.named_parameters())

    def sample_loss(parameters, guide):
        guide = guide.unsqueeze(0)
        return tf.nn.TreeFilter2d(0.5)(functional_call(layer, parameters, guide), guide).sin().sum()

    got = vmap(grad(sample_loss), in_dims=(None, 0))(parameters, guide)
    for i, image in enumerate(guide):
        layer.zero_grad()
        sample_loss(parameters, image).backward()
        for name, parameter in layer.named_parameters():
            assert_close(got[name][i], parameter.grad, **EXACT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("autocast", [False, True])
def test_types(device, dtype, autocast):
    graph = tf.grid(4, 5)
    guide, x = (uniform(i, 3, 2, 4, 4, 5).to(device, dtype) for i in (1, 2))

    def run(guide, x):
        weight = tf.edge_weight(guide, graph)
        tree = tf.mst(weight, graph)
        return tf.filter(x, tree, tf.affinity(weight, tree, 0.5))

    def total(x, guide):
        return run(guide, x).float().square().sum()

    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
        got, expected = vmap(run)(guide, x), by_loop(run, guide, x)
        gradients = vmap(grad(total))(x, guide)
        single = [grad(total)(*pair) for pair in zip(x, guide, strict=True)]
    assert got.dtype == expected.dtype
    assert torch.equal(got, expected)
    assert gradients.dtype == dtype
    assert_close(gradients, torch.stack(single))


def test_sigma_is_checked_wherever_its_values_are(device):
    graph = tf.grid(2, 3)
    weight = uniform(1, 1, graph.num_edges).to(device)
    tree = tf.mst(weight, graph)
    sigma = torch.tensor([0.5, -0.5], dtype=torch.float64)  # on the CPU

    def of_sigma(sigma):
        return tf.affinity(weight.cpu(), tree.to("cpu"), sigma)

    ones = torch.ones_like(sigma)
    for attempt in (
        lambda: vmap(of_sigma)(sigma),
        lambda: grad(lambda s: of_sigma(s).sum())(sigma[1]),
        lambda: jvp(of_sigma, (sigma[1],), (ones[1],)),
        lambda: vmap(grad(lambda s: of_sigma(s).sum()))(sigma),
    ):
        with pytest.raises(ValueError, match="sigma must be"):
            attempt()
    assert vmap(of_sigma)(sigma.abs()).shape == (2, 1, 6)


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx(device, mode):
    graph = tf.grid(3, 4)
    weight = uniform(1, 2, graph.num_edges).to(device)
    tree = tf.mst(weight, graph)
    x = normal(2, 3, 2, 4, 3, 4).to(device)
    sigma = torch.tensor(0.5, dtype=torch.float64, device=device)

    def filtered(x, weight, sigma, *parts):
        tree = tf.Tree(*parts[:3], graph.shape, parts[3])
        return tf.filter(x, tree, tf.affinity(weight, tree, sigma))

    def gradients(x, *rest):
        return grad(lambda x, *rest: filtered(x, *rest).sin().sum(), (0, 1, 2))(x, *rest)

    def mapped(x, *rest):
        return vmap(lambda x: filtered(x, *rest))(x)

    def tangent(x, weight, sigma, *parts):
        return jvp(lambda s: filtered(x, weight, s, *parts), (sigma,), (sigma,))[1]

    rest = (weight, sigma, *parts_of(tree))
    for function, image in ((filtered, x[0]), (gradients, x[0]), (mapped, x), (tangent, x[0])):
        traced = make_fx(function, tracing_mode=mode)(image, *rest)
        other = (image + 1, weight + 1, sigma + 1, *parts_of(tree))
        assert_close(traced(*other), function(*other), **EXACT)


def test_fake_tensors(device):
    graph = tf.grid(3, 4)
    mode = FakeTensorMode()
    with mode:
        guide = torch.rand(2, 3, 3, 4, device=device, requires_grad=True)
        sigma = torch.rand((), device=device, requires_grad=True)
        weight = tf.edge_weight(guide, graph)
        tree = tf.mst(weight, graph)
        y = tf.filter(torch.rand(2, 5, 3, 4, device=device), tree, tf.affinity(weight, tree, sigma))
        gradients = torch.autograd.grad(y.sum(), (guide, sigma))
    assert y.shape == (2, 5, 3, 4)
    assert [g.shape for g in gradients] == [guide.shape, sigma.shape]


def test_torch_func_inside_of_torch_compile(device):
    graph = tf.grid(3, 4)
    weight = uniform(1, 2, graph.num_edges).to(device)
    tree = tf.mst(weight, graph)
    x, a = normal(2, 2, 4, 12).to(device), uniform(3, 2, 2, 12).to(device)

    def of_x(x):
        return tf.filter(x, tree, a).sin().sum()

    def of_a(a):
        return tf.filter(x, tree, a).sin().sum()

    for function, argument in ((of_x, x), (of_a, a)):
        torch.compiler.reset()
        compiled = torch.compile(grad(function), backend="aot_eager", fullgraph=True)
        assert_close(compiled(argument), grad(function)(argument), **EXACT)
    many = torch.stack([x, x + 1])
    mapped = vmap(lambda x: tf.filter(x, tree, a))
    compiled = torch.compile(mapped, backend="aot_eager", fullgraph=True)
    assert_close(compiled(many), mapped(many), **EXACT)
