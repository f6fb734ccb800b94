"""Grey images with more than 8 bits, as 8 bits: by the range that their own values have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WHITE = (2**8 - 1, 2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1)
"""The values that cameras and microscopes write for white, whatever the file's type is."""


def eight_bits(values: NDArray[Any]) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Scales grey values to 0…255.

    Black is 0, or the smallest value if that is negative. White is the smallest of 1 (floating
    point only), 255, 1023, 4095, 16383 and 65535 that no value exceeds; above these the largest
    value. So a type that is wider than its values does not make an image black.

    Args:
        values: (H, W), integers or floating point.

    Returns:
        (H, W) uint8, and the values of black and white.

    Raises:
        ValueError: a value is infinite or not a number.

    Example:
        >>> eight_bits(np.array([[0, 4095]], np.uint16))
        (array([[  0, 255]], dtype=uint8), (0.0, 4095.0))
    """
    if values.size == 0:
        return values.astype(np.uint8), (0.0, 255.0)
    least, most = float(values.min()), float(values.max())
    if not (np.isfinite(least) and np.isfinite(most)):
        raise ValueError("values that are infinite or not a number")
    floating = np.issubdtype(values.dtype, np.floating)
    black = min(0.0, least)
    white = next((float(w) for w in (*(1,) * floating, *WHITE) if most <= w), most)
    scaled = (values.astype(np.float64) - black) * (255 / (white - black))
    return scaled.round().astype(np.uint8), (black, white)
