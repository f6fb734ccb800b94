"""Cross entropy with and without labels, and naive self-training."""

import pytest
import torch
import torch.nn.functional as F

from tel_segmentation.config import Loss
from tel_segmentation.losses.cross_entropy import (
    NaiveSelfTraining,
    PartialCrossEntropy,
    naive_self_training,
    partial_cross_entropy,
)
from tel_segmentation.losses.inputs import LossInputs


def case(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 4, 5, 6, dtype=dtype, generator=generator) * 3
    return logits, torch.randint(-2, 4, (2, 5, 6), generator=generator)


def test_is_the_mean_over_labelled_pixels():
    logits, label = case()
    known = label >= 0
    log_p = logits.log_softmax(1).movedim(1, -1)[known]
    expected = -log_p[torch.arange(len(log_p)), label[known]].mean()
    torch.testing.assert_close(partial_cross_entropy(logits, label), expected)
    torch.testing.assert_close(PartialCrossEntropy()(logits, label), expected)
    dense = label.clamp_min(0)
    torch.testing.assert_close(partial_cross_entropy(logits, dense), F.cross_entropy(logits, dense))
    torch.testing.assert_close(  # one process
        partial_cross_entropy(logits, label, reduction="global"), expected
    )


@pytest.mark.parametrize("value", [-1, -2])
def test_no_label_at_all(value):
    logits, label = case()
    loss = partial_cross_entropy(logits.requires_grad_(), torch.full_like(label, value))
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_half_input_is_the_float32_result():
    logits, label = case(torch.float32)
    half = logits.half()
    assert torch.equal(
        partial_cross_entropy(half, label), partial_cross_entropy(half.float(), label)
    )


def test_mistakes():
    logits, label = case()
    with pytest.raises(ValueError, match=r"label must be \(B, H, W\)"):
        partial_cross_entropy(logits, label[..., 1:])
    with pytest.raises(ValueError, match=r"label must be 0 to 3, .*has also 4: ignore_index"):
        partial_cross_entropy(logits, label.masked_fill(label == 3, 4))
    with pytest.raises(ValueError, match="threshold"):
        naive_self_training(logits, label, threshold=1.5)


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.9])
def test_naive_self_training(threshold):
    logits, label = case()
    out = naive_self_training(logits, label, threshold=threshold)
    total = count = 0
    probability = logits.softmax(1)
    for b, y, x in (label == -1).nonzero().tolist():
        best = probability[b, :, y, x].max().item()
        if best > threshold:
            total -= torch.tensor(best).log().item()
            count += 1
    assert count > 0
    assert out.loss.item() == pytest.approx(total / count)
    assert out.logs["confident"].item() == pytest.approx(count / (label == -1).sum().item())
    module = NaiveSelfTraining(threshold)(LossInputs(logits, None, logits, label))
    assert torch.equal(module.loss, out.loss)


def test_naive_self_training_at_one_is_nothing():
    logits, label = case()
    out = naive_self_training(logits.requires_grad_(), label, threshold=1.0)
    assert out.loss.item() == 0
    assert torch.autograd.grad(out.loss, logits)[0].abs().max() == 0


def test_the_target_is_constant():
    logits, label = case()
    label[:] = -1
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(naive_self_training(logits, label, threshold=0).loss, logits)
    one_hot = F.one_hot(logits.argmax(1), 4).movedim(-1, 1)
    torch.testing.assert_close(gradient, ((logits.softmax(1) - one_hot) / label.numel()).detach())


def test_default_threshold_is_said_once():
    assert NaiveSelfTraining().threshold == Loss().threshold
