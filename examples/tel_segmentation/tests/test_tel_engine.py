"""Training: the files of a run; neither interruptions nor mistakes lose any work."""

import io
import json
import random
import re
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import tel_runs
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tel_segmentation import config
from tel_segmentation.data.loading import open_source
from tel_segmentation.evaluation.pictures import panel, tiles
from tel_segmentation.runtime import checkpoint
from tel_segmentation.runtime.run_folder import HISTORY, RESULT
from tel_segmentation.training import diagnosis, engine
from tel_segmentation.training.tracking import read_history


def weights(folder, name="last.pt"):
    return checkpoint.load(folder / name)["model"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tel"
    result = engine.train(tel_runs.options(folder, tensorboard=True))
    return folder, result


def test_what_a_run_leaves(finished):
    folder, result = finished
    names = {p.name for p in folder.iterdir() if not p.name.startswith("events")}
    assert names == {
        "config.json", "history.jsonl", "result.json", "last.pt", "previous.pt", "best.pt",
        "panels", "failures",
    }  # fmt: skip
    assert len(list(folder.glob("events*"))) == 1
    assert len(list((folder / "panels").glob("*.png"))) == 1
    (failure,) = result["evaluation"]["failures"]
    assert [path.name for path in (folder / "failures").iterdir()] == [failure["file"]]
    assert 0 <= failure["miou"] <= 1
    counts = np.array(result["evaluation"]["confusion"])
    assert counts.diagonal().sum() / counts.sum() == result["evaluation"]["last"]["accuracy"]
    assert config.load(folder / "config.json") == tel_runs.options(folder, tensorboard=True)
    saved = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    assert saved == json.loads(json.dumps(result))
    assert saved["finished"]
    assert saved["experiment"] == "scenes/default/point"
    assert saved["method"] == "TEL low+high"
    assert 0 < saved["labelled_ratio"] < 0.2
    assert len(saved["evaluation"]["last"]["iou"]) == 6
    assert saved["evaluation"]["split"] == "test"
    assert 0 < saved["diagnostics"]["affinity_low"] <= 1


def test_history(finished):
    lines = read_history(finished[0] / HISTORY)
    logs = [x for x in lines if "loss" in x]
    assert [x["iteration"] for x in logs] == [2, 4, 6]
    assert [x["iteration"] for x in lines if "evaluation" in x] == [3, 6]
    for line in logs:
        total = line["loss_seg"] + 0.4 * line["loss_tel"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)
        assert 0 <= line["accuracy_pseudo"] <= 1
    assert logs[0]["lr"] == pytest.approx(3e-3 * (1 - 1 / 6) ** 0.9)


def test_tensorboard_has_the_history_and_the_pictures(finished):
    folder, _ = finished
    board = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()
    lines = read_history(folder / HISTORY)
    for name in ("loss", "loss_seg", "loss_tel", "images_per_second", "miou"):
        given = [(line["iteration"], line.get("evaluation", line).get(name)) for line in lines]
        expected = [(i, pytest.approx(value)) for i, value in given if value is not None]
        assert [(each.step, each.value) for each in board.Scalars(name)] == expected
        assert len(expected) == (2 if name == "miou" else 3)

    settings = tel_runs.options(folder)
    source = open_source(settings.data, "train", settings.seed)
    first, last = source[0], source[len(source) - 1]
    assert board.Tags()["images"] == [first.name, last.name]
    for sample in (first, last):
        events = board.Images(sample.name)
        assert [event.step for event in events] == [3, 6]
        shown = tiles(Image.open(io.BytesIO(events[-1].encoded_image_string)))
        blank = panel(sample.image, sample.label, None, None, None, sample.truth, source.colors)
        expected = tiles(blank)
        for name, tile in shown.items():
            known = name in ("image", "annotation", "truth")
            assert (np.asarray(tile) == np.asarray(expected[name])).all() == known, name
    # Prediction and pseudo labels are those of the panel of the finished network.
    (file,) = (folder / "panels").glob("*.png")
    picture = Image.open(io.BytesIO(board.Images(first.name)[-1].encoded_image_string))
    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(file).convert("RGB")))


def test_the_same_run_again_has_the_same_weights(finished, tmp_path):
    engine.train(tel_runs.options(tmp_path / "again"))
    assert same(weights(finished[0]), weights(tmp_path / "again"))
    engine.train(tel_runs.options(tmp_path / "other", seed=1))
    assert not same(weights(finished[0]), weights(tmp_path / "other"))


def test_a_folder_with_a_run_is_not_overwritten(finished):
    with pytest.raises(FileExistsError, match="--resume"):
        engine.train(tel_runs.options(finished[0]))


def test_killed_five_times(tmp_path):
    """A run killed by SIGKILL at random moments gives the same bits as one that is not."""
    # Dropout, an average of weights and accumulation are all part of the state.
    changes = {"iterations": 60, "accumulate": 2, "optimizer": config.Optimizer(ema=0.9)}
    engine.train(tel_runs.options(tmp_path / "whole", **changes))
    folder = tmp_path / "killed"
    settings = tel_runs.options(folder, **changes)
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json(settings), encoding="utf-8")
    dice = random.Random(5)
    for _ in range(5):
        # Killed a random time after it has written its first own checkpoint.
        killed = tel_runs.signalled(
            signal.SIGKILL, "tel_segmentation.runtime.checkpoint:save", "train", "--resume", folder,
            folder=tmp_path, delay=0.02 + dice.random() * 0.1,
        )  # fmt: skip
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = tel_runs.tel("train", "--resume", folder, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert same(weights(tmp_path / "whole"), weights(folder))
    for name in ("ema", "optimizer"):
        a, b = (checkpoint.load(f / "last.pt")[name] for f in (tmp_path / "whole", folder))
        assert equal(a, b)
    iterations = [x["iteration"] for x in read_history(folder / HISTORY) if "loss" in x]
    assert iterations == sorted(set(iterations))


def equal(a, b):
    """Whether two nested states have the same bits."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def test_interrupted_and_resumed(tmp_path, finished):
    folder = tmp_path / "run"
    settings = tel_runs.options(folder, checkpoint_every=1000)
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json(settings), encoding="utf-8")
    stopped = tel_runs.signalled(
        signal.SIGINT, "tel_segmentation.training.tracking:History.add",
        "train", "--resume", folder,
        folder=tmp_path,
    )  # fmt: skip
    error = stopped.stderr
    assert stopped.returncode == 130, error
    assert "stopped after iteration" in error
    assert f"--resume {folder}" in error
    done = tel_runs.tel("train", "--resume", folder, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mIoU" in done.stdout
    assert same(weights(finished[0]), weights(folder))


def test_without_a_terminal_lines_tell_losses_speed_and_time_left(tmp_path, monkeypatch, capsys):
    iteration, clock = engine.update, SimpleNamespace(now=0.0)

    def slow(*arguments):
        clock.now += 377
        iteration(*arguments)

    monkeypatch.setattr(engine, "update", slow)
    for module in (engine, diagnosis):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def shown(**changes):
        engine.train(tel_runs.options(tmp_path / "run", checkpoint_every=3), **changes)
        return [x for x in capsys.readouterr().err.splitlines() if x.startswith("run: ")]

    losses = ", ".join(rf"{name} \d+\.\d{{3}}" for name in ("loss", "loss_seg", "loss_tel"))
    progress = (("2/6", "25:08"), ("4/6", "12:34"), ("6/6", "00:00"))
    usage = r"img/s \d+\.\d, peak memory [\d,]+ MB"
    patterns = [rf"run: {at}: {losses}, {usage}, {left} left" for at, left in progress]
    number = r"\d+\.\d"
    scores = rf"on val: mIoU {number}, accuracy {number}; best mIoU ({number}), at"
    patterns.insert(1, rf"run: 3/6: {scores} 3")
    patterns.append(rf"run: 6/6: {scores} [36]")
    for line, pattern in zip(shown(), patterns, strict=True):
        assert re.fullmatch(pattern, line), line
    (tmp_path / "run" / "previous.pt").replace(tmp_path / "run" / "last.pt")
    for line, pattern in zip(shown(resume=True), patterns[2:], strict=True):  # from 3 on
        assert re.fullmatch(pattern, line), line


def test_a_checkpoint_of_another_network(tmp_path, finished):
    settings = tel_runs.options(tmp_path / "run", loss={"method": "partial"})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_bytes((finished[0] / "last.pt").read_bytes())
    with pytest.raises(ValueError, match=r"loss\.method: partial instead of tel"):
        engine.train(settings, resume=True)


def test_two_processes_are_one_with_the_doubled_batch(tmp_path):
    """With torchrun and gloo, the losses are the same except for rounding.

    There are many labels: with few, rounding could change a ReLU and so the loss.
    """
    tel = config.TreeEnergy(reduction="global", roi="nearest")
    loss = {"reduction": "global", "tel": tel}
    # SGD, since Adam's first steps depend on the signs of gradients, even of rounding errors.
    common = {
        "loss": loss,
        "data": {"annotation": "block50", "crop": (64, 64), "labels": "nearest"},
        "optimizer": config.Optimizer(name="sgd", lr=0.01),
        "log_every": 1,
        "iterations": 4,
    }
    one = tel_runs.options(tmp_path / "one", batch=4, **common)
    engine.train(one)
    two = tel_runs.options(tmp_path / "two", batch=2, **common)
    two.output.mkdir()
    (two.output / "config.json").write_text(config.to_json(two), encoding="utf-8")
    done = tel_runs.two_processes("train", "--resume", two.output, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    a, b = (
        [x for x in read_history(folder / HISTORY) if "loss" in x]
        for folder in (one.output, two.output)
    )
    for x, y in zip(a, b, strict=True):
        for name in ("loss", "loss_seg", "loss_tel"):
            assert x[name] == pytest.approx(y[name], rel=1e-4)  # rounding errors grow
        # exp of differences of features: some 10 times their rounding errors
        assert x["affinity_high"] == pytest.approx(y["affinity_high"], rel=1e-3)
    first, second = weights(one.output), weights(two.output)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=5e-5)
    results = [json.loads((f.output / RESULT).read_text()) for f in (one, two)]
    assert results[0]["evaluation"]["last"]["images"] == 4
    assert results[1]["evaluation"]["last"]["images"] == 4


def test_a_history_that_cannot_be_read_leaves_the_result(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    with (tmp_path / "run" / HISTORY).open("a", encoding="utf-8") as file:
        file.write("garbage\n")
    names = ("result.json", "config.json", "last.pt")
    before = [(tmp_path / "run" / name).read_bytes() for name in names]
    longer = tel_runs.options(tmp_path / "run", iterations=100)
    with pytest.raises(ValueError, match=r"history\.jsonl, line \d+: must be"):
        engine.train(longer, resume=True, extend=True)
    assert [(tmp_path / "run" / name).read_bytes() for name in names] == before


def test_seconds_are_those_of_the_whole_run(finished):
    lines = [x for x in read_history(finished[0] / HISTORY) if "loss" in x]
    assert finished[1]["wall_seconds"] == pytest.approx(lines[-1]["seconds"])


def test_two_fresh_processes_in_half_precision(tmp_path):
    """Both processes start before either has written a file."""
    done = tel_runs.two_processes(
        *("train", "smoke", "--iterations", 2, "--amp", "bf16", "--no-tensorboard"),
        *("--device", "cpu"),
        *("--data.train", 4, "--data.val", 2, "--data.test", 2, "--output", tmp_path / "run"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / RESULT).read_text())["finished"]
