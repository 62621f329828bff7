"""The EXIF block of a picture: what of it still holds once the picture was turned, translated and enlarged.

The orientation goes (it was applied), and so does the thumbnail (of another picture by now). Sides in pixels are those
of the new picture. Pixels an inch grow with it, so that it prints as large as before. What points into the picture in
old pixels, the subject's place, goes when the picture grows.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import Any, Literal

from PIL import Image, ImageFile, TiffImagePlugin

from i2i.data.headers import PARSER_ERRORS

_PREFIX = b"Exif\0\0"
_ORIENTATION = 0x0112
CAMERA_DIRECTORY, PLACE_DIRECTORY, INTEROPERABILITY_DIRECTORY = 0x8769, 0x8825, 0xA005
"""Tags that point to the other directories."""
# Bytes a value, and of what is turned round when the order of bytes is the other one, by TIFF's number of the type.
_TYPE_BYTES = {
    1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1), 8: (2, 2), 9: (4, 4), 10: (8, 4),
    11: (4, 4), 12: (8, 8), 13: (4, 4),
}  # fmt: skip
# Of the main directory, of the camera's and of that for exchange between programs.
_WIDTHS, _HEIGHTS = (0x0100, 0xA002, 0x1001), (0x0101, 0xA003, 0x1002)
# Pixels an inch or a centimetre, on paper and on the sensor.
_ACROSS, _DOWN = (0x011A, 0xA20E), (0x011B, 0xA20F)
_PLACES_OF_THE_SUBJECT = (0x9214, 0xA214)


def kept_exif(image: ImageFile.ImageFile, width: int, height: int) -> bytes | None:
    """The block of an open file that goes with its upright picture of `width` and `height` pixels; None if none."""
    # A TIFF's tags describe the file itself (strips, compression) and must not be carried into another one.
    if image.format == "TIFF" or "exif" not in image.info:
        return None
    exif = Image.Exif()
    try:
        exif.load(image.info["exif"])
        turned = exif.pop(_ORIENTATION, 1) in (5, 6, 7, 8)
        for directory in _directories(exif):
            _set_sides(directory, width, height)
            if turned:
                for across, down in zip(_ACROSS, _DOWN, strict=True):
                    _swap(directory, across, down)
        return _block(exif)
    except PARSER_ERRORS:
        return None  # Damaged EXIF is no reason to lose the picture.


def enlarged_exif(exif: bytes | None, width: int, height: int, scale: int) -> bytes | None:
    """The block `exif` of a picture that was enlarged `scale` times to `width` and `height` pixels."""
    if exif is None or scale == 1:
        return exif
    read = Image.Exif()
    try:
        read.load(exif)
        for directory in _directories(read):
            _set_sides(directory, width, height)
            for tag in (*_ACROSS, *_DOWN):
                if tag in directory:
                    directory[tag] = _times(directory[tag], scale)
            for tag in _PLACES_OF_THE_SUBJECT:
                directory.pop(tag, None)
        return _block(read)
    except PARSER_ERRORS:
        return None


def _directories(exif: Image.Exif) -> list[MutableMapping[int, Any]]:
    """Those that are there: asking for another would make an empty one."""
    found: list[MutableMapping[int, Any]] = [exif]
    if CAMERA_DIRECTORY in exif:
        found.append(exif.get_ifd(CAMERA_DIRECTORY))
        if INTEROPERABILITY_DIRECTORY in found[-1]:
            found.append(exif.get_ifd(INTEROPERABILITY_DIRECTORY))
    return found


def _times(density: Any, scale: int) -> Any:
    """A density that says nothing, such as 0/0, goes on saying nothing."""
    if not isinstance(density, Rational | float) or not math.isfinite(density):
        return density
    return TiffImagePlugin.IFDRational(Fraction(density) * scale)


def _set_sides(directory: MutableMapping[int, Any], width: int, height: int) -> None:
    for tags, pixels in ((_WIDTHS, width), (_HEIGHTS, height)):
        for tag in tags:
            if tag in directory:
                directory[tag] = pixels


def _swap(directory: MutableMapping[int, Any], one: int, other: int) -> None:
    if one in directory and other in directory:
        directory[one], directory[other] = directory[other], directory[one]


def _block(exif: Image.Exif) -> bytes | None:
    content = exif.tobytes() if len(exif) else b""
    if not content:
        return None
    return content if content.startswith(_PREFIX) else _PREFIX + content


# The fields of a block one by one, for files that have directories of the same kind


@dataclass(frozen=True)
class Field:
    """One entry of a TIFF directory."""

    kind: int
    """TIFF's number of the type."""
    count: int
    content: bytes
    """All values, little-endian."""


@dataclass(frozen=True)
class ExifFields:
    """All entries of an EXIF block, by tag, without the pointers from one directory to the other."""

    main: dict[int, Field]
    camera: dict[int, Field]
    place: dict[int, Field]
    interoperability: dict[int, Field]


def read_fields(exif: bytes) -> ExifFields:
    """Take a block apart; what is damaged in it is left out.

    Source: CIPA, "Exchangeable image file format for digital still cameras: Exif Version 2.32", section 4.6.
    """
    content = exif.removeprefix(_PREFIX)
    order = "big" if content.startswith(b"MM") else "little"
    main = _fields(content, int.from_bytes(content[4:8], order), order)
    camera = _pointed_at(main, CAMERA_DIRECTORY, content, order)
    place = _pointed_at(main, PLACE_DIRECTORY, content, order)
    return ExifFields(main, camera, place, _pointed_at(camera, INTEROPERABILITY_DIRECTORY, content, order))


def _pointed_at(
    directory: dict[int, Field], tag: int, content: bytes, order: Literal["little", "big"]
) -> dict[int, Field]:
    pointer = directory.pop(tag, None)
    return {} if pointer is None else _fields(content, int.from_bytes(pointer.content[:4], "little"), order)


def _fields(content: bytes, start: int, order: Literal["little", "big"]) -> dict[int, Field]:
    found: dict[int, Field] = {}
    for index in range(int.from_bytes(content[start : start + 2], order)):
        entry = content[start + 2 + 12 * index : start + 14 + 12 * index]
        tag, kind, count = (int.from_bytes(entry[a:b], order) for a, b in ((0, 2), (2, 4), (4, 8)))
        width, unit = _TYPE_BYTES.get(kind, (0, 1))
        length = width * count
        place = start + 10 + 12 * index if length <= 4 else int.from_bytes(entry[8:12], order)
        values = content[place : place + length]
        if 0 < length == len(values):
            found[tag] = Field(kind, count, values if order == "little" else _turned(values, unit))
    return found


def _turned(values: bytes, unit: int) -> bytes:
    return b"".join(values[place : place + unit][::-1] for place in range(0, len(values), unit))
