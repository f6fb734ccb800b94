"""tel check-data: its counts, its findings, and its exit code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tel_folders import HEAD, bands, write_image, write_label

from tel_segmentation.commands.annotate import Annotate
from tel_segmentation.commands.annotate import run as make
from tel_segmentation.commands.check_data import CheckData, run

COUNT = 12


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """A data set without faults; its TOML file."""
    for split, count in (("train", COUNT), ("val", 2)):
        for i in range(count):
            write_image(tmp_path / split / "images" / f"{split} {i}.png", seed=i)
            write_label(tmp_path / split / "labels" / f"{split} {i}.png", bands())
    (tmp_path / "data.toml").write_text(HEAD)
    return tmp_path / "data.toml"


def check(toml: Path | str, capsys: pytest.CaptureFixture[str], **options) -> tuple[int, str]:
    code = run(CheckData(str(toml), **options))
    return code, capsys.readouterr().out


def warnings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("WARNING")]


def test_nothing_wrong(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = check(toml, capsys)
    assert code == 0
    assert "train: 12 images, 16 × 12" in text
    assert "val: 2 images, 16 × 12" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["road", "33.33", "%", "12"] in rows
    assert ["labelled", "100.00", "%", "2"] in rows
    assert "PROBLEM" not in text
    assert not warnings(text)


def test_a_missing_validation_set_is_told(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (toml.parent / "val").rename(toml.parent / "other")
    code, text = check(toml, capsys)
    assert code == 0
    (line,) = warnings(text)
    assert "no val split: nothing is evaluated during a training" in line
    assert "--data.holdout 0.1" in line


def test_annotation_is_counted_beside_the_dense_labels(
    toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Annotate(toml, kind="block", ratio=0.25))
    code, text = check(toml, capsys, annotation="block25")
    rows = [line.split() for line in text.splitlines()]
    assert code == 0
    assert ["labelled", "100.00", "%", "12", "25.00", "%", "12"] in rows
    assert not warnings(text)
    assert "contact_sheet" not in text
    assert check(toml, capsys, annotation=str(toml.parent / "annotations/block25/train"))[0] == 0


def test_every_bad_file_is_named(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = toml.parent / "train"
    (train / "images/train 0.png").write_bytes(b"no image")
    whole = (train / "images/train 1.png").read_bytes()
    (train / "images/train 1.png").write_bytes(whole[: len(whole) // 2])
    write_label(train / "labels/train 2.png", bands(6, 8))
    write_image(train / "labels/train 3.png")
    (train / "labels/train 4.png").write_bytes(b"")
    write_label(train / "labels/train 5.png", bands() * 40)
    (train / "labels/train 6.png").unlink()
    code, text = check(toml, capsys)
    assert code == 1
    for i in range(7):
        assert f"train {i}.png" in text
    assert "train 7.png" not in text
    assert "value 40 is neither a class nor ignored: 1" in text
    assert "value 80 is neither a class nor ignored: 1" in text
    assert "files that cannot be used: 5" in text
    assert "train, dense labels: images without a label: 1" in text


def test_many_bad_files_are_counted(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(COUNT):
        write_label(toml.parent / f"train/labels/train {i}.png", bands() + 250)
    code, text = check(toml, capsys)
    assert code == 1
    assert "value 250 is neither a class nor ignored: 12" in text
    assert "train 9.png" not in text
    assert "… and 2 more" in text


def test_implausibly_large_image(
    toml: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    code, text = check(toml, capsys)
    assert code == 1
    assert "exceeds limit" in text
    assert "none of which can be read" in text


def test_classes_that_lost_their_labels(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks made per image leave thin classes without any label; the check warns of it."""
    label = np.zeros((12, 16), np.int64)
    label[5:7] = 1  # thin, in every image
    label[7:] = 2
    for i in range(COUNT):
        write_label(toml.parent / f"train/labels/train {i}.png", label)
    make(Annotate(toml, kind="block", scope="image", ratio=0.1))
    code, text = check(toml, capsys, annotation="block10-image")
    assert code == 1
    assert "classes without a label in any image" in text
    assert "    1 (road)" in text
    assert len(warnings(text)) == 1
    assert "road (0 of 12)" in warnings(text)[0]
    assert "sky" not in warnings(text)[0]


def test_rare_and_absent_classes(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(1, COUNT):
        write_label(toml.parent / f"train/labels/train {i}.png", bands() * 0)
    for i in range(2):
        write_label(toml.parent / f"val/labels/val {i}.png", bands() * 0 + 1)
    code, text = check(toml, capsys)
    assert code == 0
    assert "train, dense labels: hardly any of 12 images have road (1), car (1)" in text
    assert "val, dense labels: no image has sky, car" in text


def test_annotation_that_contradicts(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(Annotate(toml, kind="block", ratio=0.5))
    write_label(toml.parent / "annotations/block50/train/train 3.png", bands()[::-1])
    code, text = check(toml, capsys, annotation="block50")
    assert code == 0
    assert "block50: contradicts the dense labels of train 3 (67 % of the pixels)" in text


def test_annotation_that_is_not_there(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = check(toml, capsys, annotation="point")
    assert code == 1
    assert "PROBLEM: train, point: no files in" in text


def test_images_without_any_label(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(Annotate(toml))
    write_label(toml.parent / "annotations/point/train/train 0.png", np.full((12, 16), 255))
    text = check(toml, capsys, annotation="point")[1]
    assert "train, point: no pixel has a class in 1 images" in text


def test_sparse_labels_alone_will_do(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(Annotate(toml))
    for file in (toml.parent / "train/labels").iterdir():
        file.unlink()
    assert check(toml, capsys, annotation="point", splits=("train",))[0] == 0
    assert check(toml, capsys, splits=("train",))[0] == 1


def test_names_and_sizes(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(toml.parent / "train/images/train 0.png", 20, 30)
    write_label(toml.parent / "train/labels/train 0.png", bands(20, 30))
    write_label(toml.parent / "train/labels/<nobody>.png", bands())
    write_image(toml.parent / "val/images/train 1.png")
    write_label(toml.parent / "val/labels/train 1.png", bands())
    code, text = check(toml, capsys)
    assert code == 0
    assert "16 × 12, and 1 in 1 other sizes" in text
    assert "no image for <nobody>.png" in text
    assert "train and val both have images called train 1" in text
    write_image(toml.parent / "val/images/val 0.jpg")
    code, text = check(toml, capsys)
    assert code == 1
    assert "must have one image of a name" in text


def test_one_folder_for_all_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        write_image(tmp_path / "images" / f"{i}.png", seed=i)
        write_label(tmp_path / "labels" / f"{i}.png", bands())
    (tmp_path / "data.toml").write_text(HEAD)
    code, text = check(tmp_path / "data.toml", capsys)
    assert code == 0
    assert "is used for every split: training and evaluation see the same images" in text


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ("scenes:default", {}, "scenes are generated"),
        ("nowhere.toml", {}, "there is no such file"),
        (None, {"splits": ("test",)}, "split must be one of train, val, got 'test'"),
    ],
)
def test_what_cannot_be_checked(
    toml: Path, capsys: pytest.CaptureFixture[str], data: str | None, options: dict, words: str
) -> None:
    assert run(CheckData(data or str(toml), **options)) == 2
    assert words in capsys.readouterr().err
