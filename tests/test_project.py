"""Facts about the project that several files state are the same in all of them."""

import importlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import treefilter

ROOT = Path(__file__).parent.parent
if not (ROOT / ".ci").exists():  # the package as it is distributed has no such files
    pytest.skip("not the repository", allow_module_level=True)
tomllib = pytest.importorskip("tomllib")  # Python 3.11

PROJECTS = ["pyproject.toml", "examples/tel_segmentation/pyproject.toml"]
PINS = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.M))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
CITATION = (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def project(path):
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))["project"]


def test_hooks_use_the_pinned_versions():
    found = [pin.split("==") for hook in HOOKS for pin in hook.get("additional_dependencies", [])]
    assert {name for name, _ in found} == {"ruff", "clang-format", "zizmor"}
    assert [(name, version) for name, version in found if PINS[name] != version] == []


def test_hooks_run_what_make_lint_runs():
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)[1]
    commands = re.findall(r"\$\(BIN\)/(.*)", recipe)
    first_words = {re.sub(r" (--|\.$|\$).*", "", command) for command in commands}
    hooks = {re.sub(r"\.venv/bin/| (-i|--).*", "", hook["entry"]) for hook in HOOKS}
    assert hooks == first_words


def test_workflow_runs_ci():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert [step["run"] for step in workflow["jobs"]["ci"]["steps"] if "run" in step] == [".ci/run"]


def test_version_is_one():
    version = treefilter.__version__
    tel = project("examples/tel_segmentation/pyproject.toml")
    assert "version" not in project("pyproject.toml")  # it is read from __init__.py
    assert yaml.safe_load(CITATION)["version"] == tel["version"] == version
    assert f"treefilter>={version}" in tel["dependencies"]
    assert importlib.metadata.version("treefilter") == version


def test_license_of_the_example_package():
    texts = [(ROOT / path).with_name("LICENSE").read_text(encoding="utf-8") for path in PROJECTS]
    assert texts[0] == texts[1]


def test_required_torch_is_one_version():
    (torch,) = [name for name in project("pyproject.toml")["dependencies"] if "torch" in name]
    assert torch in project("examples/tel_segmentation/pyproject.toml")["dependencies"]
    recipe = (ROOT / ".ci" / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    assert torch.replace("torch>=", "- pytorch >=") in recipe


def test_release_notes():
    def notes(version):
        command = [sys.executable, ROOT / ".ci" / "release_notes.py", version]
        return subprocess.run(command, capture_output=True, text=True)

    done = notes("0.1.0")
    assert done.returncode == 0
    assert done.stdout.startswith("The first version")
    assert "## " not in re.sub("### ", "", done.stdout)
    assert "expected a section [9.9.9]" in notes("9.9.9").stderr
    assert notes("9.9.9").returncode == 1


@pytest.mark.parametrize("path", ["README.md", "examples/tel_segmentation/README.md"])
def test_links_of_what_pypi_shows(path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / ".ci")
    links = importlib.import_module("published_links")
    text = (ROOT / path).read_text(encoding="utf-8")
    shown = links.absolute(text, ROOT / path, "some/where", "v1")
    found = re.findall(r"\]\(([^)]*)\)", shown)
    prefix = r"https://github\.com/some/where/(blob|raw|tree)/v1/"
    assert len(found) > 3
    assert [link for link in found if not re.match(prefix, link)] == []
    assert re.findall(r"```.*?```", shown, re.S) == re.findall(r"```.*?```", text, re.S)
    known = {re.sub(prefix, "", link).partition("#")[0] for link in found}
    assert all((ROOT / name).exists() for name in known)
    with pytest.raises(SystemExit, match=r"expected a file of the repository, got no\.md"):
        links.absolute("[it](no.md)", ROOT / path, "some/where", "v1")


def test_releases_publish_such_links():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    checked = 0
    for job in jobs.values():
        commands = "\n".join(step["run"] for step in job["steps"] if "run" in step)
        build = re.search(r"python -m (build|cibuildwheel) ", commands)
        if build:
            assert "published_links.py README.md" in commands[: build.start()]
            checked += 1
    assert checked == 3


@pytest.mark.parametrize("path", PROJECTS)
def test_metadata(path):
    metadata = project(path)
    minors = [
        int(match[1])
        for text in metadata["classifiers"]
        if (match := re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", text))
    ]
    assert metadata["requires-python"] == f">=3.{minors[0]}"
    assert minors == [*range(minors[0], minors[-1] + 1)]
    assert sys.version_info.minor in minors
    assert "Typing :: Typed" in metadata["classifiers"]
    package = ROOT / path.replace("pyproject.toml", metadata["name"].replace("-", "_"))
    assert (package / "py.typed").exists()


@pytest.mark.parametrize("path", PROJECTS)
def test_addresses_are_those_of_the_citation(path):
    for url in project(path)["urls"].values():
        assert url.removeprefix("https://doi.org/") in CITATION
