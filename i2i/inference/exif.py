"""The EXIF block of a picture: what of it still holds once the picture was turned, translated and enlarged.

The orientation goes (it was applied), and so does the thumbnail (of another picture by now). Sides in pixels are those
of the new picture. Pixels an inch grow with it, so that it prints as large as before. What points into the picture in
old pixels, the subject's place, goes when the picture grows.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from fractions import Fraction
from numbers import Rational
from typing import Any

from PIL import Image, ImageFile, TiffImagePlugin

from i2i.data.headers import PARSER_ERRORS

_PREFIX = b"Exif\0\0"
_ORIENTATION = 0x0112
_CAMERA_DIRECTORY, _INTEROPERABILITY_DIRECTORY = 0x8769, 0xA005
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
    if _CAMERA_DIRECTORY in exif:
        found.append(exif.get_ifd(_CAMERA_DIRECTORY))
        if _INTEROPERABILITY_DIRECTORY in found[-1]:
            found.append(exif.get_ifd(_INTEROPERABILITY_DIRECTORY))
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
