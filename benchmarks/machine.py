"""The machine and the versions: the header of every file of results."""

import importlib.metadata
import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "treefilter",
    "torch",
    "numpy",
    "scipy",
    "higra",
    "igraph",
    "rustworkx",
    "networkx",
    "scikit-image",
    "dask",
    "zarr",
    "opencv-contrib-python-headless",
)
VECTOR_FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "asimd", "sve")


def header() -> dict:
    import torch

    from treefilter._native import _C

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "cores allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory GiB": memory(),
        "vector instructions": [flag for flag in VECTOR_FLAGS if flag in flags()],
        "instruction set used": _C.instruction_set,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cuda back end": bool(_C.with_cuda),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
        "commit": commit(),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def slug(machine: dict) -> str:
    """The name of the machine's file: its GPU where there is one, else its processor and cores."""
    if machine["gpu"] and machine["cuda back end"]:
        name = machine["gpu"]
    else:
        name = f"{machine['processor']} {machine['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _cpuinfo(pattern: str) -> str:
    try:
        found = re.search(pattern, Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""


def processor() -> str:
    name = _cpuinfo(r"^model name\s*:(.*)$") or platform.processor() or platform.machine()
    family, model = _cpuinfo(r"^cpu family\s*:(.*)$"), _cpuinfo(r"^model\s*:(.*)$")
    # Cloud providers hide the model's name, but not its number.
    hidden = family and not re.search(r"\d", name)
    return f"{name} (family {family}, model {model})" if hidden else name


def flags() -> list[str]:
    return (_cpuinfo(r"^flags\s*:(.*)$") or _cpuinfo(r"^Features\s*:(.*)$")).split()


def memory() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit that was measured, with a plus where tracked files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "src", "treefilter")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
