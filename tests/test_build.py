"""Messages of a build without CUDA, and what importing loads."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import treefilter

SOURCE = Path(__file__).parent.parent


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("CUDA=ON", "no CUDA compiler was found"),
        ("CUDA=yes", "must be AUTO, ON or OFF, got 'yes'"),
        ("VARIANTS=avx2;sse9", "must be empty or a list of: avx2, got 'sse9'"),
    ],
)
def test_options_that_are_not_there(tmp_path, option, message):
    command = ["cmake", "-S", str(SOURCE), "-B", str(tmp_path), f"-DTREEFILTER_{option}"]
    env = {**os.environ, "CUDACXX": str(tmp_path / "nvcc")}  # which does not exist
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert result.returncode != 0
    assert message in " ".join(result.stderr.split())


# What `nvcc --list-gpu-arch` prints.
NVCC_13 = "".join(f"compute_{n}\n" for n in (75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121))
NVCC_11 = "".join(f"compute_{n}\n" for n in (35, 50, 60, 70, 75, 80, 86))


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
@pytest.mark.parametrize(
    ("nvcc", "gpus", "architectures", "note"),
    [
        (NVCC_13, "9.0\n", "90-real", "CUDA code for the GPU of this machine only (90-real)"),
        (NVCC_13, "8.6\n8.6\n7.5\n", "86-real;75-real", "of this machine only (86-real, 75-real)"),
        (NVCC_13, None, "75-real;80-real;86-real;89-real;90-real;100-real;120",
         "no GPU found that this compiler has code for: CUDA code for all 7 architectures"),
        (NVCC_13, "6.1\n", "75-real;80-real;86-real;89-real;90-real;100-real;120", "for all 7"),
        (NVCC_11, "9.0\n", "75-real;80-real;86-real", "for all 3 architectures"),
        (NVCC_13, "No devices were found\n", "75-real;80-real;86-real;89-real;90-real;100-real;120",
         "or TREEFILTER_CUDA=OFF for the CPU only."),
    ],
)  # fmt: skip
def test_cuda_architectures(tmp_path, nvcc, gpus, architectures, note):
    """Built for the GPU that is there; without one for all, with a word on how long that takes."""

    def program(name, prints):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}END\n")
        path.chmod(0o755)
        return path

    compiler = program("nvcc", nvcc)
    if gpus is not None:
        program("nvidia-smi", gpus)
    script = tmp_path / "script.cmake"
    script.write_text(
        f"include({SOURCE}/cmake/cuda_architectures.cmake)\n"
        f"treefilter_cuda_architectures({compiler} architectures note)\n"
        "message(STATUS [${architectures}])\ntreefilter_say([${note}])\n"
    )
    path = os.pathsep.join([str(tmp_path), "/usr/bin", "/bin"])
    command = [shutil.which("cmake"), "-P", str(script)]
    out = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PATH": path},
        start_new_session=True,  # so that there is no terminal to write to
    ).stdout  # fmt: skip
    assert f"[{architectures}]" in out
    assert note in out
    assert ("takes about" in out) == ("all" in note or "OFF" in note)


def test_import_costs_little_beyond_torch(tmp_path):
    script = (
        "import sys, time, torch\n"
        "loaded, start = set(sys.modules), time.process_time()\n"
        "import treefilter\n"
        "print(time.process_time() - start)\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - loaded})"
    )
    command = [sys.executable, "-c", script]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    seconds, packages = out.splitlines()
    assert set(packages.split()) == {"treefilter"}
    assert float(seconds) < 1  # of the processor; about 0.02 on an idle machine


def test_what_it_says_of_itself(tmp_path):
    command = [sys.executable, "-m", "treefilter"]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    said = dict(re.split(r":\s+", line, maxsplit=1) for line in out.splitlines())
    assert said["treefilter"].startswith(f"{treefilter.__version__}, in ")
    assert said["torch"].startswith(torch.__version__)
    assert said["instruction set"].startswith(treefilter._native._C.instruction_set)
    assert said["CUDA back end"] == ("yes" if treefilter._native._C.with_cuda else "no")
    assert int(said["threads"]) > 0


def test_the_package_imports_nothing_of_its_examples():
    files = list((SOURCE / "treefilter").rglob("*.py"))
    assert len(files) > 5
    imported = {name for file in files for name in imports(file)}
    assert imported & {"examples", "tel_segmentation", "photo_demo"} == set()


def imports(file):
    """The top-level names of all imports in a file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]
