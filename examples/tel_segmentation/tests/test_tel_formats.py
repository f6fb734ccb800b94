"""The files of annotation tools, read, compared with what the tools were given.

``fixtures/formats`` has files that the tools' own writers made of one scene.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tel_shapes import (
    BRUSH,
    CAR,
    CLASSES,
    FORMATS,
    ROAD,
    SIZE,
    SKY,
    X,
    Y,
    area,
    make,
    near,
    scene,
)

from tel_segmentation.data.formats.draw import draw
from tel_segmentation.data.formats.registry import READERS, recognise

left, top, right, bottom = make.BOX
BOX = (left < X) & (right > X) & (top < Y) & (bottom > Y)
DISC = np.hypot(X - 50, Y - 30) <= 5
PARTS = {
    "mask": (make.blob(), ROAD),
    "polygon": (area(make.POLYGON), SKY),
    "box": (BOX, CAR),
    "disc": (DISC, CAR),
    "stroke": (near(make.STROKE, 1.5), ROAD),
    "points": (near(make.POINTS[:1], 1.5) | near(make.POINTS[1:], 1.5), SKY),
}
ORDER = {
    "labelme": ("mask", "polygon", "box", "disc", "stroke", "points"),
    "label-studio": ("mask", "polygon", "box", "disc", "points"),
    "cvat": ("mask", "polygon", "box", "stroke", "points"),
    "datumaro": ("mask", "polygon", "box", "stroke", "points"),
}
SOURCES = {
    "labelme": FORMATS / "labelme",
    "label-studio": FORMATS / "label_studio.json",
    "cvat": FORMATS / "cvat",
    "datumaro": FORMATS / "datumaro",
    "coco": FORMATS / "coco.json",
    "napari": FORMATS / "napari",
}


def drawn(annotation):
    return draw(annotation, CLASSES, SIZE, BRUSH).label


@pytest.mark.parametrize("name", ORDER)
def test_a_tool_s_own_file(name):
    export = READERS[name](SOURCES[name])
    (annotation,) = export.annotations
    assert Path(annotation.image.replace("\\", "/")).stem == "photo"
    assert annotation.size == SIZE
    assert not export.skipped
    wanted = scene(*(PARTS[part] for part in ORDER[name]))
    # The tools round coordinates, and a circle is a polygon of many corners.
    assert np.count_nonzero(drawn(annotation) != wanted) <= (4 if "disc" in ORDER[name] else 0)
    if name in ("cvat", "datumaro"):
        assert export.names == ("sky", "road", "car")


def test_coco():
    export = READERS["coco"](SOURCES["coco"])
    assert export.names == ("sky", "road", "car")
    photo, other = export.annotations
    wanted = scene(PARTS["mask"], PARTS["polygon"], (PARTS["points"][0], CAR))
    assert (drawn(photo) == wanted).all()
    assert (drawn(other) == scene(PARTS["mask"])).all()  # the same mask, not compressed
    assert export.skipped == {"annotations without segmentation or keypoints": 1}
    # pycocotools samples a polygon in a finer grid: it agrees but for pixels on the outline.
    both = np.load(FORMATS / "coco_polygon.npy") != PARTS["polygon"][0]
    assert np.count_nonzero(both) < 0.06 * np.count_nonzero(PARTS["polygon"][0])


def test_napari():
    export = READERS["napari"](SOURCES["napari"])
    found = {annotation.file.name: annotation for annotation in export.annotations}
    assert sorted(found) == ["fourth.zarr", "photo-labels.tif", "second.csv", "third.car.csv"]
    values = found["photo-labels.tif"].read()
    assert (values[4:] == np.where(make.blob(), 2, 0)[4:]).all()
    assert (values[:4] == 1).all()
    # napari's (0, 0) is the centre of the first pixel
    half = np.array([0.5, 0.5])
    first, second = (near([np.array(point) + half], 1.5) for point in make.POINTS)
    assert (drawn(found["second.csv"]) == scene((first, SKY), (second, CAR))).all()
    assert found["third.car.csv"].image == "third"
    moved = np.array(make.POLYGON) + half, np.array(make.STROKE) + half
    wanted = scene((area(moved[0]), CAR), (near(moved[1], 1.5), CAR))
    assert np.argwhere(drawn(found["third.car.csv"]) != wanted).tolist() in (
        [],
        [[6, 28]],
    )  # which is a corner's


def test_napari_zarr():
    pytest.importorskip("zarr")
    (annotation,) = READERS["napari"](FORMATS / "napari" / "fourth.zarr").annotations
    assert (annotation.read() == np.where(make.blob(), 2, 0)).all()


def feature(kind, coordinates, name="sky"):
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "annotation", "classification": {"name": name}},
    }


def test_qupath(tmp_path):
    """As https://qupath.readthedocs.io describes the file; a ring of GeoJSON ends as it begins."""
    ring = [*make.POLYGON, make.POLYGON[0]]
    hole = [[14, 9], [20, 9], [20, 14], [14, 14], [14, 9]]
    features = [
        feature("Polygon", [ring, hole]),
        feature("MultiPolygon", [[[[30, 2], [34, 2], [34, 6], [30, 6], [30, 2]]]], "road"),
        feature("LineString", make.STROKE, "road"),
        feature("MultiPoint", make.POINTS, "car"),
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 1]}},
    ]
    (tmp_path / "photo.jpg.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    export = READERS["qupath"](tmp_path)
    (annotation,) = export.annotations
    assert annotation.image == "photo.jpg"
    assert export.skipped == {"objects without a classification": 1}
    cut = PARTS["polygon"][0] & ~(area([[14, 9], [20, 9], [20, 14], [14, 14]]))
    square = area([[30, 2], [34, 2], [34, 6], [30, 6]])
    wanted = scene((cut, SKY), (square, ROAD), PARTS["stroke"], (PARTS["points"][0], CAR))
    assert (drawn(annotation) == wanted).all()


def tags(axes):
    return json.dumps({"axes": [{"key": axis} for axis in axes]})


def test_ilastik(tmp_path):
    """The layout of projects that ilastik 1.4 writes."""
    h5py = pytest.importorskip("h5py")
    labels = np.where(make.blob(), 2, 0).astype(np.uint8)
    labels[2, 3:9] = 1
    with h5py.File(tmp_path / "project.ilp", "w") as file:
        raw = file.create_group("Input Data/infos/lane0000/Raw Data")
        raw["filePath"] = "pictures/photo.png"
        raw["nickname"] = "photo"
        raw["shape"] = np.array([SIZE[1], SIZE[0], 3])
        raw["axistags"] = tags("yxc")
        group = file.create_group("PixelClassification")
        group["LabelNames"] = np.array([b"sky", b"road"])
        for number, (a, b) in enumerate([(0, 25), (25, 38)]):  # ilastik writes what is labelled
            part = labels[a:b, :50, None]
            block = group.create_dataset(f"LabelSets/labels000/block{number:04d}", data=part)
            block.attrs["blockSlice"] = f"[{a}:{b},0:50,0:1]"
            block.attrs["axistags"] = tags("yxc")
        group.create_group("LabelSets/labels001")  # an image without labels
    export = READERS["ilastik"](tmp_path / "project.ilp")
    (annotation,) = export.annotations
    assert export.names == ("sky", "road")
    assert annotation.image == "pictures/photo.png"
    assert (annotation.read() == labels).all()
    with h5py.File(tmp_path / "other_Labels.h5", "w") as file:
        array = file.create_dataset("exported_data", data=labels.T[..., None])
        array.attrs["axistags"] = tags("xyc")
    (annotation,) = READERS["ilastik"](tmp_path / "other_Labels.h5").annotations
    assert annotation.image == "other.h5"
    assert (annotation.read() == labels).all()


def test_masks(tmp_path):
    values = np.where(make.blob(), 2, 0).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "photo_mask.png")
    (annotation,) = READERS["masks"](tmp_path).annotations
    assert (annotation.read() == values).all()


def test_formats_are_recognised(tmp_path):
    for name in ("labelme", "cvat", "datumaro", "napari"):
        assert recognise(SOURCES[name]) == name
    for name in ("label_studio", "coco"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.json").write_bytes((FORMATS / f"{name}.json").read_bytes())
        assert recognise(tmp_path / name) == name.replace("_", "-")
    (tmp_path / "none").mkdir()
    assert recognise(tmp_path / "none") is None


def turned(corners, pivot, degrees):
    """Corners turned clockwise on the screen, on which y points down."""
    x, y = (np.array(corners, float) - pivot).T
    a = np.radians(degrees)
    return np.stack([x * np.cos(a) - y * np.sin(a), x * np.sin(a) + y * np.cos(a)], 1) + pivot


def test_rectangles_that_are_turned(tmp_path):
    """CVAT turns a box around its centre, Label Studio around its first corner."""
    corners = [[20, 10], [40, 10], [40, 20], [20, 20]]
    (tmp_path / "a.xml").write_text(
        '<annotations><image name="a" width="60" height="40"><box label="car" xtl="20" ytl="10"'
        ' xbr="40" ybr="20" rotation="30"/></image></annotations>'
    )
    (annotation,) = READERS["cvat"](tmp_path).annotations
    assert (drawn(annotation) == scene((area(turned(corners, (30, 15), 30)), CAR))).all()
    value = {"x": 100 / 3, "y": 25, "width": 100 / 3, "height": 25, "rotation": 30}
    (annotation,) = studio(tmp_path, {**value, "rectanglelabels": ["car"]})
    assert (drawn(annotation) == scene((area(turned(corners, (20, 10), 30)), CAR))).all()


def studio(folder, *values, **task):
    """What is read of a task of Label Studio with these values of its results."""
    shared = {"original_width": SIZE[0], "original_height": SIZE[1]}
    results = [{**shared, "value": value} for value in values]
    task = {"data": {"image": "photo.png"}, "annotations": [{"result": results}], **task}
    (folder / "a.json").write_text(json.dumps([task]))
    return READERS["label-studio"](folder / "a.json").annotations


def test_label_studio_s_vectors_and_addresses(tmp_path):
    vertices = [{"x": 10, "y": 10}, {"x": 50.5, "y": 11}, {"x": 50.5, "y": 51}]
    corners = [[6, 4], [30.3, 4.4], [30.3, 20.4]]
    values = {"vertices": vertices, "closed": True, "vectorlabels": ["car"]}
    (annotation,) = studio(tmp_path, values)
    assert (drawn(annotation) == scene((area(corners), CAR))).all()
    (annotation,) = studio(tmp_path, {**values, "closed": False})
    assert (drawn(annotation) == scene((near(corners, 1.5), CAR))).all()
    for address, name in (
        ("/data/upload/3/1a2b3c4d-my%20photo.jpg", "/data/upload/3/my photo.jpg"),
        ("/data/local-files/?d=a/b/photo.jpg", "a/b/photo.jpg"),
        ("s3://bucket/photo.jpg", "/photo.jpg"),
        ("https://host/photo.jpg?token=1", "/photo.jpg"),
    ):
        (annotation,) = studio(tmp_path, values, data={"text": "none", "image": address})
        assert annotation.image == name


def test_label_studio_s_annotators(tmp_path):
    """The last annotation counts that is not cancelled; predictions do not count."""
    shared = {"original_width": SIZE[0], "original_height": SIZE[1]}
    first, second, third = (
        {
            "was_cancelled": label == "sky",
            "result": [{**shared, "value": {"x": 50, "y": 50, "keypointlabels": [label]}}],
        }
        for label in ("car", "road", "sky")
    )
    task = {"data": {"image": "a.png"}, "annotations": [first, second, third], "predictions": [1]}
    (tmp_path / "a.json").write_text(json.dumps([task]))
    export = READERS["label-studio"](tmp_path)
    assert [shape.label for shape in export.annotations[0].shapes] == ["road"]
    assert export.skipped == {"annotations of a task before its last one": 1}


def test_cvat_s_videos(tmp_path):
    """A track has a shape in each frame in which it is visible."""
    (tmp_path / "a.xml").write_text(
        "<annotations><meta><task><original_size><width>60</width><height>40</height>"
        "</original_size></task></meta>"
        '<track id="0" label="car">'
        '<points frame="0" outside="0" points="10,10"/>'
        '<points frame="1" outside="1" points="11,10"/></track>'
        '<track id="1" label="sky">'
        '<polygon frame="7" outside="0" points="1,1;9,1;9,9"/>'
        '<cuboid frame="7" outside="0"/></track></annotations>'
    )
    export = READERS["cvat"](tmp_path)
    assert [each.image for each in export.annotations] == ["frame_000000.png", "frame_000007.png"]
    assert [each.size for each in export.annotations] == [SIZE, SIZE]
    assert (drawn(export.annotations[1]) == scene((area([[1, 1], [9, 1], [9, 9]]), SKY))).all()
    assert export.skipped == {"shapes of type 'cuboid'": 1}


def test_datumaro_s_ellipses_and_absent_points(tmp_path):
    listed = [
        {"type": "ellipse", "label_id": 0, "points": [20, 10, 40, 30]},
        {"type": "points", "label_id": 1, "points": [3, 3, 50, 30], "visibility": [0, 2]},
        {"type": "bbox", "label_id": 1, "bbox": [1, 2, 6, 4], "attributes": {"rotation": 90}},
        {"type": "label", "label_id": 0},
    ]
    item = {"id": "deep/photo", "annotations": listed, "image": {"size": [40, 60]}}
    labels = {"label": {"labels": [{"name": "sky"}, {"name": "car"}]}}
    (tmp_path / "a.json").write_text(json.dumps({"categories": labels, "items": [item]}))
    export = READERS["datumaro"](tmp_path)
    (annotation,) = export.annotations
    assert annotation.image == "deep/photo"
    box = area(turned([[1, 2], [7, 2], [7, 6], [1, 6]], (4, 4), 90))
    wanted = scene((np.hypot(X - 30, Y - 20) <= 10, SKY), (near([[50, 30]], 1.5), CAR), (box, CAR))
    assert np.count_nonzero(drawn(annotation) != wanted) <= 4  # an ellipse has corners
    assert export.skipped == {"annotations of type 'label'": 1}
