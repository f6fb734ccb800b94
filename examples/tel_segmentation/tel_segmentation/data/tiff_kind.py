"""What a TIFF file holds, for a message where PIL says only that it cannot read it."""

from __future__ import annotations

from pathlib import Path

from PIL import TiffImagePlugin

_MAGIC = {b"II*\0": 8, b"MM\0*": 8, b"II+\0": 16, b"MM\0+": 16}
"""The first bytes of a TIFF or BigTIFF, and the length of its header."""
_FORMATS = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}


def tiff_kind(path: Path, opened: bool = False) -> str:
    """Channels, type and compression of a TIFF file, and what to save instead; empty for others.

    Args:
        path: of the file.
        opened: whether PIL knows its kind, but could not decode the pixels.
    """
    try:
        with path.open("rb") as file:
            header = file.read(16)
            tags = TiffImagePlugin.ImageFileDirectory_v2(header[: _MAGIC[header[:4]]])
            file.seek(tags.next)
            tags.load(file)
        if TiffImagePlugin.IMAGEWIDTH not in tags:
            return ""
        bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
        channels = int(tags.get(TiffImagePlugin.SAMPLESPERPIXEL, len(bits)))
        form = _FORMATS.get(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0], "unknown")
        number = int(tags.get(TiffImagePlugin.COMPRESSION, 1))
        if opened:
            name = TiffImagePlugin.COMPRESSION_INFO.get(number, number)
            form += f" values in compression {name}, which cannot be decoded: save it without"
            form += " compression, or as PNG"
        elif number not in TiffImagePlugin.COMPRESSION_INFO:
            form += f" values in compression {number}: save it without compression, or as PNG"
        else:
            form += " values: save it as grey or RGB of 8 or 16 bits, or as PNG"
        return f"a TIFF with {channels} channel{'s' * (channels != 1)} of {bits[0]}-bit {form}"
    except Exception:  # no TIFF, or a broken one: PIL's own words remain
        return ""
