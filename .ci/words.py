"""Find words that this project says otherwise, in comments, docstrings, errors and Markdown prose.

    python .ci/words.py                 # every file that git tracks
    python .ci/words.py src README.md   # these files and folders

Prints ``file:line: "what it says": say what to say`` and exits with 1 if there is anything.
The glossary in CONTRIBUTING.md explains the terms. Code and text in backticks are not looked at.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

Lines = list[tuple[int, str]]  # line number, text

# Ordinary English stays allowed, so most entries are phrases. A space stands for any white space,
# also for the end of a line; (?-i:…) keeps the case.
EVERYWHERE = {
    r"by turns": "interleaved",
    r"(?<!traffic )lights": "light children",
    r"(a|each|every|whose|its|their|vertex's) way (is|goes|ends|passes|leads|as short)": "path",
    r"ways (end|goes|go|lead|wander|from|up|upwards|to the (root|source|seed)s?)": "paths",
    r"(values and|along the) ways": "paths",
    r"a way (never|turns)|on the way to (any|the|a) (seed|root|source|of)": "path",
    r"on the way (up|there)": "in the leaf-to-root pass",
    r"on the way (down|back)": "in the root-to-leaf pass",
    r"the way (from|to) ((a|the|its) )?(leaf|root|seed|source|vertex|parent)": "path",
    r"(a|each|every) walk": "path or traversal",
    r"walk(s|ed|ing)? (along|down|up|over|through) (a|the|its|each) (tree|chain|path)": "follow",
    r"walks? (ends?|ended|was|were)": "path or traversal",
    r"nobody walks": "no thread follows the chain",
    r"look(s|ed|ing)?[ -]ahead": "prefetch",
    r"ask(s|ed|ing)? for (the |its )?(memory|cache|rows?|lines?)": "prefetch",
    r"(memory|cache|rows?|lines?)( \w+){0,6} (is|are) asked for": "prefetch",
    r"asked? ahead": "prefetch",
    r"(?-i:he|his)": "it, or the name of what acts (a thread, a caller)",
    r"whoever": "the thread, caller or reader that …",
    r"by who": "by the thread, caller or reader that …",
    r"(?-i:Who)( [\w']+){1,6} (sees|finds|gets|needs|takes|can)": "readers (or users) who …",
    r"who (comes|asks?|waits?|goes|looks|does)": "the thread, caller or reader that …",
    r"taken less( of)?": "subtracted (from)",
    r"worth to": "worth + -ing",
    r"teams? of (blocks|threads|programs)": "grid group",
    r"in the place of": "instead of",
    r"(stretch|stretches|pieces?) of (a |the |its )?(slots?|chains?|rows?)": "segment",
    r"threads?( may)? meet": "threads synchronise",
    r"vertex rows?": "channels of a vertex",
}
# In the native code some words have one meaning only. What is code, as team.each(…), is not a word.
NAME = r"(?!\.\w|[(<>*\[]|::)"
NATIVE = {
    r"(is|are|be) asked for": "prefetch (memory), or request",
    r"asking": "prefetching, or requesting",
    r"stretch(es)?" + NAME: "segment",
    r"(?<!one )pieces?(?! of code)" + NAME: "segment, chunk (of memory) or phase",
    r"(?<!class )teams?" + NAME: "grid group",
    r"programs?" + NAME: "kernel (of a grid group, with phases)",
    r"(a|the|its|their|whose|larger|equal|\w+'s) shares?": "multiplier (of an affine map)",
    r"shares of": "multipliers (of affine maps)",
    r"(the|its|their|whose|\w+'s) places?": "position, offset or address: say of what",
    r"walk(s|ed|ing)?" + NAME: "path, chain or traversal; follow",
}
NATIVE_SUFFIXES = {".h", ".cuh", ".cpp", ".cu"}
HASH_SUFFIXES = {".cmake", ".toml", ".yml", ".yaml", ".txt", ".sh"}
HASH_NAMES = {"Makefile", "run"}
COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def compiled(table: dict[str, str]) -> list[tuple[re.Pattern[str], str]]:
    """The table as patterns of whole words."""
    look_behind = re.compile(r"(\(\?<!\w+) \)")  # has to keep its length
    patterns = []
    for key, say in table.items():
        spaced = look_behind.sub(r"\1@)", key).replace(" ", r"\s+").replace("@", r"\s")
        patterns.append((re.compile(rf"\b{spaced}(?!\w)", re.IGNORECASE), say))
    return patterns


def python_text(source: str) -> Lines:
    """Comments, docstrings without the doctests' code, and the messages of errors."""
    lines: Lines = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines.append((token.start[0], token.string.lstrip("#: ")))
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str()), lineno=first, end_lineno=last):
                text = source.splitlines()[first - 1 : last]
                lines += [(first + i, line.strip()) for i, line in enumerate(text)]
            case ast.Raise(exc=ast.Call(args=arguments)):
                inside = (each for argument in arguments for each in ast.walk(argument))
                lines += [
                    (each.lineno, each.value)
                    for each in inside
                    if isinstance(each, ast.Constant) and isinstance(each.value, str)
                ]
    return [(n, text) for n, text in lines if not text.startswith((">>>", "..."))]


def native_text(source: str) -> Lines:
    """Comments of C++ and CUDA."""
    lines: Lines = []
    for match in COMMENT.finditer(source):
        if match[0].startswith("/"):
            first = source.count("\n", 0, match.start()) + 1
            text = match[0].split("\n")
            lines += [(first + i, line.strip("/* \t")) for i, line in enumerate(text)]
    return lines


def markdown_text(source: str) -> Lines:
    """Prose, without blocks of code and the addresses of links."""
    lines: Lines = []
    fence = False
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fence = not fence
        elif not fence and not line.startswith("    "):
            lines.append((number, re.sub(r"\]\([^)]*\)", "]", line)))
    return lines


def hash_text(source: str) -> Lines:
    """Comments that begin with #."""
    found = (re.search(r"(?:^|\s)#(.*)", line) for line in source.splitlines())
    return [(number, match[1]) for number, match in enumerate(found, 1) if match]


def text_of(path: Path) -> Lines:
    """What a file says to its readers; nothing of a file of another kind."""
    if path.suffix in {".py", ".pyi"}:
        return python_text(path.read_text(encoding="utf-8"))
    if path.suffix in NATIVE_SUFFIXES:
        return native_text(path.read_text(encoding="utf-8"))
    if path.suffix == ".md":
        return markdown_text(path.read_text(encoding="utf-8"))
    if path.suffix in HASH_SUFFIXES or path.name in HASH_NAMES:
        return hash_text(path.read_text(encoding="utf-8"))
    return []


def blocks(lines: Lines) -> Iterator[Lines]:
    """Runs of consecutive lines, since a phrase may be broken between two."""
    block: Lines = []
    for number, text in sorted(lines):
        if block and number != block[-1][0] + 1:
            yield block
            block = []
        block.append((number, re.sub("(`+).+?\\1", "``", text)))
    if block:
        yield block


def check(path: Path) -> list[str]:
    """One message for each word that should be another."""
    table = compiled(EVERYWHERE | (NATIVE if path.suffix in NATIVE_SUFFIXES else {}))
    messages = set()
    for block in blocks(text_of(path)):
        text = "\n".join(line for _, line in block)
        for pattern, say in table:
            for match in pattern.finditer(text):
                number = block[0][0] + text.count("\n", 0, match.start())
                words = " ".join(match[0].split())
                messages.add((number, f'{path}:{number}: "{words}": say {say}'))
    return [message for _, message in sorted(messages)]


def tracked(arguments: list[str]) -> list[Path]:
    """The files that git tracks, all of them or those under the arguments."""
    command = ["git", "ls-files", "-z", "--", *arguments]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in names.split("\0") if name]


def main(arguments: list[str]) -> int:
    """Print every message; 1 if there is one."""
    paths = [path for path in tracked(arguments) if path.is_file()]
    messages = [message for path in paths for message in check(path)]
    print("\n".join(messages or [f"words: {len(paths)} files, nothing to say otherwise"]))
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
