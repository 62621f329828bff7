"""What a picture file says about itself, read without decoding a single pixel."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from i2i.data.plausibility import most_pixels, most_png_pixels, most_webp_pixels
from i2i.errors import DataError
from i2i.files import open_regular

DEFAULT_MAX_PIXELS = 200_000_000
"""Pictures with more pixels than this are refused from their header; a 70 KB PNG can unfold to gigabytes."""

PictureFormat = Literal["JPEG", "PNG", "WebP", "BMP", "TIFF"]

_ORIENTATION_TAG = 274
_BITS_PER_SAMPLE_TAG = 258
PARSER_ERRORS = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError, TypeError,
    ValueError, struct.error,
)  # fmt: skip
"""What Pillow's parsers raise, which is whatever their arithmetic meets in a mutilated file."""

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I", "F"})


@dataclass(frozen=True, kw_only=True)
class PictureHeader:
    """What a picture file says about itself before any pixel is decoded.

    `width` and `height` are those of the upright picture, after its orientation was applied. `mode` is Pillow's name
    of the stored colours ("RGB", "L", "P", ...), `bits` the depth of one sample (packed ones count as 8),
    `orientation` the EXIF number 1..8, `frames` the number of frames or pages, `most_pixels` what the file is long
    enough for (see `i2i.data.plausibility`), None without a bound.
    """

    format: PictureFormat
    width: int
    height: int
    mode: str
    bits: int
    orientation: int
    has_alpha: bool
    frames: int
    most_pixels: float | None = None

    @property
    def pixels(self) -> int:
        """Number of pixels of one frame."""
        return self.width * self.height

    @property
    def is_grey(self) -> bool:
        """Whether the stored colours are shades of grey."""
        return self.mode in _GREY_MODES


def read_header(path: Path) -> PictureHeader:
    """Read the header of the picture at `path`; no pixel is decoded, whatever size the header claims.

    Raises:
        DataError: the file cannot be opened, or is no JPEG, PNG, WebP, BMP or TIFF.
    """
    try:
        with open_regular(path) as file:
            return parse_header(file, path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be opened: {error.strerror or error} - check the file and its permissions"
        ) from error


def check_pixels(header: PictureHeader, path: Path, max_pixels: int) -> None:
    """Refuse a picture by its header: of more than `max_pixels` pixels, or of more than its file can hold.

    Raises:
        DataError: it is larger.
    """
    if header.pixels > max_pixels:
        raise DataError(
            f"{path}: {header.width} x {header.height} is {header.pixels:,} pixels, the limit is {max_pixels:,}"
            " - shrink the picture or raise the limit"
        )
    if header.most_pixels is not None and header.pixels > header.most_pixels:
        raise DataError(
            f"{path}: claims {header.width} x {header.height} pixels, more than so short a file can hold"
            " - it is damaged or blank, save it anew as PNG"
        )


def parse_header(file: BinaryIO, path: Path) -> PictureHeader:
    """Read a picture's header from an open file; `path` only names it in errors. See :func:`read_header`."""
    file.seek(0)
    start = file.read(32)
    kind = _sniff(start)
    if kind is None:
        what = "the file is empty" if not start else "not a JPEG, PNG, WebP, BMP or TIFF picture"
        raise DataError(f"{path}: {what} - remove or convert it")
    file.seek(0)
    try:
        if kind == "WebP":
            return _parse_webp(file)
        picture = open_with_pillow(kind, file)
        width, height = picture.size
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            orientation = _valid_orientation(picture.tag_v2.get(_ORIENTATION_TAG, 1))
            bits = _tiff_bits(picture)
        else:
            orientation = _exif_orientation(picture.info.get("exif"))
            bits = start[24] if kind == "PNG" else 8
            if orientation >= 5:  # of a TIFF, Pillow has exchanged the sides already
                width, height = height, width
        length = file.seek(0, io.SEEK_END)
        most = most_png_pixels(start, length) if kind == "PNG" else most_pixels(picture, length)
        return PictureHeader(
            format=kind,
            width=width,
            height=height,
            mode=picture.mode,
            bits=max(8, bits),
            orientation=orientation,
            has_alpha=picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info,
            frames=int(getattr(picture, "n_frames", 1)),
            most_pixels=most,
        )
    except PARSER_ERRORS as error:
        raise damaged(path, error) from error


def open_with_pillow(kind: PictureFormat, file: BinaryIO) -> ImageFile.ImageFile:
    """Open a picture with the class of its format.

    Not with Image.open, which judges the size by a limit of its own that is global to the process.
    """
    match kind:
        case "JPEG":
            return JpegImagePlugin.JpegImageFile(file)
        case "PNG":
            return PngImagePlugin.PngImageFile(file)
        case "WebP":
            return WebPImagePlugin.WebPImageFile(file)
        case "BMP":
            return BmpImagePlugin.BmpImageFile(file)
        case "TIFF":
            return TiffImagePlugin.TiffImageFile(file)


def damaged(path: Path, error: BaseException | None) -> DataError:
    """The error for a picture that no decoder can make sense of."""
    detail = f" ({' '.join(str(error).split())[:120]})" if error is not None and str(error) else ""
    return DataError(f"{path}: damaged or unsupported, cannot be decoded{detail} - remove it or save it anew")


def _sniff(start: bytes) -> PictureFormat | None:
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(b"\x89PNG\r\n\x1a\n") and len(start) > 24:
        return "PNG"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WebP"
    if start.startswith(b"BM"):
        return "BMP"
    if start.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        return "TIFF"
    return None


def _parse_webp(file: BinaryIO) -> PictureHeader:
    """Walk the chunks of a WebP file; Pillow would set up its decoder and, again, judge the size.

    Source: Google, "WebP Container Specification" and RFC 9649.
    """
    file.seek(12)
    size: tuple[int, int] | None = None
    has_alpha = False
    frames = 0
    orientation = 1
    pixels_in = b""
    while len(head := file.read(8)) == 8:
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        following = file.tell() + length + length % 2
        if size is None:
            size, has_alpha = _webp_size(kind, file.read(10))
            pixels_in = kind
            if kind != b"VP8X":  # the simple layout: one still picture and nothing else
                break
        elif kind == b"ANMF":
            frames += 1
            if frames == 1:
                pixels_in = file.read(20)[16:]
        elif kind in (b"VP8 ", b"VP8L"):
            if _webp_size(kind, file.read(10))[0] != size:
                raise ValueError("the picture is not as large as its canvas")
            pixels_in = kind
        elif kind == b"EXIF":
            orientation = _exif_orientation(file.read(length))
        file.seek(following)
    if size is None:
        raise ValueError("no picture in the WebP file")
    length = file.seek(0, io.SEEK_END)
    width, height = size if orientation < 5 else (size[1], size[0])
    return PictureHeader(
        format="WebP",
        width=width,
        height=height,
        mode="RGBA" if has_alpha else "RGB",
        bits=8,
        orientation=orientation,
        has_alpha=has_alpha,
        frames=max(1, frames),
        most_pixels=most_webp_pixels(pixels_in, length),
    )


def _webp_size(kind: bytes, data: bytes) -> tuple[tuple[int, int], bool]:
    """Width and height, and whether there is alpha, from the first ten bytes of a WebP file's first chunk."""
    if len(data) == 10 and kind == b"VP8X":
        return (1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")), bool(data[0] & 0x10)
    if len(data) == 10 and kind == b"VP8L" and data[0] == 0x2F:
        packed = int.from_bytes(data[1:5], "little")
        return (1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)), bool(packed >> 28 & 1)
    if len(data) == 10 and kind == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[6:10])
        return (width & 0x3FFF, height & 0x3FFF), False
    raise ValueError("unknown kind of WebP file")


def _exif_orientation(raw: object) -> int:
    """EXIF orientation 1..8 from the raw block; anything else counts as upright.

    Not picture.getexif(): for a PNG without EXIF that decodes the whole picture.
    """
    if not isinstance(raw, bytes):
        return 1
    exif = Image.Exif()
    try:
        exif.load(raw)
        return _valid_orientation(exif.get(_ORIENTATION_TAG, 1))
    except PARSER_ERRORS:
        return 1  # damaged EXIF is no reason to lose the picture


def _valid_orientation(value: object) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _tiff_bits(picture: TiffImagePlugin.TiffImageFile) -> int:
    bits = picture.tag_v2.get(_BITS_PER_SAMPLE_TAG, 1)
    return max(bits) if isinstance(bits, tuple) else int(bits)
