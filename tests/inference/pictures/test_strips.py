"""Files that are written strip by strip, read by other programs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from i2i.errors import StorageError
from i2i.inference.pictures import png_strips, tiff_strips
from i2i.inference.pictures.exif import read_fields
from i2i.inference.pictures.image_files import read_picture
from i2i.inference.pictures.strip_layout import StripLayout
from i2i.inference.pictures.strips import open_strips
from i2i.inference.pictures.tiff_strips import TiffStrips

Format = Literal["png", "tiff"]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CAMERA, PLACE, INTEROPERABILITY = 0x8769, 0x8825, 0xA005


def noise(layout: StripLayout) -> np.ndarray:
    shape = (layout.height, layout.width, layout.channels)
    return np.random.default_rng(1).integers(0, 2**layout.bits, shape, np.uint8 if layout.bits == 8 else np.uint16)


def layout_of(**changes: Any) -> StripLayout:
    return StripLayout(**{"width": 37, "height": 29, "channels": 3, **changes})  # type: ignore[arg-type]


def write(path: Path, format: Format, layout: StripLayout, pixels: np.ndarray, rows: int = 5) -> Path:
    with open_strips(path, layout, format) as writer:
        for start in range(0, len(pixels), rows):
            band = pixels[start : start + rows].copy()
            writer.write(band)
            band[:] = 0  # Who writes a band may use its memory again.
    return path


def as_opencv_reads(path: Path) -> np.ndarray:
    """(H, W, channels) in the order of the file."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    order = {2: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}
    return pixels[..., None] if pixels.ndim == 2 else pixels[..., order[pixels.shape[2]]]


@pytest.fixture(autouse=True)
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many strips, of several rows each, of small pictures."""
    for module in (png_strips, tiff_strips):
        monkeypatch.setattr(module, "STRIP_BYTES", 400)


@pytest.fixture
def big(monkeypatch: pytest.MonkeyPatch) -> None:
    """BigTIFF for all."""
    monkeypatch.setattr(tiff_strips, "_CLASSIC_BYTES", 0)


@pytest.mark.parametrize("format", get_args(Format))
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 5, 29])
def test_pillow_reads_what_was_written(tmp_path: Path, format: Format, channels: int, rows: int) -> None:
    layout = layout_of(channels=channels, icc=SRGB)
    pixels = noise(layout)
    with Image.open(write(tmp_path / "x", format, layout, pixels, rows)) as image:
        assert image.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
        assert image.info["icc_profile"] == SRGB
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("format", get_args(Format))
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_opencv_and_our_own_reading_agree_with_what_was_written(
    tmp_path: Path, format: Format, bits: int, channels: int
) -> None:
    layout = layout_of(channels=channels, bits=bits)
    pixels = noise(layout)
    if channels == 4:
        pixels[..., 3] |= 1  # OpenCV multiplies the colours of some by alpha; nothing is lost where there is some
    path = write(tmp_path / "x", format, layout, pixels)
    if not (format == "tiff" and channels == 4 and bits == 8):
        assert np.array_equal(as_opencv_reads(path), pixels)
    again = read_picture(path)
    assert again.bits == bits
    assert np.array_equal(again.rgb, pixels[..., :3] if channels > 1 else pixels.repeat(3, axis=2))
    if channels == 4:
        assert again.alpha is not None and np.array_equal(again.alpha, pixels[..., 3])


@pytest.mark.usefixtures("big")
@pytest.mark.parametrize("bits", [8, 16])
def test_bigtiff_is_read_by_others(tmp_path: Path, bits: int) -> None:
    layout = layout_of(bits=bits, icc=SRGB)
    pixels = noise(layout)
    path = write(tmp_path / "x.tif", "tiff", layout, pixels)
    assert path.read_bytes()[:8] == b"II\x2b\0\x08\0\0\0"
    assert np.array_equal(as_opencv_reads(path), pixels)
    if bits == 8:
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), pixels) and image.info["icc_profile"] == SRGB


def test_the_size_decides_between_classic_and_big(tmp_path: Path) -> None:
    large = StripLayout(width=48_000, height=36_000, channels=3)
    for layout, magic in ((large, 43), (StripLayout(width=12_000, height=9_000, channels=4), 42)):
        file = io.BytesIO()
        TiffStrips(file, layout).close()
        assert file.getvalue()[2] == magic


@pytest.mark.parametrize("format", get_args(Format))
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (300, 1)])
def test_smallest_sides(tmp_path: Path, format: Format, size: tuple[int, int]) -> None:
    layout = layout_of(width=size[0], height=size[1])
    pixels = noise(layout)
    with Image.open(write(tmp_path / "x", format, layout, pixels)) as image:
        assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("format", get_args(Format))
def test_smooth_pictures_become_small(tmp_path: Path, format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_strips, "STRIP_BYTES", 2**16)
    rows, columns = np.mgrid[:200, :300]
    pixels = np.stack([rows + columns, rows * 2, columns * 3], axis=-1).astype(np.uint8)
    path = write(tmp_path / "x", format, layout_of(width=300, height=200), pixels)
    assert path.stat().st_size < pixels.nbytes / 40


def described(order: str) -> bytes:
    """An EXIF block with all four directories; Pillow writes it in the order of bytes that it was read in."""
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F], exif[0x011A], exif[0x0112], exif[0x0100] = "camera", IFDRational(300, 1), 6, 999
    inner = exif.get_ifd(CAMERA)
    inner[0xA002], inner[0x829A], inner[0x927C] = 37, IFDRational(1, 125), b"\x01\x02\x03\x04\x05"
    inner[INTEROPERABILITY] = {1: "R98"}
    exif.get_ifd(PLACE)[1], exif.get_ifd(PLACE)[2] = "N", (47.0, 22.0, 30.5)
    return exif.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["classic", "big", "png"])
def test_exif_is_read_by_others(tmp_path: Path, kind: str, order: str, request: pytest.FixtureRequest) -> None:
    if kind == "big":
        request.getfixturevalue("big")
    layout = layout_of(exif=described(order))
    path = write(tmp_path / "x", "png" if kind == "png" else "tiff", layout, noise(layout))
    with Image.open(path) as image:
        exif = image.getexif()
        assert (exif[0x010F], exif[0x011A]) == ("camera", 300)
        inner, place = exif.get_ifd(CAMERA), exif.get_ifd(PLACE)
        assert (inner[0xA002], inner[0x829A], inner[0x927C]) == (37, IFDRational(1, 125), b"\x01\x02\x03\x04\x05")
        assert exif.get_ifd(INTEROPERABILITY)[1] == "R98"
        assert (place[1], tuple(map(float, place[2]))) == ("N", (47.0, 22.0, 30.5))
        if kind != "png":
            assert exif[0x0100] == 37, "the file's own width, not what the block says"
            assert 0x0112 not in exif
        assert np.array_equal(np.asarray(image), noise(layout))


def test_damaged_exif_is_left_out_as_far_as_it_is_damaged(tmp_path: Path) -> None:
    block = described("<")
    whole = read_fields(block)
    assert whole.main and whole.camera and whole.place and whole.interoperability
    random = np.random.default_rng(0)
    fewer = 0
    for turn in range(300):
        damaged = bytearray(block[: random.integers(0, len(block))])
        for place in random.integers(0, max(1, len(damaged)), 3):
            damaged[place : place + 1] = bytes([random.integers(0, 256)])
        found = read_fields(bytes(damaged))
        fewer += len(found.camera) < len(whole.camera)
        if turn % 15 == 0:
            layout = layout_of(exif=bytes(damaged))
            path = write(tmp_path / "x", "tiff", layout, noise(layout))
            assert np.array_equal(as_opencv_reads(path), noise(layout))
    assert fewer > 100


@pytest.mark.parametrize("format", get_args(Format))
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, format: Format) -> None:
    layout = layout_of()
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), open_strips(tmp_path / "x", layout, format) as writer:
        writer.write(noise(layout)[:7])
        raise KeyboardInterrupt
    with pytest.raises(AssertionError), open_strips(tmp_path / "x", layout, format) as writer:
        writer.write(noise(layout)[:7])  # and no more
    (tmp_path / "file").touch()
    with pytest.raises(StorageError), open_strips(tmp_path / "file" / "x", layout, format):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "x"]
    assert (tmp_path / "x").read_bytes() == b"old"


@pytest.mark.parametrize("format", get_args(Format))
def test_rows_that_were_not_announced_are_our_own_mistake(tmp_path: Path, format: Format) -> None:
    layout = layout_of()
    for wrong in (np.zeros((2, 37, 4), np.uint8), np.zeros((2, 36, 3), np.uint8), np.zeros((2, 37, 3), np.uint16)):
        with pytest.raises(AssertionError), open_strips(tmp_path / "x", layout, format) as writer:
            writer.write(wrong)
