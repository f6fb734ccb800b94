import itertools
import math

import pytest
import tel_cases
import torch

from tel_segmentation.config import Kernel
from tel_segmentation.losses.gated_crf import GatedCRFLoss, gated_crf_loss
from tel_segmentation.losses.inputs import LossInputs


def loss(logits, image, label):
    return gated_crf_loss(logits, image, label, radius=2, sigma_xy=4.0, sigma_rgb=0.3).loss


def brute_force(logits, image, label, radius, sigma_xy, sigma_rgb):
    size = logits.shape[2:]
    prob = logits.softmax(1)
    guide = tel_cases.area(image, size)
    valid = tel_cases.area((label != -2).double(), size) == 1
    sigma = sigma_xy * size[0] / image.shape[2]
    pixels = list(itertools.product(range(size[0]), range(size[1])))
    total = 0.0
    for b, (y, x), (v, u) in itertools.product(range(len(logits)), pixels, pixels):
        if (y, x) == (v, u) or max(abs(y - v), abs(x - u)) > radius:
            continue
        if valid[b, y, x] and valid[b, v, u]:
            colour = float((guide[b, :, y, x] - guide[b, :, v, u]).square().sum())
            distance = ((y - v) ** 2 + (x - u) ** 2) / sigma**2 + colour / sigma_rgb**2
            agreement = float(prob[b, :, y, x] @ prob[b, :, v, u])
            total += math.exp(-distance / 2) * (1 - agreement)
    return torch.tensor(total / max(int(valid.sum()), 1), dtype=torch.float64)


@pytest.mark.parametrize("radius", [1, 2, 9])
@pytest.mark.parametrize("stride", [1, 2])
def test_equals_the_double_loop(radius, stride):
    logits, image, label = tel_cases.batch(size=(3, 5), stride=stride)
    label[1, : 2 * stride - 1] = -2
    expected = brute_force(logits, image, label, radius, 4.0, 0.3)
    result = gated_crf_loss(logits, image, label, radius=radius, sigma_xy=4.0, sigma_rgb=0.3)
    torch.testing.assert_close(result.loss, expected)


def test_equals_the_double_loop_where_the_stride_does_not_divide_the_image():
    logits, image, label = tel_cases.batch(size=(4, 6))
    logits = logits[:, :, :3, :4]
    expected = brute_force(logits, image, label, 5, 24.0, 0.0226)
    torch.testing.assert_close(gated_crf_loss(logits, image, label).loss, expected)


def test_gradient():
    logits, image, label = tel_cases.batch(size=(3, 4))
    label[0, -2:] = -2
    assert torch.autograd.gradcheck(lambda z: loss(z, image, label), logits.requires_grad_())


def test_agreement_costs_nothing():
    logits, image, label = tel_cases.batch()
    logits[:, 0] += 60
    assert loss(logits, image, label).abs() < 1e-12


def test_an_edge_in_the_image_costs_less_than_none():
    logits = torch.zeros(1, 2, 4, 6, dtype=torch.float64)
    logits[:, 0, :, 3:], logits[:, 1, :, :3] = 9, 9
    image = torch.full((1, 3, 4, 6), 0.2, dtype=torch.float64)
    label = torch.full((1, 4, 6), -1)
    without = loss(logits, image, label)
    image[..., 3:] = 0.8
    assert loss(logits, image, label) < without / 2


def test_holds_like_every_term():
    tel_cases.assert_half_is_float32(loss)
    tel_cases.assert_padding_never_counts(loss, partial=False)
    tel_cases.assert_padding_never_counts(loss, partial=True)
    tel_cases.assert_nothing_from_nothing(loss, -2)
    tel_cases.assert_descends(loss)


def test_module_has_the_functions_defaults_where_nothing_is_given():
    inputs = LossInputs(*(tel_cases.batch()[0], None, *tel_cases.batch()[1:]))
    plain = (inputs.logits, inputs.guide, inputs.label)
    assert GatedCRFLoss(Kernel())(inputs).loss == gated_crf_loss(*plain).loss
    wide = GatedCRFLoss(Kernel(sigma_rgb=0.5, radius=1))(inputs).loss
    assert wide == gated_crf_loss(*plain, sigma_rgb=0.5, radius=1).loss


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guide": torch.rand(2, 3, 8, 10) * 255}, "colours in"),
        ({"guide": torch.rand(2, 1, 8, 10)}, "guide must have shape"),
        ({"label": torch.zeros(2, 8, 10)}, "label must be integers"),
        ({"label": torch.zeros(2, 8, 9, dtype=torch.int64)}, "height and width"),
        ({"logits": torch.rand(2, 3, 4)}, "logits must be"),
        ({"sigma_xy": 0.0}, "sigma_xy must be positive"),
        ({"sigma_rgb": -1.0}, "sigma_rgb must be positive"),
        ({"radius": 0}, "radius must be positive"),
    ],
)
def test_wrong_arguments(change, message):
    logits, image, label = tel_cases.batch()
    arguments = {"logits": logits, "guide": image, "label": label} | change
    with pytest.raises(ValueError, match=f"gated_crf_loss: .*{message}"):
        gated_crf_loss(**arguments)
