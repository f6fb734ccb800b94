"""The list of error messages, from the table in tests/test_errors.py.

``<!-- errors -->`` in a page becomes one table for each function.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

TABLE = Path(__file__).resolve().parents[2] / "tests" / "test_errors.py"


def messages() -> dict[str, list[tuple[str, str]]]:
    """The functions' errors: what is raised, and what it says after the function's name."""
    tree = ast.parse(TABLE.read_text(encoding="utf-8"))
    names = {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: dict[str, list[tuple[str, str]]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Name(id="case" | "seen" | "seen_here"),
                args=[ast.Name(id=kind), message, *_],
            ):
                text = spelled(message, names)
                function, _, rest = text.partition(": ")
                entry = (kind, rest + "…" if rest.endswith("-") else rest)
                if rest and entry not in found.setdefault(function, []):
                    found[function].append(entry)
    return found


def spelled(message: ast.expr, names: dict[str, str]) -> str:
    """A message that may have named parts."""
    match message:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(spelled(part, names) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)):
            return names[name]
    raise ValueError(f"{TABLE}:{message.lineno}: expected a message, got {ast.unparse(message)}")


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Sphinx's event for each page."""
    if "<!-- errors -->" not in source[0]:
        return
    app.env.note_dependency(str(TABLE))
    lines: list[str] = []
    for function, errors in messages().items():
        lines += [f"### {function}", "", "| raised | it says |", "|---|---|"]
        for kind, text in errors:
            escaped = re.sub(r"([|*_])", r"\\\1", text)
            lines.append(f"| `{kind}` | {escaped} |")
        lines.append("")
    source[0] = source[0].replace("<!-- errors -->", "\n".join(lines))


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
