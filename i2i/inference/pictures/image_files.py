"""Picture files in and out of translation, with one stated rule for each kind of picture.

- Grey becomes RGB (three equal channels). It stays RGB in the output of a model that keeps the size, which may well
  give it colours; an upscaler's is written as grey (WebP, and 16 bits with transparency, as three equal channels).
- Transparency is kept and attached again, unchanged or, of an upscaled picture, enlarged (see
  `i2i.inference.pictures.enlarging` for the other ways); a JPEG cannot hold it, so the picture is laid on white.
- 16 bits a channel stay 16 bits where the output format can hold them (PNG, TIFF), else they are rounded to 8.
- EXIF orientation is applied once; the rest of EXIF is kept, see `i2i.inference.pictures.exif`.
- The colour profile of an RGB picture is kept. CMYK and grey pictures with a profile are converted to sRGB.
- Of an animation or of several pages the first is taken.
- JPEG reaches to 65,500 pixels a side and WebP to 16,383; PNG and TIFF (beyond four gigabytes BigTIFF) hold everything.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import (
    BmpImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from i2i.data.decoding import DEFAULT_MAX_PIXELS, PictureHeader, check_pixels, read_header
from i2i.errors import DataError, OutOfMemoryError, one_line
from i2i.files import write_atomically
from i2i.inference.pictures.exif import kept_exif
from i2i.inference.pictures.strip_layout import StripLayout
from i2i.inference.pictures.strips import open_strips

DEFAULT_QUALITY = 95

OutputFormat = Literal["png", "jpg", "webp", "tiff"]
OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)
STRIP_FORMATS: tuple[Literal["png", "tiff"], ...] = ("png", "tiff")
"""Those that can be written without ever having the whole picture; they hold every kind of picture as it is."""

_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "BMP": BmpImagePlugin.BmpImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
}
_SAME_FORMAT: dict[str, OutputFormat] = {"JPEG": "jpg", "PNG": "png", "TIFF": "tiff", "WebP": "webp"}
_PILLOW_NAMES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_LONGEST_SIDE: dict[OutputFormat, int] = {"jpg": 65_500, "webp": 16_383, "png": 2**31 - 1, "tiff": 2**32 - 1}
# JPEG and WebP are encoded from memory, where Pillow has a second copy of four bytes a pixel.
_MOST_PIXELS_IN_MEMORY = 400_000_000
_JPEG_EXIF_BYTES = 65533
_ROWS_PIXELS = 4_000_000
# What damaged or hostile bytes make the decoders raise.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, ArithmeticError, RuntimeError, TypeError, IndexError, KeyError, AttributeError,
    EOFError, struct.error, zlib.error, Image.DecompressionBombError, ImageCms.PyCMSError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One decoded picture, upright, with what must survive translation."""

    rgb: np.ndarray
    """(H, W, 3), uint8 or uint16."""
    alpha: np.ndarray | None = None
    """(H, W) of the same type, or None for an opaque picture."""
    was_grey: bool = False
    as_grey: bool = False
    """Write one channel where the format can hold that; the three are equal then."""
    icc: bytes | None = None
    """RGB colour profile."""
    exif: bytes | None = None
    """EXIF block that holds for this picture, see `i2i.inference.pictures.exif`."""
    format: OutputFormat = "png"
    """Format that "the same as the input" means; png for formats that are only read."""
    notes: tuple[str, ...] = ()
    """What was done to the picture that its owner may want to know, a phrase each."""

    @property
    def bits(self) -> Literal[8, 16]:
        """Bits a channel."""
        return 16 if self.rgb.dtype == np.uint16 else 8


def read_picture(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read the picture at `path` by the rules of this module.

    Raises:
        DataError: missing, not a picture, damaged, of an unsupported kind, or more than `max_pixels` pixels.
        OutOfMemoryError: the decoded picture does not fit into memory.
    """
    path = Path(path)
    # The header first: a file of 70 KB can ask a decoder for gigabytes.
    header = read_header(path)
    check_pixels(header, path, max_pixels)
    try:
        picture = _decode(path.read_bytes(), header)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except MemoryError as error:
        size = f"{header.width}x{header.height}"
        raise OutOfMemoryError(f"{path}: too little memory to decode {size} pixels - shrink the picture") from error
    except _DECODER_ERRORS as error:
        raise DataError(f"{path}: cannot be decoded ({one_line(error)}) - the file is damaged or incomplete") from error
    if picture.rgb.shape[:2] != (header.height, header.width):
        raise DataError(f"{path}: header and pixels disagree about the size - save the picture anew")
    return picture


def write_picture(
    path: Path, picture: Picture, format: OutputFormat, quality: int = DEFAULT_QUALITY
) -> tuple[str, ...]:
    """Write `picture` to `path`, whole or not at all, and return notes on what the format could not hold.

    Args:
        format: png and tiff are lossless; jpg and webp are compressed with `quality` (1..100).

    Raises:
        DataError: the format cannot hold a picture of this size.
        OutOfMemoryError: too little memory to encode it.
        StorageError: the file cannot be written.
    """
    height, width = picture.rgb.shape[:2]
    check_format_holds(path, width, height, format)
    try:
        fitted = _fit_to_format(picture, format)
        if format == "tiff" or (format == "png" and fitted.bits == 16):
            # Pillow has no colours of 16 bits, nor TIFFs beyond four gigabytes.
            with open_strips(path, strip_layout(fitted, width, height), format) as strips:
                strips.write(strip_rows(fitted))
            return fitted.notes[len(picture.notes) :]
        content = _encode(fitted, format, quality)
    except MemoryError as error:
        raise OutOfMemoryError(f"{path}: too little memory to encode the picture - use a smaller --batch") from error
    except _DECODER_ERRORS as error:
        raise DataError(
            f"{path}: {width}x{height} pixels cannot be written as {format} ({one_line(error)}) - use --format tiff"
        ) from error
    write_atomically(path, content)
    return fitted.notes[len(picture.notes) :]


def check_format_holds(path: Path, width: int, height: int, format: OutputFormat) -> None:
    """Refuse a result of this size that `format` cannot hold; `path` only names it in the error.

    Raises:
        DataError: it cannot.
    """
    longest = _LONGEST_SIDE[format]
    if max(width, height) > longest:
        reason = f"no side may be longer than {longest:,}"
    elif format not in STRIP_FORMATS and width * height > _MOST_PIXELS_IN_MEMORY:
        reason = f"no more than {_MOST_PIXELS_IN_MEMORY:,} fit, for it is made in memory"
    else:
        return
    raise DataError(f"{path}: {width}x{height} pixels cannot be written as {format}: {reason} - use --format tiff")


# Reading


def _decode(data: bytes, header: PictureHeader) -> Picture:
    if header.bits > 16 or header.mode == "F":
        raise DataError(f"{header.bits} bits a channel are not supported - save it with 8 or 16")
    notes = [f"first of {header.frames} frames"] if header.frames > 1 and header.format != "JPEG" else []
    # The format's own class, not Image.open, which judges the size by a limit of its own, global to the process.
    with _PLUGINS[header.format](io.BytesIO(data)) as image:
        icc, exif = image.info.get("icc_profile") or None, kept_exif(image, header.width, header.height)
        if header.bits == 16 and header.mode != "CMYK":
            # Pillow would reduce colour pictures of this kind to 8 bits without a word.
            rgb, alpha = _decode_sixteen_bit(data, header)
        else:
            image.load()
            # A TIFF is turned by its decoder, which also drops the tag: this never turns twice.
            rgb, alpha, icc = _decode_eight_bit(ImageOps.exif_transpose(image), icc, notes)
    if icc is not None and icc[16:20] != b"RGB ":
        notes.append("colour profile that is not for RGB left out")
        icc = None
    return Picture(
        rgb=rgb,
        alpha=alpha,
        was_grey=header.is_grey,
        icc=icc,
        exif=exif,
        format=_SAME_FORMAT.get(header.format, "png"),
        notes=tuple(notes),
    )


def _decode_eight_bit(
    image: Image.Image, icc: bytes | None, notes: list[str]
) -> tuple[np.ndarray, np.ndarray | None, bytes | None]:
    if image.mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"):
        raise DataError(f"pictures of mode {image.mode} are not supported - convert it to 8 or 16 bits a channel RGB")
    if image.mode == "CMYK":
        notes.append("CMYK converted to RGB")
    if icc is not None and image.mode in ("CMYK", "L"):
        image, icc = _to_srgb(image, icc), None
    if not image.has_transparency_data:
        return _samples(image, "RGB"), None, icc
    channels = _samples(image, "RGBA")
    return np.ascontiguousarray(channels[..., :3]), np.ascontiguousarray(channels[..., 3]), icc


def _samples(image: Image.Image, mode: Literal["RGB", "RGBA"]) -> np.ndarray:
    """The pixels as (H, W, 3 or 4), converted some rows at a time: of a large picture there are copies enough."""
    samples = np.empty((image.height, image.width, len(mode)), np.uint8)
    for rows in _row_blocks(samples):
        stop = min(rows.stop, image.height)
        samples[rows] = np.asarray(image.crop((0, rows.start, image.width, stop)).convert(mode))
    return samples


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    try:
        converted = ImageCms.profileToProfile(image, io.BytesIO(icc), ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")  # A broken or ill-fitting profile says nothing about the colours.
    assert converted is not None
    return converted


def _decode_sixteen_bit(data: bytes, header: PictureHeader) -> tuple[np.ndarray, np.ndarray | None]:
    import cv2

    # A damaged picture is reported by us, in one line, not by OpenCV in four.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise DataError(f"cannot be decoded ({one_line(error)}) - the file is damaged or of a rare kind") from error
    if pixels is None:
        raise DataError("cannot be decoded - the file is damaged or of a rare kind of 16-bit picture")
    if pixels.dtype != np.uint16:
        raise DataError(f"16-bit picture decoded as {pixels.dtype} - save it as 16-bit PNG or TIFF without extras")
    if header.format != "TIFF":  # OpenCV turns TIFFs itself and nothing else under this flag.
        pixels = _turn_upright(pixels, header.orientation)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    channels = pixels.shape[2]
    rgb = np.repeat(pixels[..., :1], 3, axis=2) if channels in (1, 2) else np.ascontiguousarray(pixels[..., 2::-1])
    alpha = np.ascontiguousarray(pixels[..., -1]) if channels in (2, 4) else None
    return rgb, alpha


def _turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo EXIF `orientation` (1..8) of an (H, W, ...) array."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    # After the transposition: 6 lies mirrored left to right, 8 top to bottom, 7 both.
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


# Writing


def _fit_to_format(picture: Picture, format: OutputFormat) -> Picture:
    """Reduce the picture to what `format` can hold, with a note on each loss."""
    if format not in ("png", "tiff"):
        picture = in_eight_bits(picture, f"for {format}")
    notes = list(picture.notes)
    if picture.alpha is not None and format == "jpg":
        picture = replace(picture, rgb=_on_white(picture.rgb, picture.alpha), alpha=None)
        notes.append("transparency laid on white for jpg")
    if picture.exif is not None and format == "jpg" and len(picture.exif) > _JPEG_EXIF_BYTES:
        picture = replace(picture, exif=None)
        notes.append("EXIF too long for jpg left out")
    return replace(picture, notes=tuple(notes))


def in_eight_bits(picture: Picture, reason: str) -> Picture:
    """A picture of 16 bits rounded to 8, with a note on that which ends in the `reason`; any other as it is."""
    if picture.bits == 8:
        return picture
    alpha = None if picture.alpha is None else _to_eight_bits(picture.alpha)
    notes = (*picture.notes, f"16 bits rounded to 8 {reason}")
    return replace(picture, rgb=_to_eight_bits(picture.rgb), alpha=alpha, notes=notes)


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    rounded = np.empty(values.shape, np.uint8)
    for rows in _row_blocks(values):
        # 65535 / 255 = 257 exactly; + 128 rounds.
        rounded[rows] = (values[rows].astype(np.uint32) + 128) // 257
    return rounded


def _on_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 3) of 8 bits laid on white where `alpha` (H, W) lets it through."""
    blended = np.empty_like(rgb)
    for rows in _row_blocks(rgb):
        weight = alpha[rows, :, None].astype(np.float32) / 255.0
        blended[rows] = np.rint(rgb[rows] * weight + 255.0 * (1.0 - weight))
    return blended


def _row_blocks(values: np.ndarray) -> Iterator[slice]:
    """All rows, some at a time: of a large picture there are copies enough."""
    step = max(1, _ROWS_PIXELS // values.shape[1])
    yield from (slice(start, start + step) for start in range(0, len(values), step))


def strip_layout(picture: Picture, width: int, height: int) -> StripLayout:
    """What is said of a picture of this size that has everything but its pixels from `picture`.

    Grey of 16 bits with transparency becomes RGB, for few programs read the other.
    """
    colours = 1 if picture.as_grey and not (picture.bits == 16 and picture.alpha is not None) else 3
    channels = colours if picture.alpha is None else colours + 1
    return StripLayout(
        width=width,
        height=height,
        channels=channels,  # type: ignore[arg-type]
        bits=picture.bits,
        icc=picture.icc,
        exif=picture.exif,
    )


def strip_rows(picture: Picture) -> np.ndarray:
    """The rows (H, W, channels) of a picture, or of a band of one, as `strip_layout` announces them."""
    height, width = picture.rgb.shape[:2]
    channels = strip_layout(picture, width, height).channels
    colours = picture.rgb[..., :1] if channels < 3 else picture.rgb
    return colours if picture.alpha is None else np.dstack([colours, picture.alpha])


def _encode(picture: Picture, format: OutputFormat, quality: int) -> bytes:
    colours = picture.rgb[..., 0] if picture.as_grey else picture.rgb
    channels = colours if picture.alpha is None else np.dstack([colours, picture.alpha])
    options: dict[str, Any] = {"icc_profile": picture.icc}
    if picture.exif is not None:
        options["exif"] = picture.exif
    if format == "jpg":
        # 4:4:4: halved colour resolution shows on synthetic edges.
        options |= {"quality": quality, "subsampling": 0}
    elif format == "webp":
        # Exact: colours under full transparency are part of the picture, not free for the encoder.
        options |= {"quality": quality, "exact": True}
    buffer = io.BytesIO()
    Image.fromarray(channels).save(buffer, format=_PILLOW_NAMES[format], **options)
    return buffer.getvalue()
