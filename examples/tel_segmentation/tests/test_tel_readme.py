"""The examples of README and docstrings run; the published tables fit the records."""

import doctest
import importlib
import json
import pkgutil
import re
import statistics
from pathlib import Path

import pytest

import tel_segmentation
from tel_segmentation.commands.publish import tables, with_excerpts
from tel_segmentation.report.published import POINTS, PUBLISHED

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


def published():
    """The file, the text and the record of every published run."""
    for file in sorted(RECORDS.glob("*/" + PUBLISHED)):
        for text in file.read_text(encoding="utf-8").splitlines():
            yield file, text, json.loads(text)


def test_records_are_whole_and_name_no_folder():
    runs = list(published())
    assert runs
    for file, text, record in runs:
        assert record["finished"], record["name"]
        assert record["name"].endswith(f"-s{record['seed']}")
        assert record["iterations"] == record["evaluation"]["last"]["iteration"]
        logs, evaluations = (record["history"][name] for name in ("logs", "evaluations"))
        assert logs["iteration"][-1] == evaluations["iteration"][-1] == record["iterations"]
        assert len(logs["loss"]) <= POINTS
        assert record["history"]["end"]["loss"] > 0
        assert not re.search(r'"/|\\\\', text), (file, record["name"])


def test_the_published_results_are_one_file_a_set_and_pictures():
    names = {(file.parent, record["name"]) for file, _, record in published()}
    assert len(names) == len(list(published()))
    pictures = list(RECORDS.glob("*/*/panels/*.png"))
    assert {(path.parents[2], path.parents[1].name) for path in pictures} <= names
    tables = [RECORDS / "README.md", RECORDS / "experiments.md", *RECORDS.glob("cost-*.json")]
    known = {*RECORDS.glob("*/" + PUBLISHED), *tables, *pictures}
    assert {path for path in RECORDS.rglob("*") if path.is_file()} == known


def scenes(annotation, method, metric="miou"):
    """mIoU by seed for the records on the default scenes."""
    return {
        r["seed"]: r["evaluation"]["last"][metric]
        for _, _, r in published()
        if (r["experiment"], r["method"]) == (f"scenes/default/{annotation}", method)
    }


def gained(lower, higher):
    """The differences between two methods, for each seed."""
    assert set(lower) == set(higher) >= {0, 1, 2}
    return [higher[seed] - lower[seed] for seed in lower]


def lower_end(gains):
    """The mean of the differences minus two standard errors."""
    return statistics.mean(gains) - 2 * statistics.stdev(gains) / len(gains) ** 0.5


@pytest.mark.parametrize("method", ["TEL low", "TEL low+high"])
@pytest.mark.parametrize("annotation", ["point", "scribble", "block20"])
def test_the_claim_on_scenes_is_in_the_records(annotation, method):
    """Partial CE < TEL < full supervision: in every seed, and by more than two standard errors."""
    partial, tel = scenes(annotation, "partial CE"), scenes(annotation, method)
    full = scenes("dense", "full supervision")
    for lower, higher in ((partial, tel), (tel, full)):
        gains = gained(lower, higher)
        assert min(gains) > 0
        assert lower_end(gains) > 0


@pytest.mark.parametrize("annotation", ["point", "scribble", "block20"])
def test_the_scenes_leave_room_between_partial_ce_and_full_supervision(annotation):
    """The amount of labels matters, and the network can learn the task."""
    gains = gained(scenes(annotation, "partial CE"), scenes("dense", "full supervision"))
    assert min(gains) > 0.05
    accuracies = scenes("dense", "full supervision", "accuracy")
    assert min(accuracies.values()) >= 0.8


@pytest.mark.parametrize("annotation", ["point", "scribble", "block20"])
def test_the_high_level_does_no_harm_on_scenes(annotation):
    """TEL low+high is at most one point of mIoU below TEL low, by two standard errors."""
    gains = gained(scenes(annotation, "TEL low"), scenes(annotation, "TEL low+high"))
    assert min(gains) >= -0.01
    assert lower_end(gains) >= -0.01


def test_public_names():
    for name in tel_segmentation.__all__:
        assert getattr(tel_segmentation, name) is not None
    assert tel_segmentation.TreeEnergy is tel_segmentation.config.TreeEnergy
    with pytest.raises(AttributeError, match="no attribute 'tree_loss'"):
        _ = tel_segmentation.tree_loss
