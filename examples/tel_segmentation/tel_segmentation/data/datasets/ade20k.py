"""ADE20K's scene parsing benchmark (SceneParse150): 20,210 images, 2,000 for validation.

Two layouts are read: the published one, in the folder ``ADEChallengeData2016`` or its parent::

    images/{training,validation}/NAME.jpg    annotations/{training,validation}/NAME.png

and that of the paper's official code::

    {train,val}/image/NAME.jpg               {train,val}/label/NAME.png

The images for testing are in ``release_test/testing`` or ``images/testing``, without labels.

Label files have 0 where there is no class and 1 to 150 for the classes. Sparse annotations have the
same encoding; they are in ``train/sparse_label/block20``, ``annotations/block20/train`` (made by
``tel annotate``) or a folder given by its path. The number 255 is an error, since it is a sign of
another encoding with the classes 0 to 149, which would be read wrongly without a warning. If the
classes are 1 to 150 and 255 only means no class, pass ``--data.ignore 255``.
"""

from __future__ import annotations

from pathlib import Path

from tel_segmentation.config import Data
from tel_segmentation.data.dataset_file import voc_colors
from tel_segmentation.data.datasets.encoding import Encoding, encoding_of_annotations
from tel_segmentation.data.datasets.pairs import (
    Entry,
    Pairs,
    annotation_files,
    check_split,
    images_of,
)
from tel_segmentation.data.image_files import label_files

COUNTS = {"train": 20210, "val": 2000, "test": 3352}

# The first name of each class in the benchmark's objectInfo150.txt.
_NAMES = """\
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person,
earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea,
mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion,
base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace,
refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway,
river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove,
palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light,
truck, tower, chandelier, awning, streetlight, booth, television, airplane, dirt track, apparel,
pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain,
conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent,
bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle,
lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan,
pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag"""
CLASSES = tuple(_NAMES.replace("\n", " ").split(", "))
ADE20K = Encoding("ade20k", tuple(range(1, len(CLASSES) + 1)), 0)
# Pascal VOC's colours of the numbers 1 to 150; black is for no class.
COLORS = tuple((red, green, blue) for red, green, blue in voc_colors(len(CLASSES) + 1)[1:])

PUBLISHED = "ADEChallengeData2016"
_FOLDERS = {"train": "training", "val": "validation", "test": "testing"}
_SUFFIXES = (".jpg", ".jpeg", ".png")


class Ade20k(Pairs):
    """A split of ADE20K's scene parsing benchmark.

    Args:
        folder: the data set, in one of the layouts at the top of this file.
        split: ``train``, ``val`` or ``test``; ``test`` needs no labels.
        options: annotation, ignore, size, short_side.
        skip_missing: leave out images with missing files instead of raising an error.

    Raises:
        ValueError: a folder or files are missing (the message has the paths), or annotations are
            of another data set.
    """

    classes = CLASSES
    colors = COLORS

    def __init__(self, folder: Path, split: str, options: Data, skip_missing: bool = False) -> None:
        check_split(split, COUNTS)
        root, images, labels = layout(folder, split)
        found = images_of(images, _SUFFIXES)
        dense = label_files(labels)
        # A label without an image is reported too: the image is then missing.
        found = {**{name: images / f"{name}.jpg" for name in dense}, **found}
        made: Path | None = None
        has_labels = split != "test" or labels.is_dir()
        if options.annotation == "dense":
            entries = [
                Entry(name, image, label, label)
                for name, image in found.items()
                for label in [labels / f"{name}.png" if has_labels else None]
            ]
        else:
            made, files = annotation_files(root, split, options.annotation)
            encoding_of_annotations(made, {ADE20K.name: ADE20K})
            entries = [
                Entry(name, found.get(name, images / f"{name}.jpg"), file, dense.get(name))
                for name, file in files.items()
            ]
            others = [name for name in found if name not in files]
            self.without_annotation = [made / f"{name}.png" for name in others]
        super().__init__(root, split, entries, ADE20K, ADE20K, options, skip_missing, made)


def layout(folder: Path, split: str) -> tuple[Path, Path, Path]:
    """The data set's own folder, and the folders of a split's images and dense labels.

    Raises:
        ValueError: there is no folder of images in either layout.
    """
    root = folder / PUBLISHED if (folder / PUBLISHED).is_dir() else folder
    name = _FOLDERS[split]
    pairs = [
        (root / "images" / name, root / "annotations" / name),
        (root / split / "image", root / split / "label"),
    ]
    if split == "test":
        test = Path("release_test") / name
        pairs += [(base / test, base / test / "labels") for base in (root, folder, root.parent)]
    for images, labels in pairs:
        if images.is_dir():
            return root, images, labels
    raise ValueError(
        f"{folder} must have a folder {pairs[0][0].relative_to(folder)} (as published) or"
        f" {pairs[1][0].relative_to(folder)} (as the official code has it), has neither"
    )
