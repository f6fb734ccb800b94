"""The pictures of the README and of the page on tiles show what they say they show."""

import importlib.util
from pathlib import Path

import pytest
import torch

import treefilter as tf

for package in ("matplotlib", "skimage"):
    pytest.importorskip(package)
DOCS = Path(__file__).parent.parent / "docs"
if not DOCS.exists():  # an sdist leaves docs out
    pytest.skip("no docs here", allow_module_level=True)


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


picture = script("tree_filter")


@pytest.fixture
def image(monkeypatch):
    monkeypatch.setattr(picture, "PIXEL", (20, 30))
    monkeypatch.setattr(picture, "REACH", 12)
    monkeypatch.setattr(picture, "RADIUS", 6)
    return torch.rand(1, 3, 40, 60, dtype=torch.float64, generator=torch.manual_seed(0))


@pytest.mark.parametrize("name", ["guided_filter", "tree_filter"])
def test_weights_are_those_of_a_mean(image, name):
    guide = image.mean(1, keepdim=True)
    x = guide.clone().requires_grad_()
    weights = picture.derivative(getattr(picture, name)(x, guide), x)
    assert weights.sum().item() == pytest.approx(1)
    # The guide is held constant: the filter is linear in x, and its weights reproduce it.
    y = getattr(picture, name)(image[:, :1], guide)[0, 0, 20, 30]
    assert (weights * image[0, 0]).sum().item() == pytest.approx(y.item())


def test_windows(image):
    guide = image.mean(1, keepdim=True)
    x = guide.clone().requires_grad_()
    guided = picture.derivative(picture.guided_filter(x, guide), x)
    for weights in (picture.bilateral_weights(image), guided):
        rows, columns = weights.nonzero().T
        assert (rows.min().item(), rows.max().item()) == (8, 32)
        assert (columns.min().item(), columns.max().item()) == (18, 42)


def test_bilateral_weight_is_largest_at_the_pixel(image):
    weights = picture.bilateral_weights(image)
    assert weights[20, 30].item() == 1 == weights.max().item()


def test_tiles():
    page = script("tiled")
    image = torch.rand(3, 72, 108, generator=torch.manual_seed(0))
    found = page.parts_of(image)
    whole = tf.nn.TreeFilter2d(page.SIGMA)(image[None])[0]
    torch.testing.assert_close(torch.from_numpy(found["result"]), whole, rtol=0, atol=2e-6)
    graph = tf.grid(72, 108)
    weight = tf.edge_weight(image[None], graph)
    edge = tf.mst(weight, graph).edge[0]
    ends = graph.edge_index[:, edge[edge >= 0].sort().values.long()]
    tile = ends // 108 // page.TILE * 3 + ends % 108 // page.TILE
    between = found["tiling"].lattice.ends(found["seams"])
    assert sorted(between.T.tolist()) == sorted(ends[:, tile[0] != tile[1]].T.tolist())
