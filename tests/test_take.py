"""Values at computed positions."""

import pytest
import torch
from strategies import normal

from treefilter._take import indexed, take


@pytest.mark.parametrize("form", [take, indexed])
@pytest.mark.parametrize("shape", [(2, 7), (3, 2, 7), (0, 2, 7)])
def test_it_is_gather(device, form, shape):
    x = normal(1, *shape).to(device).requires_grad_()
    index = torch.randint(0, 7, (*shape[:-1], 20), generator=torch.Generator().manual_seed(2))
    index, grad = index.to(device), normal(3, *index.shape).to(device)
    values, expected = form(x, index), x.gather(-1, index)
    assert torch.equal(values, expected)
    (ours,) = torch.autograd.grad(values, x, grad)
    (theirs,) = torch.autograd.grad(expected, x, grad)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradgradcheck(lambda x: form(x, index), x)


def test_its_gradient_is_the_same_bits_every_time(device):
    x = torch.zeros(2, 3, 5, device=device, requires_grad=True)
    index = torch.zeros(2, 3, 10_000, dtype=torch.int64, device=device)
    grad = normal(1, 2, 3, 10_000, dtype=torch.float32).to(device)
    first, *others = (torch.autograd.grad(take(x, index), x, grad)[0] for _ in range(5))
    assert all(torch.equal(other, first) for other in others)
