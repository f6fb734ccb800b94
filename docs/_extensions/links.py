"""Looks at every page once written: links inside of the site lead somewhere, nothing is fetched."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


class Page(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """The parser's call for each element."""
        given = {name: value for name, value in attributes if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        loads = tag in {"img", "script", "link", "iframe", "source"}
        address = given.get("src") or (given.get("href") if tag in {"a", "link"} else None)
        if address:
            (self.loaded if loads else self.links).append(address)


def problems(folder: Path) -> list[str]:
    """One line for each link that leads nowhere, and for each thing from another place."""
    pages = {path.resolve(): Page(path) for path in folder.rglob("*.html")}
    pages = {path: page for path, page in pages.items() if "_static" not in path.parts}
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder.resolve())
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loaded and parts.scheme != "data":
                    found.append(f"{name}: loads {address}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.exists():
                found.append(f"{name}: no such file: {address}")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                found.append(f"{name}: no such anchor: {address}")
    return found


def check(app: Sphinx, exception: Exception | None) -> None:
    """Sphinx's event at the end."""
    if exception is None and app.builder.format == "html" and (found := problems(Path(app.outdir))):
        raise ExtensionError("\n".join(found))


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True}
