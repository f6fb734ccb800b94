"""The photo demo as a user runs it: quick success, and one line for every mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

for package in ("matplotlib", "skimage", "tqdm"):
    pytest.importorskip(package)
Image = pytest.importorskip("PIL.Image")

DEMO = Path(__file__).parents[1] / "examples" / "photo_demo"
SCRIBBLES = json.loads((DEMO / "scribbles" / "chelsea.json").read_text(encoding="utf-8"))


def run(folder, *arguments):
    """The demo's process, run in ``folder``."""
    command = [sys.executable, str(DEMO / "photo_demo.py"), *map(str, arguments)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # other tests run beside this one
    return subprocess.run(
        command, cwd=folder, env=one_thread, capture_output=True, text=True, timeout=300
    )


def write(folder, content):
    """The path of a scribble file with this content."""
    path = folder / "scribbles.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def with_stroke(**changes):
    """The cat's scribbles with a change in the second stroke."""
    strokes = SCRIBBLES["scribbles"]
    return {**SCRIBBLES, "scribbles": [strokes[0], {**strokes[1], **changes}, *strokes[2:]]}


@pytest.mark.parametrize("photo", ["chelsea", "coffee"])
def test_writes_the_figure(tmp_path, photo):
    done = run(tmp_path, "--photo", photo, "--steps", 2)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "photo_demo.png") in done.stdout
    for step in ("1 ", "2a", "2b", "3 ", "4 ", "5 ", "6 "):
        assert any(
            line.startswith(step) and line.endswith(" ms") for line in done.stdout.split("\n")
        )
    assert Image.open(tmp_path / "photo_demo.png").width > 1500


def test_large_photograph_and_scribbles_of_ones_own(tmp_path):
    Image.radial_gradient("L").resize((1000, 500)).save(tmp_path / "own.jpg")
    scribbles = {
        "classes": {"inside": "red", "outside": "blue"},
        "scribbles": [
            {"class": "inside", "points": [[480, 250], [520, 250]]},
            {"class": "outside", "points": [[2, 2], [990, 5]]},
        ],
    }
    path = write(tmp_path, scribbles)
    done = run(
        tmp_path, "--image", "own.jpg", "--scribbles", path, "--steps", 1, "--output", "a.png"
    )
    assert done.returncode == 0, done.stderr
    assert "800 × 400" in done.stdout
    assert (tmp_path / "a.png").exists()


MISTAKES = {
    "no photograph is called": lambda folder: ["--photo", "dog"],
    "--image needs --scribbles": lambda folder: ["--image", "a.jpg"],
    "no such file: a.jpg": lambda folder: ["--image", "a.jpg", "--scribbles", "b.json"],
    "as an image": lambda folder: ["--image", write(folder, "text"), "--scribbles", "b.json"],
    "no such file: b.json": lambda folder: ["--scribbles", "b.json"],
    "is not valid JSON: Expecting": lambda folder: ["--scribbles", write(folder, '{"classes": ')],
    "must have 'classes', a JSON object": lambda folder: ["--scribbles", write(folder, [])],
    "scribbles 2 has class 'dog', expected one of: cat, background": lambda folder: [
        "--scribbles",
        write(folder, with_stroke(**{"class": "dog"})),
    ],
    "scribbles 2 has the point [451, 10], outside the image of 451 × 300 pixels": lambda folder: [
        "--scribbles",
        write(folder, with_stroke(points=[[450, 10], [451, 10]])),
    ],
    "scribbles 2 has the point [1], expected [x, y]": lambda folder: [
        "--scribbles",
        write(folder, with_stroke(points=[[1], [2]])),
    ],
    "made for an image of size [300, 451]": lambda folder: [
        "--photo",
        "coffee",
        "--scribbles",
        write(folder, SCRIBBLES),
    ],
    "no such folder": lambda folder: ["--output", "nowhere/a.png"],
    "--sigma must be positive": lambda folder: ["--sigma", "0"],
    "argument --steps: invalid int value: 'few'": lambda folder: ["--steps", "few"],
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_one_clear_line(tmp_path, message):
    done = run(tmp_path, *MISTAKES[message](tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("photo_demo: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "photo_demo.png").exists()
