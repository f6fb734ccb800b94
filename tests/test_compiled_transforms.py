"""Transformations of torch.func inside of torch.compile: right, or refused."""

import pytest
import torch
from strategies import normal, uniform
from torch.func import grad, jvp, vmap
from torch.testing import assert_close

import treefilter as tf

EXACT = {"rtol": 1e-9, "atol": 1e-11}
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # by Dynamo


@pytest.mark.parametrize("kind", ["vmap of grad", "grad of vmap", "grad of grad", "jvp"])
def test_transformations_that_dynamo_cannot_do(device, kind):
    """It gave gradients of 0. Now they are left to Python, or refused with fullgraph=True."""
    tree = tf.mst(uniform(1, 1, 17).to(device), tf.grid(3, 4))
    a, x = uniform(2, 3, 1, 12).to(device), normal(3, 1, 2, 12).to(device)

    def scalar(a):
        return tf.filter(x, tree, a).sin().sum()

    function = {
        "vmap of grad": vmap(grad(scalar)),
        "grad of vmap": grad(lambda a: vmap(scalar)(a).sum()),
        "grad of grad": lambda a: grad(lambda a: grad(scalar)(a).sin().sum())(a[0]),
        "jvp": lambda a: jvp(scalar, (a[0],), (a[1],))[1],
    }[kind]
    torch.compiler.reset()
    if kind == "grad of vmap":
        assert_close(torch.compile(function, backend="eager")(a), function(a), **EXACT)
        torch.compiler.reset()
    with pytest.raises(Exception, match=r"fullgraph=True\) must be given at most one"):
        torch.compile(function, backend="eager", fullgraph=True)(a)


def test_a_compiled_map_loses_no_gradient(device):
    tree = tf.mst(uniform(1, 1, 17).to(device), tf.grid(3, 4))
    a, x = uniform(2, 3, 1, 12).to(device).requires_grad_(), normal(3, 1, 2, 12).to(device)
    torch.compiler.reset()
    with pytest.raises(Exception, match="ops must be called by the functions of treefilter where"):
        torch.compile(vmap(lambda a: tf.filter(x, tree, a)), backend="eager")(a)
    with torch.no_grad():
        y = torch.compile(vmap(lambda a: tf.filter(x, tree, a)), backend="eager")(a)
    mapped = vmap(torch.compile(lambda a: tf.filter(x, tree, a), backend="eager"))(a)
    assert torch.equal(mapped, y)
    assert mapped.requires_grad
