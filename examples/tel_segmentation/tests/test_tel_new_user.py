"""Someone with photographs of 12 megapixels and annotations of six tools, from import to report."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tel_landscapes
import tel_runs
import torch
from PIL import Image
from tel_landscapes import NONE, Mark, label_of, marks

from tel_segmentation import cli
from tel_segmentation.data.folder import Folder
from tel_segmentation.runtime import checkpoint

CLASSES = ("field", "house", "sky")  # sorted, as tel init sorts the names that it finds
COUNTS = {"labelme": 5, "cvat": 1, "label-studio": 1, "coco": 1, "qupath": 1, "masks": 1}
KINDS = {"label-studio": ("point", "box", "box"), "coco": ("point", "point", "box")}
TINY = [
    "--model.name", "tiny", "--model.weights", "none", "--iterations", "20", "--batch", "2",
    "--log-every", "5", "--eval-every", "10", "--checkpoint-every", "5", "--threads", "1",
    "--device", "cpu", "--no-tensorboard", "--pictures", "2",
    "--data.size", "88", "120", "--data.crop", "88", "120",
]  # fmt: skip
SMALL_SHM = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=64m none /dev/shm && exec "$@"',
             "sh")  # fmt: skip
"""Runs a command with the 64 MB of shared memory that a container has."""

Tel = Callable[..., str]


def photographs(root: Path) -> dict[str, tuple[int, list[Mark]]]:
    """A folder for each format, with annotated photographs; name → seed and marks."""
    album = {}
    for format_, count in COUNTS.items():
        there = {}
        for _ in range(count):
            seed = len(album) + len(there)
            kinds = KINDS.get(format_, ("point", "stroke", "box"))
            tel_landscapes.photograph(root / format_ / f"IMG_{seed:04}.JPG", seed)
            there[f"IMG_{seed:04}.JPG"] = marks(seed, kinds)
        tel_landscapes.WRITERS[format_](root / format_, there)
        if format_ == "masks":  # photograph and mask
            turn(*(root / format_).rglob("*.*"))
        album |= {Path(name).stem: (int(name[4:8]), drawn) for name, drawn in there.items()}
    return album


def turn(*files: Path) -> None:
    """Makes portraits of files: rows become columns."""
    for file in files:
        with Image.open(file) as image:
            image.transpose(Image.Transpose.TRANSPOSE).save(file, quality=85)


@pytest.fixture
def tel(capsys) -> Tel:
    """Runs the command and returns what it printed."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return printed.out + printed.err

    return run


def test_a_new_user(tmp_path, monkeypatch, tel):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    album = photographs(tmp_path / "photos")
    toml, commands = imported(tel, Path("../photos"))
    check, train = (shlex.split(command)[1:] for command in commands)
    labels_are_those_drawn(toml, album)
    labels_reach_the_network(tel(*check), toml, album)
    run = killed_and_resumed(tel, monkeypatch, train, tmp_path)
    predictions_have_the_metrics(tel, run, toml, tmp_path / "out")
    filled_along_the_trees(tel, toml, album)
    the_report_shows_it(tel, run, tmp_path / "report.html")


def imported(tel: Tel, photos: Path) -> tuple[Path, list[str]]:
    """Imports all formats into one data set; returns it, and the commands that tel init prints."""
    text = tel("init", photos / "labelme")
    data = photos / "labelme-data"
    assert "5 images (4 train, 1 val) from labelme" in text
    tel("import", "cvat", photos / "cvat", data, "--split", "val")
    for format_ in ("label-studio", "coco", "qupath"):
        tel("import", format_, photos / format_, data)
    tel(
        "import", "masks", photos / "masks" / "masks", data, "--images", photos / "masks",
        "--unlabelled", 0, "--classes", *tel_landscapes.CLASSES,
    )  # fmt: skip
    text = tel("init", data)
    assert "train: 8 photographs, 3000 to 4000 wide" in text
    assert "mostly 4000 × 3000: 7 landscape, 1 portrait" in text
    assert "val: 2 photographs" in text
    commands = re.findall(r"^  (tel (?:check-data|train) .*)$", text, re.MULTILINE)
    assert len(commands) == 2
    return data / "dataset.toml", commands


def labels_are_those_drawn(toml: Path, album: dict[str, tuple[int, list[Mark]]]) -> None:
    """Every pixel of every label has the class that was drawn there."""
    found = {}
    for split, annotation in (("train", "drawn"), ("val", "dense")):
        source = Folder(toml, split, annotation)
        assert source.classes == CLASSES
        # as bytes, in which -1 is 255
        found |= {n: source.full_label(i).astype(np.uint8) for i, n in enumerate(source.names)}
    assert found.keys() == album.keys()
    for name, (_, drawn) in album.items():
        label = label_of(drawn, CLASSES)
        upright = found[name].shape == (4000, 3000)
        different = np.argwhere(found[name] != (label.T if upright else label))
        assert different.tolist() == [], name


def labels_reach_the_network(text: str, toml: Path, album) -> None:
    """check-data counts them; every mark is in the network's small label, where it was drawn."""
    source = Folder(toml, "train", "drawn", (176, 240), keep_aspect=True)
    pixels = kept = 0
    upright = 0
    for sample in source:
        drawn = album[sample.name][1]
        pixels += np.count_nonzero(label_of(drawn) != NONE)
        kept += int((sample.label >= 0).sum())
        label = sample.label
        if tuple(label.shape) == (240, 180):
            label, upright = label.T, upright + 1
        assert tuple(label.shape) == (180, 240)
        for mark in drawn:
            x, y = np.mean(mark.corners, 0) * (240 / 4000, 180 / 3000)
            around = label[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2]
            assert CLASSES.index(mark.name) in around
    assert f"{pixels:,} labelled pixels of 24 objects in 8 images" in text
    assert upright == 1
    assert f"{kept:,} of 24 reach the network at 240 × 180 and 180 × 240" in text
    assert "Kinds of problems: 0" in text


def killed_and_resumed(tel: Tel, monkeypatch, train: list[str], tmp_path: Path) -> Path:
    """A killed run, resumed in another working directory, ends as the one that was not killed."""
    run = tmp_path / "here" / train[train.index("--output") + 1]
    limited = (
        shutil.which("unshare")
        and not subprocess.run([*SMALL_SHM, "true"], capture_output=True).returncode
    )
    done = tel_runs.signalled(
        signal.SIGKILL, "tel_segmentation.training.outcome:keep_best",
        *train, *TINY, "--data.workers", "2",
        folder=tmp_path / "here", within=SMALL_SHM if limited else (),
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "of 24 reach the network" in done.stderr
    assert not (run / "result.json").exists()

    straight = tmp_path / "runs" / "straight"
    text = tel(*train, *TINY, "--output", straight)
    assert re.search(r"10/20: on val: mIoU \d+\.\d, accuracy \d+\.\d; best mIoU", text)
    assert re.search(r"20/20: loss .*peak memory [\d,]+ MB", text)

    monkeypatch.chdir(tmp_path / "there")
    text = tel("train", "--resume", run)
    assert "resumed from iteration 5 of 20" in text
    assert history(run) == history(straight)
    weights, wanted = (checkpoint.load(folder / "last.pt")["model"] for folder in (run, straight))
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
    return run


def history(run: Path) -> list[dict]:
    """What a run has written during the training, without times."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [x["iteration"] for x in lines if "loss" in x] == [5, 10, 15, 20]
    assert [x["iteration"] for x in lines if "evaluation" in x] == [10, 20]
    return [
        {k: v for k, v in line.items() if k not in ("seconds", "images_per_second")}
        for line in lines
    ]


def predictions_have_the_metrics(tel: Tel, run: Path, toml: Path, output: Path) -> None:
    """What tel evaluate says follows from the label files that tel predict writes."""
    tel("evaluate", run, "--native", "--batch", 1, "--device", "cpu")
    result = json.loads((run / "evaluation-val-last.json").read_text())
    options = ("--outlines", "--legend", "--confidence", "--device", "cpu")
    text = tel("predict", run, toml.parent / "val" / "images", "--output", output, *options)
    assert "2 of 2 images segmented" in text
    source = Folder(toml, "val", "dense")
    counts = np.zeros((3, 3), int)
    for name, truth in ((n, source.full_label(i)) for i, n in enumerate(source.names)):
        found = np.asarray(Image.open(output / "labels" / f"{name}.png"))
        sure = np.asarray(Image.open(output / "confidence" / f"{name}.png"))
        assert found.shape == sure.shape == truth.shape == (3000, 4000)
        assert sure.min() >= 255 // 3
        drawn = Image.open(output / "overlays" / f"{name}.jpg")
        assert drawn.width == 4000
        assert drawn.height > 3050  # the legend
        np.add.at(counts, (truth[truth >= 0], found[truth >= 0]), 1)
    hit = counts.diagonal()
    iou = hit / (counts.sum(0) + counts.sum(1) - hit)
    assert result["confusion"] == counts.tolist()
    assert result["iou"] == pytest.approx(iou.tolist())
    assert result["miou"] == pytest.approx(iou.mean())
    assert result["accuracy"] == pytest.approx(hit.sum() / counts.sum())
    assert 0 < result["accuracy"] <= 1


def filled_along_the_trees(tel: Tel, toml: Path, album) -> None:
    """Clicks alone, without a network, give most pixels their class."""
    tel("fill", toml, "--annotation", "drawn", "--side", 256)
    right = 0.0
    for file in (toml.parent / "annotations/drawn-filled/train").glob("*.png"):
        truth = np.array([2, 0, 1], np.uint8)[tel_landscapes.truth(album[file.stem][0])]
        found = np.asarray(Image.open(file))
        right += float((found == (truth if found.shape == truth.shape else truth.T)).mean()) / 8
    assert right > 0.7


def the_report_shows_it(tel: Tel, run: Path, output: Path) -> None:
    """The report's pictures and tables of the run."""
    record = json.loads((run / "result.json").read_text())
    assert len(record["evaluation"]["failures"]) == 2
    assert "1 of 1 runs finished" in tel("report", run, "--output", output)
    page = output.read_text()
    assert "The same training images" in page
    assert "Images of “val” with the lowest mIoU" in page
    assert "Which classes are taken for which, on “val”" in page
    # image, annotation, prediction, truth of two training images, twice; four of each failure
    assert len(re.findall(r"<img [^>]*src=\"data:image/png;base64,[\w+/]{100}", page)) >= 16
