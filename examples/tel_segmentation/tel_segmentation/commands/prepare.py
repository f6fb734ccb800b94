"""``tel prepare``: unpacks the downloaded archives of a public data set into a folder for training.

Nothing is downloaded. Archives are recognised by their contents, not by their names, and only what
training needs is extracted. An interrupted command continues when it is given again; see
``datasets.archives``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from tyro.conf import Positional

from tel_segmentation.config import Data
from tel_segmentation.data.datasets.archives import (
    Extracted,
    extract,
    is_archive,
    is_junk,
    is_zip,
    list_names,
    put_file,
)
from tel_segmentation.data.datasets.public import open_dataset_source, published_counts
from tel_segmentation.data.datasets.voc import Voc
from tel_segmentation.data.datasets.voc_annotations import BACKGROUND, FOREGROUND, SCRIBBLES
from tel_segmentation.data.image_files import some

VOC2012 = "VOCdevkit/VOC2012"
ADE = "ADEChallengeData2016"


class Rule(NamedTuple):
    """Files that are extracted from an archive."""

    what: str
    members: str  # a pattern for the last parts of a path in the archive
    place: str  # the path in the output folder


RULES = {
    "voc": (
        Rule("images", r"VOC2012[^/]*/(JPEGImages/[^/]+\.jpg)", rf"{VOC2012}/\1"),
        Rule("dense labels", r"VOC2012[^/]*/(SegmentationClass/[^/]+\.png)", rf"{VOC2012}/\1"),
        Rule(
            "lists of names",
            r"VOC2012[^/]*/(ImageSets/Segmentation(?:Aug)?/[^/]+\.txt)",
            rf"{VOC2012}/\1",
        ),
        Rule("dense labels of trainaug", r"(SegmentationClassAug/[^/]+\.png)", rf"{VOC2012}/\1"),
        Rule("names of trainaug", r"(train_?aug\.txt)", rf"{VOC2012}/ImageSets/SegmentationAug/\1"),
        Rule("SBD", r"dataset/(cls/[^/]+\.mat|train\.txt|val\.txt)", r"SBD/\1"),
        Rule("scribbles as PNG files", r"(pascal_2012_scribble/[^/]+\.png)", r"\1"),
    ),
    "cityscapes": (
        Rule(
            "images",
            r"(leftImg8bit/(?:train|val|test)/[^/]+/[^/]+_leftImg8bit\.png)",
            r"\1",
        ),
        Rule(
            "dense labels",
            r"(gtFine/(?:train|val)/[^/]+/[^/]+_gtFine_(?:labelIds|labelTrainIds|instanceIds)\.png)",
            r"\1",
        ),
        Rule(
            "blocks",
            r"(block\d+)/([^/]+_leftImg8bit\.png)",
            r"train/sparse_label/\1/\2",
        ),
    ),
    "ade20k": (
        Rule("images", rf"({ADE}/images/(?:training|validation)/[^/]+\.jpg)", r"\1"),
        Rule("dense labels", rf"({ADE}/annotations/(?:training|validation)/[^/]+\.png)", r"\1"),
        Rule("lists of names", rf"({ADE}/[^/]+\.txt)", r"\1"),
        Rule("test images", r"(release_test/testing/[^/]+\.jpg)", r"\1"),
        Rule("blocks", r"(block\d+)/(ADE_train_[^/]+\.png)", rf"{ADE}/train/sparse_label/\1/\2"),
    ),
}


@dataclass(frozen=True)
class Prepare:
    """Unpack the archives of a public data set: the files that training needs, where it needs them.

    Give them all at once or one after another; existing files are not written again.

    voc: VOCtrainval_11-May-2012.tar, SBD's benchmark.tgz or SegmentationClassAug.zip,
    voc_scribbles.zip, the points' two JSON files, VOC2012test.tar for testing.
    cityscapes: leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip, archives of blocks.
    ade20k: ADEChallengeData2016.zip, release_test.zip for testing, archives of blocks.

    Exit code: 0 training and validation set are complete, 1 something is missing, or there are
    fewer images than are published.
    """

    kind: Positional[Literal["voc", "cityscapes", "ade20k"]]
    archives: Positional[tuple[Path, ...]]
    """Paths of the downloaded files."""
    output: Path
    """The data set's folder; it is created if it does not exist."""


def run(options: Prepare) -> int:
    """The command ``tel prepare``.

    Returns:
        The exit code: 0, or 1 if the folder does not have enough yet to train and validate.

    Raises:
        ValueError: a file does not exist, is damaged, or does not belong to the data set.
        OSError: a file could not be written.
    """
    if not options.archives:
        raise ValueError("archives must be the paths of files as downloaded, got none")
    for archive in options.archives:
        if not archive.is_file():
            folder = ", which is a folder" if archive.is_dir() else ""
            raise ValueError(f"archives must be files as downloaded, got {archive}{folder}")
    for archive in options.archives:
        done = _put(options.kind, archive, options.output)
        print(f"{archive.name}: {done.written} files written, {done.present} existed already")
    return _summary(options.kind, options.output)


def _put(kind: str, archive: Path, output: Path) -> Extracted:
    choose = _chooser(kind)
    if kind == "voc" and (name := _annotation(archive, choose)):
        written = put_file(archive, output, name)
        return Extracted(int(written), int(not written))
    if not is_archive(archive):
        raise ValueError(f"{archive} must be a tar or zip archive{_wanted(kind)}")
    done = extract(archive, output, choose)
    if done == (0, 0):
        raise ValueError(
            f"{archive} must be an archive of {kind}, has none of its files{_wanted(kind)}"
        )
    return done


def _chooser(kind: str) -> Callable[[str], str | None]:
    """A function from a name in an archive to a path in the output folder; None: not needed."""
    rules = [(re.compile(f"(?:^|/){rule.members}$"), rule.place) for rule in RULES[kind]]

    def choose(name: str) -> str | None:
        if not is_junk(name):
            for pattern, place in rules:
                if found := pattern.search(name):
                    return found.expand(place)
        return None

    return choose


def _wanted(kind: str) -> str:
    wanted = [rule.what for rule in RULES[kind]]
    if kind == "voc":
        wanted += ["a JSON file of points", "a zip file of scribbles"]
    return f"; expected are {', '.join(wanted)}"


def _annotation(file: Path, choose: Callable[[str], str | None]) -> str | None:
    """The name that a file of points or scribbles must have in the folder; None for other files.

    Scribbles are XML files. Pascal VOC's boxes are XML files, too, but their archives also have
    files that are needed.
    """
    if is_zip(file):
        names = [name for name in list_names(file) if not is_junk(name)]
        scribbles = any(name.endswith(".xml") for name in names) and not any(map(choose, names))
        return f"{SCRIBBLES}.zip" if scribbles else None
    with file.open("rb") as start:
        if start.read(64).lstrip()[:1] != b"{":
            return None
    try:
        objects = [point for points in json.loads(file.read_bytes()).values() for point in points]
        foreground = any(point["cls"] for point in objects)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file} must have a list of points (x, y, cls) for every image, got: {error!r}"
        ) from error
    return FOREGROUND if foreground else BACKGROUND


def _summary(kind: str, folder: Path) -> int:
    """Prints what the folder has now, and what is missing."""
    counts = published_counts(kind)
    missing = False
    for split in ("train", "val"):
        try:
            source = open_dataset_source(kind, folder, Data(annotation="dense"), split)
        except ValueError as error:
            missing = True
            print(f"{split}: not complete yet. {error}")
        else:
            missing |= len(source) < counts[split]
            odd = "" if len(source) == counts[split] else f"; {counts[split]} are published"
            print(f"{split}: {len(source)} images with dense labels{odd}")
    print("\n".join(_annotations(kind, folder)))
    if not missing:
        print(f"Use it as --data.source {kind}:{folder}; tel check-data reads every file.")
    return int(missing)


def _annotations(kind: str, folder: Path) -> list[str]:
    if kind != "voc":
        place = (folder / ADE if kind == "ade20k" else folder) / "train" / "sparse_label"
        found = sorted(x.name for x in place.iterdir() if x.is_dir()) if place.is_dir() else []
        if found:
            return [f"annotations: {some(found)}"]
        return [f"annotations: none yet; tel annotate {kind}:{folder} makes blocks"]
    lines = []
    for annotation in ("point", "scribble"):
        try:
            source = Voc(folder, "train", Data(annotation=annotation))
        except ValueError as error:
            lines.append(f"{annotation}: not usable yet. {error}")
            continue
        outside = sum(source.points_outside(progress=True).values())
        left_out = (
            f"; {outside} points lie outside their images and are left out" if outside else ""
        )
        lines.append(f"{annotation}: {len(source)} images{left_out}")
    return lines
