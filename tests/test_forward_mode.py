"""Forward-mode derivatives, however they are asked for, and derivatives of derivatives."""

import pytest
import torch
from differentiable import case_fixture, directions, every_case, finite, loss  # noqa: F401
from strategies import normal, uniform
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.autograd.functional import jacobian
from torch.func import grad, hessian, jacfwd, jacrev, jvp, linearize, vjp
from torch.testing import assert_close

import treefilter as tf

EXACT = {"rtol": 1e-9, "atol": 1e-11}


@every_case
def test_derivatives_by_differences(case):
    inputs = [t.clone().requires_grad_() for t in case.inputs]
    function = lambda *inputs: finite(case.function(*inputs))  # noqa: E731
    assert gradcheck(
        function,
        inputs,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
        check_undefined_grad=True,
    )
    assert gradgradcheck(
        function, inputs, check_batched_grad=True, check_fwd_over_rev=True, check_rev_over_rev=True
    )


def expected_tangent(case, tangents):
    """J t from reverse mode of reverse mode."""
    inputs = [t.clone().requires_grad_() for t in case.inputs]
    y = finite(case.function(*inputs))
    u = torch.zeros_like(y, requires_grad=True)
    products = torch.autograd.grad(y, inputs, u, create_graph=True, materialize_grads=True)
    (tangent,) = torch.autograd.grad(products, u, tangents, materialize_grads=True)
    return tangent


@every_case
def test_tangents_equal_those_of_the_reference(case):
    tangents = directions(case)
    y, tangent = jvp(case.function, case.inputs, tangents)
    assert torch.equal(y, case.function(*case.inputs))
    assert_close(tangent.nan_to_num(), jvp(case.reference, case.inputs, tangents)[1], **EXACT)


@every_case
def test_every_way_to_ask_for_tangents(case):
    tangents = directions(case)
    function = lambda *inputs: finite(case.function(*inputs))  # noqa: E731
    expected = expected_tangent(case, tangents)
    assert expected.abs().max() > 0
    assert_close(jvp(function, case.inputs, tangents)[1], expected, **EXACT)
    for argument in range(len(case.inputs)):  # one of several only
        only = [t if i == argument else torch.zeros_like(t) for i, t in enumerate(tangents)]
        rest = list(case.inputs)

        def of_one(value, argument=argument, rest=rest):
            return function(*rest[:argument], value, *rest[argument + 1 :])

        _, tangent = jvp(of_one, (rest[argument],), (tangents[argument],))
        assert_close(tangent, expected_tangent(case, only), **EXACT)
        rows = [jacfwd(of_one)(rest[argument]), jacrev(of_one)(rest[argument])]
        for strategy in ("forward-mode", "reverse-mode"):
            rows.append(jacobian(of_one, rest[argument], vectorize=True, strategy=strategy))
        for row in rows[1:]:
            assert_close(row, rows[0], **EXACT)
        product = rows[0].reshape(*tangent.shape, -1) @ tangents[argument].reshape(-1)
        assert_close(product, tangent, **EXACT)


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node")  # for any function
@every_case
def test_linearize(case):
    tangents = directions(case)
    function = lambda *inputs: finite(case.function(*inputs))  # noqa: E731
    _, linear = linearize(function, *case.inputs)
    assert_close(linear(*tangents), expected_tangent(case, tangents), **EXACT)


@pytest.mark.parametrize("mode", ["plain", "requires_grad", "no_grad"])
@every_case
def test_dual_numbers(case, mode):
    tangents = directions(case)
    expected = expected_tangent(case, tangents)
    inputs = [t.clone().requires_grad_(mode == "requires_grad") for t in case.inputs]
    with torch.set_grad_enabled(mode != "no_grad"), forward_ad.dual_level():
        duals = [forward_ad.make_dual(t, d) for t, d in zip(inputs, tangents, strict=True)]
        y = finite(case.function(*duals))
        assert_close(forward_ad.unpack_dual(y).tangent, expected, **EXACT)
        if mode == "requires_grad":
            assert y.requires_grad


def second_derivative(case, tangents):
    """H t of the loss, by reverse mode twice."""
    inputs = [t.clone().requires_grad_() for t in case.inputs]
    first = torch.autograd.grad(loss(case, *inputs), inputs, create_graph=True)
    return torch.autograd.grad(first, inputs, tangents, materialize_grads=True)


@every_case
def test_derivatives_of_derivatives(case):
    tangents = directions(case)
    expected = second_derivative(case, tangents)
    numbers = tuple(range(len(case.inputs)))

    def scalar(*inputs):
        return loss(case, *inputs)

    def directional(*inputs):
        return jvp(scalar, inputs, tangents)[1]

    def product(*inputs):
        return sum(
            (g * t).sum() for g, t in zip(grad(scalar, numbers)(*inputs), tangents, strict=True)
        )

    assert_close(jvp(grad(scalar, numbers), case.inputs, tangents)[1], expected, **EXACT)
    assert_close(grad(directional, numbers)(*case.inputs), expected, **EXACT)
    assert_close(grad(product, numbers)(*case.inputs), expected, **EXACT)
    assert_close(vjp(product, *case.inputs)[1](torch.ones_like(product(*case.inputs))), expected)
    quadratic = sum((h * t).sum() for h, t in zip(expected, tangents, strict=True))
    assert_close(jvp(directional, case.inputs, tangents)[1], quadratic, **EXACT)
    full = hessian(scalar, numbers)(*case.inputs)
    for row, value in zip(full, expected, strict=True):
        parts = [
            (block * t).reshape(*value.shape, -1).sum(-1)
            for block, t in zip(row, tangents, strict=True)
        ]
        assert_close(sum(parts), value, **EXACT)


@every_case
def test_forward_over_reverse_with_dual_numbers(case):
    tangents = directions(case)
    inputs = [t.clone().requires_grad_() for t in case.inputs]
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(t, d) for t, d in zip(inputs, tangents, strict=True)]
        gradients = torch.autograd.grad(loss(case, *duals), duals)
        actual = [forward_ad.unpack_dual(g).tangent for g in gradients]
        zeros = [
            torch.zeros_like(t) if a is None else a for a, t in zip(actual, inputs, strict=True)
        ]
        assert_close(zeros, list(second_derivative(case, tangents)), **EXACT)


def whole(guide, x, sigma, graph, tree):
    return tf.filter(x, tree, tf.affinity(tf.edge_weight(guide, graph), tree, sigma))


def test_third_derivatives(device):
    graph = tf.grid(2, 3)
    guide, x = normal(1, 1, 2, 2, 3).to(device), normal(2, 1, 2, 2, 3).to(device)
    tree = tf.mst(tf.edge_weight(guide, graph), graph)
    sigma = torch.tensor(0.7, dtype=torch.float64, device=device)

    def of_sigma(sigma):
        return whole(guide, x, sigma, graph, tree).square().sum()

    third = grad(grad(grad(of_sigma)))
    step = 1e-4
    difference = (
        (grad(grad(of_sigma))(sigma + step) - grad(grad(of_sigma))(sigma - step)) / 2 / step
    )
    assert_close(third(sigma), difference, rtol=1e-6, atol=0)
    ones = torch.ones_like(sigma)
    nested = jvp(lambda s: jvp(lambda s: jvp(of_sigma, (s,), (ones,))[1], (s,), (ones,))[1],
                 (sigma,), (ones,))[1]  # fmt: skip
    assert_close(nested, third(sigma), **EXACT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tangents_of_half_precision(device, dtype):
    graph = tf.grid(4, 5)
    guide, x = (uniform(i, 2, 4, 4, 5).to(device, dtype) for i in (1, 2))
    t, u = (normal(i, 2, 4, 4, 5).to(device, dtype) for i in (3, 4))
    tree = tf.mst(tf.edge_weight(guide, graph), graph)
    a, b = (uniform(i, 2, 2, 20).to(device, dtype) for i in (5, 6))
    calls = {
        "mean": (lambda x, a: tf.filter(x, tree, a), (x, a), (t, b)),
        "sum": (lambda x, a: tf.filter(x, tree, a, normalize=False), (x, a), (t, b)),
        "up": (lambda x, a: tf.leaf_to_root(x, tree, a), (x, a), (t, b)),
        "down": (lambda x, a: tf.root_to_leaf(x, tree, a), (x, a), (t, b)),
        "edge_weight": (lambda f: tf.edge_weight(f, graph), (guide,), (u,)),
    }
    for function, inputs, tangents in calls.values():
        y, tangent = jvp(function, inputs, tangents)
        wide = [[t.double() for t in group] for group in (inputs, tangents)]
        expected = jvp(function, *map(tuple, wide))[1]
        assert tangent.dtype == y.dtype
        scale = expected.abs().max()
        assert (tangent.double() - expected).abs().max() <= 8 * torch.finfo(dtype).eps * scale


def test_tangents_under_autocast(device):
    graph = tf.grid(4, 5)
    x, t = (normal(i, 2, 4, 4, 5).to(device, torch.bfloat16) for i in (1, 2))
    a = uniform(3, 2, 20).to(device, torch.bfloat16)
    tree = tf.mst(uniform(4, 2, graph.num_edges).to(device), graph)
    expected = jvp(lambda x: tf.filter(x, tree, a.float()), (x.float(),), (t.float(),))[1]
    with torch.autocast(device.type, dtype=torch.bfloat16):
        actual = jvp(lambda x: tf.filter(x, tree, a), (x,), (t,))[1]
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_missing_edges_of_a_tree_have_no_part_in_the_derivative_of_sigma(device, dtype, size):
    graph = tf.grid(3, 3)
    weight = uniform(1, 1, graph.num_edges).to(device, dtype)
    tree = tf.mst(weight, graph)
    for missing in (torch.inf, torch.finfo(dtype).max, 1e30):
        weight[0, int(tree.edge[0, 4])] = missing
        weight[0, int(tree.edge[0, 7])] = missing
        variables = weight.clone().requires_grad_(), torch.tensor(size, dtype=dtype, device=device)
        sigma = variables[1].requires_grad_()

        def function(weight, sigma):
            return tf.affinity(weight, tree, sigma).square().sum()

        first = torch.autograd.grad(function(*variables), variables, create_graph=True)
        second = torch.autograd.grad(sum(g.sum() for g in first), variables)
        tangent = jvp(lambda s: tf.affinity(weight, tree, s), (sigma,), (torch.ones_like(sigma),))[
            1
        ]
        for derivative in (*first, *second, tangent):
            assert derivative.isfinite().all()
        assert first[0][0, int(tree.edge[0, 4])] == 0
        # All others are as if the missing edges were not there.
        present = weight.clone()
        present[weight > 1e29] = 1e4 * size
        expected = torch.autograd.grad(function(present, sigma), sigma)[0]
        assert_close(first[1], expected)


def test_sigma_of_an_inner_edge_that_is_missing_in_one_image(device):
    graph = tf.grid(1, 3)
    tree = tf.mst(torch.ones(1, 2, device=device), graph)
    weight = torch.tensor([[1.0, torch.inf], [1.0, 2.0]], device=device)
    sigma = torch.tensor(2.0, device=device, requires_grad=True)
    tf.affinity(weight, tree, sigma).sum().backward()
    w = torch.tensor([1.0, 1.0, 2.0])
    assert_close(sigma.grad.cpu(), (torch.exp(-w / 2) * w / 4).sum())


def test_ops_called_directly_lose_no_tangent_silently(device):
    graph = tf.grid(2, 3)
    tree = tf.mst(uniform(1, 1, graph.num_edges).to(device), graph)
    x, a = uniform(2, 1, 2, 6).to(device), uniform(3, 1, 1, 6).to(device)

    def direct(x):
        op = torch.ops.treefilter._propagate
        return op(x, tree.parent, tree.order, tree._plan, a, 3)

    def dual():
        with forward_ad.dual_level():
            return direct(forward_ad.make_dual(x, x))

    attempts = [
        dual,
        lambda: jvp(direct, (x,), (x,)),
        lambda: jacfwd(direct)(x),
        lambda: jvp(torch.vmap(direct), (x[None],), (x[None],)),
        lambda: torch.vmap(lambda x: jvp(direct, (x,), (x,))[1])(x[None]),
        lambda: hessian(lambda x: direct(x).square().sum())(x),
    ]
    for attempt in attempts:
        with pytest.raises(RuntimeError, match="forward-mode"):
            attempt()
    assert torch.equal(direct(x), tf.filter(x, tree, a))


def test_forward_mode_through_compiled_code_is_right_or_refused(device):
    graph = tf.grid(2, 3)
    tree = tf.mst(uniform(1, 1, graph.num_edges).to(device), graph)
    x, a, t = (uniform(i, *s).to(device) for i, s in ((2, (1, 2, 6)), (3, (1, 6)), (4, (1, 6))))

    def function(a):
        return tf.filter(x, tree, a)

    expected = jvp(function, (a,), (t,))[1]

    def inside():
        return torch.compile(lambda a: jvp(function, (a,), (t,))[1], backend="aot_eager")(a)

    def outside():
        return jvp(torch.compile(function, backend="aot_eager"), (a,), (t,))[1]

    def dual():
        with forward_ad.dual_level():
            y = torch.compile(function, backend="aot_eager")(forward_ad.make_dual(a, t))
            return forward_ad.unpack_dual(y).tangent

    for attempt in (inside, outside, dual):
        torch.compiler.reset()
        try:
            tangent = attempt()
        except Exception as error:
            assert "forward-mode" in str(error) or "tangent" in str(error)  # noqa: PT017
        else:
            assert_close(tangent, expected, **EXACT)
