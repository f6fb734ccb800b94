"""``tel prepare``: the published archives become folders that training can read."""

import os
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import tel_miniatures
import tel_voc
from PIL import Image
from tel_street import CITY_NAMES, published_ade, published_cityscapes

from tel_segmentation import config
from tel_segmentation.cli import main
from tel_segmentation.commands.prepare import RULES, Prepare, run
from tel_segmentation.data.datasets.voc import Voc


@pytest.fixture(autouse=True)
def small(monkeypatch, request):
    """The published numbers are those of the miniatures, except in tests of these numbers."""
    if "published" not in request.node.name:
        tel_miniatures.publish(monkeypatch)


def pack_tar(file, folder, mode="w"):
    with tarfile.open(file, mode) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    shutil.rmtree(folder)
    return file


def pack_zip(file, folder):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
        archive.writestr("__MACOSX/._SegmentationClassAug", b"\0")
    shutil.rmtree(folder)
    return file


@pytest.fixture
def downloads(tmp_path):
    """Archives of Pascal VOC with arbitrary file names."""
    folder, work = tmp_path / "downloads", tmp_path / "work"
    folder.mkdir()
    voc = work / "VOCdevkit" / "VOC2012"
    tel_voc.write_voc(voc)
    (voc / "Annotations").mkdir()
    (voc / "Annotations" / "2007_000032.xml").write_text("<annotation/>")
    tel_voc.write_png(voc / "SegmentationObject" / "2007_000032.png", tel_voc.voc_mask(1))
    tel_voc.write_list(voc / "ImageSets" / "Main" / "train.txt", ("2007_000032",))
    files = {"voc": pack_tar(folder / "1", work)}
    tel_voc.write_sbd(work / "benchmark_RELEASE" / "dataset")
    tel_voc.write_image(work / "benchmark_RELEASE" / "dataset" / "img" / "2008_000008.jpg")
    (work / "benchmark_RELEASE" / "README").write_text("SBD")
    files["sbd"] = pack_tar(folder / "2", work, "w:gz")
    tel_voc.write_augmented(work)
    files["augmented"] = pack_zip(folder / "3", work)
    files["scribble"] = folder / "4"
    tel_voc.write_scribbles(files["scribble"])
    tel_voc.write_points(work)
    for number, file in enumerate(sorted(work.iterdir())):
        files[("point", "ground")[number]] = file.rename(folder / f"{5 + number}")
    return files


def prepare(kind, output, *archives):
    return run(Prepare(kind, tuple(archives), output))


def test_voc_with_sbd(tmp_path, downloads, capsys):
    out = tmp_path / "out"
    names = ("ground", "scribble", "sbd", "point", "voc")
    assert prepare("voc", out, *(downloads[name] for name in names)) == 0
    printed = capsys.readouterr().out
    assert "train: 4 images with dense labels\nval: 2 images with dense labels\n" in printed
    assert "point: 4 images\nscribble: 4 images\n" in printed
    assert f"--data.source voc:{out}" in printed
    for annotation in ("dense", "point", "scribble"):
        source = Voc(out, "train", config.Data(annotation=annotation))
        assert [source[i].name for i in range(4)] == list(tel_voc.TRAIN)
    assert source.layout.sbd == out / "SBD"
    assert not list(out.rglob("*.part"))
    # Nothing else is unpacked.
    assert {p.name for p in (out / "VOCdevkit" / "VOC2012").iterdir()} == {
        "ImageSets",
        "JPEGImages",
        "SegmentationClass",
    }
    assert {p.name for p in (out / "SBD").iterdir()} == {"cls", "train.txt", "val.txt"}


def test_fewer_than_are_published_are_not_the_whole(tmp_path, downloads, capsys):
    assert prepare("voc", tmp_path / "out", downloads["voc"], downloads["sbd"]) == 1
    printed = capsys.readouterr().out
    assert "train: 4 images with dense labels; 10582 are published" in printed
    assert "val: 2 images with dense labels; 1449 are published" in printed
    assert "Use it as" not in printed


def test_voc_with_the_common_masks(tmp_path, downloads, capsys):
    out = tmp_path / "out"
    assert prepare("voc", out, downloads["augmented"]) == 1
    assert "must have Pascal VOC 2012" in capsys.readouterr().out
    assert prepare("voc", out, downloads["voc"]) == 0
    printed = capsys.readouterr().out
    assert "train: 4 images" in printed
    assert "scribble: not usable yet. scribbles must be in" in printed
    assert Voc(out, "train", config.Data(annotation="dense"))[3].truth.max() == 3


def test_scribbles_with_a_readme(tmp_path, downloads):
    with zipfile.ZipFile(downloads["scribble"], "a") as archive:
        archive.writestr("README.txt", "ScribbleSup")
        archive.writestr("preview/2007_000032.jpg", b"")
    out = tmp_path / "out"
    assert prepare("voc", out, *(downloads[name] for name in ("scribble", "sbd", "voc"))) == 0
    assert (out / "voc_scribbles.zip").read_bytes() == downloads["scribble"].read_bytes()
    assert len(Voc(out, "train", config.Data(annotation="scribble"))) == 4


def test_boxes_of_voc_are_no_scribbles(tmp_path, downloads):
    """A zip file of Pascal VOC has XML files as well, which are boxes."""
    work, out = tmp_path / "again", tmp_path / "out"
    with tarfile.open(downloads["voc"]) as archive:
        archive.extractall(work, filter="data")
    assert any(work.rglob("*.xml"))
    assert prepare("voc", out, pack_zip(tmp_path / "voc.zip", work), downloads["sbd"]) == 0
    assert not (out / "voc_scribbles.zip").exists()
    assert len(Voc(out, "val", config.Data(annotation="dense"))) == 2


def test_an_interrupted_call_goes_on(tmp_path, downloads, capsys, monkeypatch):
    out = tmp_path / "out"
    copy, copied = shutil.copyfileobj, []

    def interrupted(source, target, length):
        if len(copied) == 5:
            target.write(b"half")
            raise KeyboardInterrupt
        copied.append(target.name)
        copy(source, target, length)

    arguments = ["prepare", "voc", str(downloads["voc"]), str(downloads["sbd"])]
    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", interrupted)
        assert main([*arguments, "--output", str(out)]) == 130
    assert len([path for path in out.rglob("*") if path.is_file()]) == 5
    capsys.readouterr()
    assert main([*arguments, "--output", str(out)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith("files written, 5 existed already")
    assert main([*arguments, "--output", str(out)]) == 0
    assert "1: 0 files written" in capsys.readouterr().out


def test_points_outside_are_told(tmp_path, downloads, capsys):
    out = tmp_path / "out"
    files = [downloads[name] for name in ("voc", "sbd", "point", "ground")]
    assert prepare("voc", out, *files) == 0
    tel_voc.write_image(out / "VOCdevkit" / "VOC2012" / "JPEGImages" / "2008_000008.jpg", (24, 20))
    capsys.readouterr()
    prepare("voc", out, downloads["point"])
    assert "point: 4 images; 1 points lie outside their images" in capsys.readouterr().out


def test_a_wanted_member_cannot_lead_outside(tmp_path, capsys):
    """The path before the known part is dropped, and after it there may be no more folders."""
    archive = tmp_path / "evil"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../VOC2012/JPEGImages/a.jpg", b"1")
        file.writestr("/VOC2012/JPEGImages/../../../b.jpg", b"2")
        file.writestr("VOC2012/JPEGImages/..\\..\\c.jpg", b"3")
    with pytest.raises(ValueError, match=r"c.jpg must be put inside"):
        prepare("voc", tmp_path / "out", archive)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != archive]
    assert written == [tmp_path / "out" / "VOCdevkit" / "VOC2012" / "JPEGImages" / "a.jpg"]


def test_mistakes_are_named(tmp_path, downloads, capsys):
    out = str(tmp_path / "out")
    assert main(["prepare", "voc", str(tmp_path / "none.tar"), "--output", out]) == 2
    assert "archives must be files as downloaded, got" in capsys.readouterr().err
    assert main(["prepare", "voc", str(tmp_path), "--output", out]) == 2
    assert "which is a folder" in capsys.readouterr().err
    assert main(["prepare", "voc", "--output", out]) == 2
    assert "got none" in capsys.readouterr().err
    assert main(["prepare", "ade20k", str(downloads["voc"]), "--output", out]) == 2
    assert "must be an archive of ade20k, has none of its files" in capsys.readouterr().err
    assert main(["prepare", "cityscapes", str(downloads["point"]), "--output", out]) == 2
    assert "must be a tar or zip archive; expected are images" in capsys.readouterr().err
    (tmp_path / "x.json").write_text('{"a": [1]}')
    assert main(["prepare", "voc", str(tmp_path / "x.json"), "--output", out]) == 2
    assert "must have a list of points (x, y, cls)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def write_tree(folder, files):
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("x")
        elif path.suffix == ".json":
            path.write_text("{}")
        else:
            Image.fromarray(np.full((8, 16), 7, np.uint8)).convert(
                "RGB" if "leftImg8bit.png" in name and "block" not in name else "L"
            ).save(path)


CITY = [
    "{root}leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
    "{root}leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png",
    "{root}gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png",
    "{root}gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png",
    "{root}gtFine/val/lindau/lindau_000000_000019_gtFine_polygons.json",
    "{root}gtFine/val/lindau/lindau_000000_000019_gtFine_color.png",
    "{root}gtFine/test/berlin/berlin_000000_000019_gtFine_labelIds.png",
    "{root}license.txt",
]
BLOCK = "sparse_label/block20/aachen_000000_000019_leftImg8bit.png"


def files_of(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_cityscapes(tmp_path, capsys):
    work, out = tmp_path / "work", tmp_path / "out"
    write_tree(work, [name.format(root="") for name in CITY] + [BLOCK])
    prepare("cityscapes", out, pack_zip(tmp_path / "both.zip", work))
    assert files_of(out) == sorted(
        [name.format(root="") for name in CITY[:4]] + [f"train/{BLOCK}"],
    )
    assert "annotations: block20" in capsys.readouterr().out


def test_ade20k(tmp_path, capsys):
    work, out, ade = tmp_path / "work", tmp_path / "out", "ADEChallengeData2016/"
    kept = [
        f"{ade}images/training/ADE_train_00000001.jpg",
        f"{ade}images/validation/ADE_val_00000001.jpg",
        f"{ade}annotations/training/ADE_train_00000001.png",
        f"{ade}annotations/validation/ADE_val_00000001.png",
        f"{ade}objectInfo150.txt",
        "release_test/testing/ADE_test_00000001.jpg",
    ]
    write_tree(work, [*kept, "release_test/list.txt", "block10/ADE_train_00000001.png"])
    prepare("ade20k", out, pack_zip(tmp_path / "all.zip", work))
    block = f"{ade}train/sparse_label/block10/ADE_train_00000001.png"
    assert files_of(out) == sorted([*kept, block])
    assert "annotations: block10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        ("cityscapes", f"leftImg8bit/val/aachen/{CITY_NAMES[1]}_leftImg8bit.png"),
        ("cityscapes", f"gtFine/train/zurich/{CITY_NAMES[2]}_gtFine_labelIds.png"),
        ("ade20k", "ADEChallengeData2016/images/training/ADE_train_00000002.jpg"),
        ("ade20k", "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png"),
    ],
)
def test_what_is_missing_is_named(tmp_path, capsys, kind, gone):
    work, out = tmp_path / "work", tmp_path / "out"
    for split in ("train", "val"):
        if kind == "cityscapes":
            published_cityscapes(work, split)
        else:
            published_ade(work / "ADEChallengeData2016", split)
    whole = pack_zip(tmp_path / "all.zip", work)
    assert prepare(kind, out, whole) == 0
    assert f"Use it as --data.source {kind}:{out}" in capsys.readouterr().out
    (out / gone).unlink()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.write(whole, f"block20/{CITY_NAMES[0]}_leftImg8bit.png")
        archive.write(whole, "block20/ADE_train_00000001.png")
    assert prepare(kind, out, tmp_path / "other.zip") == 1
    printed = capsys.readouterr().out
    assert f"not complete yet. 1 files must be there, are missing: {out / gone}\n" in printed
    assert "Use it as" not in printed


def test_every_kind_has_rules():
    assert set(RULES) == {"voc", "cityscapes", "ade20k"}


def test_the_output_is_not_guessed(capsys):
    with pytest.raises(SystemExit):
        main(["prepare", "voc", os.devnull])
    assert "--output" in capsys.readouterr().err
