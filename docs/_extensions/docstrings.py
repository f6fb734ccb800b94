"""The project's docstrings as reStructuredText: Σ|f_u − f_v| and (B, *shape) are no mark-up."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

LITERAL = re.compile(r"(``.+?``|:\w+:`[^`]+`)")
INTERNAL = re.compile(r", _(?:made_\w+|edges): [^=]+= [^,)]+")


def escape(lines: list[str]) -> list[str]:
    """Escapes ``|`` and ``*`` outside of code; what is set apart and indented is code."""
    result: list[str] = []
    code, indent = False, 0
    last = "", 0  # the last line with text, and its depth
    for line in lines:
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if not text:
            result.append(line)
            continue
        if code and depth <= indent:
            code = False
        apart = bool(result) and not result[-1].strip() and depth >= 4 and last[1] == 0
        if apart and not code and not last[0].endswith(":") and not text.startswith(">>>"):
            language = "python" if text.startswith("import") else "text"
            result += [f".. code-block:: {language}", ""]
            code, indent = True, 0
        if not code and not text.startswith((">>>", "...")):
            parts = LITERAL.split(line)
            line = "".join(
                part if i % 2 else re.sub(r"(?<!\\)([|*])", r"\\\1", part)
                for i, part in enumerate(parts)
            )
            if text.endswith("::"):
                code, indent = True, depth
        last = text, depth
        result.append(line)
    return result


def returns(lines: list[str]) -> list[str]:
    """What a function returns as a field: napoleon takes what is before a colon as a type."""
    result, inside = [], False
    for line in lines:
        if line.startswith("Returns:"):
            inside, line = True, ":returns:" + line[len("Returns:") :]
        elif inside and line.strip() and not line.startswith(" "):
            inside = False
        result.append(line)
    return result


def process(
    app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]
) -> None:
    """Autodoc's event for each docstring, before napoleon's."""
    lines[:] = returns(escape(lines))
    if what in {"attribute", "property", "data"}:
        lines[:0] = ["..", ""]  # a comment, because an attribute's first line is read likewise


def signature(
    app: Sphinx,
    what: str,
    name: str,
    value: object,
    options: object,
    text: str | None,
    result: str | None,
) -> tuple[str | None, str | None]:
    """Autodoc's event for each signature: without what only the package's own code passes."""
    return (INTERNAL.sub("", text) if text else text), result


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry."""
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True}
