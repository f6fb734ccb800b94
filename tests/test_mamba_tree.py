"""The example with scans along trees: it learns something in one pass over the data."""

import importlib.util
from pathlib import Path

import pytest
import torch

pytest.importorskip("sklearn")
FILE = Path(__file__).parents[1] / "examples" / "mamba_tree" / "digits.py"


@pytest.fixture(scope="module")
def digits():
    specification = importlib.util.spec_from_file_location("digits", FILE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_layer_gets_a_gradient(digits):
    torch.manual_seed(0)
    image, label, *_ = digits.load()
    model = digits.Classifier(scans=True)
    torch.nn.functional.cross_entropy(model(image[:32]), label[:32]).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_it_learns(digits, capsys):
    assert digits.train(True, 1, 0) > 0.15
    assert "tree scans: " in capsys.readouterr().out
