"""What ``tel import`` is going to do: each annotation with its photograph, classes and place.

Everything that can be refused without reading the photographs' pixels is refused here, before
anything is written.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tel_segmentation.commands.import_options import Import
from tel_segmentation.data.dataset_file import DatasetInfo, default_colors, open_dataset
from tel_segmentation.data.formats.photographs import (
    TOML,
    Album,
    Photograph,
    images_in,
    look,
    names_for,
)
from tel_segmentation.data.formats.registry import READERS
from tel_segmentation.data.formats.shapes import Annotation, Drawn, Export, LabelMap
from tel_segmentation.data.image_files import some
from tel_segmentation.data.manifest import SHEET
from tel_segmentation.data.regions import VOID

DRAWN = "drawn"  # the name of imported annotations of the train split
TRAIN, VAL, DENSE = "train", "val", "dense"
HELD_OUT = 0.2  # part of the annotated images for validation, in a new data set
ENOUGH = 5  # annotated images from which on some are held out

Color = tuple[int, int, int]


class Job(NamedTuple):
    """One label file to write."""

    name: str
    photograph: Photograph
    annotation: Annotation | None  # None: an image that is kept without one
    split: str
    copied: Path | None  # where the photograph is copied to; None: it is in the data set
    label: Path


@dataclass
class Plan:
    """Everything to write, and what is to be told."""

    root: Path
    toml: Path
    new: bool
    classes: tuple[str, ...]
    colors: tuple[Color, ...]
    numbers: dict[str, int]
    """The number of the class that each of the tool's names means."""
    jobs: list[Job] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def values(self, export: Export, options: Import) -> dict[int, int]:
        """The class of each value of a label map; VOID: no label."""
        unlabelled = options.no_label
        first = options.first if options.first is not None else int(unlabelled == 0)
        names = export.names or options.classes or self.classes
        known = {first + i: self.numbers[n] for i, n in enumerate(names) if n in self.numbers}
        return {VOID: VOID, **known, unlabelled: VOID}


def plan(options: Import) -> tuple[Plan, Export]:
    """Reads the annotations, and decides what to do with each.

    Raises:
        ValueError: they cannot be read, or something is to be refused; the message lists it.
        ModuleNotFoundError: a package that reads the format is not installed.
    """
    toml, info = _existing(options)
    if options.format not in READERS:
        raise ValueError(f"format must be one of {', '.join(READERS)}, got {options.format!r}")
    export = READERS[options.format](options.source.expanduser())
    found = Counter(
        shape.label
        for each in export.annotations
        if isinstance(each, Drawn)
        for shape in each.shapes
    )
    renamed = _renamed(options)
    classes = info.classes if info else _new_classes(options, export, found, renamed)
    colors = info.colors if info else tuple((r, g, b) for r, g, b in default_colors(classes))
    numbers = _numbers(classes, found, export, renamed)
    made = Plan(toml.parent, toml, info is None, classes, colors, numbers)
    made.notes += [f"{count} {what}: not imported" for what, count in export.skipped.items()]
    _check_names(made, found, options)
    _place(made, export, info, options)
    if not any(job.annotation for job in made.jobs):
        raise ValueError(f"{options.source} must have annotations of images that exist, has none")
    return made, export


def _existing(options: Import) -> tuple[Path, DatasetInfo | None]:
    path = options.dataset.expanduser()
    toml = toml_of(path)
    if toml.is_file():
        info = open_dataset(toml)
        if wrong := [name for name in options.classes if name not in info.classes]:
            raise ValueError(f"classes must be those of {toml}, got also {some(wrong)}")
        return toml, info
    if path.is_file() or toml.exists():
        raise ValueError(f"{path} must be a folder or a data set's TOML file, is another file")
    return toml, None


def toml_of(path: Path) -> Path:
    """The TOML file of a data set that is given by its folder or by this file; it may not exist.

    Raises:
        ValueError: the folder has TOML files of other names.
    """
    if path.suffix == ".toml":
        return path
    others = sorted(path.glob("*.toml")) if path.is_dir() else []
    if others and path / TOML not in others:
        raise ValueError(f"{path} has the TOML file {some(others)}: give that file itself")
    return path / TOML


def _renamed(options: Import) -> dict[str, str]:
    pairs = [each.partition("=") for each in options.rename]
    if wrong := [old + sign + new for old, sign, new in pairs if not (old and new)]:
        raise ValueError(f"rename must be OLD=NEW, got {some(wrong)}")
    return {old: new for old, _, new in pairs}


def _new_classes(
    options: Import, export: Export, found: Counter[str], renamed: Mapping[str, str]
) -> tuple[str, ...]:
    """The classes of a new data set: as given, as the tool declares them, or the names found."""
    maps = any(isinstance(each, LabelMap) for each in export.annotations)
    names = options.classes or export.names or tuple(sorted(found))
    if maps and not (options.classes or export.names):
        raise ValueError(
            f"classes must be given for a new data set from {options.format}, whose files have"
            " numbers alone: --classes NAME NAME …, in the order of the numbers"
        )
    background = (options.background,) if options.background else ()
    names = (*(renamed.get(name, name) for name in names), *background)
    classes = tuple(dict.fromkeys(names))
    if not 2 <= len(classes) <= VOID:
        raise ValueError(
            f"classes must be 2 to {VOID}, got {some(classes) or 'none'}; if everything else is a"
            " class of its own, name it: --background NAME"
        )
    return classes


def _numbers(
    classes: tuple[str, ...], found: Counter[str], export: Export, renamed: Mapping[str, str]
) -> dict[str, int]:
    index = {name: number for number, name in enumerate(classes)}
    named = dict.fromkeys((*found, *export.names, *classes))
    return {n: index[renamed.get(n, n)] for n in named if renamed.get(n, n) in index}


def _check_names(made: Plan, found: Counter[str], options: Import) -> None:
    unknown = [f"{name} ({n})" for name, n in found.most_common() if name not in made.numbers]
    if options.background and options.background not in made.classes:
        unknown.append(options.background)
    if unknown and (options.unknown == "refuse" or options.background not in ("", *made.classes)):
        raise ValueError(
            f"classes must be those of the data set ({some(made.classes)}), got also"
            f" {some(unknown)}: add them to {made.toml}, --rename OLD=NEW, or --unknown skip"
        )
    if unknown:
        made.notes.append(f"shapes of unknown classes, not imported: {some(unknown)}")


def _place(made: Plan, export: Export, info: DatasetInfo | None, options: Import) -> None:
    """Finds the photograph of every annotation, and where both belong."""
    present = _present(info)
    folder, outside = _photographs(made, export, options)
    names = names_for(outside.files, folder)
    inside = Album(file for file, _ in present.values())
    given = _matched(made, export, [inside, outside], folder)
    drawn = {f: a for f, a in given.items() if not isinstance(a, Drawn) or a.shapes}
    known = {file: name for name, (file, _) in present.items()}
    others = [f for f in outside.files if f not in known and names[f] not in present]
    empty = [f for f in dict.fromkeys((*given, *others)) if f not in drawn]
    _tell_empty(made, empty, options)
    new = sorted((f for f in drawn if f not in known), key=lambda f: names[f])
    held = set(_held_out(new, made.new, options))
    kept = empty if options.unannotated == "keep" else []
    for file in sorted((*drawn, *kept)):
        if file in known:
            name, split, copied = known[file], present[known[file]][1], None
        else:
            name, split = names[file], VAL if file in held else options.split
            folder = _split_folder(made, info, split) / "images"
            copied = folder / f"{name}{file.suffix.lower()}"
            if name in present:
                raise ValueError(f"{made.toml} must not have an image {name} yet, has one")
        label = _label_folder(made, info, split, options) / f"{name}.png"
        made.jobs.append(Job(name, look(file), drawn.get(file), split, copied, label))
    if any(job.name == SHEET for job in made.jobs):
        raise ValueError(f"image {SHEET} must have another name: this is the contact sheet's name")


def _photographs(made: Plan, export: Export, options: Import) -> tuple[Path, Album]:
    """The folder of the photographs, and those in it that are not in the data set's folder."""
    source = options.source.expanduser()
    folder = (options.images or (source if source.is_dir() else source.parent)).expanduser()
    if not folder.is_dir():
        raise ValueError(f"images must be a folder, there is none: {folder}")
    root = made.root.resolve()
    apart = root != folder.resolve() and root.is_relative_to(folder.resolve())
    files = images_in(folder, {each.file for each in export.annotations})
    return folder, Album(f for f in files if not (apart and f.resolve().is_relative_to(root)))


def _matched(
    made: Plan, export: Export, albums: list[Album], folder: Path
) -> dict[Path, Annotation]:
    """The annotation of each photograph, which is searched in one album after the other."""
    given: dict[Path, Annotation] = {}
    lost, twice = [], []
    for each in export.annotations:
        found = (album.find(each.image) for album in albums)
        file = next((file for file in found if file is not None), None)
        if file is None:
            lost.append(each.image if each.image.isprintable() else ascii(each.image))
        elif file in given:
            twice.append(file.name)
        else:
            given[file] = each
    if twice:
        raise ValueError(f"every image must have one annotation, several have {some(twice)}")
    if lost:
        made.notes.append(
            f"annotations without an image in {folder}, not imported: {some(lost)} (--images FOLDER"
            " names another)"
        )
    return given


def _tell_empty(made: Plan, empty: list[Path], options: Import) -> None:
    """Notes images without an annotation, or refuses them."""
    listed = some(file.name for file in empty)
    if empty and options.unannotated == "refuse":
        raise ValueError(f"every image must have an annotation, none have {listed}")
    if empty:
        what = "kept without labels" if options.unannotated == "keep" else "not imported"
        made.notes.append(f"images without an annotation, {what}: {listed}")


def _present(info: DatasetInfo | None) -> dict[str, tuple[Path, str]]:
    """The data set's images: name → file and split."""
    found: dict[str, tuple[Path, str]] = {}
    for split in (info.splits or {TRAIN: info.root}) if info else ():
        assert info is not None
        if (info.folder(split) / "images").is_dir():
            found.update({name: (file, split) for name, file in info.images(split).items()})
    return found


def _held_out(files: list[Path], new: bool, options: Import) -> list[Path]:
    """The images for validation, evenly spread over the sorted names."""
    part = options.val
    if part is None:
        part = HELD_OUT if new and options.split == TRAIN and len(files) >= ENOUGH else 0
    count = min(round(part * len(files)), len(files) - 1)
    return [files[int((i + 0.5) * len(files) / count)] for i in range(count)]


def _split_folder(made: Plan, info: DatasetInfo | None, split: str) -> Path:
    root = info.root if info else made.root
    if info is None or not info.splits:
        return root if info and (root / "images").is_dir() else root / split
    usual = all(folder == root / name for name, folder in info.splits.items())
    return root / split if usual and split not in info.splits else info.folder(split)


def _label_folder(made: Plan, info: DatasetInfo | None, split: str, options: Import) -> Path:
    """``annotations/NAME/SPLIT``, or ``labels`` of the split, which evaluation needs."""
    annotation = options.annotation or (DRAWN if split == TRAIN else DENSE)
    if annotation == DENSE or split == VAL:
        return _split_folder(made, info, split) / "labels"
    return made.root / "annotations" / annotation / split


def toml_text(classes: tuple[str, ...]) -> str:
    """A data set's TOML file with these classes."""
    names = ", ".join(json.dumps(name, ensure_ascii=False) for name in classes)
    return f"classes = [{names}]\nignore = [{VOID}]\n"
