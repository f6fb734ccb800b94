"""Whether a build is one of the present sources: their digest, beside it, and the commit.

    python -m gpu.check.sources FOLDER      writes them

Imports nothing of the package, since the build may be for another Python.
"""

import hashlib
import sys
from pathlib import Path

import machine

from gpu.check.drill import ROOT

DIGEST = "SOURCES"
PATTERNS = ("CMakeLists.txt", "pyproject.toml", "src/**/*", "treefilter/**/*.py")


def digest() -> str:
    """Of the names and contents of all that the package is built from."""
    found = hashlib.sha256()
    files = {path for pattern in PATTERNS for path in ROOT.glob(pattern) if path.is_file()}
    for path in sorted(files):
        found.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def commit(site: Path) -> str:
    """That the build was made from: where it is used there may be no repository."""
    try:
        return (site / DIGEST).read_text(encoding="utf-8").split()[1]
    except (OSError, IndexError):
        return "unknown"


def fits(site: Path) -> bool:
    try:
        return (site / DIGEST).read_text(encoding="utf-8").split()[0] == digest()
    except OSError:
        return False


if __name__ == "__main__":
    content = f"{digest()} {machine.commit()}\n"
    (Path(sys.argv[1]) / DIGEST).write_text(content, encoding="utf-8")
