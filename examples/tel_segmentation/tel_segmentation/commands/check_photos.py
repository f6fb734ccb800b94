"""What ``tel check-data`` says about images as cameras and microscopes write them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from PIL import Image

from tel_segmentation.commands.check_report import Report
from tel_segmentation.data.image_files import RANGE, TURNS, some


@dataclass
class Photos:
    """The images of a split: the ranges of their values, and how they are turned."""

    ranges: Counter[tuple[float, float]] = field(default_factory=Counter)
    examples: dict[tuple[float, float], str] = field(default_factory=dict)
    unclear: list[str] = field(default_factory=list)

    def add(self, name: str, image: Image.Image) -> None:
        """Adds an image of ``read_image``."""
        limits = image.info.get(RANGE, (0.0, 255.0))
        self.ranges[limits] += 1
        self.examples.setdefault(limits, name)
        orientation = image.info.get("orientation", 1)
        # A turn by 90° that the labels do not follow shows in their size, unless it is a square.
        if orientation in TURNS and (orientation < 5 or image.width == image.height):
            self.unclear.append(f"{name} ({TURNS[orientation]})")

    def report(self, split: str, report: Report) -> None:
        """Adds what was found to the report."""
        wide = {limits: n for limits, n in self.ranges.items() if limits != (0.0, 255.0)}
        for (black, white), count in sorted(wide.items()):
            report.notes.append(
                f"{split}: {count} grey images have values from {black:.6g} to {white:.6g}, which"
                f" become 0 to 255; for example {self.examples[black, white]}"
            )
        if len(wide) > 1:
            report.warnings.append(
                f"{split}: grey images have {len(wide)} different ranges of values, so that the"
                " same value is not equally bright in all of them; if that matters, save them with"
                " 8 bits"
            )
        if self.unclear:
            report.warnings.append(
                f"{split}: images are turned by their Exif orientation, and their size does not"
                " show whether the labels are turned, too; they must fit the image as a viewer"
                f" shows it: {some(self.unclear)}"
            )
