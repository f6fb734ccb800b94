"""Pascal VOC in every layout: images, masks, the labels for training, missing files."""

import dataclasses
import pickle

import numpy as np
import pytest
import tel_voc
import torch
from PIL import Image
from tel_voc import TRAIN, VOC_VAL

from tel_segmentation import config
from tel_segmentation.data.datasets.voc import COUNTS, Voc
from tel_segmentation.data.datasets.voc_classes import CLASSES, COLORS, palette
from tel_segmentation.data.datasets.voc_layout import find_layout
from tel_segmentation.data.loading import open_source, training_batches


def options(**values):
    return config.Data(**{"annotation": "dense", **values})


def torchvision(root):
    tel_voc.write_voc(root / "VOCdevkit" / "VOC2012")
    tel_voc.write_sbd(root / "SBD")
    return root


def official(root):
    tel_voc.write_voc(root / "VOC" / "VOCdevkit" / "VOC2012")
    tel_voc.write_sbd(root / "SBD")
    return root


def unpacked(root):
    tel_voc.write_voc(root / "VOCdevkit" / "VOC2012")
    tel_voc.write_sbd(root / "benchmark_RELEASE" / "dataset")
    return root / "VOCdevkit" / "VOC2012"


def mmsegmentation(root):
    tel_voc.write_voc(root / "VOCdevkit" / "VOC2012")
    tel_voc.write_sbd(root / "VOCdevkit" / "VOCaug" / "dataset")
    return root / "VOCdevkit"


def augmented_with_paths(root):
    voc = root / "VOC2012"
    tel_voc.write_voc(voc)
    tel_voc.write_augmented(voc)
    lines = [f"/JPEGImages/{n}.jpg /SegmentationClassAug/{n}.png" for n in TRAIN]
    folder = voc / "ImageSets" / "SegmentationAug"
    folder.mkdir()
    (folder / "train_aug.txt").write_text("\n".join(lines))
    (folder / "val.txt").write_text("".join(f"/JPEGImages/{n}.jpg x.png\n" for n in VOC_VAL))
    (voc / "ImageSets" / "Segmentation" / "val.txt").unlink()
    return voc


def augmented_with_names(root):
    tel_voc.write_voc(root)
    tel_voc.write_augmented(root)
    tel_voc.write_list(root / "ImageSets" / "Segmentation" / "trainaug.txt", TRAIN)
    return root


def augmented_rest(root):
    tel_voc.write_voc(root)
    tel_voc.write_augmented(root)
    rest = (*TRAIN[2:], VOC_VAL[0])
    tel_voc.write_list(root / "ImageSets" / "Segmentation" / "aug.txt", rest)
    return root


def augmented_without_list(root):
    tel_voc.write_voc(root)
    tel_voc.write_augmented(root)
    return root


SBD = [torchvision, official, unpacked, mmsegmentation]
AUGMENTED = [
    augmented_with_paths,
    augmented_with_names,
    augmented_rest,
    augmented_without_list,
]


@pytest.fixture
def voc(tmp_path):
    return torchvision(tmp_path)


@pytest.mark.parametrize("layout", SBD + AUGMENTED)
def test_training_set_of_every_layout(tmp_path, layout):
    source = Voc(layout(tmp_path), "train", options())
    assert [source[i].name for i in range(len(source))] == sorted(TRAIN)
    classes = [set(source[i].label.unique().tolist()) for i in range(len(source))]
    other = 2 if layout in SBD else 3
    void = set() if layout in SBD else {-1}
    # VOC's own masks, which have void, are preferred to the others.
    assert classes == [{-1, 0, 1}, {-1, 0, 1}, {0, other} | void, {0, other} | void]


@pytest.mark.parametrize("layout", SBD + AUGMENTED)
def test_validation_set_of_every_layout(tmp_path, layout):
    source = Voc(layout(tmp_path), "val", options())
    assert [source[i].name for i in range(len(source))] == sorted(VOC_VAL)
    assert all(set(source[i].truth.unique().tolist()) == {-1, 0, 1} for i in range(len(source)))


def published_lists():
    """Lists of the published lengths, whose names overlap so that trainaug has 10,582.

    Of SBD's 11,355 names, 1,104 are in VOC's validation set and 1,133 in its training set. Both
    groups are spread over SBD's own training and validation list.
    """
    names = [f"2008_{number:06d}" for number in range(20_000)]
    voc_train, voc_val = names[:1_464], names[1_464 : 1_464 + 1_449]
    others = names[2_913 : 2_913 + 11_355 - 1_104 - 1_133]
    sbd_train = voc_train[:700] + voc_val[:600] + others[:7_198]
    sbd_val = voc_train[700:1_133] + voc_val[600:1_104] + others[7_198:]
    return voc_train, voc_val, sbd_train, sbd_val


@pytest.mark.parametrize("layout", ["sbd", "aug.txt", "trainaug.txt"])
def test_the_rule_of_trainaug_on_lists_of_the_published_lengths(tmp_path, layout):
    voc_train, voc_val, sbd_train, sbd_val = published_lists()
    sbd = {*sbd_train, *sbd_val}
    assert list(map(len, (voc_train, voc_val, sbd_train, sbd_val, sbd))) == [
        1_464, 1_449, 8_498, 2_857, 11_355,
    ]  # fmt: skip
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    (voc / "JPEGImages").mkdir(parents=True)
    lists = {"train.txt": voc_train, "val.txt": voc_val}
    if layout == "sbd":
        tel_voc.write_list(tmp_path / "SBD" / "train.txt", sbd_train)
        tel_voc.write_list(tmp_path / "SBD" / "val.txt", sbd_val)
    elif layout == "aug.txt":
        lists["aug.txt"] = sorted(sbd - set(voc_train))
    else:
        lists["trainaug.txt"] = sorted((sbd | set(voc_train)) - set(voc_val), reverse=True)
    for name, each in lists.items():
        tel_voc.write_list(voc / "ImageSets" / "Segmentation" / name, each)
    found = find_layout(tmp_path)
    names = found.names("train")
    assert len(names) == 10_582
    assert names == sorted(set(names))
    assert set(voc_train) < set(names)
    assert not set(voc_val) & set(names)
    assert len(found.names("val")) == 1_449


def test_published_masks_of_trainaug_win_over_those_of_sbd(voc):
    """If both exist; neither is used for VOC's own training set."""
    tel_voc.write_augmented(voc / "VOCdevkit" / "VOC2012")
    source = Voc(voc, "train", options())
    assert set(source[3].truth.unique().tolist()) == {-1, 0, 3}
    assert set(source[0].truth.unique().tolist()) == {-1, 0, 1}


def test_the_common_layout_has_no_other_masks(tmp_path):
    root = augmented_with_names(tmp_path)
    for file in (root / "SegmentationClass").iterdir():
        file.unlink()
    assert set(Voc(root, "val", options())[0].truth.unique().tolist()) == {-1, 0, 3}


@pytest.mark.parametrize(("split", "name"), [("val", VOC_VAL[0]), ("train", TRAIN[0])])
def test_sbd_does_not_stand_in_for_vocs_own_masks(voc, split, name):
    """SBD has masks of these images, too, but without void and with other outlines."""
    assert (voc / "SBD" / "cls" / f"{name}.mat").is_file()
    mask = voc / "VOCdevkit" / "VOC2012" / "SegmentationClass" / f"{name}.png"
    mask.unlink()
    with pytest.raises(ValueError, match=f"are missing for 1 of .*: {mask}$"):
        Voc(voc, split, options())


def test_a_sample(voc):
    sample = open_source(options(source=f"voc:{voc}"), "train")[0]
    assert (sample.image.dtype, sample.label.dtype, sample.truth.dtype) == (
        torch.uint8,
        torch.int64,
        torch.int64,
    )
    assert sample.image.shape == (3, 20, 30)
    expected = tel_voc.voc_mask(1).astype(np.int64)
    expected[expected == 255] = -1
    assert np.array_equal(sample.truth.numpy(), expected)
    assert torch.equal(sample.label, sample.truth)
    sample.label[:] = 7  # its own mask
    assert (sample.truth != 7).all()


def test_the_test_set_has_no_labels(voc):
    source = Voc(voc, "test", options(annotation="point"))
    assert source.names == tel_voc.VOC_TEST
    assert source.images[source.names[0]].is_file()
    assert (source[0].truth == -1).all()
    assert (source[0].label == -1).all()


def test_images_are_not_turned(voc):
    path = voc / "VOCdevkit" / "VOC2012" / "JPEGImages" / f"{TRAIN[0]}.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", tel_voc.SIZE).save(path, exif=exif)
    assert Voc(voc, "train", options())[0].image.shape == (3, 20, 30)


def test_annotation_is_for_training_only(voc):
    tel_voc.write_points(voc)
    train, val = (Voc(voc, split, options(annotation="point")) for split in ("train", "val"))
    assert (train[0].label >= 0).sum() < (train[0].truth >= 0).sum() / 4
    assert torch.equal(val[0].label, val[0].truth)


def test_points_need_no_masks(tmp_path):
    root = tmp_path / "VOC2012"
    tel_voc.write_voc(root)
    tel_voc.write_list(root / "ImageSets" / "Segmentation" / "train_aug.txt", TRAIN)
    tel_voc.write_points(root)
    source = Voc(root, "train", options(annotation="point"))
    assert len(source) == 4
    assert (source[3].truth == -1).all()
    assert set(source[3].label.unique().tolist()) == {-1, 0, 15}


def test_points_of_every_image_are_needed(voc):
    tel_voc.write_points(voc, TRAIN[1:])
    with pytest.raises(ValueError, match=f"for 1 of 4: {TRAIN[0]} in .*voc_whats_the_point.json"):
        Voc(voc, "train", options(annotation="point"))


def test_points_outside_are_counted(voc):
    tel_voc.write_points(voc)
    source = Voc(voc, "train", options(annotation="point"))
    assert source.points_outside() == {}
    tel_voc.write_image(source.images[TRAIN[1]], (24, 20))  # one of the points is at x = 26
    assert source.points_outside() == {TRAIN[1]: 1}
    assert Voc(voc, "train", options()).points_outside() == {}


def test_worker_processes_can_have_it(voc):
    tel_voc.write_scribbles(voc / "voc_scribbles.zip")
    source = Voc(voc, "train", options(annotation="scribble"))
    before = source[1]
    after = pickle.loads(pickle.dumps(source))[1]
    assert torch.equal(before.label, after.label)
    data = options(annotation="scribble", crop=(16, 16))
    train = config.Train(data=data, iterations=3, batch=2)
    alone = list(training_batches(source, train, start=0))
    train = dataclasses.replace(train, data=dataclasses.replace(data, workers=2))
    helped = list(training_batches(source, train, start=0))
    assert any((batch.label >= 0).any() for batch in alone)
    for one, other in zip(alone, helped, strict=True):
        assert one.names == other.names
        assert torch.equal(one.label, other.label)


def test_missing_voc_names_the_places(tmp_path):
    with pytest.raises(ValueError, match=r"must have Pascal VOC 2012, got none of .*VOC2012.JPEG"):
        Voc(tmp_path / "nowhere", "train", options())


def test_missing_sbd_names_the_places(tmp_path):
    tel_voc.write_voc(tmp_path)
    with pytest.raises(ValueError, match=r"10,582: SBD .* in .*SBD, or .*SegmentationClassAug"):
        Voc(tmp_path, "train", options())
    assert len(Voc(tmp_path, "val", options())) == 2


def test_missing_files_are_named(voc):
    image = voc / "VOCdevkit" / "VOC2012" / "JPEGImages" / f"{TRAIN[3]}.jpg"
    image.rename(voc / "kept.jpg")
    with pytest.raises(ValueError, match=f"are missing for 1 of 4: {image}"):
        Voc(voc, "train", options())
    (voc / "kept.jpg").rename(image)
    mask = voc / "SBD" / "cls" / f"{TRAIN[3]}.mat"
    mask.unlink()
    with pytest.raises(ValueError, match=f"are missing for 1 of 4: {mask}"):
        Voc(voc, "train", options())
    rest = Voc(voc, "train", options(), skip_missing=True)
    assert (rest.names, rest.missing) == (TRAIN[:3], [str(mask)])
    assert rest[2].name == TRAIN[2]
    names = voc / "SBD" / "val.txt"
    names.unlink()
    with pytest.raises(ValueError, match=f"{names} must be a list of image names"):
        Voc(voc, "train", options())


def test_a_mask_of_another_size_is_named(voc):
    file = voc / "VOCdevkit" / "VOC2012" / "SegmentationClass" / f"{TRAIN[0]}.png"
    tel_voc.write_png(file, np.zeros((5, 6)))
    with pytest.raises(ValueError, match=f"{file} must be 30 × 20 pixels like its image"):
        Voc(voc, "train", options())[0]


def test_a_value_that_is_no_class_is_named(voc):
    file = voc / "VOCdevkit" / "VOC2012" / "SegmentationClass" / f"{TRAIN[0]}.png"
    tel_voc.write_png(file, tel_voc.voc_mask(21))
    with pytest.raises(ValueError, match=f"{file} must have the values 0…20 .* has also 21"):
        Voc(voc, "train", options(ignore=(21,)))[0]  # an option for annotations only


def test_an_unknown_split(voc):
    with pytest.raises(ValueError, match="split must be one of train, val, test, got 'trainval'"):
        Voc(voc, "trainval", options())


def test_colours_are_voc_s():
    assert (len(CLASSES), len(COLORS), sum(COUNTS.values())) == (21, 21, 13_487)
    assert COLORS[CLASSES.index("person")] == (192, 128, 128)
    assert COLORS[20] == (0, 64, 128)
    assert palette()[:6] == [0, 0, 0, 128, 0, 0]
    assert palette()[-3:] == [224, 224, 192]
