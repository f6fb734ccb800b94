"""The module gives what the functions give, and it learns."""

import pytest
import torch

import treefilter as tf


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine"])
def test_equals_the_pipeline(metric, connectivity, device):
    torch.manual_seed(5)
    x, guide = torch.rand(2, 4, 7, 9, device=device), torch.rand(2, 3, 7, 9, device=device)
    graph = tf.grid(7, 9, connectivity=connectivity)
    weight = tf.edge_weight(guide, graph, metric)
    tree = tf.mst(weight, graph)
    expected = tf.filter(x, tree, tf.affinity(weight, tree, 0.2))
    got = tf.nn.TreeFilter2d(0.2, metric=metric, connectivity=connectivity)(x, guide)
    assert torch.equal(got, expected)


def test_groups_have_weights_of_their_own_on_one_tree(device):
    torch.manual_seed(6)
    x, guide = torch.rand(2, 6, 7, 9, device=device), torch.rand(2, 4, 7, 9, device=device)
    graph = tf.grid(7, 9)
    tree = tf.mst(tf.edge_weight(guide, graph), graph)
    parts = []
    for xg, fg in zip(x.chunk(2, 1), guide.chunk(2, 1), strict=True):
        parts.append(tf.filter(xg, tree, tf.affinity(tf.edge_weight(fg, graph), tree, 0.2)))
    got = tf.nn.TreeFilter2d(0.2, groups=2)(x, guide)
    torch.testing.assert_close(got, torch.cat(parts, 1))


def test_sigma_is_a_parameter_a_buffer_or_a_number():
    learnt = tf.nn.TreeFilter2d(torch.nn.Parameter(torch.tensor([0.1, 0.2])), groups=2)
    assert [name for name, _ in learnt.named_parameters()] == ["sigma"]
    assert list(tf.nn.TreeFilter2d(torch.tensor(0.1)).state_dict()) == ["sigma"]
    assert not tf.nn.TreeFilter2d(0.1).state_dict()
    assert "sigma=learnt, groups=2" in repr(learnt)


@pytest.mark.parametrize("groups", [1, 2])
def test_sigma_auto_is_that_of_a_mass(groups, device):
    torch.manual_seed(7)
    guide = torch.rand(2, 4, 7, 9, device=device) * torch.tensor([1, 20.0], device=device).view(
        2, 1, 1, 1
    )
    graph = tf.grid(7, 9)
    weight = tf.edge_weight(guide, graph)
    tree = tf.mst(weight, graph)
    if groups == 2:
        weight = torch.stack([tf.edge_weight(g, graph) for g in guide.chunk(2, 1)], 1)
    sigma = tf.sigma_for_mass(weight, tree, 0.3)
    a = tf.affinity(weight, tree, sigma if groups == 2 else sigma[:, None])
    layer = tf.nn.TreeFilter2d("auto", groups=groups, mass=0.3)
    assert torch.equal(layer(guide), tf.filter(guide, tree, a))
    assert "sigma=auto, mass=0.3" in repr(layer)
    assert not layer.state_dict()
    assert tf.nn.TreeFilter2d("auto").mass == 0.005


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma": "automatic"}, "sigma must be one of auto, got 'automatic'"),
        ({"sigma": "auto", "mass": 2}, r"mass must be in \(0, 1\], got 2"),
        ({"sigma": 0.1, "mass": 0.1}, "mass must be None unless sigma is 'auto', got 0.1"),
    ],
)
def test_errors_of_sigma_auto(arguments, message):
    with pytest.raises(ValueError, match=f"^TreeFilter2d: {message}"):
        tf.nn.TreeFilter2d(**arguments)


def test_gradients_reach_x_guide_and_sigma(device):
    torch.manual_seed(8)
    sigma = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.double, device=device))
    layer = tf.nn.TreeFilter2d(sigma, groups=2)
    x, guide = (
        torch.rand(1, c, 3, 5, dtype=torch.double, device=device, requires_grad=True)
        for c in (4, 2)
    )

    def run(x, guide, sigma):
        return torch.func.functional_call(layer, {"sigma": sigma}, (x, guide))

    torch.autograd.gradcheck(run, (x, guide, layer.sigma), eps=1e-7, atol=1e-5)


def test_learning_sigma_lowers_a_loss(device):
    torch.manual_seed(9)
    clean = torch.zeros(1, 1, 16, 16, device=device)
    clean[..., 8:] = 1
    noisy = clean + 0.1 * torch.randn_like(clean)
    layer = tf.nn.TreeFilter2d(torch.nn.Parameter(torch.tensor(0.002, device=device)))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.002)
    losses = []
    for _ in range(30):
        loss = (layer(noisy, noisy) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_without_a_guide_x_guides_itself(device):
    torch.manual_seed(10)
    x = torch.rand(2, 4, 7, 9, device=device)
    layer = tf.nn.TreeFilter2d(0.2, groups=2)
    assert torch.equal(layer(x), layer(x, x))
    assert torch.equal(layer(x, guide=None), layer(x, x))


def test_in_a_sequence(device):
    torch.manual_seed(11)
    convolution = torch.nn.Conv2d(3, 8, 3, padding=1)
    model = torch.nn.Sequential(convolution, tf.nn.TreeFilter2d(0.2), torch.nn.ReLU()).to(device)
    x = torch.rand(2, 3, 7, 9, device=device)
    y = model(x)
    features = model[0](x)
    assert torch.equal(y, tf.nn.TreeFilter2d(0.2)(features, features).relu())
    y.sum().backward()
    assert convolution.weight.grad.abs().sum() > 0


def test_one_guide_for_all(device):
    torch.manual_seed(12)
    x, guide = torch.rand(3, 2, 5, 6, device=device), torch.rand(1, 3, 5, 6, device=device)
    layer = tf.nn.TreeFilter2d(0.2)
    assert torch.equal(layer(x, guide), layer(x, guide.expand(3, 3, 5, 6)))


class Subclass(torch.Tensor):
    """As those of other libraries that say what a tensor is."""


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"groups": "1"}, TypeError, "groups must be an integer, got str"),
        ({"groups": 1.5}, TypeError, "groups must be an integer, got float"),
        ({"connectivity": [4]}, TypeError, "connectivity must be an integer, got list"),
        ({"sigma": None}, TypeError, "sigma must be a number or a tensor, got NoneType"),
        ({"sigma": 0}, ValueError, "sigma must be positive, got 0"),
        ({"sigma": float("nan")}, ValueError, "sigma must be positive, got nan"),
        ({"sigma": 10**400}, ValueError, "for torch.float64, got inf"),
        ({"sigma": torch.tensor(-0.1)}, ValueError, "sigma must be positive, got a value that"),
        ({"sigma": torch.tensor([0.1, 0])}, ValueError, "sigma must be positive, got a value that"),
        ({"sigma": torch.tensor(1)}, TypeError, "sigma must be a float32, float64"),
        ({"sigma": torch.nn.Parameter(torch.tensor(-1.0))}, ValueError, "sigma must be positive"),
        ({"sigma": torch.zeros(1).as_subclass(Subclass)}, ValueError, "sigma must be positive"),
    ],
)
def test_what_the_constructors_refuse(keywords, error, message):
    for layer in (tf.nn.TreeFilter2d, tf.nn.TreeEnergyLoss)[: 2 if "sigma" in keywords else 1]:
        with pytest.raises(error, match=f"^{layer.__name__}: ") as caught:
            layer(**keywords)
        assert message in str(caught.value)


def test_a_sigma_moves_with_its_layer():
    for layer in (tf.nn.TreeFilter2d, tf.nn.TreeEnergyLoss):
        assert layer(torch.tensor(0.1)).double().sigma.dtype == torch.float64
        assert [p.item() for p in layer(torch.nn.Parameter(torch.tensor(0.5))).parameters()] == [
            0.5
        ]


@pytest.mark.parametrize("guide", [3, "x", [1.0], torch.ones(1, 1, 2, 2, dtype=torch.int64)])
def test_guides_that_are_none(guide):
    with pytest.raises(TypeError, match=r"^TreeFilter2d: guide must be a float32"):
        tf.nn.TreeFilter2d()(torch.rand(1, 1, 2, 2), guide)
    with pytest.raises(TypeError, match=r"^TreeFilter2d: x must be a float32"):
        tf.nn.TreeFilter2d()(guide)


X = torch.rand(2, 4, 3, 4)


@pytest.mark.parametrize(
    ("layer", "arguments", "message"),
    [
        ({}, (X, X * torch.nan), "guide must be finite, got NaN or an infinity"),
        ({}, (X * torch.inf,), "x must be finite, got NaN or an infinity"),
        ({}, (X, X[..., 1:]), "guide must have the height and width of x"),
        ({}, (X, X[:1].expand(3, 4, 3, 4)), "guide must have the height and width of x and"),
        ({}, (X, X.to("meta")), "guide must be on cpu like x, got meta"),
        ({}, (X.to("meta"), X), "guide must be on meta like x, got cpu"),
        ({}, (X[0], X), "x must have shape (B, C, H, W)"),
        ({}, (X[..., :0],), "sizes must be at least 1, got (3, 0)"),
        ({"groups": 3}, (X, torch.rand(2, 3, 3, 4)), "x must have shape (B, C, H, W) with C"),
        ({"sigma": torch.ones(5, 1)}, (X,), "sigma must broadcast to (2, G), got (5, 1)"),
        ({"sigma": torch.ones(3), "groups": 2}, (X,), "sigma must broadcast to (2, 2), got (3,)"),
        ({"sigma": torch.ones(3)}, (X,), "affinity must have a number of groups that"),
        ({"sigma": 1e-46}, (X,), "sigma must be in [1.18e-38, 3.4e+38] for torch.float32"),
        ({"sigma": torch.ones(1, device="meta")}, (X,), "sigma must be on cpu like weight"),
    ],
)  # fmt: skip
def test_errors_name_the_layer(layer, arguments, message):
    with pytest.raises(ValueError, match=r"^TreeFilter2d: ") as caught:
        tf.nn.TreeFilter2d(**layer)(*arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("sigma", [torch.ones(0), torch.ones(2, 0), torch.ones(1, 1, 1)])
def test_sigmas_of_no_use(sigma):
    with pytest.raises(ValueError, match=r"^TreeFilter2d: sigma must broadcast to \(B, 1\), got"):
        tf.nn.TreeFilter2d(sigma)


def test_a_sigma_that_becomes_negative():
    layer = tf.nn.TreeFilter2d(torch.nn.Parameter(torch.tensor(1.0)))
    layer.sigma.data.fill_(-1)
    with pytest.raises(ValueError, match=r"^TreeFilter2d: sigma must be positive"):
        layer(X)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_tracing_by_jit_names_the_way():
    with pytest.raises(RuntimeError, match=r"must be exported by torch\.export\.export"):
        torch.jit.trace(tf.nn.TreeFilter2d(0.1), (torch.rand(1, 2, 3, 4),))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_names_the_way():
    layer = tf.nn.TreeFilter2d(0.1)
    layers = [tf.nn.TreeScan2d(4), tf.nn.TreeFilterMRF2d(4, 3, 4), tf.nn.TreeEnergyLoss()]
    functions = [getattr(tf, name) for name in tf.__all__ if name.islower()]
    functions = [function for function in functions if callable(function)]
    assert len(functions) >= 12

    def of_the_user(x: torch.Tensor):
        return tf.leaf_to_root(x, None, x)

    functions += [tf.losses.tree_energy, of_the_user]
    for thing in (layer, torch.nn.Sequential(torch.nn.ReLU(), layer), *layers, *functions):
        with pytest.raises(
            RuntimeError, match=r"^treefilter: a model must be exported by torch\.ex"
        ):
            torch.jit.script(thing)
