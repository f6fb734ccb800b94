"""tel annotate: the files it writes, how it continues after an interruption, its errors."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tel_folders import HEAD, write_image, write_label

from tel_segmentation.commands import annotate
from tel_segmentation.commands.annotate import Annotate, name_of, run
from tel_segmentation.data.blocks import blocks
from tel_segmentation.data.folder import Folder

COLORS = "colors = [[10, 20, 30], [200, 0, 0], [0, 200, 0]]\n"
NAMES = ["a", "two words", "<b>&", "図"]


def scene(seed: int) -> np.ndarray:
    """A label map of class 0 with a rectangle of class 1, a thinner one of class 2, and void."""
    label = np.zeros((32, 40), np.int64)
    y, x = np.random.default_rng(seed).integers(2, 8, 2)
    label[y : y + 16, x : x + 12] = 1
    label[y : y + 18, 28:31] = 2
    label[:, 38:] = 255
    return label


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for seed, name in enumerate(NAMES):
        write_image(folder / "train/images" / f"{name}.jpg", 32, 40, seed)
        write_label(folder / "train/labels" / f"{name}.png", scene(seed))
    (folder / "data.toml").write_text(HEAD + COLORS)
    return folder / "data.toml"


def read(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"kind": "point"}, "point"),
        ({"kind": "scribble"}, "scribble"),
        ({"kind": "block"}, "block20"),
        ({"kind": "block", "ratio": 0.125}, "block12.5"),
        ({"kind": "block", "scope": "image"}, "block20-image"),
        ({"kind": "block", "scope": "class"}, "block20-class"),
        ({"kind": "block", "scope": "dataset", "ratio": 0.5}, "block50-dataset"),
    ],
)
def test_labels_are_some_of_the_dense_ones(toml: Path, options: dict, name: str) -> None:
    made = Annotate(toml, **options)
    assert name_of(made) == name
    run(made)
    source = Folder(toml, "train", name)
    assert len(source) == len(NAMES)
    labelled = pixels = 0
    for sample in source:
        marked = sample.label >= 0
        assert (sample.label[marked] == sample.truth[marked]).all()
        labelled += int(marked.sum())
        pixels += int((sample.truth >= 0).sum())
    manifest = json.loads((toml.parent / "annotations" / name / "train/manifest.json").read_text())
    assert 0 < labelled < 0.6 * pixels
    assert manifest["ratio"] == pytest.approx(labelled / pixels, abs=1e-6)


@pytest.mark.parametrize("scope", ["component", "class", "image", "dataset"])
@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_blocks_have_the_ratio(toml: Path, scope: annotate.Scope, ratio: float) -> None:
    run(Annotate(toml, kind="block", scope=scope, ratio=ratio, output=toml.parent / "out"))
    manifest = json.loads((toml.parent / "out/manifest.json").read_text())
    # One threshold for a data set cannot split pixels at the same distance.
    assert manifest["ratio"] == pytest.approx(ratio, abs=0.06 if scope == "dataset" else 0.005)
    if scope in ("component", "class"):
        for row in manifest["per_class"].values():
            assert row["ratio"] == pytest.approx(ratio, abs=0.02)
            assert row["labelled_images"] == row["images"] == len(NAMES)
    elif ratio == 0.1:
        assert manifest["per_class"]["car"]["labelled_images"] == 0


def test_manifest_says_how_and_how_much(toml: Path) -> None:
    run(Annotate(toml, kind="scribble", width=2, seed=3))
    manifest = json.loads((toml.parent / "annotations/scribble/train/manifest.json").read_text())
    assert manifest["options"] == {"kind": "scribble", "split": "train", "width": 2, "seed": 3}
    assert manifest["classes"] == ["sky", "road", "car"]
    assert sorted(manifest["per_image"]) == sorted(NAMES)
    marked, dense = (
        np.asarray(Image.open(file))
        for file in (
            toml.parent / "annotations/scribble/train/図.png",
            toml.parent / "train/labels/図.png",
        )
    )
    for k, name in enumerate(manifest["classes"]):
        expected = (marked == k).sum() / (dense == k).sum()
        assert manifest["per_image"]["図"]["classes"][name] == pytest.approx(expected, abs=1e-6)


def test_files_are_indexed_in_the_classes_colours(toml: Path) -> None:
    run(Annotate(toml))
    image = Image.open(toml.parent / "annotations/point/train/a.png")
    assert image.mode == "P"
    values = np.asarray(image)
    assert set(np.unique(values)) == {0, 1, 2, 255}
    assert np.array_equal(np.asarray(image.convert("RGB"))[values == 1][0], [200, 0, 0])


def test_same_options_same_bytes_for_any_number_of_processes(toml: Path) -> None:
    for jobs, output in ((1, "one"), (2, "two")):
        run(Annotate(toml, jobs=jobs, output=toml.parent / output))
    run(Annotate(toml, seed=1, output=toml.parent / "other"))
    assert read(toml.parent / "one") == read(toml.parent / "two")
    assert read(toml.parent / "one")["a.png"] != read(toml.parent / "other")["a.png"]


def test_a_file_does_not_depend_on_the_others(toml: Path) -> None:
    run(Annotate(toml, output=toml.parent / "all"))
    (toml.parent / "train/images/a.jpg").unlink()
    run(Annotate(toml, output=toml.parent / "fewer"))
    assert read(toml.parent / "all")["図.png"] == read(toml.parent / "fewer")["図.png"]


def test_interrupted_run_goes_on(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Annotate(toml, output=toml.parent / "whole"))
    made: list[str] = []
    real = annotate._annotation

    def counted(item, label):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(item.name)
        return real(item, label)

    options = Annotate(toml, output=toml.parent / "parts")
    monkeypatch.setattr(annotate, "_annotation", counted)
    with pytest.raises(KeyboardInterrupt):
        run(options)
    assert len(list((toml.parent / "parts").glob("*.png"))) == 2
    monkeypatch.setattr(annotate, "_annotation", lambda *a: made.append("x") or real(*a))
    run(options)
    assert len(made) == len(NAMES)
    assert read(toml.parent / "parts") == read(toml.parent / "whole")


def test_options_are_not_mixed(toml: Path) -> None:
    options = Annotate(toml, kind="block", metric="edt")
    run(options)
    before = read(toml.parent / "annotations/block20/train")
    other = dataclasses.replace(options, metric="chessboard", border=True)
    with pytest.raises(ValueError, match="metric: edt there, chessboard now, border: False there"):
        run(other)
    assert read(toml.parent / "annotations/block20/train") == before
    run(dataclasses.replace(other, overwrite=True))
    after = read(toml.parent / "annotations/block20/train")
    assert all(after[f"{name}.png"] != before[f"{name}.png"] for name in NAMES)


def test_the_order_of_ties_is_an_option_that_the_manifest_has(toml: Path) -> None:
    options = Annotate(toml, kind="block", ratio=0.3)
    folder = toml.parent / "annotations/block30/train"
    made = {}
    for ties in ("hash", "row-major"):
        run(dataclasses.replace(options, ties=ties, overwrite=True))
        assert json.loads((folder / "manifest.json").read_text())["options"]["ties"] == ties
        made[ties] = read(folder)["a.png"]
    expected = blocks(scene(0), 0.3, ties="row-major")
    assert np.array_equal(np.asarray(Image.open(folder / "a.png")), expected)
    assert made["hash"] != made["row-major"]
    with pytest.raises(ValueError, match="ties: row-major there, hash now"):
        run(options)


def test_blocks_of_before_there_was_a_choice_are_by_the_hash(toml: Path) -> None:
    options = Annotate(toml, kind="block")
    run(options)
    file = toml.parent / "annotations/block20/train/manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["options"]["ties"]
    file.write_text(json.dumps(manifest))
    run(options)
    with pytest.raises(ValueError, match="ties: hash there, row-major now"):
        run(dataclasses.replace(options, ties="row-major"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bar_says_how_far_it_is(toml: Path, capsys: pytest.CaptureFixture, jobs: int) -> None:
    run(Annotate(toml, kind="block", scope="dataset", jobs=jobs))
    shown = capsys.readouterr().err
    for title in ("distances", "annotations"):
        assert re.search(rf"\b{title}: +0%.*\b0/{len(NAMES)} ", shown)
        assert re.search(rf"\b{title}: 100%.*\b{len(NAMES)}/{len(NAMES)} ", shown)


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_are_left_alone(toml: Path, overwrite: bool) -> None:
    labels = toml.parent / "train/labels"
    before = read(labels)
    with pytest.raises(ValueError, match=r"labels must be empty or have annotations .*, has 2*"):
        run(Annotate(toml, output=labels, overwrite=overwrite))
    assert read(labels) == before


def test_folder_that_cannot_be_written(toml: Path) -> None:
    (toml.parent / "annotations").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"point.train cannot be written .*; choose another --output"):
        run(Annotate(toml))
    run(Annotate(toml, output=toml.parent.parent / "elsewhere"))
    assert len(Folder(toml, "train", str(toml.parent.parent / "elsewhere"))) == len(NAMES)


def test_contact_sheet_shows_the_colours(toml: Path) -> None:
    run(Annotate(toml, kind="block"))
    sheet = Image.open(toml.parent / "annotations/block20/train/contact_sheet.png").convert("RGB")
    colors = {color for _, color in sheet.getcolors(2**24)}
    assert {(10, 20, 30), (200, 0, 0), (0, 200, 0), (255, 255, 255)} <= colors
    assert sheet.width > 6 * 40


def test_images_without_a_label_and_bad_labels(toml: Path) -> None:
    (toml.parent / "train/labels/a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.png must be a readable image"):
        run(Annotate(toml))
    (toml.parent / "train/labels/a.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 4 have none: a\.jpg"):
        run(Annotate(toml))


def test_an_image_called_like_the_contact_sheet(toml: Path) -> None:
    write_image(toml.parent / "train/images/contact_sheet.png", 32, 40)
    write_label(toml.parent / "train/labels/contact_sheet.png", scene(0))
    with pytest.raises(ValueError, match=r"image contact_sheet must have another name"):
        run(Annotate(toml))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"options": 1}'])
def test_manifest_that_is_none(toml: Path, text: str) -> None:
    output = toml.parent / "out"
    output.mkdir()
    (output / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json must be a manifest of tel annotate"):
        run(Annotate(toml, output=output))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "line"}, "kind must be one of point, scribble, block, got 'line'"),
        ({"scope": "object"}, "scope must be one of"),
        ({"metric": "l2"}, "metric must be one of"),
        ({"ratio": 0.0}, "ratio must be above 0 and at most 1, got 0"),
        ({"ratio": 1.1}, "ratio must be above 0 and at most 1, got 1.1"),
        ({"width": 0}, "width must be at least 1"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"split": "nosuch"}, "split must be one of train, got 'nosuch'"),
    ],
)
def test_wrong_options(toml: Path, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run(Annotate(toml, **options))
