"""What this installation is, for reports of bugs: ``python -m treefilter``."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

import treefilter

from ._native import _C, built, runnable


def about() -> dict[str, str]:
    """What is printed, in its order."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "treefilter": f"{treefilter.__version__}, in {Path(treefilter.__file__).parent}",
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda or 'none'}",
        "Python": f"{platform.python_version()}, {platform.python_implementation()}",
        "system": platform.platform(),
        "instruction set": f"{_C.instruction_set} (built: {', '.join(built())}; "
        f"this processor can run: {', '.join(runnable())})",
        "CUDA back end": "yes" if _C.with_cuda else "no",
        "GPUs": ", ".join(gpus) or "none",
        "threads": str(torch.get_num_threads()),
    }


def main() -> None:
    """Prints it."""
    for name, text in about().items():
        print(f"{name + ':':16} {text}")


if __name__ == "__main__":
    main()
