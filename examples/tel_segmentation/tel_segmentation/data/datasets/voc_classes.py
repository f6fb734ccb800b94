"""The classes of Pascal VOC, with their colours, in the order of their numbers."""

from __future__ import annotations

from tel_segmentation.data.dataset_file import voc_colors
from tel_segmentation.data.datasets.encoding import plain

CLASSES: tuple[str, ...] = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
COLORS: tuple[tuple[int, int, int], ...] = tuple(
    (red, green, blue) for red, green, blue in voc_colors(len(CLASSES))
)
ENCODING = plain(len(CLASSES))
"""The encoding of label files, dense or sparse."""
TAGS = {name: value for value, name in enumerate(CLASSES)} | {
    "plane": 1,
    "bike": 2,
    "table": 11,
    "plant": 16,
    "monitor": 20,
}
"""The classes by their names in ScribbleSup."""


def palette() -> list[int]:
    """The palette of VOC's label files: red, green and blue of 256 colours; 255 is void."""
    return [channel for color in voc_colors(256) for channel in color]
