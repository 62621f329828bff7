"""Picture files -> headers and RGB 8-bit arrays, with the size checked before a single pixel is decoded.

The rule for training pictures, whatever the file holds:

* JPEG, PNG, WebP, BMP or TIFF, told by the first bytes and never by the name; of several frames or pages, the first;
* the EXIF orientation is applied;
* 16-bit samples become ``round(value / 257)``; 32-bit and floating-point samples are refused;
* grey (and black-and-white, palette, CMYK) becomes RGB;
* transparency is composited on white, after the step to 8 bits;
* colour profiles are ignored.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from i2i.data.headers import (
    DEFAULT_MAX_PIXELS,
    PARSER_ERRORS,
    PictureHeader,
    check_pixels,
    damaged,
    open_with_pillow,
    parse_header,
    read_header,
)
from i2i.errors import DataError
from i2i.files import read_regular

__all__ = ["DEFAULT_MAX_PIXELS", "PictureHeader", "check_pixels", "decode_rgb8", "decode_rgb8_bytes", "read_header"]


def decode_rgb8(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """Decode the picture at `path` by the rule at the top of this module.

    Returns:
        uint8 array (height, width, 3), RGB, upright.

    Raises:
        DataError: unreadable, damaged, of an unsupported kind, or of more than `max_pixels` pixels.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be opened: {error.strerror or error} - check the file and its permissions"
        ) from error
    return decode_rgb8_bytes(content, path, max_pixels)


def decode_rgb8_bytes(content: bytes, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """Decode a picture file's `content` like :func:`decode_rgb8`; `path` only names it in errors."""
    header = parse_header(io.BytesIO(content), path)
    check_pixels(header, path, max_pixels)
    try:
        samples = _decode_samples(content, header, path)
        picture = np.ascontiguousarray(_to_rgb8(samples, path))
    except MemoryError as error:
        raise DataError(
            f"{path}: {header.width} x {header.height} does not fit into memory - shrink the picture"
        ) from error
    if picture.shape[:2] != (header.height, header.width):
        raise DataError(f"{path}: header and pixels disagree about the size - save the picture anew")
    return picture


def _decode_samples(content: bytes, header: PictureHeader, path: Path) -> np.ndarray:
    """Decode to upright uint8 or uint16 samples: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA."""
    if header.bits > 16 or header.mode == "F":
        raise DataError(f"{path}: {header.bits}-bit samples are not supported - save it with 8 or 16 bits")
    if _opencv_keeps_everything(header):
        samples = _decode_with_opencv(content, header, path)
    elif header.bits > 8:
        raise DataError(f"{path}: 16-bit {header.mode} is not supported - save it as RGB or grey")
    else:
        samples = _decode_with_pillow(content, header, path)
    # Both decoders turn TIFF pictures by themselves and no others.
    return samples if header.format == "TIFF" else _upright(samples, header.orientation)


def _decode_with_opencv(content: bytes, header: PictureHeader, path: Path) -> np.ndarray:
    import cv2

    if header.format == "PNG":
        checked = _checked_png(content)
        if checked is None:
            raise damaged(path, None)
        content = checked
    # A damaged picture is reported by us, in one line, not by OpenCV in four.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise damaged(path, error) from error
    if decoded is None:
        raise damaged(path, None)
    if decoded.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: {decoded.dtype} samples are not supported - save it with 8 or 16 bits")
    if decoded.ndim == 2:
        return decoded
    if decoded.shape[2] == 4 and header.has_alpha:
        return cv2.cvtColor(decoded, cv2.COLOR_BGRA2RGBA)
    return cv2.cvtColor(decoded[:, :, :3], cv2.COLOR_BGR2RGB)  # a fourth channel without meaning is padding


def _checked_png(content: bytes) -> bytes | None:
    """The file without its colour profile; None unless all chunks lie within it and the size is said once.

    OpenCV reserves what a chunk claims, up to 4 GB, before it looks whether that is there, and its PNG library prints
    a page about every profile that is not quite by the book.
    """
    place = 8
    kept = [content[:8]]
    while place + 12 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        end = place + 12 + length
        if (kind == b"IHDR") != (place == 8) or end > len(content):
            return None
        if kind != b"iCCP":
            kept.append(content[place:end])
        if kind == b"IEND":
            return b"".join(kept)
        place = end
    return None


def _opencv_keeps_everything(header: PictureHeader) -> bool:
    """Whether OpenCV, three times as fast as Pillow, decodes this kind without losing transparency or colours."""
    if header.format == "JPEG":
        return header.mode in ("L", "RGB")
    if header.format == "PNG":
        # OpenCV drops a grey picture's transparent colour; of 16-bit grey, that is let go.
        return header.bits > 8 or header.mode in ("RGB", "RGBA", "P") or (header.mode == "L" and not header.has_alpha)
    if header.format == "TIFF" and header.bits == 8 and header.has_alpha:
        return False  # OpenCV multiplies the colours by it, and loses what that rounds away
    return header.mode in ("L", "RGB", "RGBA", "I;16", "I;16B", "I;16L", "I;16N")


def _decode_with_pillow(content: bytes, header: PictureHeader, path: Path) -> np.ndarray:
    try:
        picture = open_with_pillow(header.format, io.BytesIO(content))
        picture.load()
        samples = np.asarray(picture.convert("RGBA" if header.has_alpha else "RGB"))
    except (*PARSER_ERRORS, Image.DecompressionBombError) as error:
        raise damaged(path, error) from error
    return samples


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror by the EXIF orientation 1..8."""
    match orientation:
        case 2:
            return samples[:, ::-1]
        case 3:
            return samples[::-1, ::-1]
        case 4:
            return samples[::-1]
        case 5:
            return samples.swapaxes(0, 1)
        case 6:
            return np.rot90(samples, -1)
        case 7:
            return samples[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(samples, 1)
    return samples


def _to_rgb8(samples: np.ndarray, path: Path) -> np.ndarray:
    """Reduce grey, RGB or RGBA samples of 8 or 16 bits to RGB of 8 bits."""
    if samples.dtype == np.uint16:
        samples = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if samples.ndim == 2 or samples.shape[2] == 1:
        grey = samples.reshape(samples.shape[:2])
        return np.repeat(grey[:, :, None], 3, axis=2)
    if samples.shape[2] == 4:
        alpha = samples[:, :, 3:].astype(np.uint16)
        on_white = samples[:, :, :3] * alpha + 255 * (255 - alpha)  # at most 255 * 255: fits 16 bits
        return ((on_white + 127) // 255).astype(np.uint8)
    if samples.shape[2] != 3:
        raise DataError(f"{path}: {samples.shape[2]} channels are not supported - save it as RGB")
    return samples
