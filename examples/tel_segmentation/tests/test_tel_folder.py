"""Data sets in folders: how files are read, and the errors for invalid ones."""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tel_folders import HEAD, bands, write_image, write_label

from tel_segmentation.data import folder
from tel_segmentation.data.dataset_file import open_dataset
from tel_segmentation.data.folder import Folder


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """A data set with two images in train, one in val, and points for train."""
    for split, names in (("train", "ab"), ("val", "c")):
        for seed, name in enumerate(names):
            write_image(tmp_path / split / "images" / f"{name}.png", seed=seed)
            write_label(tmp_path / split / "labels" / f"{name}.png", bands())
    points = np.full((12, 16), 255)
    points[3, 4] = 1
    for name in "ab":
        write_label(tmp_path / "annotations" / "point" / "train" / f"{name}.png", points)
    (tmp_path / "data.toml").write_text(HEAD)
    return tmp_path / "data.toml"


def test_dense_sample(toml: Path) -> None:
    source = Folder(toml, "train", "dense")
    sample = source[1]
    assert len(source) == 2
    assert sample.name == "b"
    assert sample.image.shape == (3, 12, 16)
    assert sample.image.dtype == torch.uint8
    expected = np.asarray(Image.open(toml.parent / "train/images/b.png"))
    assert np.array_equal(sample.image.permute(1, 2, 0).numpy(), expected)
    assert sample.label.dtype == torch.int64
    assert np.array_equal(sample.label.numpy(), bands())
    assert torch.equal(sample.truth, sample.label)
    assert source.classes == ("sky", "road", "car")
    assert len(set(source.colors)) == 3


def test_only_a_background_is_black(toml: Path) -> None:
    """On an overlay, black looks like a shadow."""
    assert min(map(max, open_dataset(toml).colors)) >= 128
    toml.write_text('classes = ["_background_", "road", "car"]')
    assert open_dataset(toml).colors == ((0, 0, 0), (128, 0, 0), (0, 128, 0))


def test_sparse_sample_keeps_the_dense_truth_apart(toml: Path) -> None:
    sample = Folder(toml, "train", "point")[0]
    assert (sample.label != -1).sum() == 1
    assert sample.label[3, 4] == 1
    assert np.array_equal(sample.truth.numpy(), bands())


@pytest.mark.parametrize("split_folder", ["", "train"])
def test_annotation_by_path(toml: Path, tmp_path: Path, split_folder: str) -> None:
    for name in "ab":
        write_label(tmp_path / "elsewhere" / split_folder / f"{name}.png", bands() * 0 + 2)
    sample = Folder(toml, "train", str(tmp_path / "elsewhere"))[0]
    assert (sample.label == 2).all()


def test_resized_samples_are_kept_as_they_were_read(toml: Path, monkeypatch) -> None:
    """What a user does to a sample changes no later one; beyond the room, files are read."""
    monkeypatch.setattr(folder, "KEPT", 6 * 8 * (3 + 8))  # one sample
    source = Folder(toml, "train", "point", (6, 8))
    fresh = [Folder(toml, "train", "point", (6, 8))[index] for index in (0, 1)]
    for _ in range(2):
        sample = source[0]
        for one, other in zip(sample[1:], fresh[0][1:], strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
            one.fill_(1)
    whole = Folder(toml, "train", "point")
    whole[0]
    for name in "ab":
        write_image(toml.parent / "train" / "images" / f"{name}.png", seed=9)
    assert torch.equal(source[0].image, fresh[0].image)
    assert not torch.equal(source[1].image, fresh[1].image)
    assert torch.equal(whole[0].image, whole[1].image)  # samples of full size are not kept


def test_without_dense_labels_the_truth_is_unknown(toml: Path) -> None:
    for file in (toml.parent / "train" / "labels").iterdir():
        file.unlink()
    sample = Folder(toml, "train", "point")[0]
    assert (sample.truth == -1).all()
    with pytest.raises(ValueError, match=r"2 of 2 have none: a\.png, b\.png"):
        Folder(toml, "train", "dense")


def test_ignored_values_are_no_class(toml: Path) -> None:
    toml.write_text(HEAD + "ignore = [7, 300]")
    write_label(toml.parent / "val/labels/c.png", np.where(bands() == 2, 7, bands()))
    sample = Folder(toml, "val", "dense")[0]
    assert torch.equal(sample.label == -1, torch.from_numpy(bands() == 2))


def test_resized_image_is_smooth_and_labels_keep_their_values(toml: Path) -> None:
    sample = Folder(toml, "train", "dense", size=(6, 4))[0]
    assert sample.image.shape == (3, 6, 4)
    assert sample.label.shape == sample.truth.shape == (6, 4)
    assert np.array_equal(sample.label.numpy(), bands(6, 4))
    # Antialiasing averages noise: the smaller image has much less contrast than single pixels.
    assert sample.image.float().std() < 0.6 * Folder(toml, "train", "dense")[0].image.float().std()


def test_nothing_is_read_before_it_is_asked_for(toml: Path) -> None:
    (toml.parent / "train/images/b.png").write_bytes(b"not an image")
    source = Folder(toml, "train", "dense")
    assert source[0].name == "a"
    with pytest.raises(ValueError, match=r"b\.png must be a readable image"):
        source[1]


def test_root_serves_as_every_split(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg")
    write_label(tmp_path / "labels/a.png", bands())
    (tmp_path / "data.toml").write_text(HEAD)
    for split in ("train", "val"):
        assert len(Folder(tmp_path / "data.toml", split, "dense")) == 1


def test_root_and_splits_can_be_named(toml: Path, tmp_path: Path) -> None:
    for root in (str(tmp_path), ".."):
        other = tmp_path / "mine" / "data.toml"
        other.parent.mkdir(exist_ok=True)
        other.write_text(HEAD + f"root = '{root}'\n[splits]\ntrain = 'val'\n")
        assert Folder(other, "train", "dense")[0].name == "c"
        with pytest.raises(ValueError, match="split must be one of train, got 'val'"):
            Folder(other, "val", "dense")


@pytest.mark.parametrize("name", ["two words", "<b>&amp;", "naïve 図", "a.b", "-x", "3\u202fPM"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / "images" / f"{name}.JPG")
    write_label(tmp_path / "labels" / f"{name}.png", bands())
    (tmp_path / "data.toml").write_text(HEAD)
    assert Folder(tmp_path / "data.toml", "train", "dense")[0].name == name


def test_accents_written_in_two_ways_are_one_name(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / (unicodedata.normalize("NFD", "é") + ".png"))
    write_label(tmp_path / "labels" / (unicodedata.normalize("NFC", "é") + ".png"), bands())
    (tmp_path / "data.toml").write_text(HEAD)
    assert Folder(tmp_path / "data.toml", "train", "dense")[0].name == "é"


def test_hidden_and_other_files_are_no_images(toml: Path) -> None:
    (toml.parent / "val/images/._c.png").write_bytes(b"a Finder's file")
    (toml.parent / "val/images/Thumbs.db").write_bytes(b"")
    assert len(Folder(toml, "val", "dense")) == 1


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((12, 16), 65535 // 2, dtype=np.uint16), 127.5),  # 16 bits, grey
        (np.full((12, 16), 99, dtype=np.uint8), 99),  # grey
        (np.full((12, 16, 4), (99, 99, 99, 0), dtype=np.uint8), 99),  # transparent
    ],
)
def test_any_image_becomes_rgb(toml: Path, pixels: np.ndarray, expected: float) -> None:
    Image.fromarray(pixels).save(toml.parent / "val/images/c.png")
    image = Folder(toml, "val", "dense")[0].image
    assert image.shape == (3, 12, 16)
    assert (image.float() - expected).abs().max() <= 0.5


def test_palette_label_is_read_as_indices(toml: Path) -> None:
    palette = Image.fromarray(bands().astype(np.uint8), mode="L").convert("P")
    palette.putpalette([200, 10, 30, 5, 5, 5, 77, 0, 99])
    palette.putdata(bands().ravel().tolist())
    palette.save(toml.parent / "val/labels/c.png")
    assert np.array_equal(Folder(toml, "val", "dense")[0].label.numpy(), bands())


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((12, 16, 3), dtype=np.uint8)
    pixels[:3] = 255  # as stored: bright on top
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise: bright on the right
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images/a.jpg", exif=exif, quality=95)
    (tmp_path / "data.toml").write_text(HEAD)
    write_label(tmp_path / "labels/a.png", np.zeros((16, 12)))
    source = Folder(tmp_path / "data.toml", "train", "dense")
    image = source[0].image.float()
    assert image.shape == (3, 16, 12)
    assert image[:, :, -2:].mean() > 240 > 20 > image[:, :, :8].mean()
    write_label(tmp_path / "labels/a.png", np.zeros((12, 16)))
    with pytest.raises(ValueError, match="turned by 90° by its Exif orientation, the label"):
        source[0]


@pytest.mark.parametrize(("name", "shown"), [("\x1b[2J", r"\x1b[2J"), ("\udcff", r"\udcff")])
def test_name_that_is_no_text(tmp_path: Path, name: str, shown: str) -> None:
    write_image(tmp_path / "images" / f"{name}.png")
    (tmp_path / "data.toml").write_text(HEAD)
    with pytest.raises(ValueError, match=re.escape(f"are text, has '{shown}'")):
        Folder(tmp_path / "data.toml", "train", "dense")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "classes must be a list of names, got None"),
        ("classes = 3", "classes must be a list of names, got 3"),
        ("classes = ['a', 1]", "classes must be a list of names"),
        ("classes = ['a']", "classes must be 2 to 255, got 1"),
        ("classes = ['a', 'b', 'a']", "classes must have different names, got a twice"),
        (r"classes = ['a', 'b\u001b[2J']".replace("'", '"'), "without control characters, got 'b"),
        ("a = " + "[" * 100_000, "must be TOML in UTF-8, got: "),
        ("a" + ".a" * 1_500 + " = 1", "must have no keys but .*; got a|must be TOML"),
        (
            HEAD + "[splits]\ntrain = 'train'\n'../../../x' = 'train'",
            "are no paths, got '../../../x'",
        ),
        (HEAD + "root = '~nobody here'", "must begin with a user's folder, got"),
        (HEAD + "clases = 1", "must have no keys but .*; got clases"),
        (HEAD + "ignore = 255", "ignore must be a list"),
        (HEAD + "ignore = [true]", "ignore must be a list"),
        (HEAD + "ignore = [2]", "ignore must be .* no class, 3 to 65535, got"),
        (HEAD + "colors = [[0, 0, 0]]", "colors must be 3, one a class, got 1"),
        (HEAD + "colors = [[0, 0], [1, 1], [2, 2]]", "colors must be a list of"),
        (HEAD + "colors = [[0, 0, 256]]", "colors must be a list of"),
        (HEAD + "root = 1", "root must be the name of a folder"),
        (HEAD + "root = 'nowhere'", "root must be a folder that exists, got .*nowhere"),
        (HEAD + "splits = ['train']", "splits must be a table"),
        (HEAD + "[splits]\ntrain = 1", "splits must be a table"),
        ("classes = [", "must be TOML"),
    ],
)
def test_wrong_toml(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "data.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"data.toml.*{words}"):
        open_dataset(file)


def test_a_split_is_a_name_and_no_path(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    write_label(tmp_path / "labels/a.png", bands())
    (tmp_path / "data.toml").write_text(HEAD)  # without splits, any name stands for the root
    for split in ("../../../x", "a/b", "..", ""):
        with pytest.raises(ValueError, match="split must be a name, not a path"):
            Folder(tmp_path / "data.toml", split, "dense")
    with pytest.raises(ValueError, match="must begin with a user's folder"):
        Folder("~nobody-here/data.toml", "train", "dense")


def test_toml_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "data.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"data\.toml must be TOML in UTF-8"):
        open_dataset(tmp_path / "data.toml")
    with pytest.raises(FileNotFoundError, match=r"no\.toml must be"):
        open_dataset(tmp_path / "no.toml")


def test_byte_order_mark(toml: Path) -> None:
    toml.write_text(HEAD, encoding="utf-8-sig")
    assert open_dataset(toml).classes == ("sky", "road", "car")


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "data.toml").write_text(HEAD)
    with pytest.raises(ValueError, match=r"split train must have a folder .*images"):
        Folder(tmp_path / "data.toml", "train", "dense")
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match="images must have images"):
        Folder(tmp_path / "data.toml", "train", "dense")


def test_image_without_a_label(toml: Path) -> None:
    (toml.parent / "annotations/point/train/a.png").unlink()
    with pytest.raises(ValueError, match=r"point.train .*; 1 of 2 have none: a\.png"):
        Folder(toml, "train", "point")
    with pytest.raises(ValueError, match="nosuch"):
        Folder(toml, "train", "nosuch")


def test_two_images_of_one_name(toml: Path) -> None:
    write_image(toml.parent / "train/images/a.jpg")
    with pytest.raises(ValueError, match=r"has also a\.jpg"):
        Folder(toml, "train", "dense")


def test_label_of_another_size(toml: Path) -> None:
    write_label(toml.parent / "val/labels/c.png", bands(6, 8))
    with pytest.raises(ValueError, match=r"c\.png must be 16 × 12 pixels .*, got 8 × 6"):
        Folder(toml, "val", "dense", size=(6, 8))[0]


def test_label_with_values_that_are_no_class(toml: Path) -> None:
    write_label(toml.parent / "val/labels/c.png", bands() * 9)
    with pytest.raises(ValueError, match=r"c\.png must have the values 0…2 .*\(255\).* 9, 18"):
        Folder(toml, "val", "dense")[0]


def test_coloured_label(toml: Path) -> None:
    write_image(toml.parent / "val/labels/c.png")
    with pytest.raises(ValueError, match=r"c\.png must be a label map .*RGB: save class indices"):
        Folder(toml, "val", "dense")[0]


def test_label_that_was_compressed_with_losses(toml: Path) -> None:
    Image.fromarray(bands().astype(np.uint8)).save(toml.parent / "val/labels/c.png", format="JPEG")
    with pytest.raises(ValueError, match=r"c\.png must be a readable image \(PNG\)"):
        Folder(toml, "val", "dense")[0]


def test_truncated_file(toml: Path) -> None:
    file = toml.parent / "val/images/c.png"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"c\.png must be a readable image"):
        Folder(toml, "val", "dense")[0]


def test_postscript_is_not_interpreted(toml: Path) -> None:
    file = toml.parent / "val/images/c.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 12\n%%EndComments\n")
    with pytest.raises(ValueError, match="cannot identify"):
        Folder(toml, "val", "dense")[0]


def test_implausibly_large_image(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ValueError, match=r"c\.png must be a readable image .*exceeds limit"):
        Folder(toml, "val", "dense")[0]


def test_camvid_copied_beside_the_data(tmp_path: Path) -> None:
    example = Path(__file__).parents[1] / "datasets" / "camvid.toml"
    shutil.copy(example, tmp_path)
    write_image(tmp_path / "train/images/a.jpg")
    write_label(tmp_path / "train/labels/a.png", np.arange(12).repeat(16).reshape(12, 16))
    source = Folder(tmp_path / "camvid.toml", "train", "dense")
    assert len(source.classes) == len(set(source.colors)) == 11
    assert source[0].label[:, 0].tolist() == [*range(11), -1]
