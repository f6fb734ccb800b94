"""Training in one process or in several (torchrun): ranks, reductions, batch statistics."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce as differentiable_all_reduce

from tel_segmentation.runtime.precision import lifted


class OthersFailedError(OSError):
    """Another process of the training has failed; it tells why."""

    def __init__(self) -> None:
        super().__init__("ended, since another process of this training failed: see its message")


def world() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def pick_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is CUDA if there is a GPU, else the CPU.

    Raises:
        ValueError: torch cannot use this device on this machine.
    """
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    if chosen.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device must be one that torch can use here, got {name!r}: no GPU")
    if chosen == "cuda" and "LOCAL_RANK" in os.environ:
        chosen = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        return torch.device(chosen)
    except RuntimeError as error:
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}") from error


def start(device: str) -> torch.device:
    """Returns the device of this process; under torchrun, it also joins the process group.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ValueError: torch cannot use this device on this machine.
    """
    result = pick_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if result.type == "cuda":
            torch.cuda.set_device(result)
        dist.init_process_group("nccl" if result.type == "cuda" else "gloo")
    return result


@contextlib.contextmanager
def session(device: str) -> Iterator[torch.device]:
    """``start``; at the end the process group is destroyed, unless an outer session started it.

    Processes cannot join a group a second time, so several runs in a row need an outer session.

    Raises:
        ValueError: torch cannot use this device on this machine.
    """
    outermost = not (dist.is_available() and dist.is_initialized())
    try:
        yield start(device)
    finally:
        if outermost and dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """Raises OthersFailedError where a collective call fails because another process is gone.

    Other errors are this process's own. It waits a moment before it ends, since torchrun names the
    process that ends first as the cause.
    """
    try:
        yield
    except OthersFailedError:
        time.sleep(_LATER)
        raise
    except RuntimeError as error:
        if world()[1] == 1 or not _is_of_a_connection(error):
            raise
        time.sleep(_LATER)
        raise OthersFailedError from error


_LATER = 3.0  # seconds


def _is_of_a_connection(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "Connection" in str(error) or "gloo" in str(error)


def mean_over(total: Tensor, count: Tensor, *, across_processes: bool = False) -> Tensor:
    """``total / max(count, 1)``.

    Across processes, the count is summed over all of them, and the result is scaled so that DDP's
    average over the processes is the mean that one process would compute on the whole batch.
    """
    _, size = world()
    if across_processes and size > 1:
        return total * size / summed(count.detach()).clamp_min(1)
    return total / count.clamp_min(1)


def summed(x: Tensor) -> Tensor:
    """The sum over the processes."""
    if world()[1] == 1:
        return x
    x = x.clone()
    dist.all_reduce(x)
    return x


def anyone(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process."""
    _, size = world()
    if size == 1:
        return flag
    return bool(summed(torch.tensor(int(flag), device=device)).item())


def synchronized(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, with the statistics of batch norm taken over all processes."""
    if world()[1] == 1:
        return model
    if device.type == "cuda":
        return convert_sync_batchnorm(model)
    return _convert(model)


def _convert(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            child.__class__ = type(
                f"Synchronized{type(child).__name__}", (_SynchronizedBatchNorm, type(child)), {}
            )
        else:
            setattr(module, name, _convert(child))
    return module


def _summed(x: Tensor) -> Tensor:
    """``summed``, differentiable."""
    return differentiable_all_reduce(x) if x.requires_grad else summed(x)


class _SynchronizedBatchNorm(nn.BatchNorm2d):
    """nn.SyncBatchNorm for the CPU, where torch's own does not run."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalises by all processes' batches in training, by running statistics otherwise."""
        if not self.training:
            return super().forward(input)
        x = lifted(input)
        n = _summed(torch.tensor(float(x.numel() // x.shape[1]), dtype=x.dtype))
        mean = _summed(x.sum((0, 2, 3))) / n
        centred = x - mean[:, None, None]
        variance = _summed(centred.square().sum((0, 2, 3))) / n
        self._track(mean.detach(), variance.detach() * n / (n - 1).clamp_min(1))
        scale = (variance + self.eps).rsqrt() * self.weight
        result: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        result = result.to(input.dtype)
        for name in ("drop", "act"):  # timm's layers include the activation
            if hasattr(self, name):
                result = getattr(self, name)(result)
        return result

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        layer: Any = self
        with torch.no_grad():
            layer.running_mean.lerp_(mean, layer.momentum)
            layer.running_var.lerp_(variance, layer.momentum)
            layer.num_batches_tracked += 1
