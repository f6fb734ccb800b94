"""The options of ``tel import``, and the rules that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from tel_segmentation.data.formats.draw import Brush
from tel_segmentation.data.formats.registry import COUNTED_FROM_1, Format
from tel_segmentation.data.regions import VOID


@dataclass(frozen=True)
class Import:
    """Make a data set, or labels of one, from the files of an annotation tool.

    Photographs are found by name and copied into the data set, unless they are in it. Shapes are
    drawn in full resolution, later ones over earlier ones; pixels without a shape are unlabelled
    (255). Everything is written at the end, or nothing.
    """

    format: Positional[Format]
    """labelme, label-studio (JSON), cvat (XML), datumaro (JSON, also of CVAT), coco (JSON), napari
    (labels as TIFF, PNG, npy, zarr; points and shapes as CSV), qupath (GeoJSON), ilastik (project
    or HDF5), masks (PNG files of any tool with a number for each class)."""
    source: Positional[Path]
    """The tool's file, or a folder of such files."""
    dataset: Positional[Path]
    """The data set's folder or TOML file; a new one is made if it does not exist."""
    images: Path | None = None
    """Folder of the photographs; by default the source's own."""
    split: str = "train"
    """Where photographs go that are not in the data set yet."""
    annotation: str = ""
    """The labels' name: dense (the split's labels) or that of a folder in annotations/. By default
    drawn for the train split and dense for others. Validation images always have dense labels,
    which may be sparse: what is unlabelled does not count."""
    val: float | None = None
    """Part of the new annotated photographs that is held out for validation; by default 0.2 for a
    new data set of at least 5, else none."""
    classes: tuple[str, ...] = ()
    """Classes of a new data set, in this order; by default those that the tool declares, or the
    names found, sorted. For masks also in an existing one: the classes in the order of the masks'
    numbers, if that is another."""
    background: str = ""
    """A class for all pixels without a shape; by default they are unlabelled."""
    rename: tuple[str, ...] = ()
    """OLD=NEW: another name for a class of the tool."""
    unknown: Literal["refuse", "skip"] = "refuse"
    """What to do with shapes of classes that the data set does not have."""
    unannotated: Literal["skip", "keep", "refuse"] = "skip"
    """What to do with photographs without an annotation: leave them out, keep them unlabelled (the
    tree energy loss can learn from them), or stop."""
    sizes: Literal["refuse", "scale", "skip"] = "refuse"
    """What to do with annotations of an image of another size than the photograph: stop, scale them
    to the photograph, or leave them out."""
    orientation: Literal["auto", "upright", "stored"] = "auto"
    """Whether the tool showed photographs upright, as their Exif orientation says, or as they are
    stored. With auto the annotation's size decides, and upright where it fits both."""
    radius: float | None = None
    """Radius of a point, in pixels of the photograph; by default 1/500 of the longer side, and at
    least 1."""
    width: float | None = None
    """Width of a stroke; by default a pixel more than twice the radius."""
    unlabelled: int | None = None
    """The number that means no label in napari, ilastik and masks; by default 0 in the first two
    and 255 in masks. labelme's and Pascal VOC's masks have 0 where nothing is drawn."""
    first: int | None = None
    """The number of the first class in napari, ilastik and masks; by default 1 where 0 means no
    label, and otherwise 0."""
    overwrite: bool = False
    """Replace labels that exist."""

    @property
    def brush(self) -> Brush:
        """The thickness of points and strokes."""
        return Brush(self.radius, self.width)

    @property
    def no_label(self) -> int:
        """The number that means no label in a label map."""
        if self.unlabelled is not None:
            return self.unlabelled
        return 0 if self.format in COUNTED_FROM_1 else VOID

    def check(self) -> None:
        """Raises a ValueError if an option is out of its range."""
        for name, value, most in (("radius", self.radius, 1000), ("width", self.width, 2000)):
            if value is not None and not 0 < value <= most:
                raise ValueError(f"{name} must be above 0 and at most {most}, got {value}")
        if self.val is not None and not 0 <= self.val < 1:
            raise ValueError(f"val must be at least 0 and below 1, got {self.val}")
        for name, word in (("split", self.split), ("annotation", self.annotation or "drawn")):
            if not word.isprintable() or word[:1] in ("", ".") or set(word) & set("/\\"):
                raise ValueError(f"{name} must be a name, not a path, got {word!r}")
        for name, number in (("unlabelled", self.unlabelled), ("first", self.first)):
            if number is not None and number < 0:
                raise ValueError(f"{name} must not be negative, got {number}")
