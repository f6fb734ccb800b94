import itertools
import math

import pytest
import tel_cases
import torch

from tel_segmentation.config import Kernel
from tel_segmentation.losses import dense_crf, pairwise
from tel_segmentation.losses.dense_crf import (
    DenseCRFLoss,
    KernelCutLoss,
    NormCutLoss,
    dense_crf_loss,
    kernel_cut_loss,
    norm_cut_loss,
)
from tel_segmentation.losses.inputs import LossInputs

LOSSES = [dense_crf_loss, norm_cut_loss, kernel_cut_loss]
WIDTHS = {"sigma_xy": 5.0, "sigma_rgb": 0.4}


def with_widths(function):
    return lambda logits, image, label: function(logits, image, label, **WIDTHS).loss


def brute_force(logits, image, label, sigma_xy, sigma_rgb):
    """The DenseCRF and normalised cut losses, from W for every pair of pixels."""
    size = logits.shape[2:]
    guide = tel_cases.area(image, size)
    valid = (tel_cases.area((label != -2).double(), size) == 1).flatten(1).double()
    prob = logits.softmax(1).flatten(2) * valid[:, None]
    sigma = sigma_xy * size[0] / image.shape[2]
    pixels = list(itertools.product(range(size[0]), range(size[1])))
    dense, cut = [], []
    for b in range(len(logits)):
        w = torch.zeros(len(pixels), len(pixels), dtype=torch.float64)
        for (i, p), (j, q) in itertools.product(enumerate(pixels), enumerate(pixels)):
            colour = float((guide[b, :, p[0], p[1]] - guide[b, :, q[0], q[1]]).square().sum())
            w[i, j] = math.exp(-(math.dist(p, q) ** 2 / sigma**2 + colour / sigma_rgb**2) / 2)
        w *= valid[b] * valid[b][:, None]
        if w.sum() == 0:
            dense.append(w.sum())
            cut.append(w.sum())
            continue
        dense.append(1 - sum(s @ w @ s for s in prob[b]) / w.sum())
        cut.append(sum(s @ w @ (valid[b] - s) / (w.sum(1) @ s) for s in prob[b]))
    return torch.stack(dense).mean(), torch.stack(cut).mean()


@pytest.mark.parametrize("stride", [1, 2])
def test_equal_the_double_loop(stride):
    logits, image, label = tel_cases.batch(size=(3, 5), stride=stride)
    label[1, : 2 * stride - 1] = -2
    dense, cut = brute_force(logits, image, label, **WIDTHS)
    torch.testing.assert_close(dense_crf_loss(logits, image, label, **WIDTHS).loss, dense)
    torch.testing.assert_close(norm_cut_loss(logits, image, label, **WIDTHS).loss, cut)
    both = kernel_cut_loss(logits, image, label, **WIDTHS, balance=1.0)
    torch.testing.assert_close(both.loss, dense + cut)
    torch.testing.assert_close(both.logs, {"norm_cut": cut, "dense_crf": dense})


@pytest.mark.parametrize("function", LOSSES)
def test_rows_of_the_kernel_in_any_number_of_pieces(function, monkeypatch):
    logits, image, label = tel_cases.batch()
    value, grad = tel_cases.gradient(with_widths(function), logits, image, label)
    monkeypatch.setattr(pairwise, "CHUNK", 2 * 20 * 3)  # three rows of two images of 4 × 5
    some, some_grad = tel_cases.gradient(with_widths(function), logits, image, label)
    torch.testing.assert_close(some, value)
    torch.testing.assert_close(some_grad, grad)


@pytest.mark.parametrize("function", LOSSES)
def test_gradient(function):
    logits, image, label = tel_cases.batch(size=(3, 4))
    label[0, -2:] = -2
    loss = with_widths(function)
    assert torch.autograd.gradcheck(lambda z: loss(z, image, label), logits.requires_grad_())


def test_a_large_prediction_is_averaged_first(monkeypatch):
    monkeypatch.setattr(dense_crf, "MOST_PIXELS", 12)
    logits, image, label = tel_cases.batch(size=(6, 8))
    label[0, :, -4:] = -2  # padding ends at a border of coarse pixels
    prob = tel_cases.area(logits.softmax(1), (3, 4))
    expected, _ = brute_force(prob.log(), image, label, **WIDTHS)
    torch.testing.assert_close(dense_crf_loss(logits, image, label, **WIDTHS).loss, expected)
    loss = with_widths(dense_crf_loss)
    assert torch.autograd.gradcheck(lambda z: loss(z, image, label), logits.requires_grad_())


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (128, 128), (90, 120), (1, 9000)])
def test_at_most_4096_pixels_are_paired(size):
    logits = torch.zeros(1, 2, *size)
    small = pairwise.coarse(
        logits, torch.zeros(1, 3, *size), torch.zeros(1, *size).long(), dense_crf.MOST_PIXELS
    )
    pixels = small.prob[0, 0].numel()
    assert pixels <= 4096
    assert pixels > 700 or size == (64, 64)
    assert small.guide.shape[2:] == small.prob.shape[2:] == small.valid.shape[2:]


def test_known_values():
    """Two regions of very different colours: with a certain prediction the losses are 0."""
    logits = torch.full((1, 2, 4, 6), -99.0, dtype=torch.float64)
    logits[:, 0, :, :3], logits[:, 1, :, 3:] = 99, 99
    image = torch.zeros(1, 3, 4, 6, dtype=torch.float64)
    image[..., 3:] = 1
    label = torch.full((1, 4, 6), -1)
    assert dense_crf_loss(logits, image, label).loss.abs() < 1e-12
    assert norm_cut_loss(logits, image, label).loss.abs() < 1e-12
    uniform = torch.zeros_like(logits)
    torch.testing.assert_close(dense_crf_loss(uniform, image, label).loss.item(), 0.5)
    torch.testing.assert_close(norm_cut_loss(uniform, image, label).loss.item(), 1.0)


def test_a_class_of_vanishing_probability_gives_finite_gradients():
    logits, image, label = tel_cases.batch(dtype=torch.float32)
    logits[:, 0] = -300
    for function in LOSSES:
        value, grad = tel_cases.gradient(with_widths(function), logits, image, label)
        assert value.isfinite()
        assert grad.isfinite().all()


@pytest.mark.parametrize("function", LOSSES)
def test_holds_like_every_term(function):
    loss = with_widths(function)
    tel_cases.assert_half_is_float32(loss)
    tel_cases.assert_padding_never_counts(loss, partial=False)
    tel_cases.assert_padding_never_counts(loss, partial=True)
    tel_cases.assert_nothing_from_nothing(loss, -2)
    tel_cases.assert_descends(loss)


@pytest.mark.parametrize("kind", [DenseCRFLoss, NormCutLoss, KernelCutLoss])
def test_module_has_the_functions_defaults_where_nothing_is_given(kind):
    logits, image, label = tel_cases.batch()
    inputs = LossInputs(logits, None, image, label)
    function = LOSSES[[DenseCRFLoss, NormCutLoss, KernelCutLoss].index(kind)]
    assert kind(Kernel())(inputs).loss == function(logits, image, label).loss
    given = kind(Kernel(**WIDTHS, radius=3))(inputs).loss
    assert given == function(logits, image, label, **WIDTHS).loss


@pytest.mark.parametrize("function", LOSSES)
def test_wrong_guide(function):
    logits, image, label = tel_cases.batch()
    with pytest.raises(ValueError, match=rf"{function.__name__}: guide must be .* in \[0, 1\]"):
        function(logits, (image - 0.45) / 0.225, label)
