"""The plan of the published results, the demo and the cost, in miniature."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import tel_runs

from tel_segmentation import config, cost, demo, engine, measure, presets
from tel_segmentation.interrupts import Interrupted
from tel_segmentation.record import RESULT


def unsaid(planned):
    """The data without what an experiment is about."""
    return dataclasses.replace(planned.options.data, annotation="", source="")


@pytest.mark.parametrize(
    "plan", [measure.scenes(3), measure.photos(3, Path("camvid.toml"))], ids=["scenes", "photos"]
)
def test_the_plan_is_paired(plan):
    runs = list(plan)
    folders = [p.options.output for p in runs]
    assert len(set(folders)) == len(folders)
    for planned in runs:
        same = dataclasses.replace(
            planned.options, loss=config.Loss(), seed=0, output=Path(), data=unsaid(planned)
        )
        first = dataclasses.replace(
            runs[0].options, loss=config.Loss(), seed=0, output=Path(), data=unsaid(runs[0])
        )
        assert same == first
        if planned.options.loss.method == "full":
            assert planned.options.data.annotation == "dense"
    titles = {p.method for p in runs}
    assert {"partial CE", "TEL low", "TEL low+high", "Gated CRF", "full supervision"} <= titles


def test_measured_runs_go_on(tmp_path, monkeypatch, capsys):
    def small(seeds):
        for loss in (config.Loss(method="partial"), config.Loss()):
            yield measure._plan(tel_runs.options(tmp_path), loss, "point", 0)

    monkeypatch.setattr(measure, "scenes", small)
    options = measure.Measure("scenes", output=tmp_path)
    stop = engine.train

    def interrupted(settings, **others):
        raise Interrupted

    monkeypatch.setattr(measure, "train", interrupted)
    with pytest.raises(Interrupted):
        measure.run(options)
    monkeypatch.setattr(measure, "train", stop)
    assert measure.run(options) == 0
    records = sorted(tmp_path.glob("*/" + RESULT))
    assert [json.loads(p.read_text())["method"] for p in records] == ["TEL low+high", "partial CE"]
    times = [p.stat().st_mtime_ns for p in records]
    assert measure.run(options) == 0
    assert [p.stat().st_mtime_ns for p in records] == times


def test_an_unfinished_run_that_is_not_the_planned_one(tmp_path):
    options = measure.Measure("scenes", output=tmp_path, only="default-point-partial-CE-s0")
    (first,) = [p for p in measure.scenes(1) if "default-point-partial" in str(p.options.output)]
    folder = tmp_path / first.options.output
    folder.mkdir()
    other = dataclasses.replace(first.options, iterations=7)
    (folder / "config.json").write_text(config.to_json(other), encoding="utf-8")
    with pytest.raises(ValueError, match="other settings than planned"):
        measure.run(options)


def test_demo(tmp_path, capsys, monkeypatch):
    small = tel_runs.options(tmp_path, iterations=2)
    monkeypatch.setitem(presets.PRESETS, "small", ("", small))
    options = demo.Demo(output=tmp_path / "demo", preset="small", browser=False)
    assert demo.run(options) == 0
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    for name in ("partial CE", "TEL low+high", "full supervision"):
        assert name in page
    assert demo.run(options) == 0  # nothing is trained twice
    with pytest.raises(ValueError, match="other settings"):
        demo.run(dataclasses.replace(options, iterations=3))


PEAK = """
import torch
from tel_segmentation import memory
device = torch.device("cpu")
block = torch.ones(2**26)  # 256 MB, before the reset
del block
memory.reset_peak(device)
start = memory.peak(device)
block = torch.ones(2**24)  # 64 MB
print(start - memory.held(device) < 0, memory.peak(device) - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads proc")
def test_peak_memory_is_that_since_the_reset(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PEAK], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    grown, more = done.stdout.split()
    assert grown == "True"
    assert 50 < float(more) < 100


def test_cost(tmp_path, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "small", ("", tel_runs.options(tmp_path)))
    monkeypatch.setattr(cost, "_memory", lambda plan, options, classes: (100.0, 200.0))
    result = cost.measure(cost.Cost("small", rounds=2))
    assert [row["method"] for row in result["rows"]] == ["partial CE", "TEL low", "TEL low+high"]
    assert result["rows"][0]["time_ratio"] == 1
    assert all(row["seconds"] > 0 for row in result["rows"])
    with pytest.raises(ValueError, match="preset must be one of"):
        cost.run(cost.Cost("large"))
