"""A stage's results on the GPU against those of the CPU back end on the same inputs."""

import torch

from gpu.cases import FILTER_BACKWARD, GUIDE_BACKWARD, MST, ONE_TREE, STEP, TRANSFORM
from gpu.work import Result

CLOSE, CLOSE_GRADIENT = 1e-5, 1e-4
"""Largest error over the largest value."""
MOST_OTHER_SEEDS = 1e-3
"""Share of vertices that may be given to another seed: those that are as near but for rounding."""


class WrongError(AssertionError):
    """A result that is not that of the CPU back end."""


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    if not expected.numel():
        return 0.0
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


def verify(stage: str, found: Result, expected: Result, same_trees: bool = True) -> None:
    """Raises WrongError unless trees are identical and values close.

    A step makes its own weights. Where these differ in the last bit, trees may differ in ties, and
    then (``same_trees`` false) only the loss is compared: every other stage was given the same.
    """
    if stage in (MST, ONE_TREE):
        for name, a, b in zip(("parent", "edge"), found, expected, strict=True):
            if not torch.equal(a.cpu(), b.cpu()):
                count = int((a.cpu() != b.cpu()).sum())
                raise WrongError(f"{stage}: {count} of {a.numel()} values of {name} differ")
        return
    if stage == TRANSFORM:
        other = (found[1].cpu() != expected[1].cpu()).double().mean().item()
        if not other <= MOST_OTHER_SEEDS:
            raise WrongError(f"{stage}: {other:.1%} of the vertices have another seed")
    if stage == STEP and not same_trees:
        found, expected = [found[0].mean()], [expected[0].mean()]
    gradients = stage in (FILTER_BACKWARD, GUIDE_BACKWARD, STEP)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if a.dtype == torch.int64:
            continue
        error = relative_error(a, b)
        if not error <= (CLOSE_GRADIENT if gradients else CLOSE):  # so that NaN is no success
            raise WrongError(f"{stage}: relative error {error:.1e} of result {i}")
