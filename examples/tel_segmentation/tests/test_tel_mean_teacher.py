import itertools

import pytest
import tel_cases
import torch

from tel_segmentation import config
from tel_segmentation.config import TreeEnergy
from tel_segmentation.losses.inputs import LossInputs
from tel_segmentation.losses.mean_teacher import (
    MeanTeacherLoss,
    SeminarLite,
    mean_teacher_loss,
    sigmoid_ramp,
    teacher_decay,
)
from tel_segmentation.losses.tree_energy import tree_energy_loss
from tel_segmentation.training.objective import Objective, teacher_ramp
from tel_segmentation.training.state import State


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
        block = label[b, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        if block[0, 0] == -1 and block.max() < 0:
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


def test_the_teachers_decay_rises_when_the_ramp_is_over():
    assert [teacher_decay(t, 20) for t in (0, 19, 20, 79)] == [0.99, 0.99, 0.999, 0.999]
    assert teacher_decay(0, 0) == 0.999


class Three:
    classes, colors = tuple("abc"), ((0, 0, 0),) * 3


@pytest.mark.parametrize(
    ("loss", "ema", "decays"),
    [
        ({"teacher_ramp_part": 0.25}, 0.0, {0: 0.99, 19: 0.99, 20: 0.999, 79: 0.999}),
        ({"teacher_ramp": 10}, 0.0, {9: 0.99, 10: 0.999}),
        ({}, 0.0, {79: 0.99}),  # a hundred iterations
        ({"teacher_ramp_part": 0.25}, 0.9, {0: 0.9, 79: 0.9}),  # the decay is given
    ],
)
def test_decay_over_the_training(loss, ema, decays):
    options = config.Train(
        iterations=80,
        loss=config.Loss(method="seminar_lite", **loss),
        optimizer=config.Optimizer(ema=ema),
    )
    state = State(options, Three(), torch.device("cpu"))
    weight, average = next(state.model.parameters()), next(state.ema.parameters())
    state.update_average()  # the first one copies
    for iteration, decay in decays.items():
        before, state.iteration = average.detach().clone(), iteration
        with torch.no_grad():
            weight += 1
        state.update_average()
        expected = decay * before + (1 - decay) * weight.detach()
        torch.testing.assert_close(average.detach(), expected)


@pytest.mark.parametrize(("part", "length"), [(0.25, 20), (None, 10)])
def test_the_ramp_is_a_part_of_the_training(part, length):
    loss = config.Loss(method="seminar_lite", teacher_ramp=10, teacher_ramp_part=part)
    options = config.Train(iterations=80, loss=loss)
    assert teacher_ramp(options) == length
    assert Objective(options, 3).term.consistency.ramp == length


def test_module_ramps_with_the_iteration():
    logits, image, label = tel_cases.batch()
    low = TreeEnergy(level="low")
    module = SeminarLite(low, ramp=10)
    inputs = LossInputs(logits, None, image, label, iteration=10, teachers=(teacher(logits),))
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
    inputs = LossInputs(logits, None, image, label)
    for teachers in ((), (logits, logits)):
        with pytest.raises(ValueError, match=f"logits of one teacher, got {len(teachers)}"):
            SeminarLite(TreeEnergy())(inputs._replace(teachers=teachers))
    with pytest.raises(ValueError, match="teacher must have the logits' shape"):
        mean_teacher_loss(logits, logits[:, 1:], label)
    with pytest.raises(ValueError, match="label must be integers"):
        mean_teacher_loss(logits, logits, label.float())
