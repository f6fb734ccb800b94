"""The word list of `make lint`: it finds planted words, and leaves ordinary English alone."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "words.py"
if not SCRIPT.exists():  # the package as it is distributed has no .ci
    pytest.skip("no .ci here", allow_module_level=True)
SPEC = importlib.util.spec_from_file_location("words", SCRIPT)
words = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(words)

PLANTED = {
    "a.py": 'def f():\n    """Trees are walked by\n    turns."""\n    "by turns" + ""  # he goes\n',
    "b.cuh": "int x;  // x\n/* The lights of\n * it */\nchar* s = \"// lights\";  // 'stretch'\n",
    "walks.cu": "// walks down\n// vertex's place\n// his share\n// the way from leaf to root\n",
    "errors.py": 'raise ValueError(\n    "x: asked ahead")\nprint("by turns")\n',
    "c.md": "Taken less\nof it.\n\n```\nby turns\n```\n\n    by turns\n\n`by turns` [](by turns)\n",
    "Makefile": 'all:\n\techo "by turns"  # worth to see\n',
}
FOUND = {
    "a.py": [(2, "by turns"), (4, "he")],
    "b.cuh": [(2, "lights"), (4, "stretch")],
    "walks.cu": [(1, "walks"), (2, "vertex's place"), (3, "his"), (4, "the way from leaf")],
    "errors.py": [(2, "asked ahead")],
    "c.md": [(1, "Taken less of")],
    "Makefile": [(2, "worth to")],
}
ORDINARY = """\
He, K. is an author. Traffic lights change the other way round, in two ways, all the way down the
road; people who want to can ask for help, ask questions, walk, share, and take their place.
The phase of a program, the value of a piece of music: nothing here has a meaning of its own.
"""


@pytest.mark.parametrize("name", PLANTED)
def test_finds_planted_words(tmp_path, name):
    path = tmp_path / name
    path.write_text(PLANTED[name], encoding="utf-8")
    found = [message.split(": say ")[0] for message in words.check(path)]
    assert found == [f'{path}:{line}: "{text}"' for line, text in FOUND[name]]


def test_leaves_ordinary_english_alone(tmp_path):
    path = tmp_path / "a.md"
    path.write_text(ORDINARY, encoding="utf-8")
    assert words.check(path) == []


@pytest.mark.parametrize("table", [words.EVERYWHERE, words.NATIVE], ids=["everywhere", "native"])
def test_no_entry_says_another_entrys_word(table):
    patterns = words.compiled(table)
    assert [say for say in table.values() if any(p.search(say) for p, _ in patterns)] == []


def test_exit_status(capsys, monkeypatch, tmp_path):
    path = tmp_path / "a.md"
    monkeypatch.setattr(words, "tracked", lambda arguments: [path])
    path.write_text("This is worth to read.", encoding="utf-8")
    assert words.main([]) == 1
    assert '"worth to": say worth + -ing' in capsys.readouterr().out
    path.write_text("This is worth reading.", encoding="utf-8")
    assert words.main([]) == 0
