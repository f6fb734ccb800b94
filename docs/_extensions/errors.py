"""The list of error messages, read from the code.

In a page ``<!-- errors: … -->``, with a fragment of messages in each line, becomes a table of all
messages that have one of the fragments and are in no table before. A message that no table of the
page has is an error, as is a fragment that no message has: so the page has every message.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
MARK = re.compile(r"<!-- errors:\n(.*?)\n-->", re.DOTALL)
# What the native code throws or passes on; the bindings put the function's name in front.
THROWN = re.compile(r"(?:throw std::(invalid_argument|runtime_error)|\bfail)\(")
STRING = re.compile(r'std::string\(("[^"]*")\)')
KINDS = {"invalid_argument": "ValueError", "runtime_error": "RuntimeError", None: "ValueError"}
PART = re.compile(r"\{\w+\}")
SPECIAL = re.compile(r"([|*_<>`\[\]])")

Message = tuple[str, str]  # what is raised, and what it says; {…} is a part that differs


@functools.cache
def messages() -> tuple[Message, ...]:
    """All messages of the package and of its native code, each once."""
    python = sorted((ROOT / "treefilter").rglob("*.py"))
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in python]
    named = {name: text for tree in trees for name, text in constants(tree)}
    found = [message for tree in trees for message in raised(tree, named)]
    native = sorted(path for path in (ROOT / "src").rglob("*.*") if path.suffix != ".md")
    found += [message for path in native for message in thrown(path.read_text(encoding="utf-8"))]
    # Some differ in the names of their parts only: the first of them stays.
    different = {PART.sub("{…}", text): (kind, text) for kind, text in reversed(found)}
    different.pop("{…}", None)  # an error that is passed on under another function's name
    return tuple(reversed(different.values()))


def constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The texts that a module, or a function of it, gives a name."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant() | ast.JoinedStr()):
                if isinstance(node.value, ast.JoinedStr) or isinstance(node.value.value, str):
                    yield name, spelled(node.value, {})


def raised(tree: ast.Module, named: dict[str, str]) -> Iterator[Message]:
    """The errors of a Python module."""
    for node in ast.walk(tree):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=kind), args=[message, *_])):
                yield "TypeError, ValueError" if kind == "kind" else kind, spelled(message, named)


def spelled(message: ast.expr, named: dict[str, str]) -> str:
    """A message with the names of its parts in braces."""
    match message:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(spelled(part, named) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)):
            return f"{{{name}}}"
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in named:
            return named[name]
    return "{…}"


def thrown(source: str) -> Iterator[Message]:
    """The errors of a native file."""
    for match in THROWN.finditer(source):
        text = "".join(summands(STRING.sub(r"\1", source[match.end() :])))
        if re.search(r"[a-z]", text):
            own = re.match(r"\w+: ", text) is not None  # a name of a function or of the package
            yield KINDS[match[1]], text if own else "{function}: " + text


def summands(source: str) -> Iterator[str]:
    """The literals of a sum of strings, up to its closing parenthesis; {…} for any other part."""
    depth, other = 0, False
    for token in re.finditer(r'"((?:[^"\\]|\\.)*)"|([()])|(\w+)|[^\s]', source):
        if token[2] == ")" and depth == 0:
            break
        depth += {"(": 1, ")": -1}.get(token[2], 0)
        if token[1] is not None and depth == 0:
            yield token[1]
            other = False
        elif (token[3] or token[1] is not None) and not other:
            yield "{…}"
            other = True


def tables(page: str) -> dict[str, list[Message]]:
    """The fragments of each mark of a page, to the messages of its table."""
    left = list(messages())
    result: dict[str, list[Message]] = {}
    for fragments in MARK.findall(page):
        for fragment in fragments.splitlines():
            if not any(fragment in text for _, text in messages()):
                raise ValueError(f"errors: no message has {fragment!r}")
        own = [entry for entry in left if any(f in entry[1] for f in fragments.splitlines())]
        left = [entry for entry in left if entry not in own]
        result[fragments] = own
    if left:
        raise ValueError("errors: no section has\n" + "\n".join(text for _, text in left))
    return result


def table(entries: list[Message]) -> str:
    """Markdown of a table; what differs is in italics."""
    lines = ["| it says | raised |", "|---|---|"]
    for kind, text in entries:
        shown = re.sub(r"\\?\{(\w+)\}", r"*\1*", SPECIAL.sub(r"\\\1", text)).replace("{…}", "…")
        lines.append(f"| {shown} | {kind} |")
    return "\n".join(lines)


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Sphinx's event for each page."""
    if not MARK.search(source[0]):
        return
    for path in [*(ROOT / "treefilter").rglob("*.py"), *(ROOT / "src").rglob("*.*")]:
        app.env.note_dependency(str(path))
    shown = tables(source[0])
    source[0] = MARK.sub(lambda mark: table(shown[mark[1]]), source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
