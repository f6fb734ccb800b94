"""The start of a run: what a folder may hold, what may have changed, and where the data are."""

import dataclasses
import json
import os
import re
import shutil

import pytest
import tel_folders
import tel_runs
import torch

from tel_segmentation import cli, config
from tel_segmentation.commands import evaluate
from tel_segmentation.commands.evaluate import Evaluate
from tel_segmentation.data.loading import open_source, open_validation
from tel_segmentation.runtime import checkpoint
from tel_segmentation.runtime.lock import LOCK, LockedError, locked
from tel_segmentation.runtime.run_folder import BEST, CONFIG, HISTORY, LAST, RESULT
from tel_segmentation.training import engine, record, step
from tel_segmentation.training.tracking import read_history


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A run that was stopped after half of its iterations."""
    folder = tmp_path_factory.mktemp("half") / "run"
    update = engine.update

    def stopped(options, state, *others):
        if state.iteration == 4:
            raise KeyboardInterrupt
        update(options, state, *others)

    engine.update = stopped
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.train(tel_runs.options(folder, eval_every=4))
    finally:
        engine.update = update
    return folder


@pytest.fixture
def run(half, tmp_path):
    """A copy of it."""
    return shutil.copytree(half, tmp_path / "run")


def resume(run, *more):
    return cli.main(["train", "--resume", str(run), *map(str, more)])


def edit(run, change):
    values = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    change(values)
    (run / CONFIG).write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["optimizer"].update(lr=0.1), "optimizer.lr: 0.1 instead of 0.003"),
        (
            lambda c: c["optimizer"].update(weight_decay=0.5),
            "optimizer.weight_decay: 0.5 instead of 0.0001",
        ),
        (lambda c: c.update(seed=7), "seed: 7 instead of 0"),
        (lambda c: c.update(batch=4), "images in an iteration: 4 instead of 2"),
        (lambda c: c.update(iterations=4), "iterations: 4 instead of 6 (--resume with"),
        (lambda c: c["loss"].update(method="partial"), "loss.method: partial instead of tel"),
    ],
)
def test_an_edited_configuration_is_refused(run, capsys, change, said):
    edit(run, change)
    assert resume(run) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{run}: settings must be those of the checkpoint, got {said}" in line
    assert not (run / RESULT).exists()


def test_what_may_change_is_said_and_kept(run, capsys):
    edit(run, lambda c: c.update(log_every=1, pictures=0) or c["data"].update(workers=1))
    assert resume(run, "--data.workers", 0) == 0
    error = capsys.readouterr().err
    assert f"{run}: resumed from iteration 4 of 6\n" in error
    assert f"{run}: changed since the checkpoint: log_every: 1 instead of 2\n" in error
    assert "data.workers" not in error  # as in the checkpoint
    assert config.load(run / CONFIG).data.workers == 0
    assert [x["iteration"] for x in read_history(run / HISTORY) if "loss" in x] == [2, 4, 5, 6]


def test_a_run_is_extended(run, capsys):
    assert resume(run, "--iterations", 3) == 2
    assert "iterations must be at least 4, which are done, got 3" in capsys.readouterr().err
    assert json.loads(checkpoint.load(run / LAST)["config"])["iterations"] == 6
    assert resume(run) == 0
    assert resume(run, "--iterations", 8) == 0
    assert "changed since the checkpoint: iterations: 8 instead of 6" in capsys.readouterr().err
    assert json.loads((run / RESULT).read_text())["iterations"] == 8
    lines = [x for x in read_history(run / HISTORY) if "loss" in x]
    assert [x["iteration"] for x in lines] == [2, 4, 6, 8]
    assert lines[-1]["lr"] == pytest.approx(3e-3 * (1 - 7 / 8) ** 0.9)
    assert json.loads(checkpoint.load(run / LAST)["config"])["iterations"] == 8


def spoil(run, **fields):
    state = torch.load(run / LAST, weights_only=True)
    for name, value in fields.items():
        if value is KeyError:
            del state[name]
        else:
            state[name] = value
    torch.save(state, run / LAST)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"optimizer": KeyError}, r"must have all fields of a run's, lacks \['optimizer'\]"),
        ({"seconds": KeyError, "best": KeyError}, r"lacks \['best', 'seconds'\]"),
        ({"iteration": "many"}, r"got iteration with other content \(str\)"),
        ({"iteration": -3}, "got iteration with other content"),
        ({"iteration": 7}, "iterations must be at least 7, which are done, got 6"),
        ({"seconds": float("nan")}, "got seconds with other content"),
        ({"best": {"miou": "high", "iteration": 4}}, "got best with other content"),
        ({"best": {"miou": 0.5}}, "got best with other content"),
        ({"colors": [[0, 0, 999]]}, "got colors with other content"),
        ({"classes": [1, 2]}, "got classes with other content"),
        ({"model": [1]}, r"got model with other content \(list\)"),
        ({"model": {"a": 1}}, "the checkpoint is of another configuration"),
        ({"optimizer": {"state": 3}}, "the checkpoint is of another configuration"),
        ({"config": "{"}, r"last\.pt must be a run's configuration"),
        ({"config": "[1]"}, r"last\.pt must be a run's configuration"),
        ({"scaler": {1: 2}, "term": 3}, "got term with other content"),
    ],
)
def test_absurd_checkpoints_are_an_error_of_one_line(run, capsys, fields, said):
    spoil(run, **fields)
    assert resume(run) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line), line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(iterations="many"), "iterations: expected int, got 'many'"),
        (lambda c: c.update(iterations=None), "iterations: expected int, got None"),
        (lambda c: c.update(batch=True), "batch: expected int, got True"),
        (lambda c: c["optimizer"].update(lr="low"), "lr: expected float, got 'low'"),
        (lambda c: c["data"].update(crop=[64]), "crop: expected tuple, got [64]"),
        (lambda c: c["data"].update(size="big"), "size: expected tuple or None, got 'big'"),
        (lambda c: c.update(data=[]), "Data must be an object, got []"),
        (lambda c: c.update(tensorboard=1), "tensorboard: expected bool, got 1"),
    ],
)
def test_absurd_configurations_are_an_error_of_one_line(run, capsys, change, said):
    edit(run, change)
    assert resume(run) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{run / CONFIG} must be a run's configuration, got: {said}" in line


@pytest.mark.parametrize("text", ["[1]\n{}\n", '{"iteration": "3"}\n{}\n', "[" * 99999 + "\n{}\n"])
def test_absurd_histories_are_an_error_of_one_line(run, capsys, text):
    (run / HISTORY).write_text(text, encoding="utf-8")
    assert resume(run) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"{HISTORY}, line 1: must be a JSON object with an iteration" in line


def test_a_folder_without_a_run(tmp_path, capsys):
    assert resume(tmp_path) == 2
    assert f"resume must be the folder of a run, got {tmp_path}" in capsys.readouterr().err


def test_a_start_that_fails_leaves_nothing(tmp_path, monkeypatch):
    bad = tel_runs.options(tmp_path / "run", loss={"tel": config.TreeEnergy(sigma=-1.0)})
    monkeypatch.setattr(
        step, "_forward", lambda *_: (_ for _ in ()).throw(ValueError("sigma must be positive"))
    )
    with pytest.raises(ValueError, match="sigma must be positive"):
        engine.train(dataclasses.replace(bad, tensorboard=True))
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()  # what was there stays
    (tmp_path / "run" / "notes.txt").touch()
    with pytest.raises(ValueError, match="sigma must be positive"):
        engine.train(bad)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]
    monkeypatch.undo()
    assert engine.train(tel_runs.options(tmp_path / "run", iterations=1))["finished"]


def test_a_run_without_a_checkpoint_may_begin_again(tmp_path):
    """For example, the machine went down in the first iteration."""
    options = tel_runs.options(tmp_path / "run", iterations=1)
    (tmp_path / "run").mkdir()
    other = dataclasses.replace(options, seed=3)
    (tmp_path / "run" / CONFIG).write_text(config.to_json(other), encoding="utf-8")
    assert engine.train(options)["finished"]
    assert config.load(tmp_path / "run" / CONFIG).seed == 0


def test_the_lock_on_a_folder(tmp_path, monkeypatch):
    with locked(tmp_path) as held:
        assert held
        assert f"process {os.getpid()} " in (tmp_path / LOCK).read_text(encoding="utf-8")
    assert not (tmp_path / LOCK).exists()

    def refused(number):
        def lock(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("fcntl.lockf", lock)

    refused(11)
    with pytest.raises(LockedError, match="used by one training at a time"), locked(tmp_path):
        pass
    refused(95)  # a file system without locks
    with locked(tmp_path) as held:
        assert not held


def test_divergence_in_the_last_iteration(tmp_path):
    optimizer = config.Optimizer(name="sgd", lr=1e30)
    options = tel_runs.options(tmp_path / "run", optimizer=optimizer, iterations=1)
    with pytest.raises(step.NonFiniteLossError) as caught:
        engine.train(options)
    assert re.fullmatch(
        r"iteration 0: the network's output is not finite after it; files: train_\d+, train_\d+",
        str(caught.value),
    )
    assert not (tmp_path / "run" / LAST).exists()


def test_no_folder_of_the_runs_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments in (["--output", ""], ["--output="]):
        assert cli.main(["train", "smoke", *arguments]) == 2
        assert "--output must be a path, got nothing" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"output must be a folder of the run's own, got '\.'"):
        engine.train(tel_runs.options(tmp_path.__class__("")))
    assert not list(tmp_path.iterdir())


SIZE = (40, 48)


def data_set(folder, *splits, annotated=(), images=5, ignored=False):
    """A data set in a folder; ``annotated`` splits have points instead of dense labels."""
    for split in splits:
        for i in range(images):
            tel_folders.write_image(folder / split / "images" / f"{i}.png", *SIZE, i)
            label = tel_folders.bands(*SIZE)
            place = folder / split / "labels"
            if split in annotated:
                label[:, 5:] = 255
                place = folder / "annotations" / "clicks" / split
            tel_folders.write_label(place / f"{i}.png", label * 0 + 255 if ignored else label)
    (folder / "dataset.toml").write_text(tel_folders.HEAD, encoding="utf-8")
    return folder / "dataset.toml"


def options(folder, source, **changes):
    data = {"source": str(source), "annotation": "clicks", **changes.pop("data", {})}
    return tel_runs.options(folder, data=data, iterations=2, eval_every=1, **changes)


def test_without_a_validation_set(tmp_path, capsys):
    source = data_set(tmp_path / "set", "train", annotated=("train",))
    result = engine.train(options(tmp_path / "run", source))
    assert "the data set has no val split" in capsys.readouterr().err
    assert result["evaluation"]["split"] == "train"
    assert result["evaluation"]["last"] == result["evaluation"]["best"]
    assert 0 <= result["evaluation"]["last"]["miou"] <= 1
    assert result["evaluation"]["last"]["images"] == 5
    assert not (tmp_path / "run" / BEST).exists()
    assert not [x for x in read_history(tmp_path / "run" / HISTORY) if "evaluation" in x]


@pytest.mark.parametrize("annotated", [(), ("train",)])
def test_images_are_held_out(tmp_path, annotated):
    source = data_set(tmp_path / "set", "train", annotated=annotated)
    data = {"holdout": 0.3, "annotation": "clicks" if annotated else "dense"}
    given = options(tmp_path / "run", source, data=data)
    training, validation = open_source(given.data, "train"), open_validation(given.data)
    names = [{part[i].name for i in range(len(part))} for part in (training, validation)]
    assert len(names[0]) == 3
    assert len(names[1]) == 2
    assert not names[0] & names[1]
    truth = validation[0].truth
    assert (truth >= 0).float().mean() == pytest.approx(5 / 48 if annotated else 1)
    result = engine.train(given)
    assert result["evaluation"]["split"] == "val"
    assert result["evaluation"]["last"]["images"] == 2
    assert result["training_images"] == 3
    again = evaluate.run(Evaluate(tmp_path / "run", device="cpu"))
    assert again["miou"] == pytest.approx(result["evaluation"]["last"]["miou"])
    with pytest.raises(ValueError, match=r"data\.holdout must leave images to train on"):
        open_source(dataclasses.replace(given.data, holdout=0.95), "train")


def test_labels_that_are_all_ignored(tmp_path):
    source = data_set(tmp_path / "set", "train", annotated=("train",), ignored=True)
    with pytest.raises(ValueError, match="label"):
        engine.train(options(tmp_path / "run", source))
    assert not (tmp_path / "run" / RESULT).exists()


def test_a_run_can_be_used_from_another_folder_and_its_data_can_move(tmp_path, monkeypatch, capsys):
    data_set(tmp_path / "set", "train", "val", annotated=("train",))
    monkeypatch.chdir(tmp_path / "set")
    assert cli.main(
        ["train", "smoke", "--data.source", "dataset.toml", "--data.annotation",
         "annotations/clicks", "--output", "../run", "--iterations", "2", "--batch", "2",
         "--data.crop", "32", "32", "--no-tensorboard", "--device", "cpu", "--loss.method",
         "partial"]
    ) == 0  # fmt: skip
    stored = config.load(tmp_path / "run" / CONFIG).data
    assert stored.source == str(tmp_path / "set" / "dataset.toml")
    assert stored.annotation == str(tmp_path / "set" / "annotations" / "clicks")
    monkeypatch.chdir("/")
    assert cli.main(["evaluate", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert resume(tmp_path / "run", "--iterations", 3) == 0
    (tmp_path / "set").rename(tmp_path / "moved")
    capsys.readouterr()
    for command in (["evaluate", str(tmp_path / "run")], ["train", "--resume", tmp_path / "run"]):
        assert cli.main(list(map(str, command))) == 2
        assert "if the data set has moved, say where it is now with --data.source" in (
            capsys.readouterr().err
        )
    moved = tmp_path / "moved" / "dataset.toml"
    places = ("--data.source", moved, "--data.annotation", moved.parent / "annotations/clicks")
    assert resume(tmp_path / "run", "--iterations", 4, *places) == 0
    assert f"data.source: {moved} instead of {stored.source}" in capsys.readouterr().err
    assert config.load(tmp_path / "run" / CONFIG).data.source == str(moved)


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").touch()
    (tmp_path / "strokes").mkdir()
    given = config.Train(
        data=config.Data(source="voc:data/voc", annotation="strokes"),
        model=config.Model(weights="w.pth"),
        loss=config.Loss(teachers=("one", "/two")),
    )
    made = config.absolute(given)
    assert made.data.source == f"voc:{tmp_path}/data/voc"
    assert made.data.annotation == str(tmp_path / "strokes")
    assert made.model.weights == str(tmp_path / "w.pth")
    assert made.loss.teachers == (f"{tmp_path}/one", "/two")
    assert config.absolute(made) == made
    same = config.Train()
    assert config.absolute(same) == same
    with pytest.raises(ValueError, match="nobody_at_all/x must be a path"):
        config.absolute(dataclasses.replace(given, data=config.Data("~nobody_at_all/x")))


@pytest.mark.parametrize(("head", "name"), [('name = "streets"\n', "streets"), ("", "my photos")])
def test_experiments_have_the_name_of_the_data_set(tmp_path, head, name):
    (tmp_path / "my photos").mkdir()
    source = tmp_path / "my photos" / "dataset.toml"
    source.write_text(head + tel_folders.HEAD, encoding="utf-8")
    data = config.Data(source=str(source), annotation="point")
    assert record.default_experiment(config.Train(data=data)) == f"{name}/point"


def test_a_folder_is_no_data_set_file(tmp_path, capsys):
    source = data_set(tmp_path / "set", "train")
    assert cli.main(["train", "photos", "--data.source", str(source.parent)]) == 2
    assert f"is a folder; TOML files in it: {source}" in capsys.readouterr().err
    assert cli.main(["train", "photos"]) == 2
    assert "data.source must be given: --data.source FILE" in capsys.readouterr().err
