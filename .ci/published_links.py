"""Make links of Markdown files absolute: PyPI and the page of a release show them elsewhere.

    python .ci/published_links.py README.md examples/tel_segmentation/README.md

Changes the files in place, in a workflow: GITHUB_REPOSITORY and GITHUB_REF_NAME say where the
repository is, and at which tag. A link to a file that does not exist is an error.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs" / "_extensions"))

from repository import CODE, LINK, ROOT  # what is a link to the site of the documentation, too


def absolute(text: str, origin: Path, repository: str, tag: str) -> str:
    """The text of a file with links that lead to the same places from anywhere."""

    def link(match: re.Match[str]) -> str:
        image, label, address, anchor = match[1], match[2], match[3], match[4] or ""
        target = (origin.parent / address).resolve()
        if not target.exists() or not target.is_relative_to(ROOT):
            raise SystemExit(f"{origin.name}: expected a file of the repository, got {address}")
        kind = "raw" if image else "tree" if target.is_dir() else "blob"
        path = "" if target == ROOT else target.relative_to(ROOT).as_posix()
        return f"{image}[{label}](https://github.com/{repository}/{kind}/{tag}/{path}{anchor})"

    blocks = CODE.split(text)
    return "".join(block if i % 2 else LINK.sub(link, block) for i, block in enumerate(blocks))


def main(names: list[str]) -> None:
    """Changes each file."""
    repository, tag = os.environ["GITHUB_REPOSITORY"], os.environ["GITHUB_REF_NAME"]
    for path in map(Path, names):
        text = absolute(path.read_text(encoding="utf-8"), path.resolve(), repository, tag)
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
