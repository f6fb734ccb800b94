import itertools
import math

import pytest
import tel_cases
import torch
import torch.nn.functional as F

from tel_segmentation.config import Kernel
from tel_segmentation.losses import pairwise, pseudo_labels
from tel_segmentation.losses.inputs import LossInputs
from tel_segmentation.losses.pseudo_labels import (
    BilateralLoss,
    NonLocalLoss,
    bilateral_loss,
    non_local_loss,
)

WIDTHS = {"sigma_xy": 5.0, "sigma_rgb": 0.4}


def embeddings(logits, seed=3):
    random = torch.Generator().manual_seed(seed)
    shape = (2, len(logits), 4, *logits.shape[2:])
    return torch.randn(shape, generator=random, dtype=torch.float64).unbind()


def bilateral(logits, image, label):
    return bilateral_loss(logits, image, label, **WIDTHS).loss


def non_local(logits, image, label):
    return non_local_loss(logits, *embeddings(logits), label).loss


def covers_a_label(label, stride):
    """Whether any pixel in a block of the label has a class."""
    return F.max_pool2d((label >= 0).float(), stride) > 0


def brute_force(logits, label, affinity):
    """The loss and Ỹ, from affinity(b, p, q) for every pair of pixels."""
    size = logits.shape[2:]
    stride = label.shape[1] // size[0]
    corner = label[:, ::stride, ::stride]
    prob = logits.softmax(1)
    pixels = list(itertools.product(range(size[0]), range(size[1])))
    pseudo = torch.zeros_like(prob)
    for b, p in itertools.product(range(len(logits)), pixels):
        weights = [(q, affinity(b, p, q)) for q in pixels if corner[b][q] != -2]
        for q, weight in weights:
            pseudo[b, :, p[0], p[1]] += weight / sum(w for _, w in weights) * prob[b, :, q[0], q[1]]
    region = (corner == -1) & ~covers_a_label(label, stride)
    difference = (prob - pseudo).abs().sum(1)[region].sum()
    return difference / max(int(region.sum()), 1), pseudo


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_bilateral_equals_the_double_loop(stride):
    logits, image, label = tel_cases.batch(size=(3, 4), stride=stride)
    label[1, :, -2 * stride :] = -2
    guide = F.interpolate(image, (3, 4), mode="bilinear", align_corners=False)

    def affinity(b, p, q):
        colour = float((guide[b, :, p[0], p[1]] - guide[b, :, q[0], q[1]]).square().sum())
        return math.exp(-(math.dist(p, q) ** 2 / (5.0 / stride) ** 2 + colour / 0.4**2) / 2)

    expected, pseudo = brute_force(logits, label, affinity)
    result = bilateral_loss(logits, image, label, **WIDTHS)
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(result.pseudo["final"], pseudo)
    unlabelled = (label[:, ::stride, ::stride] == -1) & ~covers_a_label(label, stride)
    assert result.logs["unlabelled"] == unlabelled.sum()


def test_non_local_equals_the_double_loop():
    logits, _, label = tel_cases.batch(size=(3, 4))
    label[1, :, -4:] = -2
    theta, phi = embeddings(logits)

    def affinity(b, p, q):
        return math.exp(float(theta[b, :, p[0], p[1]] @ phi[b, :, q[0], q[1]]))

    expected, pseudo = brute_force(logits, label, affinity)
    result = non_local_loss(logits, theta, phi, label)
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(result.pseudo["final"], pseudo)
    unlabelled = (label[:, ::2, ::2] == -1) & ~covers_a_label(label, 2)
    assert result.logs["unlabelled"] == unlabelled.sum()


def test_gradients_through_both_sides():
    logits, image, label = tel_cases.batch(size=(3, 4))
    label[0, -2:] = -2
    logits.requires_grad_()
    theta, phi = (x.clone().requires_grad_() for x in embeddings(logits))
    assert torch.autograd.gradcheck(lambda z: bilateral(z, image, label), logits)
    assert torch.autograd.gradcheck(
        lambda z, a, b: non_local_loss(z, a, b, label).loss, (logits, theta, phi)
    )


@pytest.mark.parametrize("loss", [bilateral, non_local])
def test_rows_of_the_affinities_in_any_number_of_pieces(loss, monkeypatch):
    case = tel_cases.batch()
    value, grad = tel_cases.gradient(loss, *case)
    for module in (pairwise, pseudo_labels):
        monkeypatch.setattr(module, "CHUNK", 2 * 20 * 3)  # three rows of two images of 4 × 5
    some, some_grad = tel_cases.gradient(loss, *case)
    torch.testing.assert_close(some, value)
    torch.testing.assert_close(some_grad, grad)


def test_two_pixels():
    """The loss is a / (1 + a) · |P1 - P2|, as with a tree of two pixels."""
    logits = torch.randn(1, 3, 1, 2, dtype=torch.float64)
    image = torch.zeros(1, 3, 1, 2, dtype=torch.float64)
    image[..., 1] = 0.1
    label = torch.full((1, 1, 2), -1)
    a = math.exp(-(1 / 5.0**2 + 3 * 0.01 / 0.4**2) / 2)
    p = logits.softmax(1)
    expected = a / (1 + a) * (p[..., 0] - p[..., 1]).abs().sum()
    torch.testing.assert_close(bilateral(logits, image, label), expected)


@pytest.mark.parametrize("loss", [bilateral, non_local])
def test_holds_like_every_term(loss):
    tel_cases.assert_half_is_float32(loss)
    tel_cases.assert_padding_never_counts(loss, partial=False)
    tel_cases.assert_nothing_from_nothing(loss, -2)
    tel_cases.assert_nothing_from_nothing(loss, 1)
    tel_cases.assert_descends(loss)


def test_bilateral_module_has_the_functions_defaults_where_nothing_is_given():
    logits, image, label = tel_cases.batch()
    inputs = LossInputs(logits, None, image, label)
    default = bilateral_loss(logits, image, label).loss
    assert BilateralLoss(Kernel())(inputs).loss == default
    assert BilateralLoss(Kernel(**WIDTHS))(inputs).loss == bilateral(logits, image, label)


def test_non_local_module_learns_its_embeddings():
    logits, image, label = tel_cases.batch(dtype=torch.float32)
    embed = torch.randn(2, 16, 4, 5, requires_grad=True)
    module = NonLocalLoss(channels=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = module(LossInputs(logits.half(), embed.half(), image, label)).loss
    same = module(LossInputs(logits.half().float(), embed.half().float(), image, label)).loss
    assert low == same
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    before = module(LossInputs(logits, embed, image, label)).loss
    for _ in range(5):
        optimizer.zero_grad()
        module(LossInputs(logits, embed, image, label)).loss.backward()
        optimizer.step()
    assert module(LossInputs(logits, embed, image, label)).loss < before
    assert embed.grad.abs().max() > 0


def test_wrong_arguments():
    logits, image, label = tel_cases.batch()
    theta, phi = embeddings(logits)
    with pytest.raises(ValueError, match="bilateral_loss: guide must be colours"):
        bilateral_loss(logits, 255 * image, label)
    with pytest.raises(ValueError, match="non_local_loss: phi must have shape"):
        non_local_loss(logits, theta, phi[:, :, 1:], label)
    with pytest.raises(ValueError, match="non_local_loss: theta must have shape"):
        non_local_loss(logits, theta[..., 1:], phi, label)
    with pytest.raises(ValueError, match="non_local_loss: label must be integers"):
        non_local_loss(logits, theta, phi, label[:1])
    with pytest.raises(ValueError, match="embedding F, got None"):
        NonLocalLoss()(LossInputs(logits, None, image, label))
