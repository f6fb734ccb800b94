"""``treefilter.compat.install()``: what it puts where, and takes back."""

import importlib
import sys
from types import ModuleType

import pytest

import treefilter as tf

EVERYTHING = ["tree_filter_cuda", "tree_scan._C", "tree_scan_lan._C", "GP_cuda"]


@pytest.fixture(autouse=True)
def clean():
    yield
    tf.compat.uninstall()


def test_a_second_call_changes_nothing():
    assert tf.compat.install() == EVERYTHING
    first = {name: sys.modules[name] for name in EVERYTHING}
    assert tf.compat.install() == EVERYTHING
    assert all(sys.modules[name] is module for name, module in first.items())
    assert importlib.import_module("tree_scan")._C is first["tree_scan._C"]
    assert importlib.util.find_spec("tree_filter_cuda") is not None
    assert importlib.import_module("tree_filter_cuda") is first["tree_filter_cuda"]
    tf.compat.uninstall()
    assert not {*EVERYTHING, "tree_scan", "tree_scan_lan"} & set(sys.modules)
    with pytest.raises(ImportError):
        importlib.import_module("tree_filter_cuda")


def test_what_is_really_installed_stays(tmp_path, monkeypatch):
    (tmp_path / "tree_filter_cuda.py").write_text("mst_forward = 'theirs'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert tf.compat.install() == EVERYTHING[1:]
    theirs = importlib.import_module("tree_filter_cuda")
    assert theirs.mst_forward == "theirs"
    assert tf.compat.install(["tree_filter_cuda"]) == []
    assert tf.compat.install(["tree_filter_cuda"], force=True) == ["tree_filter_cuda"]
    assert callable(importlib.import_module("tree_filter_cuda").mst_forward)
    tf.compat.uninstall()
    assert importlib.import_module("tree_filter_cuda") is theirs
    sys.modules.pop("tree_filter_cuda")


def test_a_package_whose_extension_was_not_built(tmp_path, monkeypatch):
    package = tmp_path / "tree_scan"
    package.mkdir()
    (package / "__init__.py").write_text("name = 'theirs'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert tf.compat.install(["tree_scan._C"]) == ["tree_scan._C"]
    theirs = importlib.import_module("tree_scan")
    assert theirs.name == "theirs"
    assert callable(theirs._C.mst_forward)
    tf.compat.uninstall()
    assert not hasattr(theirs, "_C")
    sys.modules.pop("tree_scan")


def test_into_a_module():
    extension = ModuleType("cvpods_C")
    extension.mst_forward = "theirs"
    names = tf.compat.install(into=extension)
    assert "mst_forward" not in names
    assert "rst_forward" in names
    assert extension.mst_forward == "theirs"
    assert "mst_forward" in tf.compat.install(into=extension, force=True)
    tf.compat.uninstall()
    assert vars(extension)["mst_forward"] == "theirs"
    assert not hasattr(extension, "rst_forward")


def test_errors():
    with pytest.raises(ValueError, match="install: names must be of tree_filter_cuda"):
        tf.compat.install(["cvpods._C"])
    with pytest.raises(TypeError, match="install: into must be a module, got str"):
        tf.compat.install(into="cvpods._C")
    with pytest.raises(TypeError, match="install: force must be a bool"):
        tf.compat.install(force=1)
