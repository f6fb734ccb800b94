"""tel check-data on public data sets: counts, missing files, and the exit code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tel_miniatures
from tel_folders import write_label
from tel_street import (
    CITY_NAMES,
    ade_label,
    ade_names,
    official_ade,
    official_cityscapes,
    published_ade,
    published_cityscapes,
    street,
    train_ids,
)
from tel_voc import TRAIN, VOC_VAL, write_points, write_sbd, write_scribbles, write_voc

from tel_segmentation import cli
from tel_segmentation.commands.annotate import Annotate
from tel_segmentation.commands.annotate import run as make
from tel_segmentation.data.datasets.public import published_counts

SETS = {
    "cityscapes published": ("cityscapes", published_cityscapes),
    "cityscapes official": ("cityscapes", official_cityscapes),
    "ade20k published": ("ade20k", published_ade),
    "ade20k official": ("ade20k", official_ade),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The published numbers are those of the miniatures, except in tests of these numbers."""
    if "published" not in request.node.name.split("[")[0]:
        tel_miniatures.publish(monkeypatch)


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["check-data", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def lines(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(start)]


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize("name", SETS)
def test_nothing_wrong_but_classes_that_are_absent(tmp_path: Path, capsys, name: str) -> None:
    kind, write = SETS[name]
    for split in ("train", "val"):
        write(tmp_path, split)
    code, out, _ = check(capsys, f"{kind}:{tmp_path}")
    assert code == 0
    assert "PROBLEM" not in out
    absent = [warning for warning in lines(out, "WARNING") if "no image has" in warning]
    assert len(absent) == 2, out
    void = np.isin(street(), (1, 4)) if kind == "cityscapes" else ade_label(1) == 0
    labelled = next(row for row in rows(out) if row[:1] == ["labelled"])
    assert float(labelled[1]) == pytest.approx(100 * (1 - void.mean()), abs=0.01)
    assert labelled[2:] == ["%", "3"]
    places = lines(out, "train, ")
    assert len(places) >= 2
    assert sum("of 3 in" in place for place in places) == len(places)
    reached = [note for note in lines(out, "note: train") if "reach the network" in note]
    assert len(reached) == 1
    assert "labelled pixels in 3 images" in reached[0]


def test_published_counts(tmp_path: Path, capsys) -> None:
    for split in ("train", "val"):
        published_ade(tmp_path / "ade", split)
        published_cityscapes(tmp_path / "city", split)
    out = check(capsys, f"ade20k:{tmp_path / 'ade'}")[1]
    assert "train: 3 of the 20,210 published images" in out
    assert "val: 3 of the 2,000 published images" in out
    assert "3 of 20,210 in " + str(tmp_path / "ade/images/training") in out
    out = check(capsys, f"cityscapes:{tmp_path / 'city'}")[1]
    assert "train: 3 of the 2,975 published images" in out
    assert "val: 3 of the 500 published images" in out
    assert "train and val both have images called aachen_000000_000019_leftImg8bit" in out
    write_voc(tmp_path / "voc/VOCdevkit/VOC2012")
    write_sbd(tmp_path / "voc/SBD")
    out = check(capsys, f"voc:{tmp_path / 'voc'}")[1]
    assert "train: 4 of the 10,582 published images" in out
    assert "val: 2 of the 1,449 published images" in out


def test_more_than_published_is_odd(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(published_counts("ade20k"), "train", 2)
    published_ade(tmp_path)
    out = check(capsys, f"ade20k:{tmp_path}", "--splits", "train")[1]
    assert "train: 3 images are more than the 2 published ones" in out


def test_every_missing_and_unreadable_file_is_named(tmp_path: Path, capsys) -> None:
    published_cityscapes(tmp_path)
    missing = tmp_path / "gtFine/train/aachen" / f"{CITY_NAMES[0]}_gtFine_labelIds.png"
    broken = tmp_path / "gtFine/train/aachen" / f"{CITY_NAMES[1]}_gtFine_labelIds.png"
    small = tmp_path / "leftImg8bit/train/zurich" / f"{CITY_NAMES[2]}_leftImg8bit.png"
    missing.unlink()
    broken.write_bytes(broken.read_bytes()[:60])
    write_label(small, np.zeros((3, 4)))
    code, out, _ = check(capsys, f"cityscapes:{tmp_path}", "--splits", "train")
    assert code == 1
    problems = out[out.index("PROBLEM") :]
    assert "PROBLEM: train: files that are missing: 1" in problems
    assert "PROBLEM: train: files that cannot be used: 2" in problems
    assert str(missing) in problems
    assert str(broken) in problems
    assert "must be 4 × 3 pixels like its image" in problems
    assert "train: 2 of the 3 published images can be used" in out


@pytest.mark.parametrize("name", SETS)
def test_an_image_that_is_missing_is_named_by_its_label(tmp_path: Path, capsys, name: str) -> None:
    kind, write = SETS[name]
    write(tmp_path, "train")
    place = {
        "cityscapes published": f"leftImg8bit/train/zurich/{CITY_NAMES[2]}_leftImg8bit.png",
        "cityscapes official": f"train/image/{CITY_NAMES[2]}_leftImg8bit.png",
        "ade20k published": "images/training/ADE_train_00000002.jpg",
        "ade20k official": "train/image/ADE_train_00000002.jpg",
    }[name]
    (tmp_path / place).unlink()
    code, out, _ = check(capsys, f"{kind}:{tmp_path}", "--splits", "train")
    assert code == 1
    assert f"PROBLEM: train: files that are missing: 1\n    {tmp_path / place}\n" in out
    assert "train: 2 of the 3 published images can be used" in out


@pytest.mark.parametrize("name", SETS)
def test_annotations_that_are_missing_are_named(tmp_path: Path, capsys, name: str) -> None:
    """Training skips these images silently, so that only this check reports them."""
    kind, write = SETS[name]
    write(tmp_path, "train")
    make(Annotate(f"{kind}:{tmp_path}", kind="block"))
    arguments = (f"{kind}:{tmp_path}", "--splits", "train", "--annotation", "block20")
    assert check(capsys, *arguments)[0] == 0
    folder = tmp_path / "annotations/block20/train"
    file = sorted(folder.glob("[aA]*.png"))[1]
    file.unlink()
    code, out, _ = check(capsys, *arguments)
    assert code == 1
    assert lines(out, "PROBLEM") == [
        "PROBLEM: train: images without an annotation, which training would not use: 1"
    ]
    assert f"\n    {file}\n" in out


@pytest.mark.parametrize("name", SETS)
def test_what_is_expected_where_nothing_is(tmp_path: Path, capsys, name: str) -> None:
    kind, write = SETS[name]
    code, out, _ = check(capsys, f"{kind}:{tmp_path}")
    assert code == 1
    assert len(lines(out, "PROBLEM")) == 2
    assert "has neither" in out
    write(tmp_path, "train")
    code, out, _ = check(capsys, f"{kind}:{tmp_path}")
    assert code == 1
    assert lines(out, "PROBLEM") == ["PROBLEM: val: cannot be used: 1"]


def test_annotation_is_counted_beside_the_dense_labels(tmp_path: Path, capsys) -> None:
    published_ade(tmp_path)
    make(Annotate(f"ade20k:{tmp_path}", kind="block", ratio=0.25))
    arguments = (f"ade20k:{tmp_path}", "--splits", "train", "--annotation", "block25")
    code, out, _ = check(capsys, *arguments)
    assert code == 0, out
    labelled = next(row for row in rows(out) if row[:1] == ["labelled"])
    dense, sparse = float(labelled[1]), float(labelled[4])
    assert sparse == pytest.approx(dense / 4, abs=0.1)
    assert f"in {tmp_path / 'annotations/block25/train'}" in out
    small = check(capsys, *arguments, "--size", "2", "2")[1]
    assert re.search(r"train, block25: [\d,]+ labelled pixels of .* at 2 × 2", small), small
    label = ade_label()
    label[label == 4] = 2
    write_label(tmp_path / f"annotations/block25/train/{ade_names()[0]}.png", label)
    out = check(capsys, *arguments)[1]
    assert f"train, block25: contradicts the dense labels of {ade_names()[0]} (" in out
    label[0] = 255
    write_label(tmp_path / f"annotations/block25/train/{ade_names()[0]}.png", label)
    code, out, _ = check(capsys, *arguments)
    assert code == 1
    assert "has also 255" in out
    assert check(capsys, *arguments, "--ignore", "255")[0] == 0


def test_train_ids_that_are_read_as_label_ids(tmp_path: Path, capsys) -> None:
    published_cityscapes(tmp_path)
    folder = tmp_path / "train/sparse_label/block20"
    for seed, name in enumerate(CITY_NAMES):
        write_label(folder / f"{name}_leftImg8bit.png", train_ids(seed))
    arguments = (f"cityscapes:{tmp_path}", "--splits", "train", "--annotation", "block20")
    code, out, _ = check(capsys, *arguments)
    assert code == 0
    assert f"the numbers in {folder} are read as labelIds, but look like trainIds" in out
    for seed, name in enumerate(CITY_NAMES):
        write_label(folder / f"{name}_leftImg8bit.png", street(seed))
    assert "look like" not in check(capsys, *arguments)[1]


def test_voc_points_outside_are_counted(tmp_path: Path, capsys) -> None:
    write_voc(tmp_path / "VOCdevkit/VOC2012")
    write_sbd(tmp_path / "SBD")
    write_points(tmp_path)
    file = tmp_path / "voc_whats_the_point.json"
    points = json.loads(file.read_text())
    points[TRAIN[1]] += [{"x": 700.5, "y": 3.0, "cls": 4, "rank": 1}] * 2
    file.write_text(json.dumps(points))
    code, out, _ = check(
        capsys, f"voc:{tmp_path}", "--annotation", "point", "--splits", "train", "--jobs", "2"
    )
    assert code == 0, out
    assert f"2 points lie outside their images and are not used, in {TRAIN[1]}" in out
    assert str(file) in out
    assert "train, images: 4 of 4 in" in out


def test_voc_annotations_of_images_that_are_not_there(tmp_path: Path, capsys) -> None:
    """Annotations of validation images are published with the others; these images exist."""
    write_voc(tmp_path / "VOCdevkit/VOC2012")
    write_sbd(tmp_path / "SBD")
    write_points(tmp_path, (*TRAIN, *VOC_VAL))
    arguments = (f"voc:{tmp_path}", "--annotation", "point", "--splits", "train")
    assert "that do not exist" not in check(capsys, *arguments)[1]
    write_points(tmp_path, (*TRAIN, *VOC_VAL, "2007_999999", "IMG_1"))
    code, out, _ = check(capsys, *arguments)
    assert code == 0
    warning = "WARNING: train: the annotation has 2 images that do not exist: 2007_999999, IMG_1"
    assert lines(out, warning) == [warning]
    write_scribbles(tmp_path / "voc_scribbles.zip", (*TRAIN, "2007_999999"))
    out = check(capsys, *arguments[:2], "scribble", *arguments[3:])[1]
    assert "has 1 images that do not exist: 2007_999999" in out
    make(Annotate(f"voc:{tmp_path}", kind="block"))
    (tmp_path / "annotations/block20/train/IMG_1.png").write_bytes(b"")
    out = check(capsys, *arguments[:2], "block20", *arguments[3:])[1]
    assert "has 1 images that do not exist: IMG_1\n" in out


def test_voc_masks_that_are_missing_are_named(tmp_path: Path, capsys) -> None:
    write_voc(tmp_path / "VOCdevkit/VOC2012")
    write_sbd(tmp_path / "SBD")
    gone = tmp_path / "SBD/cls" / f"{TRAIN[3]}.mat"
    gone.unlink()
    code, out, _ = check(capsys, f"voc:{tmp_path}")
    assert code == 1
    assert lines(out, "PROBLEM") == ["PROBLEM: train: files that are missing: 1"]
    assert str(gone) in out
    assert "train: 3 of the 4 published images can be used" in out


def test_voc_that_is_not_there(tmp_path: Path, capsys) -> None:
    code, out, _ = check(capsys, f"voc:{tmp_path}")
    assert code == 1
    assert str(tmp_path / "VOCdevkit/VOC2012/JPEGImages") in out


def test_what_cannot_be_checked(tmp_path: Path, capsys) -> None:
    code, _, err = check(capsys, f"ade20k:{tmp_path / 'nowhere'}")
    assert code == 2
    assert "nowhere must be a folder with ade20k, got no such folder" in err
    code, _, err = check(capsys, f"ade20k:{tmp_path}", "--splits", "trainval")
    assert code == 2
    assert "split must be one of train, val, test, got 'trainval'" in err
    code, _, err = check(capsys, f"ade20k:{tmp_path}", "--ignore", "255", "70000")
    assert code == 2
    assert "ignore must be numbers of label files, 0 to 65535, got 70000" in err
