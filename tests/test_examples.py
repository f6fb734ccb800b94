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
    # One of the native modules is imported, and no other; the library for CUDA is no module.
    if not module.name.startswith(("treefilter._C", "treefilter.libtreefilter_cuda"))
]
README = Path(__file__).parent.parent / "README.md"
DOCS = README.parent / "docs"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_public_functions_have_examples():
    public = [getattr(treefilter, name) for name in treefilter.__all__]
    functions = [f for f in public if callable(f) and not isinstance(f, type)]
    assert functions
    assert [f.__name__ for f in functions if ">>> " not in f.__doc__] == []


def run_page(page, **namespace):
    """Runs the Python blocks of a page in one namespace."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(page), "exec"), namespace)
    return namespace


def test_readme():
    assert run_page(README)["y"].isfinite().all()


def test_quickstart():
    assert run_page(DOCS / "quickstart.md")["y"].isfinite().all()


def test_questions():
    assert run_page(DOCS / "faq.md")["y"].isfinite().all()


def test_first_page_and_that_of_sigma():
    assert run_page(DOCS / "index.md")["y"].isfinite().all()
    graph = treefilter.grid(8, 9)
    weight = treefilter.edge_weight(torch.rand(1, 3, 8, 9), graph)
    tree = treefilter.mst(weight, graph)
    page = run_page(DOCS / "sigma.md", torch=torch, tf=treefilter, weight=weight, tree=tree)
    assert torch.equal(page["a"], treefilter.affinity(weight, tree, page["log_sigma"].exp()))


def test_page_of_migration():
    torch.manual_seed(0)
    given = {
        "guide": torch.rand(2, 8, 10, 12),
        "embed": torch.rand(2, 64, 10, 12),
        "x": torch.rand(2, 32, 10, 12),
        "channels": 32,
        "image": torch.rand(2, 3, 40, 48),
        "logits": torch.randn(2, 4, 10, 12),
        "label": torch.full((2, 40, 48), -1),
        "cross_entropy": 1.0,
    }
    classes = treefilter.compat.tree_filter
    names = {name: getattr(classes, name) for name in ("MinimumSpanningTree", "TreeFilter2D")}
    try:
        page = run_page(DOCS / "migration.md", torch=torch, **names, **given)
    finally:
        treefilter.compat.uninstall()
    x, embed, guide = given["x"], given["embed"], given["guide"]
    assert torch.allclose(page["tree_filter"](x, embed, guide), page["y"], atol=1e-6)
    assert page["x"].shape == x.shape
    assert page["total"] > 1
    label, embed = x[:, :1], embed / 1000
    mst = names["MinimumSpanningTree"](names["TreeFilter2D"].norm2_distance)
    theirs = treefilter.compat.apro.Global_APro()(label, embed, mst(guide), zeta_g=0.01)
    assert torch.allclose(page["propagate"](label, embed, guide), theirs, atol=1e-6)
    assert not torch.allclose(label, theirs, atol=0.01)


def test_page_of_tiles():
    page = run_page(DOCS / "tiled.md")
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
