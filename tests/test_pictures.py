"""The README's picture shows the weights that it says it shows."""

import importlib.util
from pathlib import Path

import pytest
import torch

for package in ("matplotlib", "skimage"):
    pytest.importorskip(package)
SCRIPT = Path(__file__).parent.parent / "docs" / "tree_filter.py"
if not SCRIPT.exists():  # an sdist leaves docs out
    pytest.skip("no docs here", allow_module_level=True)
SPEC = importlib.util.spec_from_file_location("tree_filter", SCRIPT)
picture = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(picture)


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
