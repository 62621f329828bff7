"""No whole picture is refused for being short, however flat; headers that claim what is not there are."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i.data.headers import check_pixels, parse_header
from i2i.errors import DataError

FLAT = Image.new("RGB", (2000, 1500), (250, 250, 250))


def header_of(content: bytes, name: str = "x") -> Any:
    return parse_header(io.BytesIO(content), Path(name))


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("png", {"optimize": True}),
        ("jpeg", {"quality": 1, "optimize": True}),
        ("jpeg", {"quality": 1, "progressive": True, "subsampling": 2}),
        ("webp", {"quality": 1}),
        ("webp", {"lossless": True}),
        ("webp", {"save_all": True, "append_images": [Image.new("RGB", (2000, 1500), (0, 9, 0))]}),
        ("bmp", {}),
        ("tiff", {}),
        *(("tiff", {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
        *(("tiff", {"compression": name}) for name in ("zstd", "lzma")),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "1"])
def test_the_flattest_pictures_pass(format: str, options: dict[str, Any], mode: str) -> None:
    if mode == "1" and (format not in ("png", "bmp", "tiff") or options.get("compression") == "jpeg"):
        pytest.skip("colour only")
    try:
        content = encoded(FLAT.convert(mode), format, **options)
    except OSError:
        pytest.skip("this Pillow cannot write it")
    header = header_of(content)
    assert header.pixels == 3_000_000
    check_pixels(header, Path("x"), 10**9)


@pytest.mark.parametrize(
    ("format", "options", "place", "field"),
    [
        ("png", {}, 16, np.dtype(">u4")),
        ("tiff", {}, None, None),
        ("tiff", {"compression": "tiff_lzw"}, None, None),
        ("bmp", {}, 18, np.dtype("<i4")),
        ("webp", {"lossless": True}, 21, None),
        ("webp", {"quality": 50}, 26, np.dtype("<u2")),
    ],
)
def test_claims_beyond_the_file_are_refused(format: str, options: dict, place: int | None, field: Any) -> None:
    content = bytearray(encoded(FLAT.resize((64, 48)), format, **options))
    claim = (16_000, 12_000)
    if format == "tiff":
        for tag, side in ((256, claim[0]), (257, claim[1])):
            start = content.index(tag.to_bytes(2, "little"), int.from_bytes(content[4:8], "little"))
            content[start + 2 : start + 12] = b"\4\0" + (1).to_bytes(4, "little") + side.to_bytes(4, "little")
    elif field is None:
        content[21:25] = (claim[0] - 1 | claim[1] - 1 << 14).to_bytes(4, "little")
    else:
        content[place : place + 2 * field.itemsize] = np.array(claim, field).tobytes()  # type: ignore[operator]
    if format == "png":
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    header = header_of(bytes(content))
    assert (header.width, header.height) == claim
    with pytest.raises(DataError, match="x: claims 16000 x 12000 pixels, more than so short a file can hold - "):
        check_pixels(header, Path("x"), 10**9)
    # The limit comes first: it is the plainer reason.
    with pytest.raises(DataError, match="the limit is 1,000"):
        check_pixels(header, Path("x"), 1000)


def test_a_jpeg_that_claims_a_hundred_times_its_blocks_is_refused() -> None:
    content = bytearray(encoded(FLAT.resize((64, 48)), "jpeg"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = (12_000).to_bytes(2, "big") + (16_000).to_bytes(2, "big")
    with pytest.raises(DataError, match="more than so short a file can hold"):
        check_pixels(header_of(bytes(content)), Path("x"), 10**9)


def test_a_bmp_packed_in_runs_may_be_large_but_not_without_measure() -> None:
    content = bytearray(encoded(FLAT.resize((64, 48)).convert("L"), "bmp"))
    content[30:34] = (1).to_bytes(4, "little")  # RLE8
    assert header_of(bytes(content)).most_pixels == 128 * len(content) + 2**24


def test_a_canvas_must_be_as_large_as_its_picture() -> None:
    content = bytearray(encoded(FLAT.resize((64, 48)), "webp", exif=b"Exif\0\0MM\0*\0\0\0\10\0\0\0\0\0\0"))
    assert content[12:16] == b"VP8X"
    content[24:27] = (9_999).to_bytes(3, "little")
    with pytest.raises(DataError, match="not as large as its canvas"):
        header_of(bytes(content))
