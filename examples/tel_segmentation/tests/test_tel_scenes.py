"""Scenes: pure functions of their seed; neither trivial nor impossible for colours and trees."""

import dataclasses
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import ndimage

import treefilter as tf
from tel_segmentation.data import scenes
from tel_segmentation.data.regions import VOID

CLASSES = len(scenes.CLASSES)


def fingerprint(preset, seeds, size=(64, 64)):
    digest = hashlib.sha256()
    for seed in seeds:
        for part in scenes.scene(seed, preset, size)[:3]:
            digest.update(part.tobytes())
    return digest.hexdigest()


def colour_classifier(train, bins=12):
    """Smoothed counts of each class for each colour: (K, bins, bins, bins)."""
    count = np.zeros((CLASSES, bins, bins, bins))
    for made in train:
        np.add.at(count, (made.label.ravel(), *cells(made.image, bins)), 1)
    return ndimage.gaussian_filter(count, (0, 1, 1, 1))


def cells(image, bins=12):
    return tuple((image.reshape(-1, 3).T.astype(int) * bins) // 256)


def confusion(table, test):
    result = np.zeros((CLASSES, CLASSES))
    best = table.argmax(0)
    for made in test:
        np.add.at(result, (made.label.ravel(), best[cells(made.image)]), 1)
    return result


def accuracy(result):
    return np.trace(result) / result.sum()


def mean_recall(result):
    return (np.diag(result) / result.sum(1)).mean()


def voronoi(label):
    _, nearest = ndimage.distance_transform_edt(label == VOID, return_indices=True)
    return label[tuple(nearest)]


def low_tree(image, label, sigma=0.02):
    guide = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    graph = tf.grid(*label.shape)
    weight = tf.edge_weight(guide, graph)
    tree = tf.mst(weight, graph)
    seeds = torch.stack([torch.from_numpy(label == k) for k in range(CLASSES)])[None].double()
    return tf.filter(seeds, tree, tf.affinity(weight.double(), tree, sigma))[0].argmax(0).numpy()


def propagation_accuracies(preset, count=32):
    """Accuracies of the nearest point and of the low tree, on pixels without a label."""
    right = []
    for index in range(count):
        made = scenes.scene(2_000_000 + index, preset)
        label = scenes.annotate(made, "point", np.random.default_rng(index))
        unlabelled = label == VOID
        guesses = voronoi(label), low_tree(made.image, label)
        right.append([(guess == made.label)[unlabelled].mean() for guess in guesses])
    return np.mean(right, 0)


@pytest.fixture(scope="module")
def made():
    """200 training and 48 validation scenes of the default preset."""
    train = [scenes.scene(1_000_000 + index) for index in range(200)]
    return train, [scenes.scene(2_000_000 + index) for index in range(48)]


def test_colour_does_not_reveal_the_class(made):
    train, val = made
    table = colour_classifier(train)
    majority = np.mean([np.bincount(v.label.ravel(), minlength=CLASSES) for v in val], 0).max()
    assert accuracy(confusion(table, val)) <= majority / val[0].label.size + 0.02


def test_colour_does_not_reveal_the_class_to_who_weighs_classes_alike(made):
    train, val = made
    table = colour_classifier(train)
    table /= table.sum((1, 2, 3), keepdims=True)
    assert mean_recall(confusion(table, val)) <= 1 / CLASSES + 0.06


def test_colour_reveals_the_class_where_it_is_correlated():
    table, val = {}, {}
    strong = dataclasses.replace(scenes.PRESETS["default"], correlation=0.9)
    for name, preset in (("weak", "colour_correlated"), ("strong", strong)):
        table[name] = colour_classifier([scenes.scene(1_000_000 + i, preset) for i in range(100)])
        table[name] /= table[name].sum((1, 2, 3), keepdims=True)
        val[name] = [scenes.scene(2_000_000 + i, preset) for i in range(32)]
    recall = {name: mean_recall(confusion(table[name], val[name])) for name in table}
    assert 1 / CLASSES + 0.06 < recall["weak"] < 0.5 < recall["strong"]


def test_the_tree_carries_points_farther_than_nearness_does():
    nearest, tree = propagation_accuracies("default")
    assert tree >= nearest + 0.10


def test_the_tree_does_not_help_much_in_adverse_scenes():
    nearest, tree = propagation_accuracies("adverse")
    assert tree < nearest + 0.06


@pytest.mark.parametrize("preset", scenes.PRESETS)
def test_same_seed_same_bytes(preset):
    assert fingerprint(preset, range(3)) == fingerprint(preset, range(3))
    assert fingerprint(preset, [0]) != fingerprint(preset, [1])


def test_same_bytes_in_another_process(tmp_path):
    program = (
        "from test_tel_scenes import fingerprint;"
        "print(fingerprint('default', range(4)), fingerprint('hard', [7], (48, 80)))"
    )
    paths = [os.path.dirname(__file__), *sys.path]  # noqa: PTH120
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", program]
    printed = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    expected = [fingerprint("default", range(4)), fingerprint("hard", [7], (48, 80))]
    assert printed.split() == expected


def test_places_are_the_same_in_every_preset():
    labels = [scenes.scene(5, preset).label for preset in ("easy", "hard", "adverse")]
    assert all(np.array_equal(labels[0], label) for label in labels)


@pytest.mark.parametrize("size", [(16, 16), (48, 48), (64, 100), (130, 128)])
def test_sizes(size):
    made = scenes.scene(3, "default", size)
    assert made.image.shape == (*size, 3)
    assert made.image.dtype == made.label.dtype == np.uint8
    assert made.label.shape == made.instance.shape == size
    assert made.label.max() < CLASSES


def test_lengths_scale_with_the_size():
    """In a scene of twice the size, classes cover about the same part of the image."""
    share = [
        np.mean([(scenes.scene(i, "default", (n, n)).label > 0).mean() for i in range(24)])
        for n in (64, 128)
    ]
    assert abs(share[0] - share[1]) < 0.02


def test_instances_have_one_class_and_patches_are_background():
    for seed in range(12):
        made = scenes.scene(seed)
        for number in np.unique(made.instance):
            values = np.unique(made.label[made.instance == number])
            assert len(values) == 1
            assert (values[0] == 0) == (number <= made.patches)


def test_every_class_occurs_and_the_background_is_not_everything():
    count = np.zeros(CLASSES)
    for seed in range(60):
        count += np.bincount(scenes.scene(seed).label.ravel(), minlength=CLASSES)
    share = count / count.sum()
    assert 0.35 < share[0] < 0.6
    assert share[1:].min() > 0.05


def test_splits_are_disjoint_and_seeds_change_annotations_only():
    source = {s: scenes.Scenes("easy", s, 6, (32, 32), "point", 0) for s in scenes.FIRST_SEED}
    images = {sample.image.numpy().tobytes() for split in source.values() for sample in split}
    assert len(images) == 18
    other = scenes.Scenes("easy", "train", 6, (32, 32), "point", 1)
    pairs = list(zip(source["train"], other, strict=True))
    assert all(torch.equal(a.image, b.image) and torch.equal(a.truth, b.truth) for a, b in pairs)
    assert any(not torch.equal(a.label, b.label) for a, b in pairs)


def test_a_scene_does_not_depend_on_how_many_there_are():
    few = scenes.Scenes("default", "val", 2, (32, 32), "scribble", 3)
    many = scenes.Scenes("default", "val", 5, (32, 32), "scribble", 3)
    for a, b in zip(few, (many[0], many[1]), strict=True):
        assert a.name == b.name
        assert all(torch.equal(x, y) for x, y in zip(a[1:], b[1:], strict=True))


ANNOTATIONS = {
    "dense": (1, 1),
    "point": (0.008, 0.025),
    "scribble": (0.02, 0.045),
    "block10": (0.095, 0.11),
    "block20": (0.195, 0.21),
    "block50": (0.495, 0.51),
}


@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_samples(annotation):
    source = scenes.Scenes("default", "train", 20, (64, 64), annotation, 0)
    ratios = []
    for sample in source:
        assert sample.image.dtype == torch.uint8
        assert sample.image.shape == (3, 64, 64)
        assert sample.label.dtype == sample.truth.dtype == torch.int64
        labelled = sample.label >= 0
        assert torch.equal(sample.label[labelled], sample.truth[labelled])
        assert (sample.label[~labelled] == -1).all()
        ratios.append(labelled.float().mean().item())
    low, high = ANNOTATIONS[annotation]
    assert low <= np.mean(ratios) <= high
    assert len({sample.name for sample in source}) == len(source) == 20
    assert len(source.classes) == len(source.colors) == CLASSES


def test_about_half_of_the_patches_get_no_point():
    pointed = []
    for seed in range(80):
        made = scenes.scene(seed)
        label = scenes.annotate(made, "point", np.random.default_rng(seed))
        for patch in range(1, made.patches + 1):
            inside = made.instance == patch
            if ndimage.label(inside)[0].any() and inside.sum() > 200:
                pointed.append((label[inside] != VOID).any())
    assert len(pointed) > 60
    assert 0.3 < np.mean(pointed) < 0.7


def test_every_object_in_sight_gets_a_point():
    for seed in range(20):
        made = scenes.scene(seed)
        label = scenes.annotate(made, "point", np.random.default_rng(seed))
        for number in range(made.patches + 1, made.instance.max() + 1):
            piece, _ = ndimage.label(made.instance == number, np.ones((3, 3)))
            if np.bincount(piece.ravel())[1:].max(initial=0) >= 12:
                assert (label[made.instance == number] != VOID).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "simple"}, "scene: preset must be one of easy, .*, got 'simple'"),
        ({"split": "dev"}, "Scenes: split must be one of train, val, test, got 'dev'"),
        ({"count": -1}, "Scenes: count must be 0 to 1000000, got -1"),
        ({"size": (8, 64)}, r"scene: size must be at least 16 × 16, got \(8, 64\)"),
        ({"annotation": "block30"}, "Scenes: annotation must be dense, .*, got 'block30'"),
    ],
)
def test_errors(change, message):
    good = {"preset": "easy", "split": "val", "count": 1, "size": (32, 32)}
    with pytest.raises(ValueError, match=message):
        scenes.Scenes(**{**good, "annotation": "dense", "seed": 0, **change})


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="scene: seed must not be negative, got -1"):
        scenes.scene(-1)
