"""Sizes of images for the network: squeezed to one size, or each with its own aspect ratio.

Photographs of a folder are upright or wide. With ``config.Data.keep_aspect`` none is distorted: the
size, and the crops of the training, are turned for images of the other orientation.
"""

from __future__ import annotations

from tel_segmentation.config import Data
from tel_segmentation.data.parts import within
from tel_segmentation.data.sample import Source

Size = tuple[int, int]  # height, width

LONGEST = 8
"""So many times as long as the longer side of ``size`` an image may be; a longer one is squeezed,
since whole images are evaluated: a strip of a few pixels' width would not fit into memory."""


def size_for(shape: Size, size: Size | None, keep_aspect: bool) -> Size | None:
    """The size to which an image is resized; None: it is not resized.

    Args:
        shape: height and width of the image.
        size: as ``config.Data.size``.
        keep_aspect: likewise.
    """
    return size if size is None or not keep_aspect else covering(shape, size)


def covering(shape: Size, size: Size) -> Size:
    """The smallest size with an image's aspect ratio that covers another one, turned if needed.

    Args:
        shape: height and width of the image.
        size: height and width of what is to be covered. It is turned by 90° if the image is
            upright and the size is not, or the other way round.

    Example:
        >>> from tel_segmentation.data.aspect import covering
        >>> covering((3000, 4000), (180, 240)), covering((4000, 3000), (180, 240))
        ((180, 240), (240, 180))
        >>> covering((1000, 1000), (180, 240))
        (240, 240)
    """
    least = size[::-1] if is_turned(shape, size) else size
    factor = max(new / old for new, old in zip(least, shape, strict=True))
    most = LONGEST * max(size)
    height, width = (
        min(most, max(new, round(factor * old))) for new, old in zip(least, shape, strict=True)
    )
    return height, width


def is_turned(shape: Size, size: Size) -> bool:
    """Whether one is higher than wide and the other wider than high."""
    return (shape[0] - shape[1]) * (size[0] - size[1]) < 0


def turned_images(source: Source, options: Data) -> list[bool]:
    """For each training image, whether it gets turned crops. Only the files' headers are read.

    Raises:
        ValueError: a file is not a readable image.
    """
    whole, indices = within(source)
    shape_of = getattr(whole, "shape_of", None)  # generated scenes have one size
    square = options.crop[0] == options.crop[1]
    if not options.keep_aspect or options.size is None or shape_of is None or square:
        return [False] * len(source)
    return [is_turned(shape_of(index), options.size) for index in indices]
