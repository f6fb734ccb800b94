"""SBD's MATLAB files and lists."""

import contextlib

import numpy as np
import pytest
import tel_voc
from scipy.io import loadmat, savemat

from tel_segmentation.data.datasets.matlab import read_field
from tel_segmentation.data.datasets.sbd import augmented_names, read_mask, read_names


def test_mask_of_the_nested_struct(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    tel_voc.write_mat(tmp_path / "a.mat", values)
    mask = read_mask(tmp_path / "a.mat")
    assert mask.dtype == np.uint16
    assert np.array_equal(mask, values)


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"MATLAB 5.0 MAT-file" + bytes(200),
        {"other": 1},
        {"GTcls": {"Boundaries": 1}},
        {"GTcls": {"Segmentation": np.zeros((2, 2, 2), np.uint8)}},
        {"GTcls": {"Segmentation": np.zeros((2, 2))}},
        {"GTcls": 3},
    ],
)
def test_other_files_are_named(tmp_path, content):
    path = tmp_path / "a.mat"
    if isinstance(content, dict):
        savemat(path, content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}.* GTcls.Segmentation"):
        read_mask(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_one_changed_byte_gives_a_mask_or_a_message(tmp_path, compressed):
    """scipy, which reads intact files alike, follows such lengths into memory that is not its."""
    path = tmp_path / "a.mat"
    for kind in (np.uint8, np.int16, np.int32):
        values = np.random.default_rng(0).integers(0, 21, (9, 7)).astype(kind)
        struct = {"Boundaries": np.eye(2), "Segmentation": values, "CategoriesPresent": [1, 2]}
        savemat(path, {"x": 1, "GTcls": struct}, do_compression=compressed)
        assert np.array_equal(read_mask(path), values)
        assert np.array_equal(loadmat(path)["GTcls"].flat[0]["Segmentation"], values)
        content = path.read_bytes()
        for index in range(0, len(content), 2):
            for byte in (0, 255, content[index] ^ 128):
                changed = content[:index] + bytes([byte]) + content[index + 1 :]
                with contextlib.suppress(ValueError):
                    read_field(changed, "GTcls", "Segmentation")


def test_values_that_are_no_class_do_not_wrap(tmp_path):
    savemat(tmp_path / "a.mat", {"GTcls": {"Segmentation": np.array([[65541, 0]], np.int32)}})
    with pytest.raises(ValueError, match="values from 0 to 65535, has also 65541"):
        read_mask(tmp_path / "a.mat")


def test_the_rule_of_trainaug():
    assert augmented_names(["d", "b"], ["c"], ["c", "a", "b"]) == ["a", "b", "d"]


def test_names_with_blank_lines_and_paths(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("a \r\n\n/JPEGImages/b.jpg /SegmentationClassAug/b.png\n")
    assert read_names(path) == ["a", "b"]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xef\xbb\xbf2007_000032\r\n2007_000039\r\n")
    assert read_names(path) == ["2007_000032", "2007_000039"]


def test_a_name_twice(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("a\nb\na\n")
    with pytest.raises(ValueError, match=f"{path} must have every name once, has again a$"):
        read_names(path)
