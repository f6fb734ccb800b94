"""The table of methods: each one trains on a toy problem and has its title and weight."""

import dataclasses
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from tel_segmentation import config
from tel_segmentation.losses import methods
from tel_segmentation.losses.inputs import LossInputs
from tel_segmentation.training.objective import Objective, needs_embedding, schedule


def test_the_table_has_every_method_of_the_configuration():
    assert set(methods.METHODS) == set(get_args(config.Method))


def toy(method):
    """Two regions of constant colour with one labelled pixel each; a slightly wrong prediction."""
    torch.manual_seed(0)
    image = torch.zeros(2, 3, 8, 8)
    image[..., 4:] = 0.5
    label = torch.full((2, 8, 8), -1)
    label[:, 2, 1], label[:, 2, 6] = 0, 1
    logits = torch.randn(2, 3, 8, 8)
    embed = torch.rand(2, 256, 8, 8) / 10
    teachers = (torch.randn(2, 3, 8, 8),) if method == "seminar_lite" else ()
    return LossInputs(logits, embed, image, label, 1000, teachers)


@pytest.mark.parametrize("method", [m for m in methods.METHODS if m not in ("partial", "full")])
def test_steps_along_the_gradient_lower_the_term(method):
    torch.manual_seed(0)
    term, weight = methods.term(config.Loss(method=method, threshold=0.3))
    inputs = toy(method)
    logits = inputs.logits.clone().requires_grad_()
    assert weight > 0
    values = []
    for _ in range(20):
        loss = term(inputs._replace(logits=logits)).loss
        values.append(loss.item())
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - 0.5 * gradient / gradient.norm()).detach().requires_grad_()
    assert values[-1] < values[0]


@pytest.mark.parametrize("method", list(methods.METHODS))
def test_a_step_of_training_lowers_the_loss(method):
    options = config.Train(
        loss=config.Loss(method=method, threshold=0.3), model=config.Model(name="tiny")
    )
    torch.manual_seed(0)
    objective = Objective(options, 3).train()
    guide = torch.rand(2, 3, 32, 32)
    label = torch.randint(-1, 3, (2, 32, 32))
    teachers = (torch.randn(2, 3, 16, 16),) if method == "seminar_lite" else ()
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.02)

    def step():
        output = objective((guide - 0.45) / 0.22, guide, label, 1000, teachers)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        return output

    first = step()
    assert torch.isfinite(first.loss)
    later = [step().loss.item() for _ in range(6)][-1]
    assert later < first.loss.item()
    assert set(first.parts) == {"loss_seg"} | (
        set() if method in ("partial", "full") else {f"loss_{method}"}
    )


def test_weight_and_title():
    tel = config.Loss()
    assert methods.term(tel)[1] == 0.4
    assert methods.term(dataclasses.replace(tel, weight=0.6))[1] == 0.6
    assert methods.title(tel) == "TEL low+high"
    changed = config.TreeEnergy(level="low", delta="ce", shuffle_guide=True)
    assert methods.title(config.Loss(tel=changed)) == "TEL low ce shuffled guide"
    assert methods.title(config.Loss(tel=config.TreeEnergy(aggregation="HL-C"))) == (
        "TEL low+high HL-C"
    )


def test_the_embedding_is_built_only_where_it_is_used():
    assert needs_embedding(config.Loss(method="tel"))
    assert not needs_embedding(config.Loss(tel=config.TreeEnergy(level="low")))
    assert not needs_embedding(config.Loss(method="gated_crf"))
    assert needs_embedding(config.Loss(method="non_local"))


def test_a_name_tells_the_warmup():
    """So that a run with a warm-up is not taken for the same run without one."""
    assert methods.title(config.Loss(warmup=0.2)) == "TEL low+high from 20%"
    assert methods.title(config.Loss("gated_crf", warmup=0.1)) == "Gated CRF from 10%"
    assert methods.title(config.Loss("partial", warmup=0.1)) == "partial CE"


def test_warmup_and_ramp():
    options = config.Train(iterations=100, loss=config.Loss(warmup=0.2, ramp=0.4))
    factors = [schedule(options, i) for i in (0, 19, 20, 40, 60, 99)]
    assert factors == pytest.approx([0, 0, 0, 0.5, 1, 1])
    assert schedule(config.Train(), 0) == 1


@pytest.mark.parametrize(("iteration", "factor"), [(0, 0), (19, 0), (40, 0.5), (60, 1), (99, 1)])
def test_warmup_and_ramp_reach_the_loss(iteration, factor):
    loss = config.Loss(weight=0.6, warmup=0.2, ramp=0.4)
    torch.manual_seed(0)
    objective = Objective(config.Train(iterations=100, loss=loss), 3).train()
    guide, label = torch.rand(2, 3, 32, 32), torch.randint(-1, 3, (2, 32, 32))
    out = objective(guide, guide, label, iteration)
    assert out.parts["loss_tel"] > 0
    expected = out.parts["loss_seg"] + 0.6 * factor * out.parts["loss_tel"]
    torch.testing.assert_close(out.loss.detach(), expected)
    out.loss.backward()
    learns = any(part.grad is not None for part in objective.model.embedding.parameters())
    assert learns == (factor > 0)


def test_cross_entropy_at_the_predictions_resolution():
    torch.manual_seed(0)
    loss = config.Loss(method="partial", resolution="prediction")
    data = config.Data(labels="nearest")
    objective = Objective(config.Train(loss=loss, data=data), 3).train()
    guide, label = torch.rand(2, 3, 32, 32), torch.randint(-2, 3, (2, 32, 32))
    out = objective(guide, guide, label, 0)
    logits = out.prediction.logits
    step = 32 // logits.shape[-1]
    assert step > 1
    expected = F.cross_entropy(logits, label[:, ::step, ::step].clamp_min(-1), ignore_index=-1)
    torch.testing.assert_close(out.loss, expected)
