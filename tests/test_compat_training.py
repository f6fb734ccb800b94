"""Training with the drop-in modules: two processes, and models that are compiled."""

import pytest
import torch
from adopters import AdoptedFilter, differences, tree_of
from torch import nn

import treefilter as tf
from treefilter.compat import tel, tree_filter, tree_filter_v2


@pytest.fixture(autouse=True)
def installed():
    tf.compat.install()
    yield
    tf.compat.uninstall()


class Model(nn.Module):
    """A layer of each family that has parameters, the first filter by functions and by classes."""

    def __init__(self):
        super().__init__()
        import tree_filter_cuda

        self.extension = tree_filter_cuda
        self.features, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)
        self.second = tree_filter_v2.TreeFilterV2(3, 4, 4, 2)
        nn.init.ones_(self.second.gamma)
        self.adopted = AdoptedFilter(tree_filter_cuda, 2)
        self.trees = tree_filter.MinimumSpanningTree(tree_filter.norm2_distance)
        self.filter = tree_filter.TreeFilter2D(2)
        self.loss = tel.TreeEnergyLoss()

    def forward(self, image, inside):
        x = self.second(self.features(image), image)
        x = x + self.adopted(x, x, tree_of(self.extension, image), low=False)
        x = x + self.filter(x, x, self.trees(image), low_tree=False)
        return self.loss(self.head(x), image, x, inside)


def images(rank=None):
    generator = torch.Generator().manual_seed(3)
    image, inside = torch.rand(2, 3, 6, 7, generator=generator), torch.ones(2, 6, 7)
    return (image, inside) if rank is None else (image[rank : rank + 1], inside[rank : rank + 1])


def step(model, *inputs):
    """The gradients of one step, in evaluation: without random trees."""
    model.eval()
    loss = model(*inputs)
    loss.backward()
    return [p.grad.clone() for p in model.parameters()]


def a_process(rank, folder):
    torch.set_num_threads(1)
    tf.compat.install()
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    grads = step(nn.parallel.DistributedDataParallel(Model()), *images(rank))
    torch.save(grads, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_compute_the_step_of_one(tmp_path):
    method = "spawn" if torch.cuda.is_initialized() else "fork"  # a fork imports nothing again
    torch.multiprocessing.start_processes(a_process, (tmp_path,), 2, start_method=method)
    torch.manual_seed(0)
    want = step(Model(), *images())
    for rank in range(2):
        got = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-7)


def test_classes_compile():
    trees = tree_filter.MinimumSpanningTree(tree_filter.norm2_distance)
    layer = tree_filter.TreeFilter2D(2)
    image, x = images()[0], torch.rand(2, 4, 6, 7)

    def smooth(x):
        return layer(x, x, trees(image), low_tree=False)

    inputs = [x.clone().requires_grad_() for _ in range(2)]
    for f, t in zip(
        (smooth, torch.compile(smooth, backend="eager", fullgraph=True)), inputs, strict=True
    ):
        f(t).square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


@pytest.mark.parametrize("groups", [1, 2])
def test_trees_of_another_source_and_of_another_shape(groups):
    """Affinities come from the grid where the tree is known to be of it, else from its edges."""
    guide, x, embed = (torch.rand(2, c, 5, 8, dtype=torch.float64) for c in (3, 4, 6))
    embed.requires_grad_()
    raw = tree_filter.MinimumSpanningTree(tree_filter.norm2_distance)(guide)
    layer = tree_filter.TreeFilter2D(groups)
    turned = [t.reshape(2, -1, 8, 5) for t in (x, embed)]  # the same vertices in another grid
    results = [
        layer(x, embed, raw, False),
        layer(x, embed, raw.clone(), False),
        layer(*turned, raw, False).view(x.shape),
    ]
    for y in results[1:]:
        torch.testing.assert_close(y, results[0])
    grads = [torch.autograd.grad(y.square().sum(), embed)[0] for y in results]
    for g in grads[1:]:
        torch.testing.assert_close(g, grads[0])


def test_the_grid_is_found_in_a_list_of_edges():
    import tree_filter_cuda

    guide = (torch.rand(2, 3, 6, 5) * 3).round()
    number = torch.arange(30, dtype=torch.int32).view(6, 5)
    first = torch.stack([number[:-1], number[1:]], -1).reshape(-1, 2)
    second = torch.stack([number[:, :-1], number[:, 1:]], -1).reshape(-1, 2)
    weight = differences(guide)
    half = len(first)
    both = torch.cat([first, second]), torch.cat([second, first])
    weights = weight, torch.cat([weight[:, half:], weight[:, :half]], 1)
    for index, w in zip(both, weights, strict=True):
        listed = tf.mst(w, tf.graph(index.T, 30))
        want = index[listed.edge[:, 1:].long()]
        got = tree_filter_cuda.mst_forward(index.expand(2, -1, -1), w, 30)
        assert torch.equal(got.sort(1).values, want.sort(1).values)
