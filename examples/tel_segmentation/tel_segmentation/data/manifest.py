"""``manifest.json`` of a folder of annotations: how they were made, and how much they label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MANIFEST = "manifest.json"
SHEET = "contact_sheet"  # stem of the PNG beside it: a picture of some of the annotations
Manifest = dict[str, Any]


class Count(NamedTuple):
    """The number of pixels of each class in an image, and how many the annotation labels."""

    dense: list[int]
    labelled: list[int]


def read_manifest(file: Path) -> Manifest | None:
    """The content of the file; None if it does not exist.

    Raises:
        ValueError: the file is not a manifest.
    """
    if not file.exists():
        return None
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(manifest["options"], dict):
            raise TypeError("options that are no table")
        if manifest["options"].get("kind") == "block":  # older files lack it
            manifest["options"].setdefault("ties", "hash")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{file} must be a manifest of tel annotate, got: {error}") from error
    return dict(manifest)


def difference(made: Manifest, wanted: Manifest) -> str:
    """How existing annotations differ from the wanted ones, for a message; empty if not at all."""
    old, new = ({**manifest, **manifest["options"]} for manifest in (made, wanted))
    return ", ".join(
        f"{key}: {old.get(key)} there, {value} now"
        for key, value in new.items()
        if key != "options" and old.get(key) != value
    )


def measured(classes: Sequence[str], names: Sequence[str], counts: Sequence[Count]) -> Manifest:
    """The fraction of labelled pixels: in total, of each class, of each image and its classes."""
    dense, labelled = (np.array(values) for values in zip(*counts, strict=True))
    per_class = {
        name: {
            "pixels": int(dense[:, k].sum()),
            "labelled": int(labelled[:, k].sum()),
            "ratio": _ratio(labelled[:, k], dense[:, k]),
            "images": int((dense[:, k] > 0).sum()),
            "labelled_images": int((labelled[:, k] > 0).sum()),
        }
        for k, name in enumerate(classes)
    }
    per_image = {
        image: {
            "ratio": _ratio(labelled[i], dense[i]),
            "classes": {
                classes[k]: _ratio(labelled[i, k], dense[i, k])
                for k in map(int, np.flatnonzero(dense[i]))
            },
        }
        for i, image in enumerate(names)
    }
    return {"ratio": _ratio(labelled, dense), "per_class": per_class, "per_image": per_image}


def summary(manifest: Manifest) -> str:
    """The ratios in a few lines of text, for the classes that occur."""
    there = {name: row for name, row in manifest["per_class"].items() if row["images"]}
    width = max(map(len, there), default=0)
    lines = [
        f"  {name:{width}}  {100 * (row['ratio'] or 0):6.2f} % of its pixels, in"
        f" {row['labelled_images']} of {row['images']} images"
        for name, row in there.items()
    ]
    total = f"{100 * (manifest['ratio'] or 0):.2f} % of the pixels that have a class are labelled"
    return "\n".join([total, *lines])


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> float | None:
    return round(float(part.sum() / whole.sum()), 6) if whole.sum() else None
