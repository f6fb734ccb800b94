"""The Semantic Boundaries Dataset: more masks for the images of Pascal VOC.

Hariharan et al., Semantic contours from inverse detectors, ICCV 2011. Its folder has ``cls/``, with
one MATLAB file per image, and its own split of the images in ``train.txt`` and ``val.txt``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tel_segmentation.data.datasets.matlab import read_field
from tel_segmentation.data.image_files import label_values, some


def read_mask(path: Path) -> NDArray[np.uint16]:
    """The classes of ``cls/NAME.mat``, (H, W), 0 to 20; there is no void.

    Raises:
        ValueError: the file is not a MATLAB file with a struct ``GTcls`` that has a map
            ``Segmentation``.
    """
    try:
        mask = read_field(path.read_bytes(), "GTcls", "Segmentation")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} must have GTcls.Segmentation as SBD has, got {error}") from error
    if mask.ndim != 2 or not np.issubdtype(mask.dtype, np.integer) or mask.size == 0:
        raise ValueError(
            f"{path}: GTcls.Segmentation must be a map of integers, got {mask.shape} {mask.dtype}"
        )
    return label_values(path, mask)


def augmented_names(
    voc_train: Iterable[str], voc_val: Iterable[str], sbd_names: Iterable[str]
) -> list[str]:
    """The training images of ``trainaug``: all of SBD's and VOC's except VOC's validation set.

    The published lists (SBD train and val 11,355; VOC train 1,464, val 1,449) give 10,582 images.

    Returns:
        Names in order.
    """
    return sorted((set(sbd_names) | set(voc_train)) - set(voc_val))


def read_names(path: Path) -> list[str]:
    """The image names of a list; a line has one name, or the paths of an image and its mask.

    Raises:
        ValueError: the file is missing or not text, or has a name twice.
    """
    try:
        # utf-8-sig: a byte order mark would be part of the first name
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be a list of image names, got: {error}") from error
    names = [Path(line.split()[0]).stem for line in lines if line.strip()]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{path} must have every name once, has again {some(twice)}")
    return names
