"""What holds for the arguments of all functions: devices, kinds of numbers, kinds of tensors."""

import copy
import dataclasses
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch

import treefilter as tf
from treefilter._native import _C

GRID = tf.grid(3, 4)
EDGES = tf.graph(torch.tensor([[0, 1], [1, 2]]), 12)
WEIGHT = torch.rand(2, 17)
TREE = tf.mst(WEIGHT, GRID)
A = tf.affinity(WEIGHT, TREE)
X = torch.rand(2, 4, 3, 4)
GUIDE = torch.rand(2, 3, 3, 4)
SOURCE = torch.tensor([0, 3])
SEEDS = torch.zeros(2, 12, dtype=torch.bool)
SIGMA = torch.ones(2, 1)
LABEL = torch.full((2, 3, 4), -1)

H = tf.dendrogram(WEIGHT, TREE)
MARKERS = torch.arange(24).view(2, 12) % 5

# Every function that takes more than one tensor, graphs and trees included.
CALLS = {
    "edge_weight": (tf.edge_weight, [torch.rand(2, 4, 12), EDGES]),
    "mst": (tf.mst, [torch.rand(2, 2), EDGES]),
    "mst, root": (lambda w, root: tf.mst(w, GRID, root=root), [WEIGHT, torch.tensor([0, 3])]),
    "affinity": (tf.affinity, [WEIGHT, TREE, SIGMA]),
    "filter": (tf.filter, [X, TREE, A]),
    "mass": (tf.mass, [TREE, A]),
    "sigma_for_mass": (tf.sigma_for_mass, [WEIGHT, TREE]),
    "counted by sigma_for_mass": (
        lambda w, t, counted: tf.sigma_for_mass(w, t, counted=counted),
        [WEIGHT, TREE, MARKERS > 1],
    ),
    "leaf_to_root": (tf.leaf_to_root, [X, TREE, A]),
    "root_to_leaf": (tf.root_to_leaf, [X, TREE, A]),
    "distance": (tf.distance, [WEIGHT, TREE, SOURCE]),
    "distance_transform": (tf.distance_transform, [WEIGHT, TREE, SEEDS]),
    "distance_matrix": (tf.distance_matrix, [WEIGHT, TREE]),
    "dendrogram": (tf.dendrogram, [WEIGHT, TREE]),
    "altitude": (tf.altitude, [WEIGHT, H]),
    "cut": (lambda w, h: tf.cut(h, w, 0.5), [WEIGHT, H]),
    "linkage": (tf.linkage, [WEIGHT, H]),
    "watershed": (tf.watershed, [WEIGHT, TREE, MARKERS]),
    "filter, min": (lambda x, t, a: tf.filter(x, t, a, path="min"), [X, TREE, A]),
    "malis_pairs": (tf.malis_pairs, [H, MARKERS]),
    "TreeFilter2d": (lambda x, guide: tf.nn.TreeFilter2d(0.1)(x, guide), [X, GUIDE]),
    "tree_energy": (tf.losses.tree_energy, [X, GUIDE, LABEL, X]),
    "TreeFilter2d, sigma": (lambda s, x: tf.nn.TreeFilter2d(s)(x), [torch.tensor(0.1), X]),
}
PLACES = [(name, place) for name, (_, values) in CALLS.items() for place in range(len(values))]


def message(error):
    return str(error.value)


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_devices_are_compared(name, place):
    """A meta tensor beside a CPU tensor gave memory that nobody had written as the result."""
    function, values = CALLS[name]
    function(*values)
    with pytest.raises(ValueError, match=r"^\w+: \w+ must be on (cpu|meta) like") as error:
        function(*(v.to("meta") if i == place else v for i, v in enumerate(values)))
    assert "meta" in message(error)


@pytest.mark.parametrize(
    ("name", "place"), [(n, i) for n, i in PLACES if n.partition(",")[0] in tf.reference.__all__]
)
def test_devices_are_compared_in_the_reference(name, place):
    _, values = CALLS[name]
    function = getattr(tf.reference, name.partition(",")[0])
    if name == "mst, root":
        function = lambda w, root: tf.reference.mst(w, GRID, root=root)  # noqa: E731
    if name == "cut":
        function = lambda w, h: tf.reference.cut(h, w, 0.5)  # noqa: E731
    with pytest.raises(ValueError, match=r"^\w+: \w+ must be on (cpu|meta) like"):
        function(*(v.to("meta") if i == place else v for i, v in enumerate(values)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", CALLS)
def test_meta_tensors_of_every_type_have_the_shapes_and_types_of_results(name, dtype):
    function, values = CALLS[name]

    def results(device):
        given = [v.to(device) for v in values]
        given = [
            v.to(dtype) if isinstance(v, torch.Tensor) and v.is_floating_point() else v
            for v in given
        ]
        result = function(*given)
        if isinstance(result, tf.Tree):
            return [result.parent, result.edge, result.order]
        if isinstance(result, tf.Dendrogram):
            return [result.parent, result.edge]
        return [result] if isinstance(result, torch.Tensor) else list(result)

    for meta, real in zip(results("meta"), results("cpu"), strict=True):
        assert meta.is_meta
        assert (meta.shape, meta.dtype) == (real.shape, real.dtype)


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8, np.int16])
def test_integers_of_numpy(integer):
    g = tf.grid(integer(3), integer(4), connectivity=integer(8))
    assert repr(g) == repr(tf.grid(3, 4, connectivity=8))
    assert all(type(n) is int for n in (*g.shape, g.num_nodes, g.num_edges, g.connectivity))
    edges = tf.graph(torch.zeros(2, 3, dtype=torch.int64), integer(5))
    assert type(edges.num_nodes) is int
    tree = tf.mst(WEIGHT, GRID, root=integer(7))
    assert torch.equal(tree.parent, tf.mst(WEIGHT, GRID, root=7).parent)
    layer = tf.nn.TreeFilter2d(0.1, groups=integer(2), connectivity=integer(4))
    assert torch.equal(layer(X), tf.nn.TreeFilter2d(0.1, groups=2)(X))
    by_hand = tf.Graph(integer(12), integer(17), (integer(3), 4), integer(4))
    assert type(by_hand.shape[0]) is type(by_hand.num_nodes) is int


@pytest.mark.parametrize(
    "sigma", [np.float32(0.5), np.float64(0.5), np.float16(0.5), np.int64(2), Fraction(1, 2)]
)
def test_sigma_of_any_number_type(sigma):
    assert torch.equal(tf.affinity(WEIGHT, TREE, sigma), tf.affinity(WEIGHT, TREE, float(sigma)))
    layer = tf.nn.TreeFilter2d(sigma)
    assert type(layer.sigma) is float
    reference = tf.reference.affinity(WEIGHT, TREE, sigma)
    torch.testing.assert_close(tf.affinity(WEIGHT, TREE, sigma), reference)


@pytest.mark.parametrize(
    "wrong",
    [2.0, np.float32(2), "2", [2], (2,), None, True, np.bool_(1), 2j, np.array(2), torch.tensor(2)],
)
@pytest.mark.parametrize(
    "function",
    [
        lambda n: tf.grid(n, 4),
        lambda n: tf.grid(3, 4, connectivity=n),
        lambda n: tf.graph(torch.zeros(2, 3, dtype=torch.int64), n),
        lambda n: tf.nn.TreeFilter2d(groups=n),
        lambda n: tf.nn.TreeFilter2d(connectivity=n),
    ],
)
def test_what_is_no_integer(function, wrong):
    if wrong is None and function.__code__.co_names[-1] == "grid":
        pytest.skip("grid(connectivity=None) is the default")
    with pytest.raises(TypeError, match=r"^(grid|graph|TreeFilter2d): \w+ must be .*integer"):
        function(wrong)


# --- sigma ----------------------------------------------------------------------------------------

TINY = {torch.float32: 2.0**-126, torch.float64: 2.0**-1022}


@pytest.mark.parametrize("dtype", TINY)
def test_the_smallest_sigma(dtype):
    """There was NaN at weight 0 for a σ that is 0 in float32."""
    weight = torch.zeros(1, 17, dtype=dtype)
    weight[:, ::2] = 1e-3
    for function in (tf.affinity, tf.reference.affinity):
        for sigma in (TINY[dtype], torch.tensor(TINY[dtype], dtype=dtype)):
            a = function(weight, TREE[0], sigma)
            expected = (weight[0, TREE.edge[0].long()] == 0) & ~TREE.roots[0]
            assert torch.equal(a[0], expected.to(dtype))


@pytest.mark.parametrize(
    ("sigma", "text"),
    [
        (1e-46, "must be in [1.18e-38, 3.4e+38] for torch.float32, got 1e-46"),
        (2.0**-127, "must be in [1.18e-38, 3.4e+38] for torch.float32, got 5.87747e-39"),
        (Fraction(1, 10**400), "for torch.float32, got 0"),
        (10**400, "for torch.float32, got inf"),
        (float("inf"), "for torch.float32, got inf"),
        (1e39, "for torch.float32, got 1e+39"),
        (torch.tensor(1e-40), "must be in [1.18e-38, 3.4e+38], got 9.99995e-41 to 9.99995e-41"),
        (torch.tensor([1.0, float("inf")]), "must be in [1.18e-38, 3.4e+38], got 1 to inf"),
        (torch.tensor(0.0), "must be positive, got a value that is not"),
        (torch.tensor(float("nan")), "must be positive, got a value that is not"),
        (torch.ones(0), "must broadcast to (2, G), got (0,)"),
        (torch.ones(2, 0), "must broadcast to (2, G), got (2, 0)"),
    ],
)
def test_sigmas_out_of_range(sigma, text):
    with pytest.raises(ValueError, match=r"^affinity: sigma ") as error:
        tf.affinity(WEIGHT, TREE, sigma)
    assert message(error).endswith(text)


def test_sigma_may_be_smaller_in_float64():
    a = tf.affinity(torch.full((2, 17), 1e-46, dtype=torch.float64), TREE, 1e-46)
    right = torch.full_like(a, np.exp(-1)).masked_fill(TREE.roots, 0)
    torch.testing.assert_close(a, right)


# --- kinds of tensors -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The PyTorch API of")
@pytest.mark.parametrize(
    "wrong",
    [
        lambda: torch.nested.nested_tensor([torch.rand(3), torch.rand(4)]),
        lambda: torch.nested.nested_tensor([torch.rand(3), torch.rand(4)], layout=torch.jagged),
        lambda: torch.masked.masked_tensor(torch.rand(2, 4, 3, 4), torch.ones(2, 4, 3, 4).bool()),
        lambda: torch.rand(3, 4).to_sparse(),
        lambda: torch.rand(3, 4).to_sparse_csr(),
        lambda: torch.rand(3, 4).to_mkldnn(),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_tensors_of_other_kinds(wrong, place):
    arguments = [X, TREE, A]
    arguments[place] = wrong()
    with pytest.raises(TypeError, match=r"^filter: (x|affinity) must be a float32, .* got "):
        tf.filter(*arguments)


def test_tensors_that_only_pretend(device):
    """Lazily conjugated or negated values, and parameters, are tensors like others."""
    z = torch.view_as_complex(torch.rand(2, 4, 3, 4, 2)).to(device)
    tree, a = TREE.to(device), A.to(device)
    negated = z.conj().imag
    assert negated.is_neg()
    assert torch.equal(tf.filter(negated, tree, a), tf.filter(negated.resolve_neg(), tree, a))
    x = X.to(device)
    assert torch.equal(tf.filter(torch.nn.Parameter(x), tree, a), tf.filter(x, tree, a))


# --- names, flags, shapes -------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, 3, ["l2"], np.array(["sqeuclidean"]), torch.ones(2)])
def test_names_that_are_none(wrong):
    with pytest.raises(TypeError, match=r"^edge_weight: metric must be a string, got"):
        tf.edge_weight(X, GRID, wrong)
    with pytest.raises(TypeError, match=r"^distance: path must be a string, got"):
        tf.distance(WEIGHT, TREE, SOURCE, wrong)
    with pytest.raises(TypeError, match=r"^TreeFilter2d: metric must be a string, got"):
        tf.nn.TreeFilter2d(metric=wrong)


def test_flags(device):
    x, tree, a = X.to(device), TREE.to(device), A.to(device)
    assert torch.equal(tf.filter(x, tree, a, normalize=np.bool_(False)),
                       tf.filter(x, tree, a, normalize=False))  # fmt: skip
    for wrong in (torch.ones(2), "no", None):
        with pytest.raises(TypeError, match=r"^filter: normalize must be a bool, got"):
            tf.filter(x, tree, a, normalize=wrong)


@pytest.mark.parametrize("shape", [(), (17,), (2, 1, 17)])
def test_weights_of_other_ranks(shape):
    for function in (tf.distance_matrix, lambda w, t: tf.distance(w, t, SOURCE),
                     lambda w, t: tf.distance_transform(w, t, SEEDS)):  # fmt: skip
        with pytest.raises(ValueError, match=r"^distance\w*: weight must have shape \(B, E\), got"):
            function(torch.rand(shape), TREE)


# --- graphs by hand -------------------------------------------------------------------------------

ABSURD = [
    (0, 0, (0, 5), 4),
    (12, -3, (-3, -4), 4),
    (12, 17, (3, 5), 4),
    (12, 16, (3, 4), 4),
    (12, 17, (3, 4), 8),
    (12, 17, (3, 4), 6),
    (12, 17, (3, 4), None),
    (12, 17, (12,), 4),
    (12, 17, "34", 4),
    (12, 17, (3.0, 4), 4),
    (12.0, 17, (3, 4), 4),
    (12, None, (3, 4), 4),
    (12, 17, (3, 4), [4]),
    (2**64, 2**65, (2**32, 2**32), 4),
    (2**70, 2**70, (2**35, 2**35), 4),
    (0, 0, None, None),
    (12, 17, None, None),
    (12, 2, None, 4, torch.zeros(2, 2, dtype=torch.int32)),
    (12, 2, (3, 4), 4, torch.zeros(2, 2, dtype=torch.int32)),
    (12, 3, None, None, torch.zeros(2, 2, dtype=torch.int32)),
    (0, 2, None, None, torch.zeros(2, 2, dtype=torch.int32)),
    (-1, 2, None, None, torch.zeros(2, 2, dtype=torch.int32)),
    (2**31, 2, None, None, torch.zeros(2, 2, dtype=torch.int32)),
    (12, 2, None, None, torch.zeros(2, 2)),
    (12, 2, None, None, torch.zeros(2, 2, dtype=torch.int32).T[:1]),
    (12, 2, None, None, [[0, 0], [1, 1]]),
]


@pytest.mark.parametrize("fields", ABSURD, ids=repr)
def test_graphs_that_cannot_be(fields):
    """Some of these divided by zero in the native code, which ends the process."""
    names = ("num_nodes", "num_edges", "shape", "connectivity", "_edges")
    fields = dict(zip(names, (*fields, None)[:5], strict=True))
    state = {**vars(GRID), **fields}
    for make in (
        lambda: tf.Graph(**fields),
        lambda: dataclasses.replace(GRID, **fields),
        lambda: tf.Graph.__new__(tf.Graph).__setstate__(state),  # a pickle of version 0.1.0
    ):
        with pytest.raises((ValueError, TypeError), match=r"^Graph: .* must "):
            make()


@pytest.mark.parametrize("graph", [GRID, EDGES], ids=["grid", "edge list"])
def test_graphs_that_can(graph):
    for again in (
        dataclasses.replace(graph),
        copy.copy(graph),
        copy.deepcopy(graph),
        pickle.loads(pickle.dumps(graph)),
        tf.Graph(*(getattr(graph, field.name) for field in dataclasses.fields(graph))),
    ):
        assert repr(again) == repr(graph)
        assert torch.equal(again.edge_index, graph.edge_index)


STEPS = [0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize(
    "layout",
    [
        *([0, 3, 4, *STEPS], [1, 0, 4, *STEPS], [1, 3, 0, *STEPS], [1, -3, -4, *STEPS]),
        *([2**40, 2**40, 1, *STEPS], [1, 2**16, 2**16, *STEPS], [1, 3, 4], [], [1, 3, 4, 0]),
        *([1, 3, 4, 0, 0, 0], [1, 3, 4, 0, 0, -1], [1, 3, 4, 0, 9, 0], [1, 3, 4, -1, 1, 0]),
        *([1, 3, 4, *STEPS * 7], [1, 3, 5, *STEPS], [2**63 - 1] * 9),
    ],
    ids=str,
)
def test_the_native_code_trusts_no_layout(layout):
    threads, plan = 1, torch.empty(1, 0, dtype=torch.int32)
    weight = torch.zeros(1, 17)
    out = [torch.empty(1, 12, dtype=torch.int32) for _ in range(3)]
    f = torch.zeros(1, 1, 12)
    with pytest.raises(ValueError, match=r"^mst: (graph|weight) must"):
        _C.mst(weight, None, layout, 12, None, 0, *out, plan, threads)
    with pytest.raises(ValueError, match=r"^edge_weight: (graph|weight) must"):
        _C.edge_inner(f, f, None, layout, _C.Psi.IDENTITY, weight, threads)


def test_edges_to_nowhere_are_named():
    ends = torch.full((2, 1), 9, dtype=torch.int32)
    message = r"^mst: graph must have edges between vertices in \[0, 3\), got 9"
    if not _C.emulated:
        with pytest.raises(ValueError, match=message):
            tf.mst(torch.rand(1, 1), tf.Graph(3, 1, None, None, ends))


def test_native_messages_read_well():
    x, out, parent = X.flatten(2), torch.empty(2, 4, 12), TREE.parent.long()
    with pytest.raises(ValueError, match=r"^filter: tree\.parent must be an int32 CPU tensor of"):
        _C.propagate(_C.Pass.SUM, x, parent, TREE.order, TREE._plan, A[:, None], None, out, 1)
