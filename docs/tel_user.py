"""The picture of examples/tel_segmentation's README: from clicks to a network's prediction.

Invented photographs are annotated with labelme's files, and go through the commands that the README
names: ``tel init``, ``tel fill``, ``tel train``, ``tel predict``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tel_segmentation import cli
from tel_segmentation.data.folder import Folder
from tel_segmentation.data.sparse_labels import resize_label
from tel_segmentation.evaluation.pictures import colorize, draw_annotation

sys.path.insert(0, str(Path(__file__).parents[1] / "examples/tel_segmentation/tests"))
import tel_landscapes

COUNT = 10  # photographs
TRAINING = [
    "--model.name", "tiny", "--model.weights", "none", "--iterations", "200", "--batch", "4",
    "--loss.warmup", "0.2", "--data.size", "144", "192", "--data.crop", "144", "192",
    "--device", "cpu", "--no-tensorboard", "--pictures", "0",
]  # fmt: skip
NEW = 100  # the seed of a photograph that is not annotated
TILE = (300, 225)
GAP, TITLE = 8, 22


def tel(*arguments: object) -> None:
    """Runs a command that must succeed."""
    if cli.main([str(argument) for argument in arguments]):
        raise SystemExit(1)


def main() -> None:
    """Makes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("tel_user.png"))
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder:
        tiles = pictures(Path(folder))
    whole = Image.new("RGB", (len(tiles) * (TILE[0] + GAP) - GAP, TITLE + TILE[1]), "white")
    draw = ImageDraw.Draw(whole)
    for column, (title, tile) in enumerate(tiles.items()):
        left = column * (TILE[0] + GAP)
        draw.text((left, 2), title, "black", ImageFont.load_default(13))
        whole.paste(tile.convert("RGB").resize(TILE, Image.Resampling.LANCZOS), (left, TITLE))
    whole.quantize(128).save(output, optimize=True)


def pictures(folder: Path) -> dict[str, Image.Image]:
    """The tiles by their titles."""
    photos, data = folder / "photos", folder / "photos-data"
    album = {f"IMG_{seed:04}.JPG": tel_landscapes.marks(seed) for seed in range(COUNT)}
    for seed, name in enumerate(album):
        tel_landscapes.photograph(photos / name, seed)
    tel_landscapes.labelme(photos, album)
    tel_landscapes.photograph(folder / "new.jpg", NEW)
    tel("init", photos)
    toml = data / "dataset.toml"
    tel("fill", toml, "--annotation", "drawn", "--side", 400)
    tel("train", "photos", "--data.source", toml, "--data.annotation", "drawn",
        "--output", folder / "run", *TRAINING)  # fmt: skip
    options = ("--outlines", "--legend", "--confidence")
    tel("predict", folder / "run", folder / "new.jpg", "--output", folder / "out", *options)
    drawn, filled = (Folder(toml, "train", name) for name in ("drawn", "drawn-filled"))
    index = drawn.names.index("IMG_0000")
    marks = resize_label(drawn.full_label(index), (300, 400), True)
    return {
        "what was drawn": Image.fromarray(
            draw_annotation(tel_landscapes.scene(0)[0], marks, drawn.colors)
        ),
        "tel fill: along the trees, no training": Image.fromarray(
            colorize(filled.full_label(index), drawn.colors)
        ),
        "tel predict: another photograph": Image.open(folder / "out" / "overlays" / "new.jpg"),
        "its confidence": Image.open(folder / "out" / "confidence" / "new.png"),
    }


if __name__ == "__main__":
    main()
