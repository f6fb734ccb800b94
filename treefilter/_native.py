"""The native module, in the build for the instruction set of this processor.

A wheel has several builds of it, which give the same bits and differ in speed. One is imported,
here and by nobody else; all others write ``from treefilter._native import _C``. What torch says of
the processor decides (hence ``ATEN_CPU_CAPABILITY`` does, too, where it is set), or the environment
variable ``TREEFILTER_INSTRUCTION_SET``: ``baseline`` or ``avx2``.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

__all__ = ["_C", "built", "runnable"]

MODULES = {"baseline": "treefilter._C", "avx2": "treefilter._C_avx2"}
"""From the slowest, which every processor runs, to the fastest."""


def built() -> list[str]:
    """What this installation has. Elsewhere than on x86-64 it is the baseline only."""
    return [name for name, module in MODULES.items() if find_spec(module) is not None]


def runnable() -> list[str]:
    """What this processor can run, built or not."""
    # torch also asks for FMA. All processors with both have the rest of x86-64-v3.
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")()
    return ["baseline", "avx2"] if capability in ("AVX2", "AVX512") else ["baseline"]


def _chosen() -> str:
    if sys.byteorder != "little":  # the native code reads several bytes as one number
        raise ImportError(
            f"treefilter: the processor must be little-endian, got a {sys.byteorder}-endian one"
        )
    usable = [name for name in runnable() if name == "baseline" or name in built()]
    asked = os.environ.get("TREEFILTER_INSTRUCTION_SET") or usable[-1]
    if asked not in usable:
        raise ImportError(
            f"treefilter: TREEFILTER_INSTRUCTION_SET must be {' or '.join(usable)}, got {asked!r} "
            f"(built: {', '.join(built()) or 'none'}; "
            f"this processor can run: {', '.join(runnable())})"
        )
    return MODULES[asked]


if TYPE_CHECKING:
    from . import _C
else:
    _module = _chosen()
    try:
        _C = importlib.import_module(_module)
    except ModuleNotFoundError as error:
        raise ImportError(
            "treefilter's native module is missing. If this is the source folder, leave it, or "
            "install it with `pip install -e .`"
        ) from error
