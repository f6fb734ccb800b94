"""tel import: files that are wrong or hostile, and options out of range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tel_annotated import annotated, tel
from tel_folders import write_image

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


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten photographs, of which eight are annotated."""
    return annotated(tmp_path / "photos")


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


def test_an_archive_must_be_unpacked(tmp_path, capsys):
    (tmp_path / "task.zip").write_bytes(b"PK")
    assert tel("import", "cvat", tmp_path / "task.zip", tmp_path / "data") == 2
    assert "task.zip must be unpacked first" in capsys.readouterr().err
