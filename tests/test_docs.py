"""The documentation, without building it: every public name is in it, every script compiles."""

import importlib.util
import re
from pathlib import Path

import pytest

import treefilter
import treefilter.dask

DOCS = Path(__file__).parent.parent / "docs"
PAGES = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.rst"))
SCRIPTS = sorted((DOCS / "gallery").rglob("*.py"))


def documented(module):
    """The names that the API pages list after ``currentmodule``."""
    parts = re.split(r"\.\. py:currentmodule:: (\S+)", PAGES)
    found = [text for name, text in zip(parts[1::2], parts[2::2], strict=True) if name == module]
    return set(re.findall(r"\.\. auto(?:function|class):: (\w+)", "\n".join(found)))


@pytest.mark.parametrize(
    "module",
    [treefilter, treefilter.losses, treefilter.nn, treefilter.tiled, treefilter.dask],
    ids=lambda m: m.__name__,
)
def test_every_public_name_is_in_the_api_pages(module):
    public = set(module.__all__)
    rooms = {name for name in public if hasattr(getattr(module, name), "__path__")}
    rooms |= {"losses", "reference"} & public
    assert documented(module.__name__) == public - rooms
    for room in rooms:
        assert f"treefilter.{room}" in PAGES


def test_reference_and_compat_are_in_the_api_pages():
    functions = {name for name in treefilter.__all__ if name.islower()}
    functions = {name for name in functions if callable(getattr(treefilter.reference, name, None))}
    assert functions == documented("treefilter.reference")
    for name in set(treefilter.compat.__all__) - documented("treefilter.compat"):
        assert f".. automodule:: treefilter.compat.{name}\n" in PAGES


def test_every_message_is_in_the_page_of_errors():
    path = DOCS / "_extensions" / "errors.py"
    spec = importlib.util.spec_from_file_location("errors", path)
    errors = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(errors)
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    shown = [message for table in errors.tables(page).values() for message in table]
    assert len(shown) > 150
    assert ("ValueError", "{function}: weight must be >= 0 on the tree, got {…}") in shown  # native
    with pytest.raises(ValueError, match=r"no section has\n.*sigma must be positive"):
        errors.tables(page.replace("\nsigma must be positive\n", "\n"))
    with pytest.raises(ValueError, match="no message has 'must be blue'"):
        errors.tables(page.replace("\nsigma must be positive\n", "\nmust be blue\n"))


def test_scripts_of_the_gallery():
    assert len(SCRIPTS) >= 14
    for script in SCRIPTS:
        source = script.read_text(encoding="utf-8")
        compile(source, str(script), "exec")
        assert re.match(r'"""\n.+\n=+\n\n', source), script  # the title of its page
        assert source.count("plt.subplots(") == 1, script


def test_parts_of_other_files_are_there():
    found = 0
    for page in DOCS.rglob("*.md"):
        for file, name in re.findall(r"<!-- part: (\S+) (\w+) -->", page.read_text("utf-8")):
            text = (page.parent / file).read_text("utf-8")
            assert 0 < text.find(f"<!-- {name}: begin -->") < text.find(f"<!-- {name}: end -->")
            found += 1
    assert found >= 2
