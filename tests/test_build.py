"""Messages of a build without CUDA, and what importing loads."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
