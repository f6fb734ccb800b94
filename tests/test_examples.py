"""Every example in a docstring and in the README runs and gives what it shows."""

import doctest
import importlib
import pkgutil
import re
import sys
from pathlib import Path

import pytest
import torch

import treefilter

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(treefilter.__path__, "treefilter.")
    # One of the native modules is imported, and no other.
    if not module.name.startswith("treefilter._C")
]
README = Path(__file__).parent.parent / "README.md"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_public_functions_have_examples():
    public = [getattr(treefilter, name) for name in treefilter.__all__]
    functions = [f for f in public if callable(f) and not isinstance(f, type)]
    assert functions
    assert [f.__name__ for f in functions if ">>> " not in f.__doc__] == []


def run_page(page):
    """Runs the Python blocks of a page in one namespace."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    namespace = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), namespace)
    return namespace


def test_readme():
    assert run_page(README)["y"].isfinite().all()


def test_quickstart():
    assert run_page(README.parent / "docs" / "quickstart.md")["y"].isfinite().all()


def test_questions():
    assert run_page(README.parent / "docs" / "faq.md")["y"].isfinite().all()


def test_page_of_tiles():
    page = run_page(README.parent / "docs" / "tiled.md")
    assert abs(page["y"].compute() - page["image"].compute()).max() < 1
    assert (page["labels"].compute() == 0).all()
    graph = treefilter.grid(300, 400)
    weight = treefilter.edge_weight(torch.from_numpy(page["image"].compute())[None], graph)
    sigma = treefilter.sigma_for_mass(weight, treefilter.mst(weight, graph), 0.005)
    assert page["sigma"] == pytest.approx(sigma.item(), rel=1e-4)


if __name__ == "__main__":  # without pytest: is what this Python imports whole?
    run_page(README)
    print(treefilter.__file__)
    sys.exit(sum(doctest.testmod(module).failed for module in MODULES))
