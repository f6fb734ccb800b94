"""tel annotate on public data sets: files have the data set's own numbers and can be read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
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
from tel_voc import TRAIN, write_points, write_sbd, write_voc

from tel_segmentation.commands import annotate
from tel_segmentation.commands.annotate import Annotate, name_of, run
from tel_segmentation.config import Data
from tel_segmentation.data.loading import open_source

NAMES = tuple(f"{name}_leftImg8bit" for name in CITY_NAMES)


def read(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def values(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.parametrize("make", [published_cityscapes, official_cityscapes])
@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("scope", ["component", "class", "image", "dataset"])
def test_blocks_of_cityscapes_are_label_ids(tmp_path: Path, make, ratio, scope) -> None:
    make(tmp_path)
    options = Annotate(f"cityscapes:{tmp_path}", kind="block", ratio=ratio, scope=scope)
    run(options)
    folder = tmp_path / "annotations" / name_of(options) / "train"
    for seed, name in enumerate(NAMES):
        made = values(folder / f"{name}.png")
        labelled = made != 255
        assert np.array_equal(made[labelled], street(seed)[labelled])
        assert set(np.unique(made[labelled])) <= {7, 17, 23, 26}  # none of them is a void number
    source = open_source(Data(source=options.data, annotation=name_of(options)), "train")
    assert source.names == NAMES
    total = labelled = 0
    for sample in source:
        total += int((sample.truth >= 0).sum())
        labelled += int((sample.label >= 0).sum())
        seen = sample.label >= 0
        assert (sample.label[seen] == sample.truth[seen]).all()
    assert manifest(folder)["encoding"] == "labelIds"
    assert manifest(folder)["ratio"] == pytest.approx(labelled / total, abs=1e-6)
    # A threshold for the whole data set cannot split pixels at one distance.
    assert labelled / total == pytest.approx(ratio, abs=0.1 if scope == "dataset" else 0.01)


def test_train_ids_stay_train_ids_and_are_read_as_noted(tmp_path: Path) -> None:
    published_cityscapes(tmp_path, encodings=("labelIds", "trainIds"))
    data = f"cityscapes:{tmp_path}"
    run(Annotate(data, kind="block", encoding="trainIds"))
    folder = tmp_path / "annotations/block20/train"
    made = values(folder / f"{NAMES[0]}.png")
    assert np.array_equal(made[made != 255], train_ids()[made != 255])
    assert manifest(folder)["encoding"] == "trainIds"
    # The dense labels are read as labelIds, the annotation as its manifest says.
    sample = open_source(Data(source=data, annotation="block20"), "train")[0]
    seen = sample.label >= 0
    assert seen.any()
    assert (sample.label[seen] == sample.truth[seen]).all()
    with pytest.raises(ValueError, match="encoding: trainIds there, labelIds now"):
        run(Annotate(data, kind="block"))


@pytest.mark.parametrize("make", [published_ade, official_ade])
@pytest.mark.parametrize("kind", ["block", "scribble", "point"])
def test_ade_has_zero_where_nothing_is_labelled(tmp_path: Path, make, kind) -> None:
    make(tmp_path / "ADEChallengeData2016")
    options = Annotate(f"ade20k:{tmp_path}", kind=kind)
    run(options)
    folder = tmp_path / "ADEChallengeData2016/annotations" / name_of(options) / "train"
    made = values(folder / f"{ade_names()[1]}.png")
    assert set(np.unique(made)) == {0, 1, 4, 150}
    assert np.array_equal(made[made > 0], ade_label(1)[made > 0])
    assert (made > 0).sum() < 0.5 * made.size
    name = name_of(options)
    sample = open_source(Data(source=options.data, annotation=name), "train")[1]
    assert np.array_equal(sample.label, made.astype(int) - 1)
    assert np.array_equal(sample.truth, ade_label(1) - 1)


def test_voc_with_masks_of_both_kinds(tmp_path: Path) -> None:
    write_voc(tmp_path / "VOCdevkit/VOC2012")
    write_sbd(tmp_path / "SBD")
    write_points(tmp_path)
    data = f"voc:{tmp_path}"
    run(Annotate(data, kind="block", ratio=0.5))
    source = open_source(Data(source=data, annotation="block50"), "train")
    assert tuple(source.names) == TRAIN
    for sample in source:
        seen = sample.label >= 0
        assert (sample.label[seen] == sample.truth[seen]).all()
        assert int(seen.sum()) == pytest.approx(0.5 * int((sample.truth >= 0).sum()), abs=2)


def test_processes_make_the_same_files(tmp_path: Path) -> None:
    published_cityscapes(tmp_path / "data")
    for jobs in (1, 2):
        output = tmp_path / str(jobs)
        run(Annotate(f"cityscapes:{tmp_path / 'data'}", kind="block", jobs=jobs, output=output))
    assert read(tmp_path / "1") == read(tmp_path / "2")
    assert len(read(tmp_path / "1")) == 3 + 2


def test_killed_run_goes_on_and_is_not_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published_cityscapes(tmp_path)
    data = f"cityscapes:{tmp_path}"
    options = Annotate(data, kind="block")
    run(dataclasses.replace(options, output=tmp_path / "whole"))
    made = []
    real = annotate._annotation

    def counted(item, label):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(item.name)
        return real(item, label)

    monkeypatch.setattr(annotate, "_annotation", counted)
    with pytest.raises(KeyboardInterrupt):
        run(options)
    folder = tmp_path / "annotations/block20/train"
    (folder / f".{NAMES[2]}.png.tmp").write_bytes(b"what a killed process leaves")
    with pytest.raises(ValueError, match=r"must have all of its annotations, but tel annotate was"):
        open_source(Data(source=data, annotation="block20"), "train")
    monkeypatch.setattr(annotate, "_annotation", lambda *a: made.append("rest") or real(*a))
    run(options)
    assert made == [*NAMES[:2], "rest"]
    assert read(folder) == read(tmp_path / "whole")


def test_annotations_of_other_labels_are_not_kept(tmp_path: Path) -> None:
    """The dense labels are corrected, then the command runs again."""
    published_cityscapes(tmp_path)
    options = Annotate(f"cityscapes:{tmp_path}", kind="block")
    run(options)
    folder = tmp_path / "annotations/block20/train"
    before = read(folder)
    run(options)
    assert read(folder) == before
    label = street(1)
    label[label == 26] = 33
    write_label(tmp_path / "gtFine/train/aachen" / f"{CITY_NAMES[1]}_gtFine_labelIds.png", label)
    file = folder / f"{NAMES[1]}.png"
    stale = int((values(file) == 26).sum())
    message = f"{file} must agree with the current dense labels, got {stale} pixels of another"
    with pytest.raises(ValueError, match=message):
        run(options)
    file.unlink()
    run(options)
    assert (values(file)[values(file) != 255] == label[values(file) != 255]).all()
    run(dataclasses.replace(options, overwrite=True))


def test_published_annotations_are_left_alone(tmp_path: Path) -> None:
    official_cityscapes(tmp_path)
    folder = tmp_path / "train/sparse_label/block20"
    write_label(folder / f"{NAMES[0]}.png", street())
    before = read(folder)
    with pytest.raises(ValueError, match=r"block20 must be empty or have annotations with their"):
        run(Annotate(f"cityscapes:{tmp_path}", kind="block", output=folder))
    assert read(folder) == before


def test_annotations_of_another_data_set_are_refused(tmp_path: Path) -> None:
    published_ade(tmp_path / "ade")
    published_cityscapes(tmp_path / "city")
    run(Annotate(f"ade20k:{tmp_path / 'ade'}", kind="block", output=tmp_path / "made"))
    options = Data(source=f"cityscapes:{tmp_path / 'city'}", annotation=str(tmp_path / "made"))
    with pytest.raises(
        ValueError, match=r"annotations of this data set .*, its manifest\.json says ade20k"
    ):
        open_source(options, "train")


def test_missing_labels_are_named(tmp_path: Path) -> None:
    published_cityscapes(tmp_path)
    gone = tmp_path / "gtFine/train/zurich" / f"{CITY_NAMES[2]}_gtFine_labelIds.png"
    gone.unlink()
    with pytest.raises(ValueError, match=str(gone)):
        run(Annotate(f"cityscapes:{tmp_path}", kind="block"))
    assert not (tmp_path / "annotations").exists()
