"""Whether a build is one of the present sources: their digest, beside it.

    python -m gpu.check.sources FOLDER      writes it

Imports nothing of the package, since the build may be for another Python.
"""

import hashlib
import sys
from pathlib import Path

from gpu.check.drill import ROOT

DIGEST = "SOURCES"
PATTERNS = ("CMakeLists.txt", "pyproject.toml", "src/**/*", "treefilter/*.py")


def digest() -> str:
    """Of the names and contents of all that the package is built from."""
    found = hashlib.sha256()
    files = {path for pattern in PATTERNS for path in ROOT.glob(pattern) if path.is_file()}
    for path in sorted(files):
        found.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def fits(site: Path) -> bool:
    try:
        return (site / DIGEST).read_text(encoding="utf-8").strip() == digest()
    except OSError:
        return False


if __name__ == "__main__":
    (Path(sys.argv[1]) / DIGEST).write_text(digest() + "\n", encoding="utf-8")
