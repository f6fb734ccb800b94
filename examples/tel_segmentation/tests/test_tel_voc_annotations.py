"""Points, scribbles and label maps of Pascal VOC: their files, and how they are drawn."""

import json
import zipfile

import numpy as np
import pytest
import tel_voc
from PIL import Image

from tel_segmentation.data.datasets.voc_annotations import find_annotation
from tel_segmentation.data.datasets.voc_strokes import Points, Scribbles, draw

IMAGE = Image.new("RGB", tel_voc.SIZE)
FG, BG = "voc_whats_the_point.json", "voc_whats_the_point_bg_from_scribbles.json"


def places(label, value):
    """The pixels (x, y) of a class."""
    y, x = np.nonzero(label == value)
    return set(zip(x.tolist(), y.tolist(), strict=True))


def points(folder, fg, bg=(), stroke=3):
    folder.mkdir(exist_ok=True)
    (folder / FG).write_text(json.dumps({"a": fg}))
    (folder / BG).write_text(json.dumps({"a": list(bg)}))
    return Points(folder / FG, folder / BG, stroke)


def find(folder, annotation, *ignore, stroke=3):
    return find_annotation([folder], annotation, stroke, ignore)


def test_a_point_is_a_disc_around_its_pixel(tmp_path):
    label = points(tmp_path, [{"x": 10, "y": 5, "cls": 7, "rank": 1}]).label("a", IMAGE)
    assert label.dtype == np.int64
    assert label.shape == (20, 30)
    assert set(np.unique(label)) == {-1, 7}
    # The box from 8.5 to 11.5 covers 4 × 4 pixels; the ellipse omits the corners.
    box = {(x, y) for x in range(8, 12) for y in range(3, 7)}
    assert places(label, 7) == box - {(8, 3), (11, 3), (8, 6), (11, 6)}


def test_drawn_as_the_official_code_does(tmp_path):
    """The ellipse's box is the point ± half the stroke, in floating point."""
    from PIL import ImageDraw

    label = points(tmp_path, [{"x": 10.3, "y": 5.8, "cls": 7}], stroke=5).label("a", IMAGE)
    expected = Image.new("L", tel_voc.SIZE, 255)
    ImageDraw.Draw(expected).ellipse((10.3 - 2.5, 5.8 - 2.5, 10.3 + 2.5, 5.8 + 2.5), 7)
    assert np.array_equal(np.where(label < 0, 255, label), np.asarray(expected))


@pytest.mark.parametrize("width", [3, 7])
def test_lines_are_drawn_as_the_official_code_does(width):
    """For each polyline: a line with curved joints, then an ellipse at every joint."""
    from PIL import ImageDraw

    rng = np.random.default_rng(0)
    lines = [(k, [tuple(p) for p in rng.uniform(0, 60, (5, 2)).tolist()]) for k in range(20)]
    expected = Image.new("L", (64, 64), 255)
    pen = ImageDraw.Draw(expected)
    for value, joints in lines:
        pen.line(joints, value, width, joint="curve")
        for x, y in joints:
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), value)
    label = draw(lines, (64, 64), width)
    assert np.array_equal(np.where(label < 0, 255, label), np.asarray(expected))


def test_one_pixel_wide(tmp_path):
    label = points(tmp_path, [{"x": 10, "y": 5, "cls": 7}], stroke=1).label("a", IMAGE)
    assert places(label, 7) == {(10, 5)}


def test_background_is_drawn_over_foreground(tmp_path):
    both = points(tmp_path, [{"x": 10, "y": 5, "cls": 7}], [{"x": 10, "y": 5, "cls": 0}])
    assert set(np.unique(both.label("a", IMAGE))) == {-1, 0}


@pytest.mark.parametrize("place", [(30, 5), (29.99, 20), (-0.5, 5), (1198, 3), (5, 700)])
def test_points_outside_are_left_out_not_moved(tmp_path, place):
    x, y = place
    found = points(tmp_path, [{"x": x, "y": y, "cls": 7}, {"x": 29, "y": 19, "cls": 3}])
    label = found.label("a", IMAGE)
    assert set(np.unique(label)) == {-1, 3}
    assert found.outside("a", IMAGE.size) == 1


def test_an_image_may_have_points_in_one_file_only(tmp_path):
    found = points(tmp_path, [])
    assert "a" in found
    assert "b" not in found
    assert (found.label("a", IMAGE) == -1).all()
    assert found.where("b") == f"b in {tmp_path / FG}"


@pytest.mark.parametrize(
    "point",
    [
        {"x": 1, "y": 2, "cls": 21},
        {"x": 1, "y": 2, "cls": -1},
        {"x": 1, "y": 2, "cls": 1.5},
        {"x": 1, "y": 2},
        {"x": "left", "y": 2, "cls": 1},
        {"x": float("nan"), "y": 2, "cls": 1},
        [1, 2, 3],
    ],
)
def test_a_point_that_is_none_is_named(tmp_path, point):
    with pytest.raises(ValueError, match=f"{FG}: a must have points with numbers x, y and a cls"):
        points(tmp_path, [point])


@pytest.mark.parametrize("text", ["", "[1]", '{"a": {"x": 1}}', "\xff"])
def test_other_json_is_named(tmp_path, text):
    points(tmp_path, [])
    (tmp_path / BG).write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=f"{tmp_path / BG} must "):
        Points(tmp_path / FG, tmp_path / BG)


def test_the_file_of_the_background_is_needed(tmp_path):
    (tmp_path / FG).write_text("{}")
    with pytest.raises(ValueError, match=f"{tmp_path / BG} must be a JSON file of points"):
        find(tmp_path, "point")


def test_lines_with_a_disc_at_every_joint():
    label = draw([(4, [(5, 5), (15, 5), (15, 15)])], tel_voc.SIZE, 3)
    drawn = places(label, 4)
    assert {(x, y) for x in range(5, 16) for y in (4, 5, 6)} <= drawn
    assert {(x, y) for x in (14, 15, 16) for y in range(5, 16)} <= drawn
    # The disc at an end reaches beyond it.
    alone = places(draw([(4, [(5, 5)])], tel_voc.SIZE, 3), 4)
    assert alone <= drawn
    assert min(x for x, _ in drawn) == min(x for x, _ in alone) < 5
    assert all(3 <= x <= 17 and 3 <= y <= 17 for x, y in drawn)


def test_later_lines_are_drawn_over_earlier_ones():
    first, second = (4, [(2, 10), (27, 10)]), (6, [(15, 2), (15, 18)])
    assert draw([first, second], tel_voc.SIZE, 3)[10, 15] == 6
    assert draw([second, first], tel_voc.SIZE, 3)[10, 15] == 4


def test_nothing_drawn_is_unlabelled():
    assert (draw([(4, [])], tel_voc.SIZE, 3) == -1).all()


@pytest.mark.parametrize("folder", ["", "pascal_2012/", "scribble_annotation/pascal_2012/"])
def test_scribbles_in_a_zip_file(tmp_path, folder):
    tel_voc.write_scribbles(tmp_path / "voc_scribbles.zip", ("a", "b"), folder)
    with zipfile.ZipFile(tmp_path / "voc_scribbles.zip", "a") as archive:
        archive.writestr("__MACOSX/._a.xml", b"\0")
        archive.writestr("notes.txt", b"")
    scribbles = find(tmp_path, "scribble")
    assert isinstance(scribbles, Scribbles)
    assert "a" in scribbles
    assert "c" not in scribbles
    label = scribbles.label("a", IMAGE)
    assert set(np.unique(label)) == {-1, 0, 1}
    assert (label[4:13, 8] == 1).all()
    assert (label[16, 22:29] == 0).all()


def test_another_zip_file_in_the_same_place(tmp_path):
    """A file that is replaced while the process runs is read again."""
    file = tmp_path / "voc_scribbles.zip"
    for tag, value in (("dog", 12), ("horse", 13)):
        file.unlink(missing_ok=True)
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.xml", tel_voc.scribble_xml([(tag, [(3, 3)])]))
        scribbles = Scribbles(file)
        assert set(np.unique(scribbles.label("a", IMAGE))) == {-1, value}
    file.unlink()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("b.xml", tel_voc.scribble_xml([]))
    with pytest.raises(ValueError, match=f"{file}: a.xml must be readable"):
        scribbles.label("a", IMAGE)


@pytest.mark.parametrize(("width", "height"), [("30.0", "20.0"), (" 30 ", "2e1")])
def test_whole_numbers_that_some_write_as_floats(tmp_path, width, height):
    text = tel_voc.scribble_xml([("dog", [("3.0", "3.5")])], size=(width, height))
    (tmp_path / "a.xml").write_text(text)
    assert set(np.unique(Scribbles(tmp_path).label("a", IMAGE))) == {-1, 12}


def test_other_scribbles_of_the_same_names_are_not_taken(tmp_path):
    file = tmp_path / "voc_scribbles.zip"
    tel_voc.write_scribbles(file, ("a",), "pascal_2012/")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("pascal_context/a.xml", tel_voc.scribble_xml([("sky", [(1, 1)])]))
    assert set(np.unique(find(tmp_path, "scribble").label("a", IMAGE))) == {-1, 0, 1}


def test_scribbles_unpacked(tmp_path):
    (tmp_path / "voc_scribbles").mkdir()
    text = tel_voc.scribble_xml([("tvmonitor", [(3, 3)])])
    (tmp_path / "voc_scribbles" / "a.xml").write_text(text)
    scribbles = find(tmp_path, "scribble", stroke=1)
    assert places(scribbles.label("a", IMAGE), 20) == {(3, 3)}
    assert scribbles.where("b") == f"b.xml in {tmp_path / 'voc_scribbles'}"


@pytest.mark.parametrize(
    ("tag", "value"),
    [("background", 0), ("plane", 1), ("bike", 2), ("table", 11), ("plant", 16), ("monitor", 20)],
)
def test_what_scribbles_call_the_classes(tmp_path, tag, value):
    (tmp_path / "a.xml").write_text(tel_voc.scribble_xml([(tag, [(3, 3)])]))
    assert set(np.unique(Scribbles(tmp_path).label("a", IMAGE))) == {-1, value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (tel_voc.scribble_xml([("sofas", [(1, 1)])]), "tags of Pascal VOC's classes, got 'sofas'"),
        (tel_voc.scribble_xml([], size=(31, 20)), r"for \(30, 20\) pixels .* got \(31, 20\)"),
        ("<annotation></annotation>", "have size/width"),
        (tel_voc.scribble_xml([("sofa", [("nan", 1)])]), "X and Y must be numbers, got nan"),
        (tel_voc.scribble_xml([("sofa", [("", 1)])]), "have size/width"),
        (tel_voc.scribble_xml([], size=(30.5, 20)), "whole numbers, got 30.5"),
        (tel_voc.scribble_xml([], size=(30, "inf")), "whole numbers, got inf"),
        ("<annotation>", "have size/width"),
    ],
)
def test_other_xml_is_named(tmp_path, text, message):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ValueError, match=f"{tmp_path}: a.xml must .*{message}"):
        Scribbles(tmp_path).label("a", IMAGE)


def test_a_damaged_zip_file_is_named(tmp_path):
    file = tmp_path / "voc_scribbles.zip"
    file.write_bytes(b"PK\3\4 not really")
    with pytest.raises(ValueError, match=f"{file} must be a zip file of scribbles"):
        find(tmp_path, "scribble")
    tel_voc.write_scribbles(file, ("a",))
    data = bytearray(file.read_bytes())
    data[45] ^= 255  # in the compressed XML
    file.write_bytes(data)
    with pytest.raises(ValueError, match=f"{file}: a.xml must be readable"):
        find(tmp_path, "scribble").label("a", IMAGE)


def write_map(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def test_scribbles_as_label_maps(tmp_path):
    values = np.full((20, 30), 255)
    values[3] = 20
    write_map(tmp_path / "pascal_2012_scribble" / "a.png", values)
    assert set(np.unique(find(tmp_path, "scribble").label("a", IMAGE))) == {-1, 20}


@pytest.mark.parametrize(
    "place",
    ["annotations/mine/train", "annotations/mine", "mine", "mine/train"],
)
def test_label_maps_in_a_folder_beside(tmp_path, place):
    write_map(tmp_path / place / "a.png", np.zeros((20, 30)))
    found = find(tmp_path, "mine")
    assert "a" in found
    assert found.where("b") == str(tmp_path / place / "b.png")


def test_label_maps_by_a_path(tmp_path):
    write_map(tmp_path / "x" / "a.png", np.zeros((20, 30)))
    elsewhere = tmp_path / "data"
    elsewhere.mkdir()
    assert "a" in find(elsewhere, str(tmp_path / "x"))


def test_values_that_mean_unlabelled(tmp_path):
    values = np.full((20, 30), 21)
    values[0], values[1], values[2] = 255, 0, 5
    write_map(tmp_path / "mine" / "a.png", values)
    with pytest.raises(ValueError, match=r"a.png must have the values 0…20 .* has also 21"):
        find(tmp_path, "mine").label("a", IMAGE)
    assert np.unique(find(tmp_path, "mine", 21).label("a", IMAGE)).tolist() == [-1, 0, 5]
    assert np.unique(find(tmp_path, "mine", 21, 0).label("a", IMAGE)).tolist() == [-1, 5]


def test_a_label_map_of_another_size_is_named(tmp_path):
    write_map(tmp_path / "mine" / "a.png", np.zeros((4, 5)))
    with pytest.raises(ValueError, match=r"a.png must be 30 × 20 pixels like its image, got 5 × 4"):
        find(tmp_path, "mine").label("a", IMAGE)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"options": {}, "encoding": "class numbers"}, "tel annotate was interrupted"),
        ({"options": {}, "encoding": "labelIds", "ratio": 1}, "annotations of this data set"),
    ],
)
def test_folders_of_annotate_must_be_whole_and_of_voc(tmp_path, manifest, message):
    write_map(tmp_path / "annotations" / "mine" / "train" / "a.png", np.zeros((20, 30)))
    file = tmp_path / "annotations" / "mine" / "train" / "manifest.json"
    file.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=message):
        find(tmp_path, "mine")
    file.write_text(json.dumps({"options": {}, "encoding": "class numbers", "ratio": 1}))
    assert "a" in find(tmp_path, "mine")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path / FG} must be a JSON file"):
        find(tmp_path, "point")
    with pytest.raises(ValueError, match=f"scribbles must be in {tmp_path / 'voc_scribbles.zip'}"):
        find(tmp_path, "scribble")
    with pytest.raises(ValueError, match=f"'block20': there are none in {tmp_path}"):
        find(tmp_path, "block20")


def test_strokes_have_a_width(tmp_path):
    with pytest.raises(ValueError, match="stroke must be at least 1 pixel, got 0"):
        Scribbles(tmp_path, 0)
