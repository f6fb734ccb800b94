"""Runs from the time when the package was a single folder of modules still load.

``fixtures/before_rooms.tar.xz`` was written by that version: ``stopped`` is a run after iteration
3 of 4, ``finished`` the record of the same run at its end, ``evaluation.json`` and ``predicted``
are what ``tel evaluate`` and ``tel predict`` made of ``stopped``. Its weights have one bit each,
which keeps the archive small.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tel_segmentation import cli

ARCHIVE = Path(__file__).parent / "fixtures" / "before_rooms.tar.xz"


@pytest.fixture
def folder(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(tmp_path, filter="data")
        else:
            archive.extractall(tmp_path)
    return tmp_path / "before_rooms"


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_it_is_evaluated_as_before(folder):
    output = folder / "now.json"
    assert cli.main(["evaluate", str(folder / "stopped"), "--output", str(output)]) == 0
    before, now = read(folder / "evaluation.json"), read(output)
    metrics = ("miou", "accuracy", "boundary_miou")
    assert [now[name] for name in metrics] == pytest.approx([before[m] for m in metrics], abs=1e-3)
    others = before.keys() - {*metrics, "iou"}  # newer versions write more
    assert {name: now[name] for name in others} == {name: before[name] for name in others}


def test_it_predicts_as_before(folder):
    output = folder / "now"
    photo = str(folder / "photo.png")
    arguments = ["predict", str(folder / "stopped"), photo, "--output", str(output)]
    assert cli.main(arguments) == 0
    before, now = (
        np.array(Image.open(where / "labels" / "photo.png"))
        for where in (folder / "predicted", output)
    )
    assert np.mean(before == now) > 0.99


def test_it_goes_on_to_the_same_end(folder):
    assert cli.main(["train", "--resume", str(folder / "stopped")]) == 0
    before, now = read(folder / "finished" / "result.json"), read(folder / "stopped/result.json")
    assert now["config"].pop("output") == "stopped"
    assert before["config"].pop("output") == "run"
    assert now["config"]["data"]["labels"] == "nearest"
    assert now["config"]["data"]["absent"] is False
    assert known(now["config"], before["config"]) == before["config"]
    last = [read_last(folder / name / "history.jsonl") for name in ("finished", "stopped")]
    assert last[1]["loss"] == pytest.approx(last[0]["loss"], rel=1e-4)


def known(config, before):
    """The fields of a configuration that an earlier version had, too."""
    return {
        name: known(config[name], value) if isinstance(value, dict) else config[name]
        for name, value in before.items()
    }


def read_last(path):
    """The last line of a history that has losses."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if "loss" in line][-1]


def test_its_record_is_reported(folder, capsys):
    page = folder / "page.html"
    assert cli.main(["report", str(folder / "finished"), "--output", str(page)]) == 0
    assert "1 of 1 runs finished" in capsys.readouterr().out
    miou = read(folder / "finished" / "result.json")["evaluation"]["last"]["miou"]
    assert f"{100 * miou:.1f}" in page.read_text(encoding="utf-8")
