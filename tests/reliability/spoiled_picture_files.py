"""Spoiled picture files: small drawn pictures in every format that is read, and ways to spoil them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

Random = np.random.Generator
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "bmp": ".bmp", "tiff": ".tif"}
BOMB_SIDE = 24_000


# Whole pictures


def drawn_pictures() -> dict[str, tuple[str, bytes]]:
    """Pictures by name, each with its format and content: every format in its usual and unusual forms."""
    rng = np.random.default_rng(7)
    rgb = rng.integers(0, 256, (40, 56, 3), np.uint8)
    rgb[8:32] = np.linspace(0, 255, 56, dtype=np.uint8)[None, :, None]  # flat parts compress, noise does not
    colour, grey = Image.fromarray(rgb), Image.fromarray(rgb[..., 0])
    clear = Image.fromarray(np.dstack([rgb, rgb[..., :1]]))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "drawn"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "drawn " * 40, zip=True)
    frames = [colour, grey.convert("RGB")]
    return {
        "png": _saved(colour, "png", icc_profile=icc, pnginfo=text),
        "png-grey": _saved(grey, "png"),
        "png-palette": _saved(colour.quantize(16), "png", transparency=3),
        "png-alpha": _saved(clear, "png", exif=exif),
        "png-bits": _saved(grey.convert("1"), "png"),
        "png-16": _png_sixteen(rgb),
        "png-grey-16": _saved(Image.fromarray(rgb[..., 0].astype(np.uint16) * 257), "png"),
        "jpeg": _saved(colour, "jpeg", quality=90, exif=exif, icc_profile=icc),
        "jpeg-grey": _saved(grey, "jpeg"),
        "jpeg-progressive": _saved(colour, "jpeg", progressive=True, quality=70),
        "jpeg-cmyk": _saved(colour.convert("CMYK"), "jpeg"),
        "webp": _saved(colour, "webp", quality=80, exif=exif, icc_profile=icc),
        "webp-lossless": _saved(clear, "webp", lossless=True),
        "webp-animated": _saved(frames[0], "webp", save_all=True, append_images=frames[1:]),
        "bmp": _saved(colour, "bmp"),
        "bmp-palette": _saved(colour.quantize(8), "bmp"),
        "tiff": _saved(colour, "tiff"),
        "tiff-deflate": _saved(clear, "tiff", compression="tiff_adobe_deflate"),
        "tiff-lzw": _saved(grey, "tiff", compression="tiff_lzw"),
        "tiff-jpeg": _saved(colour, "tiff", compression="jpeg"),
        "tiff-pages": _saved(frames[0], "tiff", save_all=True, append_images=frames[1:]),
        "tiff-16": _tiff_sixteen(rgb),
    }


def _saved(image: Image.Image, format: str, **options: Any) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    image.save(buffer, format=format.upper(), **options)
    return format, buffer.getvalue()


def _png_sixteen(rgb: np.ndarray) -> tuple[str, bytes]:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb)
    return "png", png(rgb.shape[1], rgb.shape[0], zlib.compress(rows), bits=16, colour=2)


def _tiff_sixteen(rgb: np.ndarray) -> tuple[str, bytes]:
    strip = zlib.compress(rgb.astype("<u2").tobytes())
    tags = {256: rgb.shape[1], 257: rgb.shape[0], 258: (16,) * 3, 259: 8, 262: 2, 273: 0, 277: 3, 278: rgb.shape[0]}
    return "tiff", _tiff(tags, strip)


def _tiff(tags: dict[int, Any], strip: bytes) -> bytes:
    directory = ImageFileDirectory_v2()
    for tag, value in (tags | {279: len(strip)}).items():
        directory[tag] = value
    buffer = io.BytesIO()
    directory.save(buffer)
    return buffer.getvalue() + strip


def png(width: int, height: int, data: bytes, *, bits: int = 8, colour: int = 0, extra: bytes = b"") -> bytes:
    """A PNG file around compressed rows."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# Bombs: small files that ask for much


def bombs() -> dict[str, tuple[str, bytes]]:
    """Whole and valid files that unfold to gigabytes, by name."""
    rows = _packed_zeros((1 + 3 * BOMB_SIDE) * BOMB_SIDE)
    bits = _packed_zeros((1 + BOMB_SIDE // 8) * BOMB_SIDE)
    text = _packed_zeros(300_000_000)
    tags = {256: BOMB_SIDE, 257: BOMB_SIDE, 258: (8, 8, 8), 259: 8, 262: 2, 273: 0, 277: 3, 278: BOMB_SIDE}
    small = zlib.compress(bytes(9 * 8))
    return {
        "png-colour": ("png", png(BOMB_SIDE, BOMB_SIDE, rows, colour=2)),
        "png-bits": ("png", png(BOMB_SIDE, BOMB_SIDE, bits, bits=1)),
        "png-text": ("png", png(8, 8, small, extra=_chunk(b"zTXt", b"comment\0\0" + text))),
        "png-profile": ("png", png(8, 8, small, extra=_chunk(b"iCCP", b"profile\0\0" + text))),
        "tiff-deflate": ("tiff", _tiff(tags, rows)),
    }


def _packed_zeros(count: int) -> bytes:
    """What zlib makes of so many zeros, put together from one packed megabyte."""

    def packed(length: int) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        # A full flush forgets what came before, so that the part can be repeated.
        return packer.compress(bytes(length)) + packer.flush(zlib.Z_FULL_FLUSH)

    megabytes, rest = divmod(count, 2**20)
    checksum = count % 65521 << 16 | 1
    return b"\x78\xda" + packed(2**20) * megabytes + packed(rest) + b"\x03\x00" + struct.pack(">I", checksum)


# Mutations


def truncated(format: str, content: bytes, rng: Random) -> bytes:
    """Cut off anywhere."""
    return content[: int(rng.integers(0, len(content)))]


def flipped(format: str, content: bytes, rng: Random) -> bytes:
    """One to 32 bits are the other way round."""
    spoiled = bytearray(content)
    for place in rng.integers(0, 8 * len(content), int(2 ** rng.integers(0, 6))):
        spoiled[place // 8] ^= 1 << (place % 8)
    return bytes(spoiled)


def overwritten(format: str, content: bytes, rng: Random) -> bytes:
    """A run of bytes is noise, zeros or ones."""
    start = int(rng.integers(0, len(content)))
    length = int(rng.integers(1, 200))
    run = [rng.bytes(length), b"\0" * length, b"\xff" * length][int(rng.integers(0, 3))]
    return (content[:start] + run + content[start + length :])[: max(len(content), start + length)]


def spliced(format: str, content: bytes, rng: Random) -> bytes:
    """A part is there twice, or is missing in the middle."""
    first, second = sorted(rng.integers(0, len(content), 2))
    if rng.random() < 0.5:
        return content[:first] + content[second:]
    return content[:second] + content[first:]


def wrong_header(format: str, content: bytes, rng: Random) -> bytes:
    """The header claims another size or kind of pixels, up to what its fields can hold; checksums fit."""
    width, height = (_some_side(rng) for _ in range(2))
    spoiled = bytearray(content)
    _HEADERS[format](spoiled, width, height, rng)
    return bytes(spoiled)


def foreign(format: str, content: bytes, rng: Random) -> bytes:
    """The first bytes are of this format and the rest is noise."""
    return content[: int(rng.integers(2, 40))] + rng.bytes(int(rng.integers(0, 3000)))


MUTATIONS: dict[str, Callable[[str, bytes, Random], bytes]] = {
    "truncated": truncated,
    "flipped bits": flipped,
    "overwritten": overwritten,
    "spliced": spliced,
    "wrong header": wrong_header,
    "noise behind": foreign,
}


def _some_side(rng: Random) -> int:
    """Of any order of magnitude."""
    return int(2 ** rng.uniform(0, 32)) if rng.random() < 0.7 else int(rng.integers(0, 3)) or BOMB_SIDE


def _png_header(spoiled: bytearray, width: int, height: int, rng: Random) -> None:
    spoiled[16:24] = struct.pack(">II", width % 2**32, height % 2**32)
    if rng.random() < 0.3:
        spoiled[24:29] = bytes(rng.choice([1, 2, 4, 8, 16, 0, 3, 255], 5).astype(np.uint8))
    spoiled[29:33] = struct.pack(">I", zlib.crc32(spoiled[12:29]))


def _jpeg_header(spoiled: bytearray, width: int, height: int, rng: Random) -> None:
    for marker in (b"\xff\xc0", b"\xff\xc2"):
        place = spoiled.rfind(marker)
        if place > 0 and place + 9 <= len(spoiled):
            spoiled[place + 5 : place + 9] = struct.pack(">HH", height % 65536, width % 65536)


def _webp_header(spoiled: bytearray, width: int, height: int, rng: Random) -> None:
    match bytes(spoiled[12:16]):
        case b"VP8X":
            spoiled[24:30] = (width % 2**24).to_bytes(3, "little") + (height % 2**24).to_bytes(3, "little")
        case b"VP8L":
            packed = int.from_bytes(spoiled[21:25], "little") & ~0xFFFFFFF
            spoiled[21:25] = (packed | width % 2**14 | height % 2**14 << 14).to_bytes(4, "little")
        case _:
            spoiled[26:30] = struct.pack("<HH", width % 2**14, height % 2**14)
    if rng.random() < 0.5:  # the frame inside claims as much
        inner = spoiled.find(b"VP8 ", 16)
        if 0 < inner < len(spoiled) - 18:
            spoiled[inner + 14 : inner + 18] = struct.pack("<HH", width % 2**14, height % 2**14)


def _bmp_header(spoiled: bytearray, width: int, height: int, rng: Random) -> None:
    spoiled[18:26] = struct.pack("<II", width % 2**32, height % 2**32)
    if rng.random() < 0.3:
        spoiled[28:30] = struct.pack("<H", int(rng.choice([0, 1, 2, 4, 8, 16, 24, 32, 999])))


def _tiff_header(spoiled: bytearray, width: int, height: int, rng: Random) -> None:
    start = int.from_bytes(spoiled[4:8], "little")
    count = int.from_bytes(spoiled[start : start + 2], "little")
    wanted = {256: width, 257: height, 278: height}
    if rng.random() < 0.4:
        wanted = {int(rng.choice([258, 259, 262, 273, 277, 278, 279, 284, 317, 338])): _some_side(rng)}
    for entry in range(start + 2, min(start + 2 + 12 * count, len(spoiled) - 12), 12):
        tag = int.from_bytes(spoiled[entry : entry + 2], "little")
        if tag in wanted:
            spoiled[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, wanted[tag] % 2**32)


_HEADERS: dict[str, Callable[[bytearray, int, int, Random], None]] = {
    "png": _png_header, "jpeg": _jpeg_header, "webp": _webp_header, "bmp": _bmp_header, "tiff": _tiff_header,
}  # fmt: skip
