"""Masks as run lengths, in the three forms that tools write.

Whatever a file claims, no more is decoded than the mask's own size, which is known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tel_segmentation.data.formats.shapes import Size

Pixels = NDArray[np.bool_]


def from_counts(counts: Sequence[int], size: Size, columns: bool, where: str) -> Pixels:
    """A mask from alternating numbers of unmarked and marked pixels, unmarked first.

    Args:
        counts: the numbers; the first one may be 0.
        size: width and height.
        columns: whether the pixels are numbered down the columns (COCO), not along the rows.
        where: for messages.

    Raises:
        ValueError: the numbers are not those of a mask of this size.
    """
    width, height = size
    try:
        lengths = np.asarray(counts, dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where} must have whole numbers as counts") from error
    if lengths.ndim != 1 or (lengths < 0).any() or (lengths > width * height).any():
        raise ValueError(f"{where} must have counts from 0 to {width} × {height}")
    if (total := int(lengths.sum())) != width * height:
        raise ValueError(f"{where} must have counts for {width} × {height} pixels, got {total}")
    marked = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return marked.reshape(width, height).T if columns else marked.reshape(height, width)


def from_text(packed: str, size: Size, where: str) -> Pixels:
    """A mask from COCO's compressed text.

    A number is written in characters of five bits, the lowest first; a sixth bit says that more
    follow, and the fifth of the last one is the sign. From the third number on, the difference to
    the number two before is written.

    Raises:
        ValueError: the text is not that of a mask of this size.
    """
    counts: list[int] = []
    value = shift = 0
    for character in packed:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"{where} must be compressed run lengths, got {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) * (bits >> 4 & 1)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return from_counts(counts, size, True, where)


def from_bits(packed: Sequence[int], size: Size, where: str) -> Pixels:
    """A mask from Label Studio's bytes: four channels a pixel, marked where the last is not 0.

    After 32 bits for the number of values, 5 for the length of a value and 4 for each of four
    lengths of counts, there are blocks: a bit that says whether one value is repeated, 2 bits that
    choose the length of the count, the count less 1, and the value or values. (The format is that
    of the JavaScript package rle-pack.)

    Raises:
        ValueError: the bytes are not those of a mask of this size.
    """
    width, height = size
    try:
        data = np.unpackbits(np.array(packed, dtype=np.uint8))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where} must be a list of bytes") from error
    stream = _Bits(data, where)
    count = stream.number(32)
    if count != 4 * width * height:
        raise ValueError(f"{where} must have 4 values for {width} × {height} pixels, got {count}")
    length = stream.number(5) + 1
    sizes = [stream.number(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.bool_)
    done = 0
    while done < count:
        repeated = stream.number(1)
        block = stream.number(sizes[stream.number(2)]) + 1
        if done + block > count:
            raise ValueError(f"{where} must have {count} values, got more")
        if repeated:
            values[done : done + block] = stream.number(length) != 0
        else:
            values[done : done + block] = stream.several(block, length)
        done += block
    return values.reshape(height, width, 4)[..., 3]


class _Bits:
    """Reads numbers from a sequence of bits, the highest bit first."""

    def __init__(self, bits: NDArray[np.uint8], where: str) -> None:
        self.bits, self.where, self.place = bits, where, 0

    def _next(self, count: int) -> NDArray[np.uint8]:
        taken = self.bits[self.place : self.place + count]
        if len(taken) < count:
            raise ValueError(f"{self.where} must not end within a run")
        self.place += count
        return taken

    def number(self, length: int) -> int:
        return int("".join(map(str, self._next(length))), 2)

    def several(self, count: int, length: int) -> Pixels:
        """Whether each of the next numbers differs from 0."""
        return np.asarray(self._next(count * length).reshape(count, length).any(1))
