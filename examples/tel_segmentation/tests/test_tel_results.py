"""The plan of the published results, the demo and the costs, in miniature."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import tel_runs
import torch

from tel_segmentation import config, presets
from tel_segmentation.commands import cost, demo, measure, publish
from tel_segmentation.data.loading import open_source, training_batches
from tel_segmentation.paper.tables import cost_table
from tel_segmentation.runtime.interrupts import Interrupted
from tel_segmentation.runtime.run_folder import RESULT
from tel_segmentation.training import engine, step


def unsaid(planned):
    """The configuration of the data, without the fields that an experiment varies."""
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
    with pytest.raises(ValueError, match="same settings, got iterations: 7 instead of 300"):
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
    with pytest.raises(ValueError, match="same settings, got iterations: 2 instead of 3"):
        demo.run(dataclasses.replace(options, iterations=3))


PEAK = """
import torch
from tel_segmentation.runtime import memory
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


@pytest.mark.parametrize(
    ("preset", "classes", "batch"),
    [
        ("cityscapes-hrnet", 19, 2),
        ("ade20k-hrnet", 150, 4),
        ("voc-deeplab", 21, 4),
        ("voc-ltf", 21, 8),
        ("photos", 6, 8),  # any data set of photographs
    ],
)
def test_cost_of_a_preset_is_that_of_its_data_sets_classes(preset, classes, batch, monkeypatch):
    """On a small network: logits for the data set's classes, and the given number of images."""
    settings = presets.PRESETS[preset][1]
    assert settings.batch == batch
    small = dataclasses.replace(
        settings, model=config.Model(), data=dataclasses.replace(settings.data, crop=(32, 64))
    )
    monkeypatch.setitem(presets.PRESETS, preset, ("", small))
    seen = []
    monkeypatch.setattr(
        cost, "_memory", lambda plan, options, count: seen.append((plan.batch, count)) or (1.0, 2.0)
    )
    logits = []

    def observed(self, index):
        batch = self.batches[index % len(self.batches)]
        logits.append(tuple(self.state.objective.model(batch.image).logits.shape[:2]))
        return 1.0

    monkeypatch.setattr(cost.Measured, "iteration", observed)
    result = cost.measure(cost.Cost(preset, rounds=1, batch=3, device="cpu"))
    assert set(logits) == {(3, classes)}
    assert set(seen) == {(3, None if preset == "photos" else classes)}
    assert (result["classes"], result["batch"]) == (classes, 3)
    assert cost.measure(cost.Cost(preset, rounds=1, device="cpu"))["batch"] == batch
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        cost.run(cost.Cost(preset, batch=0))


def test_tables_find_what_is_measured(tmp_path, monkeypatch):
    """The page of results and the paper's tables find the costs of ``tel cost`` and ``tel run``."""
    settings = dataclasses.replace(tel_runs.options(tmp_path), recipe="official")
    monkeypatch.setitem(presets.PRESETS, "cost.ltf", ("", settings))
    peaks = iter([(100.0, 200.0), (110.0, 210.0), (120.0, 230.0)] * 2)
    monkeypatch.setattr(cost, "_memory", lambda plan, options, classes: next(peaks))
    monkeypatch.setattr(cost.Measured, "iteration", lambda self, index: 0.5)
    cost.run(cost.Cost("cost.ltf", rounds=1, device="cpu", output=tmp_path / "cost-small.json"))
    assert "| TEL low+high | 0.500 | 1.00 | 120 | 1.20 |" in publish.cost_tables(tmp_path)
    cost.measure_recipe(settings, "cost.ltf", tmp_path / "cost.json", rounds=1)
    measured = json.loads((tmp_path / "cost.json").read_text(encoding="utf-8"))
    (row,) = (row for row in cost_table("T4", [measured]) if row[0] == "t4.ltf.both")
    assert row[4:6] == ["230", "1.150"]
    (row,) = (row for row in cost_table("T5", [measured]) if row[0] == "t5.ltf.low")
    assert row[4:6] == ["0.500", "1.000"]


def test_cost_times_the_iteration_that_training_has(tmp_path):
    """It includes the check for finite losses, the scaler and the average of the weights."""
    optimizer = config.Optimizer(ema=0.9)
    options = tel_runs.options(tmp_path, loss={"method": "partial"}, optimizer=optimizer)
    source = open_source(options.data, "train")
    batches = [next(training_batches(source, options, start=0))]
    measured = cost.Measured(options, batches, source, torch.device("cpu"))
    before = measured.state.ema.n_averaged.item()
    weight = next(measured.state.model.parameters())
    start = weight.detach().clone()
    assert measured.iteration(0) > 0
    assert not torch.equal(weight, start)
    assert measured.state.ema.n_averaged.item() == before + 1
    measured.batches = [batches[0]._replace(image=batches[0].image * torch.nan)]
    with pytest.raises(step.NonFiniteLossError):
        measured.iteration(1)
