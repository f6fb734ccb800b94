import itertools
import math

import pytest
import tel_cases
import torch

from tel_segmentation.config import Kernel
from tel_segmentation.losses.grid_crf import GridCRFLoss, grid_crf_loss
from tel_segmentation.losses.inputs import LossInputs


def loss(logits, image, label):
    return grid_crf_loss(logits, image, label).loss


def brute_force(logits, image, label, sigma_rgb):
    size = logits.shape[2:]
    prob = logits.softmax(1)
    guide = tel_cases.area(image, size)
    valid = tel_cases.area((label != -2).double(), size) == 1
    pixels = list(itertools.product(range(size[0]), range(size[1])))
    values = []
    for b in range(len(logits)):
        pairs = [
            (p, q, float((guide[b, :, p[0], p[1]] - guide[b, :, q[0], q[1]]).square().sum()))
            for p, q in itertools.combinations(pixels, 2)
            if max(abs(p[0] - q[0]), abs(p[1] - q[1])) == 1 and valid[b][p] and valid[b][q]
        ]
        if not pairs:
            values.append(0.0)
            continue
        variance = sigma_rgb**2 if sigma_rgb else sum(c for _, _, c in pairs) / len(pairs)
        total = sum(
            math.exp(-c / 2 / variance)
            / math.dist(p, q)
            * (1 - float(prob[b, :, p[0], p[1]] @ prob[b, :, q[0], q[1]]))
            for p, q, c in pairs
        )
        values.append(total / len(pairs))
    return torch.tensor(values, dtype=torch.float64).mean()


@pytest.mark.parametrize("sigma_rgb", [None, 0.2])
@pytest.mark.parametrize("size", [(4, 5), (1, 5), (3, 1), (1, 1)])
def test_equals_the_double_loop(sigma_rgb, size):
    logits, image, label = tel_cases.batch(size=size)
    label[1, :, -1:] = -2
    expected = brute_force(logits, image, label, sigma_rgb)
    result = grid_crf_loss(logits, image, label, sigma_rgb=sigma_rgb).loss
    torch.testing.assert_close(result, expected)


def test_gradient():
    logits, image, label = tel_cases.batch(size=(3, 4))
    label[0, -2:] = -2
    assert torch.autograd.gradcheck(lambda z: loss(z, image, label), logits.requires_grad_())


def test_an_image_of_one_colour_is_the_plain_potts_model():
    logits, image, label = tel_cases.batch()
    expected = brute_force(logits, torch.zeros_like(image), label, 1.0)
    torch.testing.assert_close(loss(logits, torch.full_like(image, 0.4), label), expected)


def test_holds_like_every_term():
    tel_cases.assert_half_is_float32(loss)
    tel_cases.assert_padding_never_counts(loss, partial=False)
    tel_cases.assert_padding_never_counts(loss, partial=True)
    tel_cases.assert_nothing_from_nothing(loss, -2)
    tel_cases.assert_descends(loss)


def test_module_has_the_functions_defaults_where_nothing_is_given():
    logits, image, label = tel_cases.batch()
    inputs = LossInputs(logits, None, image, label)
    assert GridCRFLoss(Kernel())(inputs).loss == loss(logits, image, label)
    fixed = grid_crf_loss(logits, image, label, sigma_rgb=0.3).loss
    assert GridCRFLoss(Kernel(sigma_rgb=0.3))(inputs).loss == fixed


def test_wrong_width():
    with pytest.raises(ValueError, match="grid_crf_loss: sigma_rgb must be positive, got 0"):
        grid_crf_loss(*tel_cases.batch(), sigma_rgb=0.0)
