"""An experiment in two stages: ``tel run`` first trains the teachers, in sub-folders."""

import json
import shutil
from dataclasses import replace

import pytest
import tel_miniatures
import tel_runs

from tel_segmentation import config
from tel_segmentation.commands import run
from tel_segmentation.paper.experiments import find, resolve
from tel_segmentation.paper.sameness import deviations
from tel_segmentation.paper.stages import TEACHERS
from tel_segmentation.report.records import find_records

ID = "t1.point.dlv3p.tel_seminar"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tel_miniatures.data_root(tmp_path_factory.mktemp("data"))


def tiny(root, output):
    return run.Run(
        ID, data_root=root, output=output, tiny=True, protocols=("ss",), device="cpu", threads=1
    )


def record(folder):
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def test_both_stages(root, tmp_path, monkeypatch, capsys):
    options, trained = tiny(root, tmp_path), []
    train = run.train

    def counted(settings, *, resume):
        trained.append((settings.output.name, resume))
        return train(settings, resume=resume)

    monkeypatch.setattr(run, "train", counted)
    assert run.run(options) == 0
    name = f"{ID}-tiny-s304"
    assert trained == [("teacher1", False), ("teacher2", False), (name, False)]
    assert capsys.readouterr().out.startswith(f"{ID}: mIoU on val")
    folder = tmp_path / name
    first, second = (config.load(folder / each / "config.json") for each in TEACHERS)
    assert (first.seed, second.seed) == (304, 305)
    assert first.loss == second.loss
    assert (first.loss.method, first.loss.teachers) == ("seminar_lite", ())
    assert first.loss.teacher_ramp_part == 0.25

    # The record is of the second stage; its loss is that of the experiment.
    result = record(folder)
    assert result["paper"] == {"id": ID, "recipe": "official"}
    assert result["config"]["loss"]["teachers"] == ["teacher1", "teacher2"]
    assert str(tmp_path) not in json.dumps(result)
    assert not [text for text in deviations(result) if "loss" in text]
    assert [record(folder / each)["paper"] for each in TEACHERS] == [None, None]
    assert [each.folder for each in find_records([tmp_path])] == [folder]

    # If it is killed during the second teacher, finished runs are kept.
    trained.clear()
    for name_of_file in ("result.json", "config.json", "last.pt"):
        (folder / name_of_file).unlink()
    shutil.rmtree(folder / "teacher2")
    assert run.run(options) == 0
    assert trained == [("teacher2", False), (name, False)]
    trained.clear()
    assert run.run(options) == 0
    assert trained == []


def test_the_first_stage_alone_is_not_the_experiment():
    settings = resolve(find(ID))
    alone = replace(settings, loss=replace(settings.loss, teachers=()))
    result = {"config": json.loads(config.to_json(alone)), "batch": {"total": settings.batch}}
    assert "loss.teachers: [] instead of ['teacher1', 'teacher2']" in deviations(result)


def test_two_processes(root, tmp_path):
    done = tel_runs.two_processes(
        "run", ID, "--tiny", "--data-root", root, "--output", tmp_path / "runs", "--protocols",
        "ss", "--per-process-batch", "1", "--device", "cpu", "--threads", "1", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("runs/*/result.json")
    assert file.is_file()
    assert len(list(tmp_path.glob("runs/*/teacher?/result.json"))) == 2
