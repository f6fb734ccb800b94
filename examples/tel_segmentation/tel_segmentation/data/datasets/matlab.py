"""A map in a struct of a MATLAB file (level 5), read without native code.

scipy's reader follows lengths in a damaged file without checking them, and one changed byte can end
the process. Here a length that is wrong is an error. The format is described in *MAT-File Format*
by The MathWorks. Only what SBD's files have is read: structs, numeric arrays, compression.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

HEADER = 128  # bytes of text, version and byte order
LARGEST = 2**28  # bytes of a decompressed element; an image of 16,000 × 16,000
MATRIX, COMPRESSED, STRUCT = 14, 15, 2
STORED = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
"""The type in which numbers are stored, by its number in the file."""
CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
"""The type of a numeric array, by its number; the numbers may be stored in a smaller one."""


class _Element(NamedTuple):
    kind: int
    data: bytes


def read_field(content: bytes, name: str, field: str) -> NDArray[Any]:
    """A numeric array (H, W, …) in a field of the first element of a struct.

    Args:
        content: of the file.
        name: of the struct, a variable of the file.
        field: of the struct.

    Raises:
        ValueError: the file is damaged or of another kind, or has no such struct or field.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[HEADER - 2 : HEADER])
    if order is None or len(content) < HEADER:
        raise ValueError("no MATLAB file of level 5")
    for element in _elements(content[HEADER:], order):
        if element.kind == COMPRESSED:
            element = next(_elements(_decompressed(element.data), order), _Element(0, b""))
        if element.kind == MATRIX:
            kind, _, own, parts = _matrix(element.data, order)
            if own == name.encode():
                if kind != STRUCT:
                    raise ValueError(f"{name} that is no struct")
                return _numbers(_field(parts, field.encode(), order), order)
    raise ValueError(f"no variable {name}")


def _decompressed(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, LARGEST)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if stream.unconsumed_tail or not stream.eof:
        raise ValueError("compressed data that is too long or ends too early")
    return content


def _elements(content: bytes, order: str) -> Iterator[_Element]:
    """The elements of a file or of a matrix, one after another."""
    place = 0
    while place + 8 <= len(content):
        kind, size = (int(x) for x in np.frombuffer(content, order + "u4", 2, place))
        if kind >> 16:  # a small element: type, length and up to 4 bytes of data in 8 bytes
            kind, size, start, end = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        else:
            start = place + 8
            end = start + size if kind == COMPRESSED else start + -(-size // 8) * 8
        if start + size > min(end, len(content)):
            raise ValueError("an element that is longer than the file")
        yield _Element(kind, content[start : start + size])
        place = end


def _matrix(data: bytes, order: str) -> tuple[int, tuple[int, ...], bytes, Iterator[_Element]]:
    """Class, shape and name of a matrix, and the elements after these."""
    parts = _elements(data, order)
    try:
        flags, shape, name = next(parts), next(parts), next(parts)
    except StopIteration:
        raise ValueError("a matrix without shape or name") from None
    if len(flags.data) != 8 or len(shape.data) % 4:
        raise ValueError("a matrix with odd flags or shape")
    kind = int(np.frombuffer(flags.data, order + "u4")[0]) & 0xFF
    sizes = tuple(int(n) for n in np.frombuffer(shape.data, order + "i4"))
    return kind, sizes, name.data, parts


def _field(parts: Iterator[_Element], field: bytes, order: str) -> bytes:
    """The matrix in a field of a struct's first element."""
    lengths, names = next(parts, None), next(parts, None)
    if lengths is None or names is None or len(lengths.data) != 4:
        raise ValueError("a struct without fields")
    length = int(np.frombuffer(lengths.data, order + "i4")[0])
    if length < 1:
        raise ValueError("a struct without names")
    starts = range(0, len(names.data), length)
    for start, element in zip(starts, parts, strict=False):
        if names.data[start : start + length].split(b"\0")[0] == field:
            if element.kind != MATRIX:
                raise ValueError("a field that is no matrix")
            return element.data
    raise ValueError(f"a struct without the field {field.decode()}")


def _numbers(data: bytes, order: str) -> NDArray[Any]:
    kind, shape, _, parts = _matrix(data, order)
    numbers = next(parts, None)
    if kind not in CLASSES or numbers is None or numbers.kind not in STORED:
        raise ValueError("a field that is no array of numbers")
    stored = np.dtype(order + STORED[numbers.kind])
    if min(shape, default=0) < 0 or len(numbers.data) != stored.itemsize * _product(shape):
        raise ValueError("an array whose length is not that of its shape")
    values = np.frombuffer(numbers.data, stored).reshape(shape, order="F")
    return np.ascontiguousarray(values.astype(CLASSES[kind]))


def _product(shape: tuple[int, ...]) -> int:
    """In Python's integers, which do not wrap."""
    product = 1
    for size in shape:
        product *= size
    return product
