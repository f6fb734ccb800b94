"""tel import: what it writes where, and its rules."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tel_annotated import SIZE, SQUARE, annotated, label, labelme, tel
from tel_folders import write_image
from tel_shapes import FORMATS

from tel_segmentation.data.folder import Folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photographs, of which eight are annotated."""
    return annotated(tmp_path / "photos")


def test_a_new_data_set(photos, tmp_path, capsys):
    data = tmp_path / "data"
    assert tel("import", "labelme", photos, data, "--radius", 0.5) == 0
    text = capsys.readouterr().out
    assert "8 images (6 train, 2 val) from labelme" in text
    assert "images without an annotation, not imported: p8.jpg, p9.jpg" in text
    assert (data / "dataset.toml").read_text() == 'classes = ["car", "sky"]\nignore = [255]\n'
    held = [path.stem for path in sorted((data / "val/images").iterdir())]
    assert held == ["p2", "p6"]
    assert sorted(path.stem for path in (data / "val/labels").glob("p*")) == held
    source = Folder(data / "dataset.toml", "train", "drawn")
    assert source.names == ("p0", "p1", "p3", "p4", "p5", "p7")
    for sample in source:
        wanted = np.full((40, 60), -1)
        wanted[10:20, 10:20] = 1
        wanted[5 + int(sample.name[1]), 30] = 0
        assert (sample.label.numpy() == wanted).all()
    assert tel("check-data", data / "dataset.toml", "--annotation", "drawn") == 0
    manifest = json.loads((data / "annotations/drawn/train/manifest.json").read_text())
    assert manifest["options"] == {
        "kind": "import", "format": "labelme", "radius": 0.5, "width": None,
    }  # fmt: skip
    (entry,) = manifest["imports"]
    assert entry["images"]["p0"] == str(photos / "p0.json")
    assert entry["per_class"]["sky"] == {"shapes": 6, "labelled": 600, "labelled_images": 6}
    assert Image.open(data / "annotations/drawn/train/contact_sheet.png").mode == "RGB"
    assert not list(data.glob(".*"))


def test_labels_go_where_their_photographs_are(photos, tmp_path, capsys):
    data = tmp_path / "data"
    assert tel("import", "labelme", photos, data) == 0
    before = (data / "train/images/p0.jpg").read_bytes()
    assert tel("import", "labelme", photos, data) == 2
    assert "files must not exist yet, or give --overwrite" in capsys.readouterr().err
    for number in range(9):
        labelme(photos / f"p{number}.json", ("car", SQUARE))
    assert tel("import", "labelme", photos, data / "dataset.toml", "--overwrite") == 0
    assert "9 images (7 train, 2 val)" in capsys.readouterr().out  # p8 is new
    assert (label(data / "val/labels/p2.png")[10:20, 10:20] == 0).all()
    assert (label(data / "annotations/drawn/train/p8.png")[10:20, 10:20] == 0).all()
    assert (data / "train/images/p0.jpg").read_bytes() == before
    manifest = json.loads((data / "annotations/drawn/train/manifest.json").read_text())
    assert len(manifest["imports"]) == 2
    assert tel("import", "labelme", photos, data, "--annotation", "dense") == 2  # val/labels exist
    assert not (data / "train/labels").exists()
    assert tel("import", "labelme", photos, data, "--annotation", "dense", "--overwrite") == 0
    assert len(Folder(data / "dataset.toml", "train", "dense")) == 7


def test_unknown_classes(photos, tmp_path, capsys):
    data = tmp_path / "data"
    labelme(photos / "p0.json", ("Tree", SQUARE), ("sky", [[1, 1]], "point"))
    options = ("import", "labelme", photos, data, "--classes", "sky", "car")
    assert tel(*options) == 2
    error = capsys.readouterr().err
    assert "got also Tree (1): add them to" in error
    assert not data.exists()
    assert tel(*options, "--unknown", "skip") == 0
    assert "shapes of unknown classes, not imported: Tree (1)" in capsys.readouterr().out
    assert (label(data / "annotations/drawn/train/p0.png")[10:20, 10:20] == 255).all()
    shutil.rmtree(data)
    assert tel(*options, "--rename", "Tree=car") == 0
    assert (label(data / "annotations/drawn/train/p0.png")[10:20, 10:20] == 1).all()


def test_images_without_an_annotation(photos, tmp_path, capsys):
    data = tmp_path / "data"
    assert tel("import", "labelme", photos, data, "--unannotated", "refuse") == 2
    assert "none have p8.jpg, p9.jpg" in capsys.readouterr().err
    assert not data.exists()
    assert tel("import", "labelme", photos, data, "--unannotated", "keep", "--val", 0) == 0
    assert (label(data / "annotations/drawn/train/p9.png") == 255).all()
    assert len(Folder(data / "dataset.toml", "train", "drawn")) == 10


def test_annotations_without_an_image(photos, tmp_path, capsys):
    labelme(photos / "gone.json", ("car", SQUARE), image="..\\..\\somewhere\\gone.jpg")
    data = tmp_path / "data"
    assert tel("import", "labelme", photos, data) == 0
    assert r"not imported: ..\..\somewhere\gone.jpg" in capsys.readouterr().out


def test_sizes_that_differ(photos, tmp_path, capsys):
    data = tmp_path / "data"
    labelme(photos / "p1.json", ("car", [[x / 2, y / 2] for x, y in SQUARE]), size=(30, 20))
    options = ("import", "labelme", photos, data)
    assert tel(*options) == 2
    assert "p1.json must be for an image of 60 × 40 pixels" in capsys.readouterr().err
    assert not data.exists()
    assert tel(*options, "--sizes", "skip") == 0
    assert "annotations of another size were left out: p1" in capsys.readouterr().out
    assert not (data / "train/images/p1.jpg").exists()
    assert tel(*options, "--sizes", "scale", "--overwrite") == 0
    found = np.argwhere(label(data / "annotations/drawn/train/p1.png") == 0)
    assert found.min(0).tolist() == [10, 10]
    assert found.max(0).tolist() == [19, 19]


@pytest.mark.parametrize(("orientation", "corner"), [(6, (35, 4)), (8, (4, 55)), (3, (35, 55))])
def test_photographs_that_exif_turns(tmp_path, orientation, corner):
    """The stored pixels have a light corner, and the annotation is there; so it is when upright."""
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[corner[0] - 4 : corner[0] + 4, corner[1] - 4 : corner[1] + 4] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(folder / "p.png", exif=exif)
    x, y = corner[1] + 0.5, corner[0] + 0.5
    labelme(folder / "p.json", ("sky", [[x, y]], "point"), image="p.png")
    options = ["--orientation", "stored"] if orientation == 3 else []
    classes = ["--classes", "sky", "car"]
    assert tel("import", "labelme", folder, tmp_path / "data", *classes, *options) == 0
    (sample,) = Folder(tmp_path / "data/dataset.toml", "train", "drawn")
    assert sample.label.shape == sample.image.shape[1:]
    assert (sample.image[0][sample.label == 0] > 200).all()
    assert (sample.label == 0).any()


def test_the_tool_may_have_shown_it_upright(tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE).save(folder / "p.png", exif=exif)
    labelme(folder / "p.json", ("sky", [[35.5, 50.5]], "point"), size=SIZE[::-1], image="p.png")
    options = ("--classes", "sky", "car", "--radius", 0.5)
    assert tel("import", "labelme", folder, tmp_path / "data", *options) == 0
    found = label(tmp_path / "data/annotations/drawn/train/p.png")
    assert np.argwhere(found == 0).tolist() == [[50, 35]]
    Image.new("RGB", (40, 40)).save(folder / "q.png", exif=exif)
    labelme(folder / "q.json", ("sky", SQUARE), size=(40, 40), image="q.png")
    assert tel("import", "labelme", folder, tmp_path / "data", "--overwrite") == 0
    assert "whether the tool did that, which is assumed: q;" in capsys.readouterr().out
    (tmp_path / "qupath").mkdir()
    (tmp_path / "qupath" / "p.geojson").write_text(
        '{"type": "Feature", "properties": {"classification": "car"},'
        ' "geometry": {"type": "Point", "coordinates": [3, 50]}}'
    )
    source = (tmp_path / "qupath", tmp_path / "data", "--overwrite")
    assert tel("import", "qupath", *source) == 0
    assert "which is assumed: p;" in capsys.readouterr().out
    assert label(tmp_path / "data/annotations/drawn/train/p.png")[50, 3] == 1


def masks(folder: Path, values: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        Image.fromarray(values.astype(np.uint8)).save(folder / f"p{number}_mask.png")
    return folder


def test_masks_whose_0_is_unlabelled(photos, tmp_path, capsys):
    values = np.zeros((40, 60))
    values[:5] = 1
    values[5:9] = 2
    folder, data = masks(tmp_path / "masks", values), tmp_path / "data"
    options = ("import", "masks", folder, data, "--images", photos)
    assert tel(*options) == 2
    assert "numbers alone: --classes NAME" in capsys.readouterr().err
    assert tel(*options, "--classes", "sky", "car") == 2
    error = capsys.readouterr().err
    assert "p0_mask.png must have the numbers 0 to 1 for the classes and 255 for no label" in error
    assert "has also 2" in error
    assert not data.exists()
    assert tel(*options, "--classes", "sky", "car", "--unlabelled", 0) == 0
    found = label(data / "annotations/drawn/train/p1.png")
    assert (found == np.where(values == 0, 255, values - 1)).all()
    shutil.rmtree(data)
    # a palette whose classes begin with the one that is not drawn, as labelme's and VOC's
    names = ("_background_", "sky", "car")
    assert tel(*options, "--classes", *names, "--unlabelled", 0, "--first", 0) == 0
    found = label(data / "annotations/drawn/train/p1.png")
    assert (found == np.where(values == 0, 255, values)).all()


def test_masks_of_0_and_255(photos, tmp_path, capsys):
    values = np.zeros(SIZE[::-1])
    values[2:9, 2:9] = 255
    folder, data = masks(tmp_path / "masks", values), tmp_path / "data"
    options = ("import", "masks", folder, data, "--images", photos, "--classes", "rest", "car")
    assert tel(*options) == 0
    note = "no pixel has the class car; 255 was taken for no label: --background car if it is"
    assert note in capsys.readouterr().out
    assert tel(*options, "--background", "car", "--overwrite") == 0
    assert "no pixel has" not in capsys.readouterr().out
    assert (label(data / "annotations/drawn/train/p1.png") == np.where(values, 1, 0)).all()


def test_masks_in_another_order_of_classes(photos, tmp_path, capsys):
    data = tmp_path / "data"
    assert tel("import", "labelme", photos, data, "--val", 0) == 0  # the classes are car, sky
    values = np.zeros(SIZE[::-1], np.uint8)
    values[2:9, 2:9] = 1
    folder = masks(tmp_path / "masks", values)
    options = ("import", "masks", folder, data, "--unlabelled", 0, "--overwrite", "--classes")
    assert tel(*options, "sky", "bus") == 2
    assert "classes must be those of" in capsys.readouterr().err
    assert tel(*options, "sky", "car") == 0
    assert (label(data / "annotations/drawn/train/p0.png")[2:9, 2:9] == 1).all()


def test_a_background(photos, tmp_path):
    data = tmp_path / "data"
    for file in photos.glob("*.json"):
        labelme(file, ("car", SQUARE))
    assert tel("import", "labelme", photos, data, "--background", "street") == 0
    found = label(data / "annotations/drawn/train/p0.png")
    assert (found[10:20, 10:20] == 0).all()
    assert np.count_nonzero(found == 1) == 60 * 40 - 100
    assert '["car", "street"]' in (data / "dataset.toml").read_text()


def test_images_of_one_name_in_several_folders(tmp_path):
    for folder in ("a", "b"):
        write_image(tmp_path / "photos" / folder / "1.jpg", 40, 60)
        shape = ("sky" if folder == "a" else "car", SQUARE)
        labelme(tmp_path / f"{folder}.json", shape, image=f"job\\{folder}\\1.jpg")
    options = ("--images", tmp_path / "photos")
    assert tel("import", "labelme", tmp_path, tmp_path / "data", *options) == 0
    folder = tmp_path / "data/annotations/drawn/train"
    assert (label(folder / "a_1.png")[10:20, 10:20] == 1).all()  # sky
    assert (label(folder / "b_1.png")[10:20, 10:20] == 0).all()


def test_other_data_sets_are_not_photographs(photos, tmp_path, capsys):
    assert tel("import", "labelme", photos, photos / "data") == 0
    assert tel("import", "labelme", photos, photos / "again") == 0
    assert "not imported: p8.jpg, p9.jpg\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["cvat", "datumaro", "coco", "label-studio"])
def test_the_files_of_other_tools(name, tmp_path):
    source = {"coco": "coco.json", "label-studio": "label_studio.json"}.get(name, name)
    for image in ("photo", "other"):
        write_image(tmp_path / "photos" / f"{image}.jpg", 40, 60)
    options = ("--images", tmp_path / "photos")
    assert tel("import", name, FORMATS / source, tmp_path / "data", *options) == 0
    found = label(tmp_path / "data/annotations/drawn/train/photo.png")
    classes = {"label-studio": ["car", "road", "sky"]}.get(name, ["sky", "road", "car"])
    assert found[18, 33] == classes.index("road")
    assert found[8, 10] == classes.index("sky")


def test_nothing_is_left_of_an_import_that_fails(photos, tmp_path, capsys):
    data = tmp_path / "data"
    content = json.loads((photos / "p7.json").read_text())
    content["shapes"].append(
        {"label": "sky", "points": [[0, 0], [3, 3]], "shape_type": "mask", "mask": "AAAA"}
    )
    (photos / "p7.json").write_text(json.dumps(content))
    assert tel("import", "labelme", photos, data) == 2
    assert "p7.json: shapes[2].mask must be a PNG of 4 × 4" in capsys.readouterr().err
    assert not data.exists()


def test_a_data_set_whose_file_has_another_name(photos, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "street.toml").write_text('classes = ["sky", "car"]')
    assert tel("import", "labelme", photos, tmp_path / "data") == 2
    assert "street.toml: give that file itself" in capsys.readouterr().err
    assert tel("init", tmp_path / "data") == 2
    assert tel("import", "labelme", photos, tmp_path / "data" / "street.toml") == 0
    assert "8 images (8 train)" in capsys.readouterr().out


def test_images_of_one_name_in_a_folder(photos, tmp_path):
    write_image(photos / "p0.png", 40, 60)
    write_image(photos / "p9.PNG", 40, 60)
    data = tmp_path / "data"
    assert tel("import", "labelme", photos, data, "--unannotated", "keep", "--val", 0) == 0
    names = {path.name for path in (data / "train/images").iterdir()}
    assert {"p0_jpg.jpg", "p0_png.png", "p9_jpg.jpg", "p9_PNG.png", "p1.jpg"} <= names
    folder = data / "annotations/drawn/train"
    assert (label(folder / "p0_jpg.png")[10:20, 10:20] == 1).all()  # named p0.jpg in the file
    assert (label(folder / "p0_png.png") == 255).all()
