"""tel compare-annotations: its counts, which files it compares, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tel_folders import HEAD, bands, write_image, write_label
from tel_street import CITY_NAMES, published_ade, published_cityscapes, street, train_ids

from tel_segmentation import cli
from tel_segmentation.commands.annotate import Annotate
from tel_segmentation.commands.annotate import run as make
from tel_segmentation.commands.compare_annotations import CompareAnnotations, run


def compare(ours: Path, theirs: Path, output: Path, **options) -> tuple[int, dict]:
    code = run(CompareAnnotations(ours, theirs, output=output, **options))
    return code, json.loads(output.read_text())


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """4 × 5 pixels. a: 6 labelled in ours, 4 in theirs, 2 in both, one of these differently."""
    ours, theirs = np.full((4, 5), 255), np.full((4, 5), 255)
    ours[0] = 0
    ours[1, 0] = 1
    theirs[0, :2] = (0, 2)
    theirs[3, :2] = 2
    write_label(tmp_path / "ours/a.png", ours)
    write_label(tmp_path / "theirs/a.png", theirs)
    for side in ("ours", "theirs"):
        write_label(tmp_path / side / "b.png", bands(4, 5))
    return tmp_path / "ours", tmp_path / "theirs", tmp_path / "out.json"


def test_numbers(folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, found = compare(*folders)
    assert code == 0
    assert found["per_image"]["a"] == {"iou": 0.25, "agreement": 0.5}
    assert found["per_image"]["b"] == {"iou": 1.0, "agreement": 1.0}
    assert found["iou"] == pytest.approx((2 + 20) / (8 + 20), abs=1e-6)
    assert found["agreement"] == pytest.approx(21 / 22, abs=1e-6)
    rows = {row["class"]: row for row in found["per_class"]}
    assert sorted(rows) == ["0", "1", "2"]
    band = [int((bands(4, 5) == k).sum()) for k in range(3)]
    assert (rows["0"]["ours"], rows["0"]["theirs"]) == (5 + band[0], 1 + band[0])
    assert rows["0"]["iou"] == pytest.approx((1 + band[0]) / (5 + band[0]), abs=1e-6)
    assert rows["0"]["agreement"] == pytest.approx((1 + band[0]) / (2 + band[0]), abs=1e-6)
    assert rows["1"]["agreement"] == 1.0
    text = capsys.readouterr().out
    assert "IoU of the labelled pixels 78.6 %, mean of the images 62.5 %" in text
    assert "same class where both have one 95.5 %" in text
    assert [line.split() for line in text.splitlines()[-2:]] == [
        ["25.0", "%", "50.0", "%", "a"],
        ["100.0", "%", "100.0", "%", "b"],
    ]


def test_exit_code_is_asked_for(folders: tuple[Path, Path, Path]) -> None:
    assert compare(*folders, least=0.78)[0] == 0
    assert compare(*folders, least=0.79)[0] == 1


def test_files_that_cannot_be_compared(
    folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_label(folders[0] / "c.png", bands(4, 5))
    write_label(folders[0] / "d.png", bands(4, 5))
    write_label(folders[1] / "d.png", bands(5, 4))
    write_label(folders[0] / "e.png", bands(4, 5))
    (folders[1] / "e.png").write_bytes(b"")
    code, found = compare(*folders)
    assert code == 1
    assert sorted(found["per_image"]) == ["a", "b"]
    assert found["iou"] == pytest.approx(22 / 28, abs=1e-6)
    assert len(found["problems"]) == 2
    text = capsys.readouterr().out
    assert "1 files are only in ours: c" in text
    assert f"{folders[1] / 'd.png'} must be 5 × 4 pixels like" in text
    assert f"{folders[1] / 'e.png'} must be a readable image" in text


def test_ignored_values_of_theirs(folders: tuple[Path, Path, Path]) -> None:
    label = np.full((4, 5), 21)
    label[0] = 0
    write_label(folders[1] / "a.png", label)
    assert compare(*folders)[1]["per_image"]["a"]["agreement"] == pytest.approx(5 / 6, abs=1e-6)
    found = compare(*folders, ignore=(21,))[1]
    assert found["per_image"]["a"] == {"iou": pytest.approx(5 / 6, abs=1e-6), "agreement": 1.0}


def test_cityscapes_names_and_encodings(tmp_path: Path) -> None:
    """Ours are files of tel annotate; theirs have trainIds, in one folder per city."""
    published_cityscapes(tmp_path)
    make(Annotate(f"cityscapes:{tmp_path}", kind="block", ratio=1.0))
    ours = tmp_path / "annotations/block100/train"
    for seed, name in enumerate(CITY_NAMES):
        file = tmp_path / "theirs" / name.split("_")[0] / f"{name}_gtFine_labelTrainIds.png"
        write_label(file, train_ids(seed))
    output = tmp_path / "out.json"
    code, found = compare(ours, tmp_path / "theirs", output, least=1.0)
    assert code == 0
    assert found["iou"] == found["agreement"] == 1.0
    assert sorted(row["class"] for row in found["per_class"]) == ["car", "pole", "road", "sky"]
    for file in [*(tmp_path / "theirs").rglob("*.png")]:
        file.rename(file.with_name(file.name.replace("_gtFine_labelTrainIds", "")))
    # No name or manifest says trainIds now: the numbers are read as ours, mostly as no class.
    assert compare(ours, tmp_path / "theirs", output)[1]["iou"] < 0.2
    asked = compare(ours, tmp_path / "theirs", output, theirs_encoding="trainIds")[1]
    assert asked["agreement"] == 1.0
    for seed, name in enumerate(CITY_NAMES):
        write_label(tmp_path / "ids" / f"{name}_leftImg8bit.png", street(seed))
    assert compare(ours, tmp_path / "ids", output)[1]["iou"] == 1.0


def test_scopes_of_ade_are_told_apart(tmp_path: Path) -> None:
    published_ade(tmp_path)
    for scope in ("component", "image", "class"):
        make(Annotate(f"ade20k:{tmp_path}", kind="block", scope=scope, output=tmp_path / scope))
    output = tmp_path / "out.json"
    assert compare(tmp_path / "class", tmp_path / "component", output)[1]["iou"] == 1.0
    found = compare(tmp_path / "component", tmp_path / "image", output)[1]
    assert found["iou"] < 0.9
    assert found["agreement"] == 1.0
    assert {row["class"] for row in found["per_class"]} == {"wall", "floor", "flag"}


def test_classes_of_a_data_set_in_folders(tmp_path: Path) -> None:
    write_image(tmp_path / "train/images/a.png")
    write_label(tmp_path / "train/labels/a.png", bands())
    (tmp_path / "data.toml").write_text(HEAD)
    make(Annotate(str(tmp_path / "data.toml"), kind="block", output=tmp_path / "ours"))
    found = compare(tmp_path / "ours", tmp_path / "train/labels", tmp_path / "out.json")[1]
    assert [row["class"] for row in found["per_class"]] == ["sky", "road", "car"]
    assert found["agreement"] == 1.0


def test_what_cannot_be_compared(
    folders: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs, _ = map(str, folders)
    assert cli.main(["compare-annotations", ours, theirs]) == 0
    assert cli.main(["compare-annotations", ours, f"{theirs}/no"]) == 2
    assert "no must be a folder of annotations, got no such folder" in capsys.readouterr().err
    write_label(folders[1].parent / "other/x.png", bands())
    assert cli.main(["compare-annotations", ours, str(folders[1].parent / "other")]) == 2
    assert "must have files named like those of" in capsys.readouterr().err
    assert cli.main(["compare-annotations", ours, theirs, "--encoding", "ade20k",
                     "--theirs-encoding", "trainIds"]) == 2  # fmt: skip
    assert "must have as many classes as" in capsys.readouterr().err
    write_label(folders[1] / "sub/a.png", bands())
    assert cli.main(["compare-annotations", ours, theirs]) == 2
    assert "must have one file of a name, has 3 with 2 names" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"ignore must be numbers of label files, .*, got -1"):
        run(CompareAnnotations(folders[0], folders[0], ignore=(-1,)))
    with pytest.raises(ValueError, match=r"least must be in \[0, 1\], got 80"):
        run(CompareAnnotations(folders[0], folders[0], least=80))
