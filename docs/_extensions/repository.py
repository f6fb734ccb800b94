"""Pages that are files of the repository, and links to such files.

A page whose whole text is ``<!-- page: ../CHANGELOG.md -->`` shows that file. In any page, ``<!--
part: ../README.md sigma -->`` is what that file has between its marks of that name, and ``<!--
comment: ../src/mst.h -->`` the comment at the head of a source file.

In every Markdown page a link to a file that is a page of the site leads there; to another file or
folder of the repository it leads to GitHub if the environment variable GITHUB_REPOSITORY says
where that is, and is plain text otherwise. A link to a file that does not exist is left as it is,
and Sphinx warns of it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
STUB = re.compile(r"<!-- page: (\S+) -->\s*\Z")
PART = re.compile(r"<!-- part: (\S+) (\w+) -->")
COMMENT = re.compile(r"<!-- comment: (\S+) -->")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s#:]+)(#[^()\s]*)?\)")
CODE = re.compile(r"((?:^|\n)[ ]*```.*?\n[ ]*```)", re.DOTALL)


def shown_files() -> dict[Path, Path]:
    """The file that a page shows, to the page."""
    shown = {ROOT / "README.md": DOCS / "index.md"}
    for page in DOCS.rglob("*.md"):
        if "_build" not in page.parts and (stub := STUB.match(page.read_text(encoding="utf-8"))):
            shown[(page.parent / stub[1]).resolve()] = page
    return shown


def rewrite(text: str, origin: Path, page: Path, shown: dict[Path, Path]) -> str:
    """The text of ``origin`` with links as they are from ``page``."""

    def link(match: re.Match[str]) -> str:
        image, label, address, anchor = match[1], match[2], match[3], match[4] or ""
        target = (origin.parent / address).resolve()
        if not target.exists() or not target.is_relative_to(ROOT):
            return match[0]
        if target.is_dir() and (target / "README.md") in shown:
            target = target / "README.md"
        target = shown.get(target, target)
        if image or (target.is_relative_to(DOCS) and target.suffix in {".md", ".rst"}):
            return f"{image}[{label}]({os.path.relpath(target, page.parent)}{anchor})"
        if repository := os.environ.get("GITHUB_REPOSITORY"):
            kind = "tree" if target.is_dir() else "blob"
            where = target.relative_to(ROOT).as_posix()
            return f"[{label}](https://github.com/{repository}/{kind}/main/{where}{anchor})"
        path = target.relative_to(ROOT).as_posix()
        return label if path in label else f"{label} (`{path}`)"

    blocks = CODE.split(text)
    return "".join(block if i % 2 else LINK.sub(link, block) for i, block in enumerate(blocks))


def part(path: Path, name: str) -> str:
    """What is between ``<!-- name: begin -->`` and ``<!-- name: end -->``."""
    text = path.read_text(encoding="utf-8")
    return text.split(f"<!-- {name}: begin -->")[1].split(f"<!-- {name}: end -->")[0].strip()


def comment(path: Path) -> str:
    """The comment at the head of a C++ file, as a block of plain text."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("//"):
            break
        lines.append(line[3:])
    return "\n".join(["```text", *lines, "```"])


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Sphinx's event for each page."""
    page = Path(app.env.doc2path(name))
    if page.suffix != ".md":
        return
    origin = page
    if stub := STUB.match(source[0]):
        origin = (page.parent / stub[1]).resolve()
        app.env.note_dependency(str(origin))
        source[0] = origin.read_text(encoding="utf-8")
    shown = shown_files()
    text = rewrite(source[0], origin, page, shown)

    def file(match: re.Match[str]) -> Path:
        path = (page.parent / match[1]).resolve()
        app.env.note_dependency(str(path))
        return path

    text = PART.sub(lambda m: rewrite(part(file(m), m[2]), file(m), page, shown), text)
    source[0] = COMMENT.sub(lambda m: comment(file(m)), text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
