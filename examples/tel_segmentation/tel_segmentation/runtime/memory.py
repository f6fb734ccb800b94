"""The memory in use and its peak: of torch's allocator on a GPU, of the process on a CPU."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def reset_peak(device: torch.device) -> None:
    """Starts a new measurement of the peak, where that is possible (CUDA, Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")  # the high-water mark; see proc(5)


def peak(device: torch.device) -> float | None:
    """The most memory in use since ``reset_peak``, in megabytes (2²⁰ bytes); None if unknown."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    with contextlib.suppress(OSError, IndexError):
        return _status("VmHWM")
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most) / (2**20 if platform.system() == "Darwin" else 2**10)


def held(device: torch.device) -> float | None:
    """The memory in use now, in megabytes (2²⁰ bytes); None if unknown."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device)) / 2**20
    with contextlib.suppress(OSError, IndexError):
        return _status("VmRSS")
    return None


def _status(name: str) -> float:
    """A value of the process's status file (see proc(5)), in megabytes."""
    text = _STATUS.read_text(encoding="ascii")
    return int(text.split(f"{name}:")[1].split()[0]) / 2**10
