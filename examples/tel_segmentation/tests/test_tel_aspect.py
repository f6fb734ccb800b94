"""Portraits beside landscapes: every photograph keeps its aspect ratio, from file to prediction."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tel_forks
import tel_runs
import torch
from PIL import Image
from tel_annotated import tel
from tel_folders import HEAD, bands, write_image, write_label
from test_tel_predict import Brightness
from torch import nn

from tel_segmentation import config, presets
from tel_segmentation.config import Evaluation
from tel_segmentation.data.aspect import covering, is_turned, turned_images
from tel_segmentation.data.loading import open_source, training_batches
from tel_segmentation.data.order import Order, first_pass
from tel_segmentation.data.reach import check_training
from tel_segmentation.evaluation import trained
from tel_segmentation.evaluation.evaluate_model import evaluate_model
from tel_segmentation.evaluation.protocols import predict_logits
from tel_segmentation.networks.tiny import Tiny
from tel_segmentation.runtime import checkpoint
from tel_segmentation.training import engine

SIZE = (36, 48)
SHAPES = {"a": (120, 160), "b": (160, 120), "c": (120, 160), "d": (120, 120), "e": (80, 160)}
SEEN = {"a": (36, 48), "b": (48, 36), "c": (36, 48), "d": (48, 48), "e": (36, 72)}
"""Of each image: the size of its file, and that which the network sees."""


@pytest.fixture
def data(tmp_path) -> config.Data:
    """A data set of all shapes; each image has a point of each class, and dense labels."""
    for split in ("train", "val"):
        for seed, (name, (height, width)) in enumerate(SHAPES.items()):
            dense = bands(height, width)
            points = np.full(dense.shape, 255)
            for row in (5, height // 2, height - 5):
                points[row, width - 7] = dense[row, width - 7]
            write_image(tmp_path / split / f"images/{name}.png", height, width, seed)
            write_label(tmp_path / split / f"labels/{name}.png", dense)
            write_label(tmp_path / f"annotations/point/{split}/{name}.png", points)
    (tmp_path / "data.toml").write_text(HEAD)
    return config.Data(
        str(tmp_path / "data.toml"), "point", size=SIZE, keep_aspect=True, crop=SIZE, brightness=0
    )


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((3000, 4000), (180, 240), (180, 240)),
        ((4000, 3000), (180, 240), (240, 180)),
        ((4000, 3000), (240, 180), (240, 180)),
        ((4000, 3000), (176, 240), (240, 180)),  # a multiple of 16 is not quite 3:4
        ((1080, 1920), (180, 240), (180, 320)),
        ((500, 500), (180, 240), (240, 240)),
        ((400, 300), (200, 200), (267, 200)),
        ((18, 24), (180, 240), (180, 240)),
        ((3, 4000), (180, 240), (180, 1920)),  # a strip is squeezed in the end
    ],
)
def test_the_size_that_covers(shape, size, expected):
    assert covering(shape, size) == expected


def test_what_is_turned():
    assert is_turned((4, 3), (3, 4))
    assert is_turned((3, 4), (4, 3))
    for shape, size in (((4, 3), (4, 3)), ((4, 4), (3, 4)), ((4, 3), (5, 5))):
        assert not is_turned(shape, size)


def test_samples_keep_their_aspect_and_their_labels(data):
    source = open_source(data, "train")
    for sample in source:
        assert tuple(sample.image.shape[1:]) == sample.label.shape == SEEN[sample.name]
        height, width = SEEN[sample.name]
        found = {(int(y) * 3 // height, int(sample.label[y, x]))
                 for y, x in (sample.label >= 0).nonzero()}  # fmt: skip
        assert found == {(0, 0), (1, 1), (2, 2)}  # each point in its third of the image
        assert (sample.label >= 0).nonzero()[:, 1].min() >= width * 0.9
        assert np.array_equal(sample.truth, bands(height, width))
    assert turned_images(source, data) == [False, True, False, False, False]
    squeezed = dataclasses.replace(data, keep_aspect=False)
    assert {sample.label.shape for sample in open_source(squeezed, "train")} == {SIZE}
    for change in ({"keep_aspect": False}, {"size": None}, {"crop": (40, 40)}):
        assert not any(turned_images(source, dataclasses.replace(data, **change)))


def test_held_out_and_limited_images_are_turned_by_their_own_shape(data):
    part = open_source(dataclasses.replace(data, holdout=0.2, limit=3), "train")
    shapes = [SHAPES[sample.name] for sample in part]
    assert turned_images(part, data) == [height > width for height, width in shapes]


def run_of(data, **changes):
    return dataclasses.replace(tel_runs.SMALL, data=data, batch=2, iterations=10, **changes)


def test_batches_have_one_orientation_and_crops_have_no_padding(data):
    data = dataclasses.replace(data, scale=(1.0, 1.0))
    source = open_source(data, "train")
    batches = list(training_batches(source, run_of(data), start=0))
    assert len(batches) == 10
    kinds = []
    for batch in batches:
        assert tuple(batch.label.shape[1:]) in (SIZE, SIZE[::-1])
        kinds.append(batch.label.shape[1] > batch.label.shape[2])
        assert {SHAPES[name] == (160, 120) for name in batch.names} == {kinds[-1]}
        assert (batch.truth != -2).all()
    assert sum(kinds) == 2  # one of five images
    rest = list(training_batches(source, run_of(data), start=4))
    for one, other in zip(batches[4:], rest, strict=True):
        assert one.names == other.names
        assert all(torch.equal(x, y) for x, y in zip(one[1:], other[1:], strict=True))


@pytest.mark.parametrize("count", [1, 3, 7, 12])
def test_every_image_is_used_equally_often(count):
    turned = [number < count for number in range(13)]
    options = dataclasses.replace(tel_runs.SMALL, iterations=13 * 6, batch=4)
    order = list(Order(13, options, start=0, turned=turned))
    assert all(len({turned[index] for _, index in batch}) == 1 for batch in order)
    positions = [position for batch in order for position, _ in batch]
    assert positions == list(range(13 * 6 * 4))
    used = np.bincount([index for batch in order for _, index in batch], minlength=13)
    assert used.min() >= 23
    assert used.max() <= 25
    needed = next(n for n in range(len(order)) if len({i for b in order[:n] for _, i in b}) == 13)
    assert needed <= first_pass(options, turned) <= 26
    # the same images for two processes with two batches each
    parts = dataclasses.replace(options, batch=1, accumulate=2)
    ranks = [list(Order(13, parts, start=0, rank=r, world=2, turned=turned)) for r in (0, 1)]
    for number, batch in enumerate(order):
        pieces = [ranks[r][2 * number + part] for part in (0, 1) for r in (0, 1)]
        assert batch == [piece[0] for piece in pieces]


def test_one_orientation_alone_has_the_order_of_other_data_sets():
    order = [list(Order(7, tel_runs.SMALL, start=0, turned=t)) for t in ((), [True] * 7)]
    assert order[0] == order[1]
    assert first_pass(tel_runs.SMALL, [True] * 7) == 3.5


def test_what_reaches_the_network_is_counted_at_the_size_it_sees(data, capsys):
    line = check_training(open_source(data, "train"), data)
    expected = (
        "15 labelled pixels of 15 objects in 5 images; 15 of 15 reach the network at 48 × 36,"
        " 72 × 36 and 2 other sizes: 3 pixels"
    )
    assert expected in line
    for name in "de":  # two sizes are named
        for place in ("train/images", "train/labels", "annotations/point/train"):
            (Path(data.source).parent / place / f"{name}.png").unlink()
    line = check_training(open_source(data, "train"), data)
    assert "9 of 9 reach the network at 48 × 36 and 36 × 48: 3 pixels of 3 objects" in line
    assert tel("check-data", data.source, "--annotation", "point", "--size", 36, 48) == 0
    assert f"train, point: {line}" in capsys.readouterr().out


class Sizes(nn.Module):
    """A network that guesses the row's third of the image; it keeps the sizes of its input."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape[-2:]))
        height, width = x.shape[-2:]
        rows = torch.from_numpy(bands(height, width))
        return torch.stack([10.0 * (rows == k) for k in range(3)]).expand(len(x), -1, -1, -1)


def test_evaluation_at_the_images_own_aspect(data):
    model = Sizes()
    source = open_source(dataclasses.replace(data, annotation="dense"), "val")
    assert evaluate_model(model, source, device="cpu", progress=False)["miou"] == 1
    assert set(model.seen) == {*SEEN.values()}
    model.seen.clear()
    scales = Evaluation(scales=(1.0, 2.0), flip=True)
    found = evaluate_model(model, source, device="cpu", progress=False, evaluation=scales)
    assert found["accuracy"] > 0.97
    assert set(model.seen) == {(f * h, f * w) for f in (1, 2) for h, w in SEEN.values()}


def test_windows_are_turned_if_there_is_less_to_pad():
    def windows(shape, window):
        model = Sizes()
        images = torch.zeros(1, 3, *shape, dtype=torch.uint8)
        predict_logits(model, images, Evaluation("sliding", window))
        return set(model.seen)

    assert windows((48, 36), (36, 48)) == {(48, 36)}
    assert windows((36, 48), (36, 48)) == {(36, 48)}
    assert windows((96, 72), (36, 48)) == {(36, 48)}  # it fits as it is
    assert windows((48, 64), (64, 64)) == {(64, 64)}


def test_predict_keeps_the_aspect(data, tmp_path, monkeypatch):
    model = Brightness()
    monkeypatch.setattr(trained, "build_model", lambda options, classes, embed=True: model)
    values = {
        "model": {}, "ema": None, "classes": ["dark", "bright"], "colors": [[0, 0, 0], [9, 9, 9]],
        "iteration": 1, "config": config.to_json(config.Train(data=data)),
    }  # fmt: skip
    torch.save(values, tmp_path / "last.pt")
    image = np.zeros((160, 120, 3), np.uint8)
    image[80:] = 255
    Image.fromarray(image).save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(image)).save(tmp_path / "turned.png", exif=exif)
    given = (tmp_path / "upright.png", tmp_path / "turned.png", "--output", tmp_path / "out")
    assert tel("predict", tmp_path, *given, "--device", "cpu") == 0
    assert model.sizes == [(48, 36)] * 2
    for name in ("upright", "turned"):
        label = np.asarray(Image.open(tmp_path / f"out/labels/{name}.png"))
        assert np.array_equal(label, image[..., 0] > 0)
    model.sizes.clear()
    assert tel("predict", tmp_path, *given, "--device", "cpu", "--size", 64, 64) == 0
    assert model.sizes == [(85, 64)] * 2


def test_a_stopped_run_on_both_orientations_has_the_same_bits(data, tmp_path, monkeypatch):
    head = Tiny.head
    monkeypatch.setattr(Tiny, "head", lambda self, k: nn.Sequential(nn.Dropout(0.2), head(self, k)))

    def settings(name, workers):
        own = dataclasses.replace(data, workers=workers)
        return tel_forks.begun(
            dataclasses.replace(
                run_of(own), output=tmp_path / name, iterations=5, eval_every=5, pictures=2
            )
        )

    whole, parts = settings("whole", 0), settings("parts", 2)
    assert tel_forks.resumed(whole).wait().status == 0
    stop = tel_forks.resumed(parts, at=3, act=lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert stop.wait().status == -signal.SIGKILL
    status, text = tel_forks.resumed(parts).wait()
    assert status == 0
    assert "resumed from iteration 2 of 5" in text
    one, other = (checkpoint.load(run.output / "last.pt")["model"] for run in (whole, parts))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    record = json.loads((parts.output / "result.json").read_text())
    assert record["evaluation"]["last"]["images"] == 5


def test_labels_of_the_rarer_orientation_are_waited_for(data, tmp_path):
    """Only the portrait has labels; its turn comes after the first iterations."""
    folder = tmp_path / "annotations/point/train"
    for name in "acde":
        write_label(folder / f"{name}.png", np.full(SHAPES[name], 255))
    data = dataclasses.replace(data, scale=(1.0, 1.0))
    options = run_of(data, output=tmp_path / "run", eval_every=10)
    options = dataclasses.replace(options, batch=4)  # a pass over one kind takes two iterations
    assert engine.train(options)["finished"]


def test_the_presets_of_the_paper_do_not_keep_the_aspect():
    kept = {name for name, (_, options) in presets.PRESETS.items() if options.data.keep_aspect}
    assert kept == {"photos"}


def test_init_says_what_becomes_of_portraits(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for number, shape in enumerate([(480, 640), (640, 480), (480, 640)]):
        write_image(tmp_path / f"train/images/{number}.jpg", *shape, number)
        write_label(tmp_path / f"train/labels/{number}.png", bands(*shape))
    assert tel("init", tmp_path) == 0
    text = capsys.readouterr().out
    assert "2 landscape, 1 portrait" in text
    assert "photos at 176 × 240 (height × width) on this CPU, 240 × 176 for each portrait" in text
    assert "squeezed" not in text
