"""The paper's public data sets, read as they are published: ``KIND:FOLDER`` names one of them.

Each data set is a class with the arguments ``(folder, split, options)``, a ``data.sample.Source``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tel_segmentation.config import PUBLIC, Data
from tel_segmentation.data.datasets import ade20k, cityscapes, voc
from tel_segmentation.data.image_files import expanded
from tel_segmentation.data.sample import Source

KINDS = PUBLIC


def public_dataset(source: str) -> tuple[str, Path] | None:
    """Kind and folder if ``source`` names a public data set (``voc:FOLDER``), else None.

    Raises:
        ValueError: the kind has no folder after it.
    """
    kind, colon, folder = source.partition(":")
    if kind not in KINDS or not colon:
        return None
    if not folder:
        raise ValueError(f"source must be {kind}:FOLDER with the data set's folder, got {source!r}")
    return kind, expanded(folder)


def published_counts(kind: str) -> dict[str, int]:
    """The number of published images of each split.

    Args:
        kind: ``voc``, ``cityscapes`` or ``ade20k``.
    """
    counts = {"voc": voc.COUNTS, "cityscapes": cityscapes.COUNTS, "ade20k": ade20k.COUNTS}
    return counts[kind]


def open_dataset_source(kind: str, folder: Path, options: Data, split: str) -> Source:
    """A split of a public data set.

    Args:
        kind: ``voc``, ``cityscapes`` or ``ade20k``.
        folder: the data set's folder, in any of the layouts that its module describes.
        options: annotation, ignore, encoding, stroke, size, short_side.
        split: ``train``, ``val`` or ``test``.

    Raises:
        ValueError: the kind or the split is unknown, or a folder or file is missing; the message
            has its path.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    sources: dict[str, Callable[[Path, str, Data], Source]] = {
        "voc": voc.Voc,
        "cityscapes": cityscapes.Cityscapes,
        "ade20k": ade20k.Ade20k,
    }
    return sources[kind](folder, split, options)
