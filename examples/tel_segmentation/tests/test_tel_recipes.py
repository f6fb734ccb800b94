"""The recipes and the published settings: resolved configurations and their effects."""

import dataclasses

import numpy as np
import pytest
import tel_miniatures
import torch
from PIL import Image

from tel_segmentation import config
from tel_segmentation.commands.run import Run, plan
from tel_segmentation.config import Evaluation
from tel_segmentation.data.augment import augment
from tel_segmentation.data.loading import TrainingSet, open_source
from tel_segmentation.data.sample import Sample
from tel_segmentation.evaluation import protocols
from tel_segmentation.losses import methods
from tel_segmentation.losses.inputs import unlabelled_region
from tel_segmentation.paper import recipes
from tel_segmentation.paper.experiments import experiments, find, resolve
from tel_segmentation.training import engine
from tel_segmentation.training.state import State

SQUASH = Evaluation("squash", (512, 512))
SHORT = Evaluation("short-side", (512, 512))

# Settings of the official scripts; in brackets those of the paper, if different.
#   crop H × W, batch, iterations, lr of backbone, of the rest, weight decay, λ, σ, output stride,
#   iterations between evaluations, evaluation
OFFICIAL = {
    "t1.scribble.dlv3p.tel":
        ((512, 512), 16, 80_000, 1e-3, 1e-2, 1e-4, 0.4, 0.02, 16, 500, SQUASH),
    "t1.scribble.ltf.tel":
        ((512, 512), 32, 80_000, 1e-3, 1e-2, 1e-4, 0.6, 0.02, 32, 1000, SQUASH),
    "t2.cs.hrnet.b20.tel":
        ((512, 1024), 8, 40_000, 1e-2, 1e-2, 5e-4, 0.4, 0.002, None, 1000, Evaluation(multiple=32)),
    "t2.cs.dlv3p.b20.tel":
        ((512, 1024), 8, 40_000, 5e-3, 5e-3, 5e-4, 0.4, 0.002, 8, 1000, Evaluation(multiple=8)),
    "t2.ade.hrnet.b20.tel":
        ((512, 512), 16, 150_000, 2e-2, 2e-2, 1e-4, 0.4, 0.002, None, 1000, SHORT),
    "t2.ade.dlv3p.b20.tel":
        ((512, 512), 16, 150_000, 2e-2, 2e-2, 1e-4, 0.4, 0.002, 8, 1000, SHORT),
}  # fmt: skip
PAPER = {
    "t1.scribble.dlv3p.tel":
        ((512, 512), 16, 80_000, 1e-3, 1e-3, 1e-4, 0.4, 0.02, 16),
    "t1.scribble.ltf.tel":
        ((512, 512), 16, 80_000, 1e-3, 1e-3, 1e-4, 0.4, 0.02, 32),
    "t2.cs.hrnet.b20.tel":
        ((512, 1024), 8, 40_000, 1e-2, 1e-2, 1e-4, 0.4, 0.002, None),
    "t2.cs.dlv3p.b20.tel":
        ((512, 1024), 8, 40_000, 1e-2, 1e-2, 1e-4, 0.4, 0.002, 8),
    "t2.ade.hrnet.b20.tel":
        ((512, 512), 16, 150_000, 2e-2, 2e-2, 1e-4, 0.4, 0.002, None),
    "t2.ade.dlv3p.b20.tel":
        ((512, 512), 16, 150_000, 2e-2, 2e-2, 1e-4, 0.4, 0.002, 8),
}  # fmt: skip


def numbers(options):
    optimizer = options.optimizer
    stride = None if options.model.network == "hrnet" else options.model.output_stride
    return (
        options.data.crop, options.batch, options.iterations, optimizer.lr,
        pytest.approx(optimizer.lr * optimizer.head_lr_factor), optimizer.weight_decay,
        options.loss.weight, options.loss.tel.sigma, stride,
    )  # fmt: skip


@pytest.mark.parametrize("id", OFFICIAL)
def test_the_official_recipe(id):
    options = resolve(find(id), "official")
    assert numbers(options) == OFFICIAL[id][:9]
    assert (options.eval_every, options.evaluation) == OFFICIAL[id][9:]
    assert options.data.aspect == (0.9, 1.1)
    assert options.data.short_side == (512 if ".ade." in id else None)
    assert options.loss.tel.mst_offset == 1
    assert options.model.bgr
    assert options.protocols == ("ss", "msf", "official")
    # For Cityscapes, two names mean one protocol, which is evaluated once.
    assert (protocols.named("ss", options) == options.evaluation) == (".cs." in id)
    # The dilations are those of stride 8 even at 16.
    assert options.model.rates == ((12, 24, 36) if options.model.network == "deeplabv3+" else None)


@pytest.mark.parametrize("id", PAPER)
def test_the_papers_recipe(id):
    options = resolve(find(id), "paper")
    assert numbers(options) == PAPER[id]
    assert options.data.aspect == (1, 1)
    assert options.data.short_side is None
    assert options.loss.tel.mst_offset == 0
    assert not options.model.bgr
    assert options.model.rates is None
    assert options.evaluation == Evaluation(multiple=options.model.coarsest_stride)
    assert options.evaluation == protocols.named("ss", options)


@pytest.mark.parametrize("recipe", ["official", "paper"])
@pytest.mark.parametrize("id", OFFICIAL)
def test_what_both_recipes_share(id, recipe):
    options = resolve(find(id), recipe)
    config.check(options)
    engine._check(options)
    optimizer, data, loss = options.optimizer, options.data, options.loss
    assert (optimizer.name, optimizer.momentum, optimizer.power) == ("sgd", 0.9, 0.9)
    assert (data.flip, data.scale, data.brightness) == (0.5, (0.5, 2.0), 10)
    assert (loss.method, loss.warmup, loss.ramp, loss.reduction) == ("tel", 0, 0, "batch")
    tel = loss.tel
    assert (tel.level, tel.aggregation, tel.delta, tel.detach) == ("low+high", "LH-C", "l1", "none")
    assert (tel.reduction, tel.classes, tel.roi) == ("batch", "sum", "nearest")
    assert not tel.mask_padding
    assert (options.seed, options.amp) == (304, "fp16")
    stem = {"deeplabv3+": "resnet101s", "ltf": "resnet101s", "hrnet": "hrnet_w48"}
    assert options.model.name == stem[options.model.network]
    assert options.model.embedding == "relu"


@pytest.mark.parametrize("recipe", ["official", "paper"])
def test_deeplabv2_is_our_own_choice_on_torchvisions_weights(recipe):
    """It is the recipe of DeepLabV3+, except for the network and the order of its colours."""
    options, standard = (
        resolve(find(f"t{id}.tel"), recipe) for id in ("7.dlv2", "1.scribble.dlv3p")
    )
    model = options.model
    assert (model.name, model.network, model.output_stride) == ("resnet101", "deeplabv2", 8)
    assert (model.weights, model.bgr, model.rates) == ("resnet101-63fe2227.pth", False, None)
    multiple = options.evaluation.multiple
    assert multiple == (8 if recipe == "paper" else 1)
    evaluation = dataclasses.replace(standard.evaluation, multiple=multiple)
    standard = dataclasses.replace(standard, evaluation=evaluation)
    for name in ("data", "loss", "optimizer", "evaluation", "iterations", "batch", "eval_every"):
        assert getattr(options, name) == getattr(standard, name), name


def test_only_tel_has_the_recipes_weight():
    for experiment in experiments().values():
        if experiment.kind == "cost":
            continue
        loss = resolve(experiment).loss
        weight = methods.term(loss)[1]
        if loss.method == "tel":
            expected = 0.6 if experiment.network == "ltf" else experiment.loss.get("weight", 0.4)
            assert weight == expected, experiment.id
        elif loss.method in ("naive", "bilateral", "non_local", "dense_crf"):
            assert (loss.weight, weight) == (None, 0.4), experiment.id


@pytest.mark.parametrize(
    ("id", "changes"),
    [
        ("t3a.l2", {"delta": "l2"}),
        ("t3a.ce", {"delta": "ce"}),
        ("t3a.dot", {"delta": "dot"}),
        ("t3b.low", {"level": "low"}),
        ("t3b.high", {"level": "high"}),
        ("t3d.lhp", {"aggregation": "LH-P"}),
        ("t3d.hlc", {"aggregation": "HL-C"}),
        ("t3f.sigma.0.05", {"sigma": 0.05}),
        ("t3a.l1", {}),
        ("t3f.sigma.0.02", {}),
    ],
)
def test_an_ablation_changes_one_thing(id, changes):
    standard = resolve(find("t1.scribble.dlv3p.tel"))
    options = resolve(find(id))
    assert options.loss.tel == dataclasses.replace(standard.loss.tel, **changes)
    same = {"loss": standard.loss, "method": standard.method, "paper_id": standard.paper_id}
    assert dataclasses.replace(options, **same) == standard
    assert (options.method == standard.method) == (not changes)


def test_thresholds_and_weights_of_the_sweeps():
    assert resolve(find("t6.tau.0.95")).loss.threshold == 0.95
    assert resolve(find("t3e.lambda.0.1")).loss.weight == 0.1
    assert resolve(find("t6.tau.1.0")).loss.method == "partial"
    full = resolve(find("t2.ade.hrnet.b100.baseline"))
    assert (full.loss.method, full.data.annotation) == ("full", "dense")
    assert resolve(find("t2.cs.hrnet.b10.tel")).data.annotation == "block10"


class Named:
    """The part of a data set that a network is built from."""

    classes, colors = tuple("abc"), ((0, 0, 0),) * 3


@pytest.fixture(scope="module")
def state():
    options = resolve(find("t1.scribble.dlv3p.tel"))
    model = dataclasses.replace(options.model, name="resnet18", weights="none")
    settings = dataclasses.replace(options, model=model, amp="off")
    return State(settings, Named(), torch.device("cpu"))


def test_the_learning_rate_follows_the_polynomial(state):
    backbone, head = state.optimizer.param_groups
    for iteration, factor in ((0, 1.0), (40_000, 0.5**0.9), (72_000, 0.1**0.9), (79_999, 3.87e-5)):
        state.iteration = iteration
        state.set_learning_rate()
        assert backbone["lr"] == pytest.approx(1e-3 * factor, rel=1e-2)
        assert head["lr"] == pytest.approx(1e-2 * factor, rel=1e-2)
    state.iteration = 0


def test_groups_of_parameters(state):
    """All parts but the backbone have ten times the rate; weight decay includes batch norm."""
    backbone, head = state.optimizer.param_groups
    assert isinstance(state.optimizer, torch.optim.SGD)
    for group in (backbone, head):
        assert (group["weight_decay"], group["momentum"], group["nesterov"]) == (1e-4, 0.9, False)
    counted = {id(p) for group in (backbone, head) for p in group["params"]}
    assert counted == {id(p) for p in state.objective.parameters()}
    inside = {id(p) for p in state.model.features.backbone.parameters()}
    assert {id(p) for p in backbone["params"]} == inside
    embedding = {id(p) for p in state.model.embedding.parameters()}
    assert embedding <= {id(p) for p in head["params"]}


def white(height, width):
    """A labelled image without a black pixel."""
    label = torch.zeros(height, width, dtype=torch.int64)
    image = torch.full((3, height, width), 200, dtype=torch.uint8)
    return Sample("a", image, label, label.clone())


@pytest.mark.parametrize("id", ["t1.scribble.dlv3p.tel", "t2.ade.hrnet.b20.tel"])
def test_views_have_the_crop_and_padding_of_the_recipe(id):
    data = resolve(find(id)).data
    tops = set()
    for seed in range(12):
        view = augment(white(200, 300), data, np.random.default_rng(seed))
        assert view.label.shape == data.crop
        inside = view.label >= 0
        assert (view.label[~inside] == -2).all()
        # Padding is black in the guide; brightness is not in it.
        assert (view.guide[:, ~inside] == 0).all()
        assert (view.guide[:, inside] * 255 - 200).abs().max() < 1.5
        rows = inside.any(1).nonzero()
        tops.add(int(rows[0]))
        scale = int(rows[-1] - rows[0] + 1) / 200
        assert 0.5 / 1.1**0.5 - 0.01 < scale < 2 / 0.9**0.5 + 0.01
    assert len(tops) > 5  # at a random position


def test_samples_of_cityscapes(tmp_path):
    """Samples from files, as in training: 512 × 1024 with the image at a random position."""
    id = "t2.cs.hrnet.b20.tel"
    root = tel_miniatures.data_root(tmp_path)
    settings = plan(Run(id, data_root=root, weights="none", output=tmp_path), find(id))
    source = open_source(settings.data, "train")
    samples = TrainingSet(source, settings.data, settings.seed)
    tops, lefts = [], []
    for position in range(16):
        _, view = samples[position, position % len(source)]
        for values in (view.image, view.guide):
            assert values.shape == (3, 512, 1024)
        for values in (view.label, view.truth):
            assert values.shape == (512, 1024)
            inside = values != -2
            rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
            top, bottom, left, right = (
                int(x) for x in (rows[0], rows[-1], columns[0], columns[-1])
            )
            assert inside[top : bottom + 1, left : right + 1].all()
            # The miniature has 24 × 40 pixels.
            assert 0.5 / 1.1**0.5 - 0.05 < (bottom - top + 1) / 24 < 2 / 0.9**0.5
            assert 0.5 * 0.9**0.5 - 0.05 < (right - left + 1) / 40 < 2 * 1.1**0.5
            assert (view.guide[:, ~inside] == 0).all()
        tops.append(top)
        lefts.append(left)
    # Both offsets vary over their range, independently of each other.
    assert min(tops) < 120 < 350 < max(tops)
    assert min(lefts) < 240 < 700 < max(lefts)
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.7


def test_crops_of_images_as_large_as_cityscapes():
    """There is padding only if the scaled image is smaller than the crop."""
    data = resolve(find("t2.cs.hrnet.b20.tel")).data
    row, column = torch.meshgrid(torch.arange(1024), torch.arange(2048), indexing="ij")
    place = torch.stack((row // 4, column // 8, row * 0)).to(torch.uint8)
    label = torch.zeros(1024, 2048, dtype=torch.int64)
    sample = Sample("a", place, label, label)

    def view(scale, seed):
        changed = dataclasses.replace(data, scale=(scale, scale), aspect=(1, 1), flip=0)
        return augment(sample, changed, np.random.default_rng(seed))

    corners = set()
    for seed in range(5):
        seen = view(1.0, seed)
        assert (seen.label == 0).all()
        corners.add(tuple((seen.guide[:2, 0, 0] * 255).round().int().tolist()))
    assert len(corners) == 5
    tops = set()
    for seed in range(5):
        seen = view(0.45, seed)  # as large as the crop at 0.5, the smallest of the recipe
        inside = seen.label == 0
        assert int(inside.sum()) == 460 * 921
        tops.add(int(inside.any(1).nonzero()[0]))
    assert len(tops) > 3


def test_padding_and_void_in_the_loss():
    """Padding (-2) is neither labelled nor in Ω_U; void is unlabelled (-1) and so in Ω_U."""
    label = torch.tensor([[[-2, -2, -2, -2, -1, -1, -1, -1, 0, 0, 0, 0]] * 4])
    region = unlabelled_region(label, (1, 3))
    assert region.flatten().tolist() == [False, True, False]


TRAIN_IDS = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12,
    26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip


@pytest.mark.parametrize(
    ("id", "file", "values", "expected"),
    [
        (
            "t2.cs.hrnet.b20.tel",
            "cityscapes/train/sparse_label/block20/aachen_000000_000019_leftImg8bit.png",
            [*range(34), 255],
            [TRAIN_IDS.get(value, -1) for value in range(34)] + [-1],
        ),
        (
            "t2.ade.dlv3p.b20.tel",
            "ADEChallengeData2016/annotations/block20/train/ADE_train_00000001.png",
            [0, 1, 2, 149, 150],
            [-1, 0, 1, 148, 149],
        ),
        (
            "t1.full.dlv3p",
            "voc2012/VOCdevkit/VOC2012/SegmentationClass/2007_000032.png",
            [0, 1, 20, 255],
            [0, 1, 20, -1],
        ),
    ],
)
def test_label_values_by_the_preset(tmp_path, id, file, values, expected):
    """Void is unlabelled like any other pixel: the tree energy loss acts on it."""
    root = tel_miniatures.data_root(tmp_path)
    with Image.open(root / file) as image:
        label = np.array(image)
    label[0, : len(values)] = values
    Image.fromarray(label).save(root / file)
    data = plan(Run(id, data_root=root, weights="none", output=tmp_path), find(id)).data
    data = dataclasses.replace(data, short_side=None)
    source = open_source(data, "train")
    (sample,) = (s for s in source if s.name.split("/")[-1].split("_leftImg")[0] in file)
    assert sample.label[0, : len(values)].tolist() == expected


def test_unknown_recipes():
    with pytest.raises(ValueError, match=r"recipe must be .*, got 'mine' of voc dlv3p"):
        recipes.resolve("voc", "dlv3p", "mine")
    with pytest.raises(ValueError, match=r"recipe must be .*, got 'paper' of voc hrnet"):
        recipes.resolve("voc", "hrnet", "paper")
