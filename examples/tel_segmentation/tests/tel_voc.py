"""Pascal VOC and SBD in miniature, written by the tests in the published formats."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SIZE = (30, 20)  # width, height
VOC_TRAIN = ("2007_000032", "2007_000039")
VOC_VAL = ("2007_000033", "2008_000123")
VOC_TEST = ("2008_000006",)
SBD_TRAIN = ("2008_000008", "2007_000032")  # the second is also in VOC's list
SBD_VAL = ("2008_000015", "2007_000033")  # the second is in VOC's validation set
TRAIN = ("2007_000032", "2007_000039", "2008_000008", "2008_000015")


def voc_mask(value: int) -> np.ndarray:
    """A label map: an object of a class on background, with void around it."""
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    mask[4:14, 5:20] = 255
    mask[5:13, 6:19] = value
    return mask


def write_png(path: Path, values: np.ndarray) -> None:
    """Writes a label file as VOC has them: 8 bits with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8), "P")
    image.putpalette([(7 * i) % 256 for i in range(768)])
    image.save(path)


def write_mat(path: Path, values: np.ndarray) -> None:
    """Writes a file of SBD: a 1 × 1 struct of the label map, the boundaries and the classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    boundaries = np.empty((20, 1), object)
    boundaries[:, 0] = [np.zeros((2, 2), np.uint8)] * 20
    classes = np.unique(values[values > 0])[:, None].astype(np.uint8)
    fields = {"Boundaries": boundaries, "Segmentation": values, "CategoriesPresent": classes}
    savemat(path, {"GTcls": fields})


def write_image(path: Path, size: tuple[int, int] = SIZE) -> None:
    """Writes a JPEG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 100, 50)).save(path)


def write_list(path: Path, names: tuple[str, ...]) -> None:
    """Writes a list of names, one per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def write_voc(root: Path) -> None:
    """Writes a folder VOC2012; as in the archive, it also has the images of SBD."""
    for name in {*VOC_TRAIN, *VOC_VAL, *VOC_TEST, *SBD_TRAIN, *SBD_VAL}:
        write_image(root / "JPEGImages" / f"{name}.jpg")
    for name in (*VOC_TRAIN, *VOC_VAL):
        write_png(root / "SegmentationClass" / f"{name}.png", voc_mask(1))
    lists = {"train": VOC_TRAIN, "val": VOC_VAL, "trainval": VOC_TRAIN + VOC_VAL, "test": VOC_TEST}
    for split, names in lists.items():
        write_list(root / "ImageSets" / "Segmentation" / f"{split}.txt", names)


def write_sbd(root: Path) -> None:
    """Writes SBD, whose masks have class 2 and no void."""
    for name in {*SBD_TRAIN, *SBD_VAL}:
        mask = voc_mask(2)
        mask[mask == 255] = 0
        write_mat(root / "cls" / f"{name}.mat", mask)
    write_list(root / "train.txt", SBD_TRAIN)
    write_list(root / "val.txt", SBD_VAL)


def write_augmented(root: Path) -> None:
    """Writes VOC2012/SegmentationClassAug: grey PNGs of class 3, also for the validation set."""
    folder = root / "SegmentationClassAug"
    folder.mkdir(parents=True)
    for name in {*TRAIN, *VOC_VAL}:
        Image.fromarray(voc_mask(3)).save(folder / f"{name}.png")


def write_points(root: Path, names: tuple[str, ...] = TRAIN) -> None:
    """Writes the two files of points: per image, one on a person and two on background."""
    root.mkdir(parents=True, exist_ok=True)
    person = {n: [{"x": 10.2, "y": 8.4, "cls": 15, "rank": 1}] for n in names}
    ground = {n: [{"x": 2, "y": 2, "cls": 0}, {"x": 26.0, "y": 17.0, "cls": 0}] for n in names}
    (root / "voc_whats_the_point.json").write_text(json.dumps(person))
    (root / "voc_whats_the_point_bg_from_scribbles.json").write_text(json.dumps(ground))


def scribble_xml(lines: list[tuple[str, list[tuple[int, int]]]], size=SIZE) -> str:
    """The text of an XML file of ScribbleSup."""
    polygons = "".join(
        f"<polygon><tag>{tag}</tag>"
        + "".join(f"<point><X>{x}</X><Y>{y}</Y></point>" for x, y in points)
        + "</polygon>"
        for tag, points in lines
    )
    return (
        "<annotation><folder>pascal_2012</folder><filename>a.jpg</filename>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        f"{polygons}</annotation>"
    )


def write_scribbles(file: Path, names: tuple[str, ...] = TRAIN, folder: str = "") -> None:
    """Writes the zip file of scribbles: a vertical line of plane, a level one of background."""
    lines = [("plane", [(8, 4), (8, 12)]), ("background", [(22, 16), (28, 16)])]
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(f"{folder}{name}.xml", scribble_xml(lines))
