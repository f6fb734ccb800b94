"""Small batches, and checks that hold for every term of the loss."""

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits, image, label


def batch(size=(4, 5), stride=2, classes=3, dtype=torch.float64, seed=0):
    """Two images, every fifth pixel labelled, as (logits, image, label)."""
    random = torch.Generator().manual_seed(seed)
    full = (size[0] * stride, size[1] * stride)
    logits = torch.randn(2, classes, *size, generator=random, dtype=dtype)
    image = torch.rand(2, 3, *full, generator=random, dtype=dtype)
    label = torch.randint(classes, (2, *full), generator=random)
    label[torch.rand(label.shape, generator=random) > 0.2] = -1
    return logits, image, label


def gradient(loss: Loss, logits, image, label):
    logits = logits.clone().requires_grad_()
    value = loss(logits, image, label)
    value.backward()
    return value.detach(), logits.grad


def assert_half_is_float32(loss: Loss):
    logits, image, label = batch(dtype=torch.float32)
    for dtype in (torch.float16, torch.bfloat16):
        low = logits.to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value, grad = gradient(loss, low, image, label)
        expected, expected_grad = gradient(loss, low.float(), image, label)
        assert value.dtype == torch.float32
        assert value == expected
        # The backward pass, too, is under autocast.
        rtol = 1e-3 if dtype == torch.float16 else 1.6e-2
        torch.testing.assert_close(grad, expected_grad.to(dtype), rtol=rtol, atol=2e-5)


def assert_padding_never_counts(loss: Loss, partial: bool):
    """``partial``: a prediction pixel that covers both image and padding does not count, either."""
    logits, image, label = batch()
    label[0, :, 6 - partial :] = -2
    value, grad = gradient(loss, logits, image, label)
    assert grad[0, :, :, 3 - partial :].abs().max() == 0
    assert grad[0, :, :, : 3 - partial].abs().max() > 0
    logits[0, :, :, 3 - partial :] = 7 * torch.randn_like(logits[0, :, :, 3 - partial :])
    image[0, :, :, 6 - partial :] = 0
    torch.testing.assert_close(loss(logits, image, label), value)


def assert_nothing_from_nothing(loss: Loss, value: int):
    """If all labels are ``value``, no pixel counts: the loss is 0, its gradient is 0."""
    logits, image, label = batch(dtype=torch.float32)
    result, grad = gradient(loss, logits, image, torch.full_like(label, value))
    assert result == 0
    assert torch.equal(grad, torch.zeros_like(grad))


def assert_descends(loss: Loss):
    """Gradient descent lowers the loss."""
    logits, image, label = batch(size=(6, 7))
    values = []
    for _ in range(6):
        value, grad = gradient(loss, logits, image, label)
        values.append(value)
        logits = logits - 0.5 * grad / grad.abs().max()
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.95 * values[0]


def area(x: Tensor, size) -> Tensor:
    """Means over the rows ⌊i·H/h⌋ to ⌈(i+1)·H/h⌉, columns likewise."""
    (height, width), (h, w) = x.shape[-2:], size
    out = x.new_empty(*x.shape[:-2], h, w)
    for i in range(h):
        for j in range(w):
            rows = slice(i * height // h, -(-(i + 1) * height // h))
            columns = slice(j * width // w, -(-(j + 1) * width // w))
            out[..., i, j] = x[..., rows, columns].mean(dim=(-2, -1))
    return out
