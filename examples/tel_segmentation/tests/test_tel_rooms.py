"""A package ("room") of tel_segmentation imports only from rooms below it, without circles.

``ROOMS`` is the only table of what may import what. All imports count, also those inside functions
and those for type checkers alone.
"""

import ast
import graphlib
import shutil
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tel_segmentation"
ROOMS = {
    "runtime": set(),
    "config": set(),
    "data": {"config"},
    "networks": {"runtime", "config"},
    "losses": {"runtime", "config", "data"},
    "evaluation": {"runtime", "config", "data", "networks"},
    "training": {"runtime", "config", "data", "networks", "losses", "evaluation"},
    "report": {"runtime", "config", "evaluation"},
    "paper": {
        "runtime", "config", "data", "networks", "losses", "evaluation", "training", "report",
    },
    "presets": {"config", "paper"},
    "commands": {
        "runtime", "config", "data", "networks", "losses", "evaluation", "training", "report",
        "paper", "presets",
    },
    "cli": {"runtime", "training", "commands"},
    "": {"runtime", "config", "losses", "evaluation", "training", "presets"},  # the public names
}  # fmt: skip


def modules(package):
    """The file of every module, by its dotted name."""
    found = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imported(name, file, known):
    """The modules of ``known`` that a module imports."""
    root = name.partition(".")[0]
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
            base = ".".join(above[: len(above) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            names |= {
                full if (full := f"{module}.{alias.name}") in known else module
                for alias in node.names
            }
        elif isinstance(node, ast.Constant) and str(node.value).startswith(root + "."):
            names |= {node.value} & known.keys()  # imported by importlib
    return {each for each in names if each.partition(".")[0] == root} - {name}


def room(name):
    """The room of a module, as ``ROOMS`` names it."""
    return [*name.split("."), ""][1]


def faults(package, rooms=ROOMS):
    """The faults: imports that the table forbids, entries that no import needs, and circles."""
    known = modules(package)
    imports = {name: imported(name, file, known) for name, file in known.items()}
    found = [
        f"{name} imports {other}: {room(name) or 'the package'} must not import {room(other)}"
        for name, others in imports.items()
        for other in sorted(others)
        if room(other) != room(name) and room(other) not in rooms.get(room(name), ())
    ]
    used = {(room(name), room(other)) for name, others in imports.items() for other in others}
    allowed = {(above, below) for above, belows in rooms.items() for below in belows}
    found += [f"{above} never imports {below}" for above, below in sorted(allowed - used)]
    for graph in (rooms, imports):
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            found.append("a circle: " + " imports ".join(reversed(error.args[1])))
    return found


def test_rooms_import_from_those_below():
    assert faults(PACKAGE) == []


def test_every_module_is_in_a_room():
    rooms = {room(name) for name in modules(PACKAGE)}
    assert rooms == ROOMS.keys()


PLANTED = {
    "at the top": ("data/folder.py", "import tel_segmentation.training.engine\n"),
    "from": ("data/folder.py", "from tel_segmentation.training import engine\n"),
    "relative": ("data/folder.py", "from ..training import engine\n"),
    "of a package": ("data/__init__.py", "from ..training.engine import train\n"),
    "in a function": (
        "losses/inputs.py",
        "def planted():\n    from tel_segmentation.networks.tiny import Tiny\n    return Tiny\n",
    ),
    "for type checkers": (
        "networks/tiny.py",
        "import typing\nif typing.TYPE_CHECKING:\n    from tel_segmentation.data import sample\n",
    ),
    "by name": (
        "report/html.py",
        "import importlib\nimportlib.import_module('tel_segmentation.paper.page')\n",
    ),
    "a command's": ("paper/page.py", "from tel_segmentation.commands import report\n"),
}


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(PACKAGE, tmp_path / PACKAGE.name))


@pytest.mark.parametrize(("file", "code"), PLANTED.values(), ids=PLANTED.keys())
def test_an_import_that_is_not_in_the_table_is_found(copy, file, code):
    with (copy / file).open("a", encoding="utf-8") as planted:
        planted.write(code)
    module = f"{PACKAGE.name}.{file}".removesuffix(".py").removesuffix("/__init__")
    found = [fault for fault in faults(copy) if "must not import" in fault]
    assert [fault.split()[0] for fault in found] == [module.replace("/", ".")]


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("commands/check_report.py", "from tel_segmentation.commands import check_data\n"),
        ("losses/inputs.py", "def f():\n    import tel_segmentation.losses.tree_energy\n"),
    ],
)
def test_a_circle_of_modules_is_found(copy, file, code):
    with (copy / file).open("a", encoding="utf-8") as planted:
        planted.write(code)
    (found,) = faults(copy)
    assert found.startswith("a circle: tel_segmentation.")


def test_a_circle_of_rooms_is_found():
    rooms = {**ROOMS, "data": {"config", "losses"}}
    found = faults(PACKAGE, rooms)
    assert "data never imports losses" in found
    assert any(fault.startswith("a circle: ") for fault in found)
