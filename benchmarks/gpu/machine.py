"""What the GPU benchmark says of the machine: the constants of its GPU, and the GPU's state."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from gpu.timing import on_cpu

SOURCE = Path(__file__).with_name("constants.cu")
STATE = (
    "driver_version",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "temperature.gpu",
    "power.draw",
    "power.limit",
)


def nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME") or "/usr/local/cuda"
    return os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which(f"{home}/bin/nvcc")


def build_constants(compiler: str, architecture: str, program: Path) -> None:
    command = [compiler, "-std=c++17", "-O3", f"-arch={architecture}", "--Werror", "all-warnings"]
    command += ["-Xcompiler", "-Wall,-Wextra", str(SOURCE), "-o", str(program)]
    subprocess.run(command, check=True)


def constants() -> dict:
    compiler = nvcc()
    if compiler is None:
        raise FileNotFoundError("nvcc is needed for the machine's constants; put it into PATH")
    major, minor = torch.cuda.get_device_capability()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "constants"
        build_constants(compiler, f"sm_{major}{minor}", program)
        found = subprocess.run([str(program)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout)


def copy_alone(device: str) -> dict:
    """In the program's format, what needs no nvcc: the copy bandwidth, through torch."""
    size = 2**18 if device == "cpu" else 2**28
    values = torch.rand(size, device=device)
    target = torch.empty_like(values)

    def copy() -> None:
        target.copy_(values)
        if device != "cpu":
            torch.cuda.synchronize()

    rates = sorted(2 * 4 * size / seconds for seconds in on_cpu(copy, 0.01))
    name = "copy bandwidth, kernel"
    row = {"name": name, "unit": "B/s", "lower": rates[0], "median": rates[len(rates) // 2]}
    return {"device": {"name": "none"}, "constants": [{**row, "upper": rates[-1], "cycles": 0}]}


def state() -> str | None:
    """Clocks, temperature and power, as the driver tells."""
    uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)
    device = f"GPU-{uuid}" if uuid else "0"
    command = ["nvidia-smi", f"--id={device}", f"--query-gpu={','.join(STATE)}", "--format=csv"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    head, values = (line.split(", ") for line in lines.strip().splitlines())
    return ", ".join(f"{name} {value}" for name, value in zip(head, values, strict=True))
