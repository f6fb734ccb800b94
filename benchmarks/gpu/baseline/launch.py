"""How the baseline's code is compiled and run: on the GPU by CuPy, on the host with threads."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

FOLDER = Path(__file__).parent
KERNELS = FOLDER / "kernels.cu"
Argument = Tensor | int
Grid = tuple[int, int]


class MissingError(Exception):
    """What the baseline needs and is not here."""


class Launcher(Protocol):
    threads: int  # of a block

    def __call__(self, name: str, grid: Grid, *arguments: Argument) -> None: ...


@cache
def _shared(*arguments: str) -> ctypes.CDLL:
    """A shared library, compiled for this process."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise MissingError("a C++ compiler is needed")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "baseline.so"
        command = [
            compiler,
            "-std=c++17",
            "-O3",
            "-shared",
            "-fPIC",
            "-pthread",
            "-o",
            str(library),
        ]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingError(f"{' '.join(arguments)} cannot be compiled: {done.stderr}")
        return ctypes.CDLL(str(library))


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    if not tensor.is_contiguous():
        raise ValueError(f"baseline: tensors must be contiguous, got strides {tensor.stride()}")
    return ctypes.c_void_p(tensor.data_ptr())


def spanning_trees(ends: Tensor, weight: Tensor, vertices: int) -> Tensor:
    """(B, N − 1, 2) int32 ends of the trees' edges, on the host; a thread for each image."""
    batch, edges = weight.shape
    tree = torch.empty(batch, vertices - 1, 2, dtype=torch.int32)
    library = _shared(str(FOLDER / "host.cpp"))
    sizes = [ctypes.c_int32(size) for size in (batch, vertices, edges)]
    library.spanning_trees(_pointer(ends), _pointer(weight), *sizes, _pointer(tree))
    return tree


class OnGpu:
    """NVRTC through CuPy, on torch's stream."""

    threads = 64

    def __init__(self) -> None:
        try:
            import cupy
        except ImportError as error:
            raise MissingError(f"CuPy is needed: {error}") from error
        self._cupy = cupy
        source = KERNELS.read_text(encoding="utf-8")
        self._module = cupy.RawModule(code=source, options=("-std=c++17",))

    def __call__(self, name: str, grid: Grid, *arguments: Argument) -> None:
        import numpy as np

        given = [
            np.uint64(a.data_ptr()) if isinstance(a, Tensor) else np.int32(a) for a in arguments
        ]
        stream = self._cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream)
        with stream:
            self._module.get_function(name)(grid, (self.threads,), tuple(given))


class OnHost:
    """The same source with a thread of the host for each thread of a block: for tests, slow."""

    threads = 4

    def __init__(self) -> None:
        options = ("-include", str(FOLDER / "threads.h"), "-xc++", str(KERNELS))
        self._library = _shared(*options)

    def __call__(self, name: str, grid: Grid, *arguments: Argument) -> None:
        kernel = self._library[name]
        given = [_pointer(a) if isinstance(a, Tensor) else ctypes.c_int(a) for a in arguments]

        def run(index: int) -> None:
            self._library.thread(index)
            kernel(*given)

        for y in range(grid[1]):
            for x in range(grid[0]):
                self._library.block(x, y, *grid, self.threads)
                team = [threading.Thread(target=run, args=(t,)) for t in range(self.threads)]
                for thread in team:
                    thread.start()
                for thread in team:
                    thread.join()
