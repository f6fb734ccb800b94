"""The README and every docstring's example run; the published tables are those of the records."""

import doctest
import importlib
import json
import pkgutil
import re
import statistics
from pathlib import Path

import pytest

import tel_segmentation
from tel_segmentation.publish import tables, with_excerpts
from tel_segmentation.record import RESULT

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
RECORDS = PACKAGE / "results"


MODULES = [m.name for m in pkgutil.walk_packages(tel_segmentation.__path__, "tel_segmentation.")]


def test_every_file_is_a_module_that_is_looked_at():
    files = {path.stem for path in (PACKAGE / "tel_segmentation").rglob("*.py")} - {"__init__"}
    assert files <= {name.rpartition(".")[2] for name in MODULES}


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


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


@pytest.mark.parametrize("method", ["TEL low", "TEL low+high"])
@pytest.mark.parametrize("annotation", ["point", "scribble", "block20"])
def test_the_claim_on_scenes_is_in_the_records(annotation, method):
    """Partial CE < TEL < full supervision: in every seed, and by more than two standard errors."""

    def miou(annotation, method):
        records = (json.loads(f.read_text(encoding="utf-8")) for f in RECORDS.glob("*/*/" + RESULT))
        return {
            r["seed"]: r["evaluation"]["last"]["miou"]
            for r in records
            if (r["experiment"], r["method"]) == (f"scenes/default/{annotation}", method)
        }

    partial, tel = miou(annotation, "partial CE"), miou(annotation, method)
    full = miou("dense", "full supervision")
    assert set(partial) == set(tel) == set(full) >= {0, 1, 2}
    for lower, higher in ((partial, tel), (tel, full)):
        gains = [higher[seed] - lower[seed] for seed in full]
        assert min(gains) > 0
        assert statistics.mean(gains) > 2 * statistics.stdev(gains) / len(gains) ** 0.5
