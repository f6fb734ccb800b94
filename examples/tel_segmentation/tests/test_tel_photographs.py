"""Photographs and labels as cameras and programs write them: each right, or one clear line."""

import os

import numpy as np
import pytest
from PIL import Image
from tel_folders import HEAD, bands, write_image, write_label

from tel_segmentation.commands.check_data import CheckData, run
from tel_segmentation.data.folder import Folder
from tel_segmentation.data.formats.photographs import look
from tel_segmentation.data.image_files import label_values, read_image, read_label
from tel_segmentation.data.pixel_range import eight_bits

RAMP = np.linspace(0, 1, 12 * 16).reshape(12, 16)


@pytest.mark.parametrize(
    ("pixels", "limits"),
    [
        ((255 * RAMP).astype(np.int32), None),
        ((1023 * RAMP).astype(np.uint16), (0, 1023)),
        ((4095 * RAMP).astype(np.uint16), (0, 4095)),
        ((65535 * RAMP).astype(np.uint16), (0, 65535)),
        ((10**6 * RAMP).astype(np.int32), (0, 10**6)),
        ((3000 * RAMP - 1000).astype(np.int32), (-1000, 4095)),
        (RAMP.astype(np.float32), (0, 1)),
        ((255 * RAMP).astype(np.float32), None),
    ],
)
def test_wide_types_are_read_by_their_own_range(tmp_path, pixels, limits):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif")
    black, white = limits or (0, 255)
    expected = (pixels.astype(float) - black) / (white - black)
    assert np.abs(np.asarray(image) / 255 - expected[..., None]).max() < 1 / 200
    assert image.info.get("range") == limits


def test_values_that_are_no_numbers(tmp_path):
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif must be a readable image .*not a number"):
        read_image(tmp_path / "a.tif")
    assert eight_bits(np.zeros((0, 3), np.uint16))[0].shape == (0, 3)


@pytest.fixture
def toml(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / split / "images/a.png")
        write_label(tmp_path / split / "labels/a.png", bands())
    (tmp_path / "data.toml").write_text(HEAD)
    return tmp_path / "data.toml"


def check(toml, capsys, **options):
    code = run(CheckData(str(toml), **options))
    return code, capsys.readouterr().out


def test_check_data_says_how_values_are_read(toml, tmp_path, capsys):
    for name, most in (("b", 4095), ("c", 65535)):
        pixels = (most * RAMP).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / f"train/images/{name}.png")
        write_label(tmp_path / f"train/labels/{name}.png", bands())
    code, text = check(toml, capsys)
    assert code == 0
    assert "1 grey images have values from 0 to 4095, which become 0 to 255; for example b" in text
    assert "WARNING: train: grey images have 2 different ranges of values" in text


def with_orientation(file, size, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(file, exif=exif)


def test_check_data_warns_of_turns_that_sizes_do_not_show(toml, tmp_path, capsys):
    with_orientation(tmp_path / "train/images/square.jpg", (16, 16), 6)
    write_label(tmp_path / "train/labels/square.png", bands(16, 16))
    with_orientation(tmp_path / "val/images/down.jpg", (16, 12), 3)
    write_label(tmp_path / "val/labels/down.png", bands())
    code, text = check(toml, capsys)
    assert code == 0
    for line in ("square.jpg (turned by 90°)", "down.jpg (turned by 180°)"):
        assert any(x.startswith("WARNING") and line in x for x in text.splitlines())


def test_swapped_sides_without_exif(toml, tmp_path):
    write_label(tmp_path / "val/labels/a.png", bands(16, 12))
    with pytest.raises(ValueError, match=r"got 12 × 16; its sides are swapped$"):
        Folder(toml, "val", "dense")[0]


def test_labels_of_one_bit(tmp_path):
    values = RAMP > 0.5
    Image.fromarray(values).save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "1"
    assert np.array_equal(read_label(tmp_path / "a.png"), values)


@pytest.mark.parametrize("values", [[[0, 65541]], [[-1, 0]]])
def test_labels_beyond_16_bits_do_not_wrap(tmp_path, values):
    wrong = max(values[0], key=abs)
    with pytest.raises(ValueError, match=f"values from 0 to 65535, has also {wrong}"):
        label_values(tmp_path / "a.png", np.array(values))


def test_jpeg_labels(toml, tmp_path, capsys):
    label = tmp_path / "val/labels/a.png"
    Image.fromarray(bands().astype(np.uint8)).save(label, format="JPEG")
    with pytest.raises(ValueError, match=r"a JPEG, which is lossy and changes labels"):
        Folder(toml, "val", "dense")[0]
    label.rename(label.with_suffix(".jpg"))
    with pytest.raises(ValueError, match=r"has a\.jpg: JPEG is lossy .* save them as PNG"):
        Folder(toml, "val", "dense")
    code, text = check(toml, capsys)
    assert code == 1
    assert "JPEG is lossy" in text


def test_names_of_files(toml, tmp_path):
    images = tmp_path / "train/images"
    (images / "a.png").unlink()
    Image.new("RGB", (16, 12)).save(images / "a.jfif", format="JPEG")
    (images / "._b.png").write_bytes(b"a Finder's file")
    assert len(Folder(toml, "train", "dense")) == 1
    (images / "link.png").symlink_to("nowhere.png")
    os.mkfifo(images / "pipe.png")
    with pytest.raises(ValueError, match=r"link\.png \(a link to nothing\), pipe\.png \(a FIFO\)"):
        Folder(toml, "train", "dense")
    for name, kind in (("pipe", "a FIFO"), ("link", "a link to nothing")):
        with pytest.raises(ValueError, match=f"{name}.png must be a readable image .* got: {kind}"):
            read_image(images / f"{name}.png")


def test_colours_whose_upper_bits_are_not_used(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    colours = np.stack([RAMP] * 3, axis=-1)
    for most, readable in ((4095, False), (65535, True)):
        tifffile.imwrite(tmp_path / "a.tif", (most * colours).astype(np.uint16), photometric="rgb")
        if readable:
            assert np.abs(np.asarray(read_image(tmp_path / "a.tif")) / 255 - colours).max() < 0.01
        else:
            with pytest.raises(ValueError, match="upper ones are not used"):
                read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("channels", "dtype", "kind"),
    [
        (3, np.float32, "3 channels of 32-bit floating-point values: save it as grey or RGB of 8"),
        (1, np.float16, "1 channel of 16-bit floating-point values"),
        (2, np.uint16, "2 channels of 16-bit unsigned values"),
    ],
)
def test_tiffs_of_other_kinds_are_told_by_their_kind(tmp_path, channels, dtype, kind):
    tifffile = pytest.importorskip("tifffile")
    pixels = np.stack([RAMP] * channels, axis=-1).squeeze().astype(dtype)
    for big in (False, True):
        photometric = "rgb" if channels == 3 else "minisblack"
        tifffile.imwrite(
            tmp_path / "a.tif", pixels, photometric=photometric, planarconfig="contig", bigtiff=big
        )
        for read in (read_image, look):
            with pytest.raises(ValueError, match=f"got: a TIFF with {kind}"):
                read(tmp_path / "a.tif")


@pytest.mark.parametrize(("number", "name"), [(50001, "webp"), (8, "tiff_adobe_deflate")])
def test_tiffs_that_cannot_be_decoded(tmp_path, number, name):
    """A page in WebP, which PIL's libtiff may lack, and one that is damaged."""
    file = tmp_path / "a.tif"
    Image.new("RGB", (16, 12)).save(file)
    content = file.read_bytes()
    tag = b"\x03\x01\x03\x00\x01\x00\x00\x00"  # compression: one number of 16 bits
    assert content.count(tag + b"\x01\x00") == 1
    file.write_bytes(content.replace(tag + b"\x01\x00", tag + number.to_bytes(2, "little")))
    kind = rf"a TIFF with 3 channels of 8-bit unsigned values in compression {name}, which"
    with pytest.raises(ValueError, match=f"got: {kind} .* save it without compression, or as PNG$"):
        read_image(file)


def test_masks_of_0_and_255(toml, tmp_path, capsys):
    toml.write_text('classes = ["background", "cat"]\n')
    for split in ("train", "val"):
        write_label(tmp_path / split / "labels/a.png", np.where(bands() == 2, 255, 0))
    code, text = check(toml, capsys)
    assert code == 1
    assert "255 means no class here (ignore): 33.3 % of the pixels" in text
    assert "Is 255 one of them? Then write the class's number instead: 1\n    1 (cat)" in text


def test_check_data_counts_what_reaches_the_network(toml, tmp_path, capsys):
    points = np.full((120, 160), 255)
    points[1, 1], points[50, 51], points[50, 52], points[101, 101] = 0, 1, 1, 2
    write_image(tmp_path / "train/images/a.png", 120, 160)
    write_label(tmp_path / "train/labels/a.png", bands(120, 160))
    write_label(tmp_path / "annotations/mine/train/a.png", points)
    code, text = check(toml, capsys, annotation="mine", size=(12, 16))
    assert code == 0
    assert (
        "train, mine: 4 labelled pixels of 3 objects in 1 images; 3 of 3 reach the network at"
        " 16 × 12: 3 pixels of 3 objects per image"
    ) in text
    assert "mine: 255 means unlabelled here" in text
    write_label(tmp_path / "annotations/mine/train/a.png", np.full((120, 160), 255))
    code, text = check(toml, capsys, annotation="mine", size=(12, 16))
    assert code == 1
    assert "labels must reach the network, got none of 0 labelled pixels" in text
