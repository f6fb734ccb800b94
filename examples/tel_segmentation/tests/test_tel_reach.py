"""Labels that a training or an evaluation needs are looked for before it begins."""

import dataclasses

import numpy as np
import pytest
import tel_runs
from tel_folders import HEAD, bands, write_image, write_label

from tel_segmentation import config
from tel_segmentation.commands import evaluate
from tel_segmentation.data.folder import Folder
from tel_segmentation.data.reach import check_training, check_truth
from tel_segmentation.runtime.run_folder import CONFIG
from tel_segmentation.training import engine

POINTS = np.full((32, 48), 255)
POINTS[1, 1], POINTS[17, 17], POINTS[30, 40], POINTS[30, 41] = 0, 1, 2, 2


@pytest.fixture
def data(tmp_path):
    """The options of a data set with points in train, of which nearest keeps none at 8 × 12."""
    for split in ("train", "val"):
        for name in "ab":
            write_image(tmp_path / split / "images" / f"{name}.png", 32, 48)
            write_label(tmp_path / split / "labels" / f"{name}.png", bands(32, 48))
    for name in "ab":
        write_label(tmp_path / f"annotations/mine/train/{name}.png", POINTS)
    (tmp_path / "data.toml").write_text(HEAD)
    return config.Data(source=str(tmp_path / "data.toml"), annotation="mine", size=(8, 12))


def train(data, folder, **changes):
    options = tel_runs.options(folder / "run", iterations=2, **changes)
    data = dataclasses.replace(data, crop=(32, 32))
    return engine.train(dataclasses.replace(options, data=data))


def test_a_training_begins_with_what_reaches_the_network(data, tmp_path, capsys):
    train(data, tmp_path)
    line = (
        "8 labelled pixels of 6 objects in 2 images; 6 of 6 reach the network at 12 × 8: 3 pixels"
        " of 3 objects per image"
    )
    assert line in capsys.readouterr().err


def test_labels_that_all_vanish_are_an_error(data, tmp_path):
    small = dataclasses.replace(data, labels="nearest")
    with pytest.raises(ValueError, match=r"got none of 8 labelled .*data\.labels kept keeps one"):
        train(small, tmp_path)
    assert not (tmp_path / "run" / CONFIG).exists()


def test_no_label_at_all(data, tmp_path):
    for name in "ab":
        write_label(tmp_path / f"annotations/mine/train/{name}.png", POINTS * 0 + 255)
    with pytest.raises(ValueError, match="labels must reach the network, got none of 0"):
        train(data, tmp_path)


def test_a_class_without_any_label(data, tmp_path):
    for split in ("train", "val"):
        for name in "ab":
            label = np.where(bands(32, 48) == 2, 255, bands(32, 48))
            write_label(tmp_path / split / f"labels/{name}.png", label)
    dense = dataclasses.replace(data, annotation="dense")
    message = (
        r"every class must have a label in train \(dense\), none of 2 images has car; 31.2 % of the"
        r" pixels have no class \(value 255\): if these are a class, write its number instead, 2"
        " for car"
    )
    with pytest.raises(ValueError, match=message):
        train(dense, tmp_path)
    train(dataclasses.replace(dense, absent=True), tmp_path)
    path = tmp_path / "run" / CONFIG
    last = tmp_path / "run" / "last.pt"
    assert path.exists()
    assert last.exists()


def test_a_validation_without_a_label_fails_before_the_first_iteration(data, tmp_path):
    for name in "ab":
        write_label(tmp_path / f"val/labels/{name}.png", POINTS * 0 + 255)
    with pytest.raises(ValueError, match=r"val must have pixels with a class .* none in 2 images"):
        train(data, tmp_path)
    assert not (tmp_path / "run" / CONFIG).exists()
    with pytest.raises(ValueError, match="val must have"):
        check_truth(Folder(data.source, "val", "dense"), "val")


def test_evaluation_of_one_class_or_without_labels(data, tmp_path, capsys):
    train(data, tmp_path)
    run = tmp_path / "run"

    def evaluated(*values):
        for name in "ab":
            label = np.select([bands(32, 48) == k for k in range(3)], values)
            write_label(tmp_path / f"val/labels/{name}.png", label)
        return evaluate.run(evaluate.Evaluate(run, device="cpu"))

    assert evaluated(0, 1, 255)["images"] == 2
    assert "val has no pixel of car\n" in capsys.readouterr().out
    with pytest.raises(
        ValueError, match=r"at least two classes, has none of road, car \(value 255"
    ):
        evaluated(0, 255, 255)
    with pytest.raises(ValueError, match="val must have pixels with a class"):
        evaluated(255, 255, 255)
    for name in "ab":
        write_label(tmp_path / f"annotations/mine/train/{name}.png", np.minimum(POINTS, 1))
    with pytest.raises(ValueError, match="every class must have a label in train"):
        evaluated(0, 1, 2)


def test_many_pixels_are_written_out(data):
    large = dataclasses.replace(data, annotation="dense", size=None, crop=(32, 48))
    assert ": 1,536 pixels per image" in check_training(
        Folder(large.source, "train", "dense"), large, 0
    )
