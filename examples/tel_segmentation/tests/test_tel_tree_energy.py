"""The tree energy loss: two pixels, a dense form of Eq. 7, derivatives, rules for labels."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import treefilter as tf
from tel_segmentation.config import TreeEnergy
from tel_segmentation.losses.inputs import LossInputs, unlabelled_region
from tel_segmentation.losses.tree_energy import TreeEnergyLoss, tree_energy_loss
from tel_segmentation.presets import LOSS_PRESETS

LOW = TreeEnergy(level="low")


def case(height=5, width=6, classes=3, batch=2, scale=1, channels=4, dtype=torch.float64, seed=0):
    """Random logits, image, label (some of each kind) and embedding."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=dtype, generator=generator)

    logits = normal(batch, classes, height, width)
    image = torch.rand(batch, 3, height * scale, width * scale, dtype=dtype, generator=generator)
    label = torch.randint(-2, classes, image[:, 0].shape, generator=generator)
    label[:, 0, 0] = -1
    return logits, image, label, normal(batch, channels, height, width) / 3


def dense_affinity(guide, sigma):
    """The matrix A, (B, N, N), of Eqs. 3 to 5, from distances along the trees."""
    graph = tf.grid(*guide.shape[-2:])
    weight = tf.reference.edge_weight(guide, graph)
    tree = tf.reference.mst(weight, graph)
    return torch.exp(-tf.reference.distance_matrix(weight, tree) / sigma)


def dense_filter(x, affinity):
    """The filter of Eq. 7 as a product of matrices."""
    flat = x.flatten(2)
    out = torch.einsum("bij,bkj->bki", affinity, flat) / affinity.sum(-1)[:, None]
    return out.view_as(x)


def two_pixels(affinity, labels=(-1, -1)):
    """Logits, image and label of two pixels whose edge has this affinity."""
    step = math.sqrt(-0.02 * math.log(affinity))
    image = torch.tensor([0.0, step], dtype=torch.float64).view(1, 1, 1, 2)
    logits = torch.tensor([[0.3, -1.0], [0.1, 0.7]], dtype=torch.float64).view(1, 2, 1, 2)
    return logits.requires_grad_(), image, torch.tensor(labels).view(1, 1, 2)


@pytest.mark.parametrize("affinity", [0.9, 0.5, 0.01])
@pytest.mark.parametrize("detach", ["none", "target"])
def test_two_pixels(affinity, detach):
    logits, image, label = two_pixels(affinity)
    probability = logits.softmax(1).detach().requires_grad_()
    options = dataclasses.replace(LOW, detach=detach)
    # softmax(log P) = P, so that the gradient is with respect to P.
    loss = tree_energy_loss(probability.log(), image, label, options=options).loss
    difference = (probability[..., 0] - probability[..., 1]).detach()
    factor = affinity / (1 + affinity)
    assert loss.item() == pytest.approx(factor * difference.abs().sum().item())
    (gradient,) = torch.autograd.grad(loss, probability)
    # The softmax projects onto Σ P = 1; so is the expected gradient.
    slope = factor if detach == "none" else 0.5
    expected = slope * difference.sign()[..., 0]
    p = probability.detach()[..., 0]
    tangent = torch.tensor([1.0, -1.0], dtype=torch.float64)[None, :, None]
    got = (gradient[..., 0] * tangent).sum()
    assert got.item() == pytest.approx((expected[..., None] * tangent).sum().item(), rel=1e-6)
    assert p.sum() == pytest.approx(1)


def test_gradient_lowers_affinities_between_disagreeing_pixels():
    logits, image, label = two_pixels(0.5)
    embed = torch.tensor([0.0, 0.8], dtype=torch.float64).view(1, 1, 1, 2).requires_grad_()
    loss = tree_energy_loss(logits, image, label, embed, TreeEnergy(level="high")).loss
    a = math.exp(-0.64)
    difference = (logits.softmax(1)[..., 0] - logits.softmax(1)[..., 1]).abs().sum().item()
    (gradient,) = torch.autograd.grad(loss, embed)
    # dL/dF = dL/da · da/dF, dL/da = |P1 - P2| / (1 + a)², a = exp(-(F1 - F2)²)
    expected = difference / (1 + a) ** 2 * a * 2 * 0.8
    assert gradient.flatten().tolist() == pytest.approx([expected, -expected])


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 8),
    width=st.integers(1, 8),
    aggregation=st.sampled_from(["LH-C", "HL-C", "LH-P"]),
    level=st.sampled_from(["low", "high", "low+high"]),
    seed=st.integers(0, 99),
)
def test_equals_the_dense_filter(height, width, aggregation, level, seed):
    logits, image, label, embed = case(height, width, seed=seed)
    options = TreeEnergy(level=level, aggregation=aggregation, sigma=0.05)
    out = tree_energy_loss(logits, image, label, embed, options)
    probability = logits.softmax(1)
    low, high = dense_affinity(image, 0.05), dense_affinity(embed, 1.0)
    if level != "low+high":
        targets = [dense_filter(probability, low if level == "low" else high)]
    elif aggregation == "LH-P":
        targets = [dense_filter(probability, low), dense_filter(probability, high)]
    else:
        first, second = (low, high) if aggregation == "LH-C" else (high, low)
        targets = [dense_filter(dense_filter(probability, first), second)]
    region = label == -1
    terms = [((probability - y).abs().sum(1) * region).sum() for y in targets]
    expected = sum(terms) / len(terms) / max(int(region.sum()), 1)
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(out.pseudo["final"], sum(targets) / len(targets))
    assert out.logs["unlabelled"] == region.sum()


@pytest.mark.parametrize("aggregation", ["LH-C", "HL-C", "LH-P"])
@pytest.mark.parametrize("delta", ["l1", "l2", "ce", "dot"])
def test_gradcheck(aggregation, delta):
    logits, image, label, embed = case(3, 4, batch=1)
    options = TreeEnergy(delta=delta, aggregation=aggregation)

    def loss(logits, embed):
        return tree_energy_loss(logits, image, label, embed, options).loss

    inputs = logits.requires_grad_(), embed.requires_grad_()
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ("l1", lambda p, y: (p - y).abs()),
        ("l2", lambda p, y: (p - y) ** 2),
        ("ce", lambda p, y: -y * p.log()),
        ("dot", lambda p, y: -y * p),
    ],
)
def test_differences(delta, expected):
    logits, image, label, _ = case()
    out = tree_energy_loss(logits, image, label, options=TreeEnergy(level="low", delta=delta))
    term = expected(logits.softmax(1), out.pseudo["final"]).sum(1)
    torch.testing.assert_close(out.loss, term[label == -1].mean())
    mean = TreeEnergy(level="low", delta=delta, classes="mean")
    torch.testing.assert_close(
        tree_energy_loss(logits, image, label, options=mean).loss, out.loss / 3
    )


def test_detach():
    logits, image, label, embed = case()
    logits.requires_grad_()
    embed.requires_grad_()

    def gradients(detach):
        loss = tree_energy_loss(logits, image, label, embed, TreeEnergy(detach=detach)).loss
        return torch.autograd.grad(loss, (logits, embed), allow_unused=True)

    free, target, affinity = (gradients(d) for d in ("none", "target", "affinity"))
    assert free[1] is not None
    assert free[1].abs().max() > 0
    assert target[1] is None
    assert affinity[1] is None
    torch.testing.assert_close(free[0], affinity[0])
    assert not torch.allclose(free[0], target[0])


def test_zero_where_it_must_be():
    logits, image, label, embed = case()
    constant = logits[..., :1, :1].expand_as(logits)
    assert tree_energy_loss(constant, image, label, embed).loss.item() == pytest.approx(
        0, abs=1e-14
    )
    logits.requires_grad_()
    for value in (0, -2):  # nothing is unlabelled
        out = tree_energy_loss(logits, image, torch.full_like(label, value), embed)
        assert out.loss.item() == 0
        (gradient,) = torch.autograd.grad(out.loss, logits)
        assert torch.equal(gradient, torch.zeros_like(gradient))
    none = tree_energy_loss(logits, image, label, embed, TreeEnergy(level="none"))
    assert none.loss.item() == 0
    assert none.pseudo == {}


@given(shift=st.floats(-0.05, 0.4))
@settings(deadline=None, max_examples=10)
def test_a_shift_of_all_colours_changes_nothing(shift):
    logits, image, label, _ = case()
    moved = tree_energy_loss(logits, image + shift, label, options=LOW).loss
    torch.testing.assert_close(moved, tree_energy_loss(logits, image, label, options=LOW).loss)


def test_padding_is_never_counted():
    logits, image, label, embed = case(scale=4)
    label[:] = -1
    label[..., 12:] = -2  # columns 3 and on of the prediction
    out = tree_energy_loss(logits, image, label, embed)
    assert out.logs["unlabelled"] == 2 * 5 * 3
    probability = logits.softmax(1)
    term = (probability - out.pseudo["final"]).abs().sum(1)[..., :3]
    torch.testing.assert_close(out.loss, term.mean())


@pytest.mark.parametrize("level", ["low", "low+high"])
def test_masked_padding_is_no_vertex(level):
    logits, image, label, embed = case(batch=1)
    label[:] = -1
    label[..., 4:] = -2
    options = TreeEnergy(level=level, mask_padding=True)
    cut = tree_energy_loss(logits, image, label, embed, options)
    small = [x[..., :4].contiguous() for x in (logits, image, label, embed)]
    alone = tree_energy_loss(*small, TreeEnergy(level=level))
    torch.testing.assert_close(cut.loss, alone.loss)
    torch.testing.assert_close(cut.pseudo["final"][..., :4], alone.pseudo["final"])
    logits.requires_grad_()
    embed.requires_grad_()
    loss = tree_energy_loss(logits, image, label, embed, options).loss
    gradients = torch.autograd.grad(loss, [logits, embed] if level != "low" else [logits])
    assert all(g.isfinite().all() for g in gradients)


def test_region():
    label = torch.full((1, 8, 8), -1)
    label[0, 1, 1] = 2  # not in the corner of its 4 × 4 block
    label[0, 4, 4] = 1  # in the corner
    label[0, 0, 7] = -2
    corners = unlabelled_region(label, (2, 2), "nearest")
    assert corners[0, 0].tolist() == [[True, True], [True, False]]
    assert unlabelled_region(label, (2, 2))[0, 0].tolist() == [[False, True], [True, False]]


def test_region_of_the_loss():
    logits, image, _, _ = case(height=2, width=2, batch=1, scale=4)
    label = torch.full((1, 8, 8), -1)
    label[0, 1, 1] = 2  # not in the corner of its 4 × 4 block
    label[0, 4, 4] = 1  # in the corner
    out = {
        roi: tree_energy_loss(logits, image, label, options=TreeEnergy(level="low", roi=roi))
        for roi in ("nearest", "any")
    }
    term = (logits.softmax(1) - out["any"].pseudo["final"]).abs().sum(1).flatten()
    torch.testing.assert_close(out["nearest"].loss, term[:3].mean())
    torch.testing.assert_close(out["any"].loss, term[1:3].mean())
    assert out["any"].logs["unlabelled"] == 2


def test_the_guide_is_resized_as_asked():
    logits, _, _, _ = case(height=4, width=4, batch=1)
    label = torch.full((1, 16, 16), -1)
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    guides = {
        "bilinear": F.interpolate(image, (4, 4), mode="bilinear"),
        "antialias": F.interpolate(image, (4, 4), mode="bilinear", antialias=True),
        "area": image.unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2)),
    }
    for resize, guide in guides.items():
        options = TreeEnergy(level="low", resize=resize)
        got = tree_energy_loss(logits, image, label, options=options)
        expected = tree_energy_loss(
            logits, guide, label[:, :4, :4], options=TreeEnergy(level="low")
        )
        torch.testing.assert_close(got.pseudo["low"], expected.pseudo["low"])


@pytest.mark.parametrize("parallel", ["mean", "sum"])
def test_parallel_losses_are_joined(parallel):
    logits, image, label, embed = case()
    options = TreeEnergy(aggregation="LH-P", parallel=parallel)
    out = tree_energy_loss(logits, image, label, embed, options)
    probability = logits.softmax(1)
    low, high = (
        (probability - out.pseudo[level]).abs().sum(1)[label == -1].mean()
        for level in ("low", "high")
    )
    torch.testing.assert_close(out.loss, (low + high) / (2 if parallel == "mean" else 1))


def test_reductions():
    logits, image, label, _ = case(batch=2)
    label[0] = -1
    label[1] = 0
    label[1, 0, :2] = -1

    def loss(reduction):
        options = TreeEnergy(level="low", reduction=reduction)
        return tree_energy_loss(logits, image, label, options=options)

    pseudo = loss("batch").pseudo["final"]
    term = (logits.softmax(1) - pseudo).abs().sum(1)
    per_image = [term[i][label[i] == -1].mean() for i in range(2)]
    torch.testing.assert_close(loss("image").loss, sum(per_image) / 2)
    torch.testing.assert_close(loss("batch").loss, term[label == -1].mean())
    torch.testing.assert_close(loss("global").loss, loss("batch").loss)  # one process


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_input_is_the_float32_result(dtype):
    logits, image, label, embed = case(dtype=torch.float32)
    halves = logits.to(dtype), embed.to(dtype)
    expected = tree_energy_loss(halves[0].float(), image, label, halves[1].float())
    out = tree_energy_loss(halves[0], image, label, halves[1])
    assert torch.equal(out.loss, expected.loss)


def test_autocast_lowers_nothing(monkeypatch):
    logits, image, label, embed = case(dtype=torch.float32)
    expected = tree_energy_loss(logits, image, label, embed)

    def by_products(guide, graph):
        """Edge weights by einsum, which autocast lowers; it does not lower treefilter's own."""
        a, b = graph.edge_index
        difference = guide.flatten(2)[..., a] - guide.flatten(2)[..., b]
        return torch.einsum("bce,bce->be", difference, difference)

    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tree_energy_loss(logits, image, label, embed).loss, expected.loss)
        monkeypatch.setattr(tf, "edge_weight", by_products)
        lowered = by_products(image, tf.grid(5, 6))
        out = tree_energy_loss(logits, image, label, embed)
    assert lowered.dtype == torch.bfloat16
    torch.testing.assert_close(out.loss, expected.loss)
    torch.testing.assert_close(out.pseudo["final"], expected.pseudo["final"])


def test_mst_offset_changes_ties_only():
    logits, image, label, embed = case()
    plain = tree_energy_loss(logits, image, label, embed)
    offset = tree_energy_loss(logits, image, label, embed, TreeEnergy(mst_offset=1.0))
    torch.testing.assert_close(plain.loss, offset.loss)  # no ties at these values


@pytest.mark.parametrize(
    ("offset", "position"),
    [
        (0.0, [0, 1, 2, 2]),  # 0 - 1 - 3 - 2, without the largest weight
        (1.0, [4, 5, 0, 6]),  # 2 - 0 - 1 - 3: all are equal, and the first three edges win
    ],
)
def test_mst_offset_makes_ties_of_small_weights(offset, position):
    """In float32, 1 + 4e-8 is 1. Affinities use the weights without the offset."""
    logits, _, label, _ = case(2, 2, batch=1, dtype=torch.float32)
    image = torch.tensor([[0.0, 1e-4], [2e-4, 2e-4]]).expand(1, 1, 2, 2)  # weights 4, 1, 1, 0 e-8
    options = TreeEnergy(level="low", sigma=1e-8, mst_offset=offset)
    out = tree_energy_loss(logits, image, label, options=options)
    along = torch.tensor(position, dtype=torch.float32)  # the path, in σ
    affinity = torch.exp(-(along[:, None] - along).abs())[None]
    torch.testing.assert_close(out.pseudo["final"], dense_filter(logits.softmax(1), affinity))


def test_shuffled_guide():
    logits, image, label, _ = case(batch=3)
    options = TreeEnergy(level="low", shuffle_guide=True)
    shuffled = tree_energy_loss(logits, image, label, options=options).loss
    by_hand = tree_energy_loss(logits, image.roll(1, 0), label, options=LOW).loss
    torch.testing.assert_close(shuffled, by_hand)


def test_void_can_be_left_out():
    logits, image, label, _ = case()
    void = torch.zeros_like(label, dtype=torch.bool)
    void[:, :3] = True
    options = TreeEnergy(level="low", exclude_void=True)
    out = tree_energy_loss(logits, image, label, options=options, void=void)
    assert out.logs["unlabelled"] == (label[:, 3:] == -1).sum()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guide": lambda x: x * 255}, "guide must have values in"),
        ({"guide": lambda x: (x - 0.45) / 0.225}, "guide must have values in"),
        ({"guide": lambda x: x * torch.nan}, "guide must have values in"),
        ({"guide": lambda x: x[:1]}, "guide must be floating point (2, 3, H, W)"),
        ({"label": lambda x: x[..., 1:]}, "label must be (B, H, W)"),
        ({"embed": lambda x: None}, "embed must be (B, C, h, w)"),
        ({"embed": lambda x: x[..., 1:]}, "embed must be (B, C, h, w)"),
        ({"logits": lambda x: x.long()}, "logits must be floating point"),
        ({"options": lambda o: dataclasses.replace(o, exclude_void=True)}, "void must be given"),
    ],
)
def test_mistakes(change, message):
    names = ("logits", "guide", "label", "embed", "options")
    values = dict(zip(names, (*case(), TreeEnergy()), strict=True))
    for name, function in change.items():
        values[name] = function(values[name])
    with pytest.raises(ValueError, match="tree_energy_loss") as caught:
        tree_energy_loss(**values)
    assert message in str(caught.value)


def test_guide_of_another_range_if_stated():
    logits, image, label, _ = case()
    stated = TreeEnergy(level="low", sigma=0.02 * 255**2, guide_range=(0, 255))
    big = tree_energy_loss(logits, image * 255, label, options=stated).loss
    torch.testing.assert_close(big, tree_energy_loss(logits, image, label, options=LOW).loss)


def test_module_and_logs():
    logits, image, label, embed = case()
    out = TreeEnergyLoss()(LossInputs(logits, embed, image, label))
    assert torch.equal(out.loss, tree_energy_loss(logits, image, label, embed).loss)
    graph = tf.grid(5, 6)
    for level, guide, sigma in (("low", image, 0.02), ("high", embed, 1.0)):
        weight = tf.edge_weight(guide, graph)
        tree = tf.mst(weight, graph)
        edges = tf.affinity(weight, tree, sigma)[tree.edge >= 0]
        torch.testing.assert_close(out.logs[f"affinity_{level}"], edges.mean())
        torch.testing.assert_close(out.logs[f"affinity_{level}_median"], edges.median())
    assert set(out.pseudo) == {"low", "final"}
    assert not out.pseudo["final"].requires_grad


def test_presets_have_the_papers_numbers():
    assert LOSS_PRESETS["voc"].tel.sigma == 0.02
    assert LOSS_PRESETS["cityscapes"].tel.sigma == LOSS_PRESETS["ade20k"].tel.sigma == 0.002
    assert LOSS_PRESETS["ltf_official"].weight == 0.6
    assert TreeEnergyLoss.default_weight == 0.4


def test_guide_is_resized_as_the_official_code_does():
    logits, image, label, _ = case(scale=4)
    small = F.interpolate(image, size=(5, 6), mode="bilinear", align_corners=False)
    low = tree_energy_loss(logits, image, label, options=LOW)
    by_hand = dense_filter(logits.softmax(1), dense_affinity(small, 0.02))
    torch.testing.assert_close(low.pseudo["final"], by_hand)
