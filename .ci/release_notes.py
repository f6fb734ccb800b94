"""Print the section of a version in CHANGELOG.md, as the text of its release.

python .ci/release_notes.py 0.2.0
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parent.parent / "CHANGELOG.md"


def notes(version: str) -> str:
    """What is between the heading of this version and the next heading."""
    text = CHANGELOG.read_text(encoding="utf-8")
    section = re.search(rf"^## \[{re.escape(version)}\].*\n((?:(?!## ).*\n?)*)", text, re.MULTILINE)
    if section is None or not section[1].strip():
        raise SystemExit(f"{CHANGELOG.name}: expected a section [{version}], got none")
    return section[1].strip()


if __name__ == "__main__":
    print(notes(*sys.argv[1:]))
