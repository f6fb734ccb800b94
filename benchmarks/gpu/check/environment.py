"""Step 0: what is here, and whether the build under test imports. Prints it.

    python -m gpu.check.environment [--dry]

The exit status is 0, NO_GPU, or UNUSABLE where treefilter must be built here first.
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from gpu.check import sources

NO_GPU, UNUSABLE = 3, 4
PACKAGES = (
    *("torch", "numpy", "scipy", "scikit-image", "matplotlib"),  # inputs and the page
    *("pytest", "pytest-benchmark", "pytest-xdist", "pytest-timeout", "hypothesis"),
    *("tyro", "docstring-parser", "typeguard", "timm", "torchvision", "tensorboard", "tqdm"),
    *("triton", "cupy-cuda13x", "cupy-cuda12x"),  # these may be missing
)
OPTIONAL = ("triton", "cupy-cuda13x", "cupy-cuda12x")
PLACES = {
    "nvcc": "/usr/local/cuda/bin/nvcc",
    "compute-sanitizer": "/usr/local/cuda/bin/compute-sanitizer",
    "ncu": "/usr/local/cuda/bin/ncu",
    "nvidia-smi": "/usr/bin/nvidia-smi",
}


def tool(name: str) -> str | None:
    """Its path, from PATH or where CUDA's installer puts it."""
    found = shutil.which(name) or shutil.which(PLACES[name])
    if found is None and name == "ncu":
        versions = sorted(Path("/opt/nvidia/nsight-compute").glob("*/ncu"))
        found = str(versions[-1]) if versions else None
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _attempt(what: str, call: Callable[[], object]) -> bool:
    try:
        print(f"{what}: {call()}", flush=True)
    except Exception as error:  # of any kind: it is what this is to find
        print(f"{what}: FAILED: {type(error).__name__}: {error}", flush=True)
        return False
    return True


def _built(dry: bool) -> str:
    """Imports the build, and runs it once where it is to run."""
    import torch

    import treefilter as tf
    from treefilter._native import _C

    site = Path(os.environ["TREEFILTER_FROM"])
    if not Path(tf.__file__).is_relative_to(site):
        raise RuntimeError(f"imported from {tf.__file__}, not from {site}")
    if not (_C.emulated if dry else _C.with_cuda):
        raise RuntimeError("it has no device code")
    if not sources.fits(site):
        raise RuntimeError(f"{site} was built from other sources")
    device = "cpu" if dry else "cuda"
    graph = tf.grid(2, 2)
    parent = tf.mst(torch.tensor([[1.0, 2.0, 3.0, 4.0]], device=device), graph).parent.tolist()
    if parent != [[0, 0, 0, 1]]:
        raise RuntimeError(f"the tree of 2×2 pixels is {parent}")
    return f"{tf.__file__}, {_C.instruction_set}"


def _photographs() -> str:
    import inputs

    return f"{len(inputs.photographs(8, 16))}"


def main(dry: bool) -> int:
    system = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(f"{system}, glibc {platform.libc_ver()[1]}", flush=True)
    missing = []
    for name in PACKAGES:
        version = _version(name)
        print(f"{name}: {version or 'MISSING'}")
        if version is None and name not in OPTIONAL:
            missing.append(name)
    for name in PLACES:
        print(f"{name}: {tool(name) or 'MISSING'}", flush=True)
    smi = tool("nvidia-smi")
    if smi:
        subprocess.run([smi], check=False)
    import torch

    where = "the emulation on the CPU"
    if not dry:
        if not torch.cuda.is_available():
            print("no CUDA device was found: torch.cuda.is_available() is false")
            return NO_GPU
        properties = torch.cuda.get_device_properties(0)
        where = f"{properties.name}, sm_{properties.major}{properties.minor}"
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, {where}", flush=True)
    if not _attempt("treefilter", lambda: _built(dry)):
        return UNUSABLE
    complete = _attempt("photographs", _photographs)
    if missing:
        print(f"missing packages: {', '.join(missing)}")
    if not complete or missing:
        return 1
    print(f"RESULT import: torch {torch.__version__}, {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main("--dry" in sys.argv))
