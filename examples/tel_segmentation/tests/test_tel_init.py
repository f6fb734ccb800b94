"""tel init and tel fill."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tel_annotated import SQUARE, labelme, tel
from tel_folders import HEAD, bands, write_image, write_label

from tel_segmentation.commands.init import input_size
from tel_segmentation.data.folder import Folder
from tel_segmentation.evaluation.fill import fill


def test_from_photographs_to_the_next_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for number in range(6):
        name = tmp_path / "photos" / f"p{number}"
        write_image(name.with_suffix(".jpg"), 480, 640, number)
        labelme(name.with_suffix(".json"), ("sky", SQUARE), ("car", [[50, 50]], "point"),
                size=(640, 480))  # fmt: skip
    assert tel("init", tmp_path / "photos") == 0
    text = capsys.readouterr().out
    toml = tmp_path / "photos-data" / "dataset.toml"
    assert "train: 5 photographs, 640 × 480: 5 landscape" in text
    assert "drawn: 5 label files, 0.0339 % labelled" in text  # 100 + 4 of 640 × 480 pixels
    assert f"tel check-data {toml} --annotation drawn --size 176 240" in text
    assert (
        f"tel train photos --data.source {toml} --data.annotation drawn --data.size 176 240"
        f" --data.crop 176 240 --loss.warmup 0.2 --output runs/photos-data" in text
    )
    assert tel("init", tmp_path / "photos") == 2
    assert f"is a data set: tel init {toml.parent}" in capsys.readouterr().err
    before = sorted(path.stat().st_mtime_ns for path in toml.parent.rglob("*"))
    assert tel("init", toml.parent) == 0
    assert "val: 1 photographs" in capsys.readouterr().out
    assert sorted(path.stat().st_mtime_ns for path in toml.parent.rglob("*")) == before


def test_without_annotations(tmp_path, capsys):
    write_image(tmp_path / "photos/a.JPG", 40, 30)
    write_image(tmp_path / "photos/deep/a.png", 40, 30)
    assert tel("init", tmp_path / "photos") == 2
    assert "name at least two classes (--classes" in capsys.readouterr().err
    output = tmp_path / "new"
    assert tel("init", tmp_path / "photos", "--output", output, "--classes", "sky", "car") == 0
    text = capsys.readouterr().out
    assert "2 photographs, 30 × 40: 2 portrait" in text
    assert "tel import labelme FOLDER" in text
    assert sorted(p.name for p in (output / "train/images").iterdir()) == ["a.jpg", "deep_a.png"]
    assert tel("init", tmp_path / "nothing") == 2
    (tmp_path / "empty").mkdir()
    assert tel("init", tmp_path / "empty") == 2
    assert "must have photographs, has none" in capsys.readouterr().err


def test_a_folder_that_has_the_layout(tmp_path, capsys):
    write_image(tmp_path / "train/images/a.png")
    write_label(tmp_path / "train/labels/a.png", bands())
    assert tel("init", tmp_path, "--classes", "sky", "road") == 2
    assert "one for each of the numbers 0 to 2" in capsys.readouterr().err
    assert tel("init", tmp_path) == 0
    text = capsys.readouterr().out
    assert "3 classes, class 0, class 1, class 2" in text
    assert "--loss.method full" in text
    assert "--data.holdout 0.2" in text
    assert len(Folder(tmp_path / "dataset.toml", "train", "dense")) == 1


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(4000, 3000)] * 3 + [(3000, 4000)], (176, 240)),
        ([(3000, 4000)] * 3, (240, 176)),
        ([(1920, 1080)], (160, 272)),
        ([(100, 70)], (64, 96)),
        ([(5, 3)], (16, 16)),
    ],
)
def test_input_sizes(sizes, expected):
    assert input_size(sizes, 180 * 240) == expected


def test_fill_keeps_to_the_edges():
    """Three flat bands with a label each are filled exactly, whatever the width."""
    label = torch.from_numpy(bands())
    image = (label * 100)[None].expand(3, -1, -1).to(torch.uint8)
    seeds = torch.full_like(label, -1)
    for row in (1, 5, 9):
        seeds[row, 3] = label[row, 3]
    for options in ({}, {"sigma": 1e-5}, {"sigma": 0.01}, {"mass": 0.2}):
        filled = fill(image, seeds, **options)
        assert (filled.label == label).all()
        assert filled.confidence.min() > 0.5
        assert filled.confidence.max() <= 1


def test_fill_against_brute_force():
    """Votes by the definition: the sum of A_ij over the labelled pixels j, with scipy's tree."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree, shortest_path

    rng = np.random.default_rng(3)
    height, width, sigma = 6, 7, 0.05
    image = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    seeds = np.full((height, width), -1)
    seeds.flat[rng.choice(height * width, 6, replace=False)] = [0, 0, 2, 2, 2, 4]
    number = np.arange(height * width).reshape(height, width)
    ends = np.concatenate([
        np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()]),
        np.stack([number[:-1].ravel(), number[1:].ravel()]),
    ], axis=1)  # fmt: skip
    colors = image.reshape(3, -1) / 255
    weights = ((colors[:, ends[0]] - colors[:, ends[1]]) ** 2).sum(0)
    tree = minimum_spanning_tree(coo_array((weights, ends), (number.size,) * 2))
    affinity = np.exp(-shortest_path(tree, directed=False) / sigma)
    flat = seeds.ravel()
    votes = np.stack([affinity[:, flat == k].sum(1) for k in range(5)])
    filled = fill(torch.from_numpy(image), torch.from_numpy(seeds), sigma)
    wanted = np.where(flat >= 0, flat, votes.argmax(0))
    assert (filled.label.numpy().ravel() == wanted).all()
    confidence = np.where(flat >= 0, 1, votes.max(0) / votes.sum(0))
    assert np.abs(filled.confidence.numpy().ravel() - confidence).max() < 1e-9


def test_fill_with_votes_below_float64():
    image = torch.arange(12, dtype=torch.uint8).mul(20)[None, None].expand(3, 1, 12)
    seeds = torch.full((1, 12), -1)
    seeds[0, 0], seeds[0, 9] = 3, 1
    filled = fill(image, seeds, 1e-6)
    assert filled.label.tolist() == [[3] * 5 + [1] * 7]
    assert (filled.confidence == 1).all()
    assert (fill(image, torch.full((1, 12), -1)).label == -1).all()


def test_fill_refuses():
    image = torch.zeros(3, 4, 5, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"^fill: image must be \(3, H, W\) and label \(H, W\)"):
        fill(image, torch.zeros(5, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="sigma"):
        fill(image, torch.zeros(4, 5, dtype=torch.int64), sigma=0)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """A data set of two images of three flat bands with a point in each."""
    for name in ("a", "b"):
        truth = np.kron(bands(), np.ones((4, 4), np.int64))
        path = tmp_path / f"train/images/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((truth * 100).astype(np.uint8)).save(path)
        write_label(tmp_path / f"train/labels/{name}.png", truth)
        points = np.full(truth.shape, 255)
        for row in (5, 21, 37):
            points[row, 30] = truth[row, 30]
        write_label(tmp_path / f"annotations/point/train/{name}.png", points)
    (tmp_path / "data.toml").write_text(HEAD)
    return tmp_path / "data.toml"


def test_the_command_fill(toml, capsys):
    assert tel("fill", toml) == 0
    text = capsys.readouterr().out
    assert "100.0 % of the pixels of 2 images" in text
    assert "mIoU 100.0, accuracy 100.0" in text
    folder = toml.parent / "annotations/point-filled/train"
    for sample in Folder(toml, "train", "point-filled"):
        assert (sample.label == sample.truth).all()
    confidence = np.asarray(Image.open(folder / "confidence/a.png"))
    assert confidence.shape == (48, 64)
    assert confidence[5, 30] == 255
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["miou"] == 1
    assert manifest["options"]["kind"] == "fill"
    record = json.loads((folder / "result.json").read_text())
    assert record["evaluation"]["confusion"] == np.diag([2 * 16 * 64] * 3).tolist()
    output = toml.parent / "report.html"
    assert tel("report", folder.parent, "--output", output, "--markdown", toml.parent / "r.md") == 0
    row = "| tel fill, no training | 1 | 100.0 | – | – | – | 100.0 | 100.0 |"
    table = (toml.parent / "r.md").read_text()
    assert row in table
    assert "/point/train (train)" in table
    assert tel("fill", toml) == 2
    assert "must not have labels yet, or give --overwrite; has a, b" in capsys.readouterr().err


def test_names_of_full_length(toml):
    """Files are written beside their place first; the name there must not be longer."""
    name = "é" * 125 + "x"
    for file in toml.parent.rglob("a.png"):
        file.rename(file.with_stem(name))
    assert tel("fill", toml, "--side", 32) == 0
    assert tel("annotate", toml, "--kind", "scribble") == 0
    for annotation in ("point-filled", "scribble"):
        assert (toml.parent / "annotations" / annotation / "train" / f"{name}.png").is_file()


def test_fill_smaller_and_only_where_it_is_sure(toml, capsys):
    options = ("--side", 32, "--least", 0.9, "--sigma", 0.05, "--output", toml.parent / "out")
    assert tel("fill", toml, *options) == 0
    assert "accuracy 100.0" in capsys.readouterr().out
    found = np.asarray(Image.open(toml.parent / "out/a.png"))
    sure = np.asarray(Image.open(toml.parent / "out/confidence/a.png"))
    assert found.shape == (48, 64)
    assert ((found == 255) <= (sure < 0.91 * 255)).all()
    # a label that the smaller image had no centre for is there all the same
    assert all(found[row, 30] == value for row, value in ((5, 0), (21, 1), (37, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sigma", "0"], "sigma must be above 0"),
        (["--mass", "2"], "mass must be in (0, 1]"),
        (["--side", "-1"], "side must be at least 0"),
        (["--annotation", "none"], "must have a label of the same name"),
    ],
)
def test_fill_s_options(toml, capsys, options, message):
    assert tel("fill", toml, *options) == 2
    assert message in capsys.readouterr().err
