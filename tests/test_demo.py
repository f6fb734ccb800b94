"""The photo demo as a user runs it: quick success, and one line for every mistake."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
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


def reader():
    """The demo's module that reads photographs."""
    spec = importlib.util.spec_from_file_location("demo_inputs", DEMO / "inputs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo_inputs"] = module
    spec.loader.exec_module(module)
    return module


RAMP = np.linspace(0, 1, 40 * 50).reshape(40, 50)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("8.png", (255 * RAMP).astype(np.uint8)),
        ("12 in 16.png", (4095 * RAMP).astype(np.uint16)),
        ("16.tif", (65535 * RAMP).astype(np.uint16)),
        ("32.tif", (255 * RAMP).astype(np.int32)),
        ("float.tif", RAMP.astype(np.float32)),
    ],
)
def test_photographs_of_any_depth_are_neither_white_nor_black(tmp_path, name, pixels):
    Image.fromarray(pixels).save(tmp_path / name)
    photo = reader().load_photo("", tmp_path / name)[0]
    assert np.abs(np.asarray(photo) / 255 - RAMP[..., None]).max() < 1 / 200
    image_files = pytest.importorskip("tel_segmentation.data.image_files")
    assert np.array_equal(np.asarray(photo), np.asarray(image_files.read_image(tmp_path / name)))


def test_odd_names_and_a_byte_order_mark(tmp_path):
    Image.radial_gradient("L").resize((60, 40)).save(tmp_path / "own.png")
    scribbles = {
        "classes": {r"$\foo$": "red", "_background_": "blue"},
        "scribbles": [
            {"class": r"$\foo$", "points": [[28, 20], [32, 20]]},
            {"class": "_background_", "points": [[2, 2], [50, 5]]},
        ],
    }
    path = write(tmp_path, "\ufeff" + json.dumps(scribbles))
    arguments = ["--image", "own.png", "--scribbles", path, "--steps", 0]
    done = run(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    before = (tmp_path / "own.png").read_bytes()
    done = run(tmp_path, *arguments, "--output", "../" + tmp_path.name + "/own.png")
    assert done.returncode == 2
    assert done.stderr == "photo_demo: --output would overwrite own.png\n"
    assert (tmp_path / "own.png").read_bytes() == before


def pipe(folder):
    """The path of a FIFO, from which a reader would wait."""
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


MISTAKES = {
    "pipe.png as an image: not a file": lambda folder: [
        "--image",
        pipe(folder),
        "--scribbles",
        "b.json",
    ],
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
    "--sigma must be positive, 1e-30": lambda folder: ["--sigma", "1e-300"],
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
