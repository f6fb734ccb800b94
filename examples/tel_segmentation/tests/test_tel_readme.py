"""The README and every docstring's example run; the published tables are those of the records."""

import doctest
import importlib
import json
import pkgutil
import re
from pathlib import Path

import pytest

import tel_segmentation
from tel_segmentation.publish import tables, with_excerpts
from tel_segmentation.record import RESULT

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
RECORDS = PACKAGE / "results"


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(tel_segmentation.__path__)])
def test_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"tel_segmentation.{name}")).failed == 0


def test_the_readmes_code_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope = {}
    exec(compile(code, "README.md", "exec"), scope)
    assert scope["embed"].grad is not None


def test_the_tables_are_those_of_the_records():
    assert (RECORDS / "README.md").read_text(encoding="utf-8") == tables(RECORDS)
    assert with_excerpts(README, RECORDS) == README
    assert README.count("| TEL low+high |") >= 1


def test_records_are_whole_and_name_no_folder():
    files = sorted(RECORDS.glob("*/*/" + RESULT))
    assert files
    for file in files:
        record = json.loads(file.read_text(encoding="utf-8"))
        assert record["finished"], file
        assert record["name"] == file.parent.name
        assert record["iterations"] == record["evaluation"]["last"]["iteration"]
        text = file.read_text(encoding="utf-8")
        assert not re.search(r'"/|\\\\', text), file
