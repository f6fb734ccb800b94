"""Numbers in labels: what each loss takes for "no label", and what it refuses."""

import functools

import pytest
import tel_cases
import torch

from tel_segmentation import config
from tel_segmentation.losses import methods
from tel_segmentation.losses.cross_entropy import naive_self_training, partial_cross_entropy
from tel_segmentation.losses.dense_crf import dense_crf_loss, kernel_cut_loss, norm_cut_loss
from tel_segmentation.losses.gated_crf import gated_crf_loss
from tel_segmentation.losses.grid_crf import grid_crf_loss
from tel_segmentation.losses.inputs import LossInputs, known_labels, require
from tel_segmentation.losses.mean_teacher import mean_teacher_loss
from tel_segmentation.losses.pseudo_labels import bilateral_loss, non_local_loss
from tel_segmentation.losses.teacher_ensemble import teacher_ensemble_loss
from tel_segmentation.losses.tree_energy import tree_energy_loss

LOGITS, IMAGE, LABEL = tel_cases.batch()


def with_guide(loss):
    return lambda label, **options: loss(LOGITS, IMAGE, label, **options).loss


LOSSES = {
    "tree_energy_loss": lambda label, **options: tree_energy_loss(
        LOGITS, IMAGE, label, LOGITS, **options
    ).loss,
    "partial_cross_entropy": lambda label, **options: partial_cross_entropy(
        LOGITS.repeat_interleave(2, 2).repeat_interleave(2, 3), label, **options
    ),
    "naive_self_training": lambda label, **options: naive_self_training(
        LOGITS, label, threshold=0.4, **options
    ).loss,
    "mean_teacher_loss": lambda label, **options: mean_teacher_loss(
        LOGITS, LOGITS.flip(1), label, **options
    ).loss,
    "teacher_ensemble_loss": lambda label, **options: teacher_ensemble_loss(
        LOGITS, [LOGITS], label, threshold=0.4, **options
    ).loss,
    "non_local_loss": lambda label, **options: non_local_loss(
        LOGITS, LOGITS, LOGITS, label, **options
    ).loss,
    **{
        loss.__name__: with_guide(loss)
        for loss in (
            bilateral_loss, dense_crf_loss, norm_cut_loss, kernel_cut_loss, gated_crf_loss,
            grid_crf_loss,
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("number", [255, -100, 3])
def test_ignore_index_means_unlabelled(name, number):
    label = LABEL.masked_fill(LABEL == -1, number)
    expected = LOSSES[name](LABEL)
    assert expected != 0
    assert torch.equal(LOSSES[name](label, ignore_index=number), expected)
    message = rf"{name}: label must be 0 to 2, .*has also {number}: ignore_index"
    with pytest.raises(ValueError, match=message):
        LOSSES[name](label)
    with pytest.raises(ValueError, match=rf"or {number}; has also 7"):
        LOSSES[name](label.masked_fill(LABEL == 0, 7), ignore_index=number)


def test_a_class_can_be_ignored_and_small_types_are_known():
    ignored = known_labels("f", LOGITS, LABEL, 1)
    assert torch.equal(ignored, LABEL.masked_fill(LABEL == 1, -1))
    small = LABEL.masked_fill(LABEL == -1, 255).to(torch.uint8)
    assert torch.equal(known_labels("f", LOGITS, small, 255), LABEL)
    for wrong in (LABEL.double(), LABEL[0], LABEL[:1], LABEL > 0):
        with pytest.raises(ValueError, match=r"f: label must be integers of shape \(2, H, W\)"):
            known_labels("f", LOGITS, wrong)


@pytest.mark.parametrize("method", [name for name in methods.METHODS if name not in ("full",)])
def test_every_method_passes_it_on(method):
    options = config.Loss(method=method, kernel=config.Kernel(), threshold=0.4)
    term, _ = methods.term(options)
    if term is None:
        return
    embed = torch.randn(2, 256, 4, 5)
    inputs = functools.partial(LossInputs, LOGITS.float(), embed, IMAGE.float())
    label = LABEL.masked_fill(LABEL == -1, 255)
    expected = term(inputs(LABEL, teachers=(LOGITS.flip(1),))).loss
    assert expected != 0
    result = term(inputs(label, teachers=(LOGITS.flip(1),), ignore_index=255))
    assert torch.equal(result.loss, expected)


def test_on_cuda_nothing_waits(monkeypatch):
    """The condition goes to an asynchronous assertion; its values are never read."""

    class OnGpu:
        is_cuda = True

        def __bool__(self):
            raise AssertionError("waits for the device")

    seen = []
    monkeypatch.setattr(torch, "_assert_async", lambda *arguments: seen.append(arguments))
    condition = OnGpu()
    require(condition, "what must hold", lambda: pytest.fail("waits for the device"))
    assert seen == [(condition, "what must hold")]
