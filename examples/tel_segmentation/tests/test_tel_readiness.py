"""Checks of ``tel run`` before training; without them, hours of training could be lost."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import tel_miniatures
import tel_street
from tel_folders import write_label
from tel_miniatures import tiny

from tel_segmentation.commands import run
from tel_segmentation.data.datasets.public import published_counts


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tel_miniatures.data_root(tmp_path_factory.mktemp("data"))


@pytest.fixture
def untrained(monkeypatch):
    """Makes training an error."""
    monkeypatch.setattr(run, "train", lambda settings, resume: pytest.fail("was trained"))


@pytest.mark.parametrize("id", ["t7.dlv2.tel", "t7.dlv2.tel_crf", "t7.ltf.tel"])
@pytest.mark.parametrize("gone", ["JPEGImages/2008_000006.jpg", "ImageSets/Segmentation/test.txt"])
def test_test_images_that_are_missing_are_named_before_training(tmp_path, untrained, id, gone):
    root = tel_miniatures.data_root(tmp_path / "data")
    file = root / "voc2012/VOCdevkit/VOC2012" / gone
    file.unlink()
    with pytest.raises(ValueError, match=str(file)):
        run.run(tiny(id, root, tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
    with pytest.raises(pytest.fail.Exception, match="was trained"):  # which needs no test images
        run.run(tiny("t1.scribble.ltf.tel", root, tmp_path / "runs"))


def test_the_crf_is_missed_before_training(root, tmp_path, untrained, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.delitem(sys.modules, "pydensecrf.densecrf", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tel-segmentation\[crf\]'"):
        run.run(tiny("t7.dlv2.tel_crf", root, tmp_path))


@pytest.mark.parametrize("nothing", [255, 19])
def test_train_ids_are_not_trained_as_label_ids(tmp_path, untrained, nothing):
    """All trainIds are valid labelIds, so that no file is refused when it is read."""
    root = tel_miniatures.data_root(tmp_path / "data")
    folder = root / "cityscapes/train/sparse_label/block20"
    for seed, file in enumerate(sorted(folder.iterdir())):
        label = tel_street.train_ids(seed)
        write_label(file, np.where(label == 255, nothing, label))
    options = tiny("t2.cs.hrnet.b20.tel", root, tmp_path / "runs")
    with pytest.raises(ValueError, match=rf"{folder} must be labelIds, .* --encoding trainIds if"):
        run.run(options)
    for encoding in ("trainIds", "labelIds"):
        with pytest.raises(pytest.fail.Exception, match="was trained"):
            run.run(replace(options, encoding=encoding))


def test_what_will_be_in_no_table_is_said_before_training(
    root, tmp_path, untrained, capsys, monkeypatch
):
    options = tiny("t1.scribble.dlv3p.tel", root, tmp_path, ignore=(21, 15))
    tel_miniatures.publish(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setitem(published_counts("voc"), "train", 10_582)
        patch.setitem(published_counts("voc"), "val", 1_449)
        with pytest.raises(pytest.fail.Exception, match="was trained"):
            run.run(options)
        assert capsys.readouterr().err.endswith(
            ": will be in no table: training images: 4 instead of 10582; evaluated images: 2"
            " instead of 1449; data.ignore: 15, which is person\n"
        )
        monkeypatch.setenv("RANK", "1")
        with pytest.raises(pytest.fail.Exception, match="was trained"):
            run.run(options)
        assert not capsys.readouterr().err
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(pytest.fail.Exception, match="was trained"):
        run.run(replace(options, ignore=()))
    assert not capsys.readouterr().err
