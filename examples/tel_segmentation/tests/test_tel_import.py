"""tel import: what it writes where, its rules, and files that are wrong or hostile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tel_folders import write_image

from tel_segmentation import cli
from tel_segmentation.data.folder import Folder

FORMATS = Path(__file__).parent / "fixtures" / "formats"
SIZE = 60, 40
SQUARE = [[10, 10], [20, 10], [20, 20], [10, 20]]


def tel(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def labelme(file: Path, *shapes, size=SIZE, image: str | None = None) -> None:
    """A file of labelme; a shape is (class, points) or (class, points, type)."""
    listed = [
        {"label": shape[0], "points": shape[1], "shape_type": (*shape, "polygon")[2]}
        for shape in shapes
    ]
    content = {
        "shapes": listed,
        "imagePath": image or f"{file.stem}.jpg",
        "imageWidth": size[0],
        "imageHeight": size[1],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photographs, of which eight are annotated."""
    folder = tmp_path / "photos"
    for number in range(10):
        write_image(folder / f"p{number}.jpg", SIZE[1], SIZE[0], number)
        if number < 8:
            car = ("car", [[30, 5 + number]], "point")
            labelme(folder / f"p{number}.json", ("sky", SQUARE), car)
    return folder


def label(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


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


NESTED = "[" * 100_000 + "]" * 100_000
SHAPE = '{"shapes": [{"label": "a", "points": %s}], "imageWidth": 60, "imageHeight": 40}'
TASK = '[{"data": {"image": "p0.jpg"}, "annotations": [{"result": [%s]}]}]'
BRUSH = '{"original_width": %s, "original_height": 40, "value": {"rle": %s, "brushlabels": ["a"]}}'
COCO = (
    '{"images": [{"id": 1, "file_name": "p0.jpg", "width": 60, "height": 40}], "categories":'
    ' [{"id": 1, "name": "a"}], "annotations": [{"image_id": 1, "category_id": 1,'
    ' "segmentation": %s}]}'
)
CVAT = '<annotations><image name="p0.jpg" width="60" height="40">%s</image></annotations>'
GEO = '{"type": "Feature", "properties": {"classification": "a"}, "geometry": %s}'
HOSTILE = {
    "nested": ("labelme", "p0.json", NESTED, "nested too deep"),
    "not JSON": ("labelme", "p0.json", "{", "must be a JSON file"),
    "bytes": ("labelme", "p0.json", b"\xff\xfe\x00", "must be a JSON file"),
    "NaN": ("labelme", "p0.json", SHAPE % "[[NaN, 1]]", "the number NaN"),
    "infinite": ("labelme", "p0.json", SHAPE % "[[1e999, 1], [2, 2], [3, 3]]", "at most 1000000"),
    "huge": ("labelme", "p0.json", SHAPE % "[[1e300, 1], [2, 2], [3, 3]]", "at most 1000000"),
    "long": ("labelme", "p0.json", SHAPE % f"[[{'9' * 400}, 1], [2, 2], [3, 3]]", "two numbers"),
    "ragged": ("labelme", "p0.json", SHAPE % "[[1, 2], [3]]", "shapes[0].points"),
    "no points": ("labelme", "p0.json", '{"shapes": [{"label": "a"}]}', "shapes[0].points"),
    "no shapes": ("labelme", "p0.json", '{"shapes": {}}', "shapes must be a list"),
    "a control character": ("labelme", "p0.json", SHAPE.replace('"a"', '"\\u001b[31m"')
                            % "[[1, 1], [2, 2], [3, 1]]", "label must be a name"),
    "half a size": ("labelme", "p0.json", '{"shapes": [], "imageWidth": 9}', "height"),
    "rle of 4 GB": ("label-studio", "a.json", TASK % (BRUSH % (60, [255] * 30)), "4294967295"),
    "rle that ends": ("label-studio", "a.json", TASK % (BRUSH % (60, [0, 0, 37, 128, 56])), "end"),
    "a huge image": ("label-studio", "a.json", TASK % (BRUSH % (10**6, [0])), "p0.jpg"),
    "JSON-MIN": ("label-studio", "a.json", '[{"image": "p0.jpg"}]', "export as JSON"),
    "no address": ("label-studio", "a.json", '[{"data": {}, "annotations": [{"result": []}]}]',
                   "must have the address of an image"),
    "counts": ("coco", "a.json", COCO % '{"size": [40, 60], "counts": [1, 2]}', "60 × 40"),
    "another size": ("coco", "a.json", COCO % '{"size": [9, 9], "counts": "0"}', "got 9 × 9"),
    "bad text": ("coco", "a.json", COCO % '{"size": [40, 60], "counts": "~~~"}', "compressed"),
    "odd polygon": ("coco", "a.json", COCO % "[[1, 2, 3, 4, 5]]", "points"),
    "ids": ("coco", "a.json", COCO.replace('"image_id": 1', '"image_id": [1]') % "[]", "exist"),
    "entities": ("cvat", "a.xml", '<!DOCTYPE a [<!ENTITY b "c">]>' + CVAT % "&b;", "document type"),
    "XML": ("cvat", "a.xml", "<annotations>", "XML file of CVAT"),
    "other XML": ("cvat", "a.xml", "<annotation/>", "annotations of CVAT"),
    "a mask beyond": ("cvat", "a.xml", CVAT % '<mask label="a" left="0" top="0" width="99999"'
                      ' height="99999" rle="1"/>', "masks of at most 60 × 40"),
    "no rle": ("cvat", "a.xml", CVAT % '<mask label="a" left="0" top="0" width="2" height="2"/>',
               "whole numbers"),
    "points": ("cvat", "a.xml", CVAT % '<polygon label="a" points="1,2;x,3"/>', "x,y;x,y"),
    "label_id": ("datumaro", "a.json", '{"categories": {}, "items": [{"id": "p0", "annotations":'
                 ' [{"type": "points", "points": [1, 2], "label_id": 3}]}]}', "must be below 0"),
    "a deep geometry": ("qupath", "p0.geojson", GEO % '{"type": "Polygon", "coordinates": [[]]}',
                        "points"),
    "no geometry": ("qupath", "p0.geojson", GEO % "3", "must be a table"),
    "no columns": ("napari", "p0.csv", "a,b\n1,2\n", "axis-0"),
    "volumes": ("napari", "p0.a.csv", "axis-0,axis-1,axis-2\n1,2,3\n", "two axes"),
    "no class": ("napari", "p0.csv", "index,axis-0,axis-1\n0,1,2\n", "IMAGE.CLASS.csv"),
    "words": ("napari", "p0.a.csv", "index,axis-0,axis-1\n0,a,2\n", "a number"),
    "no TIFF": ("napari", "p0.tif", "words", "readable label map"),
    "no HDF5": ("ilastik", "a.ilp", "words", "HDF5 file of ilastik"),
    "no PNG": ("masks", "p0.png", "words", "readable image"),
    "nothing": ("masks", "p0.txt", "words", "must have files .png"),
    "an archive": ("cvat", "task.zip", "PK", "must have files .xml"),
}  # fmt: skip


@pytest.mark.parametrize(("format_", "name", "content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_is_wrong_gets_one_line(tmp_path, capsys, format_, name, content, message):
    pytest.importorskip("h5py")
    write_image(tmp_path / "photos/p0.jpg", 40, 60)
    source = tmp_path / "source"
    source.mkdir()
    data = content if isinstance(content, bytes) else content.encode()
    (source / name).write_bytes(data)
    maps = ["--classes", "a", "b"]
    options = ["--images", tmp_path / "photos", *maps]
    assert tel("import", format_, source, tmp_path / "data", *options) == 2
    lines = capsys.readouterr().err.splitlines()  # the progress bar's, too
    (line,) = (line for line in lines if line and not line.startswith("import: "))
    assert line.startswith("tel import: ")
    assert message in line
    assert len(line) < 400
    assert not (tmp_path / "data").exists()


def test_arrays_that_claim_too_much(tmp_path, capsys):
    write_image(tmp_path / "photos/p0.jpg", 40, 60)
    source = tmp_path / "source"
    source.mkdir()
    options = ("--images", tmp_path / "photos", "--classes", "a", "b")
    np.save(source / "p0.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert tel("import", "napari", source, tmp_path / "data", *options) == 2
    assert "Python objects" in capsys.readouterr().err
    (source / "p0.npy").unlink()
    for shape, dtype in (((40, 60), "f4"), ((2, 40, 60), "u1"), ((1 << 20, 1 << 20), "u1")):
        header = f"{{'descr': '<{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
        header = header.ljust(117) + b"\n"
        start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        (source / "p0.npy").write_bytes(start + bytes(40 * 60 * 4))
        assert tel("import", "napari", source, tmp_path / "data", *options) == 2
        assert "label map" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "../up"], "split must be a name, not a path"),
        (["--annotation", "a/b"], "annotation must be a name, not a path"),
        (["--radius", "0"], "radius must be above 0"),
        (["--width", "1e9"], "width must be above 0 and at most 2000"),
        (["--val", "1"], "val must be at least 0 and below 1"),
        (["--rename", "sky"], "rename must be OLD=NEW"),
        (["--images", "nowhere"], "images must be a folder"),
        (["--background", "street", "--classes", "a"], "classes must be those"),
        (["--first", "-1"], "first must not be negative"),
    ],
)
def test_options_out_of_range(photos, tmp_path, capsys, options, message):
    assert tel("import", "labelme", photos, tmp_path / "data", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_data_set_whose_file_has_another_name(photos, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "street.toml").write_text('classes = ["sky", "car"]')
    assert tel("import", "labelme", photos, tmp_path / "data") == 2
    assert "street.toml: give that file itself" in capsys.readouterr().err
    assert tel("init", tmp_path / "data") == 2
    assert tel("import", "labelme", photos, tmp_path / "data" / "street.toml") == 0
    assert "8 images (8 train)" in capsys.readouterr().out


def test_an_archive_must_be_unpacked(tmp_path, capsys):
    (tmp_path / "task.zip").write_bytes(b"PK")
    assert tel("import", "cvat", tmp_path / "task.zip", tmp_path / "data") == 2
    assert "task.zip must be unpacked first" in capsys.readouterr().err


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
