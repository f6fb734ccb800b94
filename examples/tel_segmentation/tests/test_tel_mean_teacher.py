import itertools

import pytest
import tel_cases
import torch

from tel_segmentation.config import TreeEnergy
from tel_segmentation.inputs import LossInputs
from tel_segmentation.mean_teacher import (
    MeanTeacherLoss,
    SeminarLite,
    mean_teacher_loss,
    sigmoid_ramp,
)
from tel_segmentation.tree_energy import tree_energy_loss


def teacher(logits):
    random = torch.Generator().manual_seed(5)
    return torch.randn(logits.shape, generator=random, dtype=torch.float64)


def loss(logits, image, label):
    return mean_teacher_loss(logits, teacher(logits), label).loss


def test_equals_the_loop():
    logits, _, label = tel_cases.batch()
    label[1, :, -4:] = -2
    prob, target = logits.softmax(1), teacher(logits).softmax(1)
    total, count = 0.0, 0
    for b, y, x in itertools.product(range(2), range(4), range(5)):
        if label[b, 2 * y, 2 * x] == -1:
            total += float((prob[b, :, y, x] - target[b, :, y, x]).square().sum())
            count += 1
    result = mean_teacher_loss(logits, teacher(logits), label, ramp=0.5)
    assert result.loss.item() == pytest.approx(0.5 * total / count)
    assert result.logs["unlabelled"] == count
    torch.testing.assert_close(result.pseudo["final"], target)


def test_gradient_reaches_the_student_alone():
    logits, image, label = tel_cases.batch(size=(3, 4))
    assert torch.autograd.gradcheck(lambda z: loss(z, image, label), logits.requires_grad_())
    other = teacher(logits).requires_grad_()
    mean_teacher_loss(logits, other, label).loss.backward()
    assert other.grad is None


def test_holds_like_every_term():
    tel_cases.assert_half_is_float32(loss)
    tel_cases.assert_padding_never_counts(loss, partial=False)
    tel_cases.assert_nothing_from_nothing(loss, -2)
    tel_cases.assert_nothing_from_nothing(loss, 0)
    tel_cases.assert_descends(loss)


def test_ramp():
    values = [sigmoid_ramp(iteration, 100) for iteration in range(0, 130)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0.0067, abs=1e-4)
    assert values[50] == pytest.approx(0.2865, abs=1e-4)
    assert set(values[100:]) == {1.0}
    assert sigmoid_ramp(0, 0) == 1.0


def test_module_ramps_with_the_iteration():
    logits, image, label = tel_cases.batch()
    low = TreeEnergy(level="low")
    module = SeminarLite(low, ramp=10)
    inputs = LossInputs(logits, None, image, label, iteration=10, teacher=teacher(logits))
    tree = 0.4 * tree_energy_loss(logits, image, label, options=low).loss
    consistency = loss(logits, image, label)
    torch.testing.assert_close(module(inputs).loss, tree + consistency)
    early = module(inputs._replace(iteration=3))
    torch.testing.assert_close(early.loss, tree + consistency * sigmoid_ramp(3, 10))
    assert set(early.pseudo) == {"low", "final", "teacher"}
    alone = MeanTeacherLoss(ramp=10)(inputs._replace(iteration=3))
    torch.testing.assert_close(alone.loss, consistency * sigmoid_ramp(3, 10))


def test_wrong_arguments():
    logits, image, label = tel_cases.batch()
    with pytest.raises(ValueError, match="teacher's logits, got None"):
        SeminarLite(TreeEnergy())(LossInputs(logits, None, image, label))
    with pytest.raises(ValueError, match="teacher must have the logits' shape"):
        mean_teacher_loss(logits, logits[:, 1:], label)
    with pytest.raises(ValueError, match="label must be integers"):
        mean_teacher_loss(logits, logits, label.float())
