"""The rule for training pictures, kind by kind; nothing is decoded that is too large, nothing bad gets through."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from i2i.data import decoding
from i2i.data.decoding import decode_rgb8, read_header
from i2i.errors import DataError


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)


def _turned(picture: np.ndarray, orientation: int) -> np.ndarray:
    """What the EXIF standard says the eight numbers mean, by Pillow's own operations."""
    operations = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return picture if orientation == 1 else np.asarray(Image.fromarray(picture).transpose(operations[orientation]))


@pytest.mark.parametrize(
    ("name", "options"), [("a.png", {}), ("a.bmp", {}), ("a.tif", {}), ("a.webp", {"lossless": True})]
)
def test_lossless_kinds_come_back_exactly(tmp_path: Path, rgb: np.ndarray, name: str, options: dict[str, Any]) -> None:
    Image.fromarray(rgb).save(tmp_path / name, **options)
    header = read_header(tmp_path / name)
    assert (header.width, header.height, header.mode, header.bits) == (5, 7, "RGB", 8)
    decoded = decode_rgb8(tmp_path / name)
    assert decoded.flags.c_contiguous
    assert np.array_equal(decoded, rgb)


def test_jpeg_decodes_to_what_pillow_sees(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 64 * 48 * 3).reshape(64, 48, 3).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    difference = decode_rgb8(tmp_path / "a.jpg").astype(int) - np.asarray(Image.open(tmp_path / "a.jpg")).astype(int)
    assert np.abs(difference).max() <= 1


def test_the_kind_is_told_by_the_content_and_not_the_name(tmp_path: Path, rgb: np.ndarray) -> None:
    Image.fromarray(rgb).save(tmp_path / "wrong.jpg", format="PNG")
    assert read_header(tmp_path / "wrong.jpg").format == "PNG"
    assert np.array_equal(decode_rgb8(tmp_path / "wrong.jpg"), rgb)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_orientation_is_applied_once(tmp_path: Path, rgb: np.ndarray, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        Image.fromarray(rgb).save(path, tiffinfo={274: orientation})
    else:
        exif = Image.Exif()
        exif[274] = orientation
        options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
        Image.fromarray(rgb).save(path, exif=exif, **options)
    expected = _turned(rgb, orientation)
    header = read_header(path)
    assert (header.orientation, header.height, header.width) == (orientation, *expected.shape[:2])
    assert np.array_equal(decode_rgb8(path), expected)


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_orientation_of_tiff_by_either_decoder(tmp_path: Path, orientation: int) -> None:
    grey16 = np.random.default_rng(1).integers(0, 65536, (7, 5)).astype(np.uint16)
    Image.fromarray(grey16).save(tmp_path / "opencv.tif", tiffinfo={274: orientation})
    assert np.array_equal(
        decode_rgb8(tmp_path / "opencv.tif")[..., 0], _turned((grey16 / 257).round().astype(np.uint8), orientation)
    )
    palette = Image.fromarray((grey16 >> 8).astype(np.uint8)).convert("P")
    palette.save(tmp_path / "pillow.tif", tiffinfo={274: orientation})
    assert np.array_equal(
        decode_rgb8(tmp_path / "pillow.tif"), _turned(np.asarray(palette.convert("RGB")), orientation)
    )


def test_orientation_of_jpeg_is_applied(tmp_path: Path) -> None:
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :24] = 255
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif)
    decoded = decode_rgb8(tmp_path / "a.jpg")
    assert decoded.shape == (48, 32, 3)
    assert decoded[:20, 20:].min() > 240  # a clockwise quarter turn takes the upper left corner to the upper right
    assert decoded[:20, :12].max() < 15


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path, suffix: str, channels: int) -> None:
    values = np.random.default_rng(2).integers(0, 65536, (9, 6, channels)).astype(np.uint16)
    values.flat[:6] = [0, 128, 129, 65535, 65406, 65407]
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), values[..., ::-1])
    assert read_header(path).bits == 16
    expected = np.broadcast_to((values / 257).round().astype(np.uint8), (9, 6, 3))
    assert np.array_equal(decode_rgb8(path), expected)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_grey_and_palette_become_rgb(tmp_path: Path, rgb: np.ndarray, mode: str, suffix: str) -> None:
    stored = Image.fromarray(rgb).convert(mode)
    stored.save(tmp_path / f"a.{suffix}")
    assert np.array_equal(decode_rgb8(tmp_path / f"a.{suffix}"), np.asarray(stored.convert("RGB")))


def test_cmyk_becomes_rgb(tmp_path: Path, rgb: np.ndarray) -> None:
    stored = Image.fromarray(rgb).convert("CMYK")
    stored.save(tmp_path / "a.tif")
    assert np.array_equal(decode_rgb8(tmp_path / "a.tif"), np.asarray(stored.convert("RGB")))
    stored.save(tmp_path / "a.jpg")
    assert decode_rgb8(tmp_path / "a.jpg").shape == rgb.shape


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGBA", "png"), ("RGBA", "webp"), ("RGBA", "tif"), ("LA", "png"), ("LA", "tif")]
)
def test_alpha_is_put_on_white(tmp_path: Path, mode: str, suffix: str) -> None:
    samples = np.random.default_rng(3).integers(0, 256, (8, 8, len(mode)), np.uint8)
    samples[0, :, -1] = 0
    samples[1, :, -1] = 255
    path = tmp_path / f"a.{suffix}"
    options: dict[str, Any] = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(samples).save(path, **options)
    assert read_header(path).has_alpha
    alpha = samples[..., -1:].astype(float) / 255
    expected = np.broadcast_to(samples[..., :-1] * alpha + 255 * (1 - alpha), (8, 8, 3)).round()
    decoded = decode_rgb8(path)
    assert np.array_equal(decoded, expected)
    assert (decoded[0] == 255).all()


def test_transparent_colours_are_put_on_white(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(grey).save(tmp_path / "grey.png", transparency=5)
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png", transparency=5)
    colour = np.repeat(grey[..., None], 3, axis=2)
    Image.fromarray(colour).save(tmp_path / "colour.png", transparency=(5, 5, 5))
    expected = np.where(colour == 5, 255, colour)
    for name in ("grey.png", "palette.png", "colour.png"):
        assert np.array_equal(decode_rgb8(tmp_path / name), expected), name


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_alpha_is_reduced_before_it_is_put_on_white(tmp_path: Path, suffix: str) -> None:
    values = np.zeros((2, 2, 4), np.uint16)
    values[..., 3] = [[0, 65535], [32768, 257]]
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), values)
    assert decode_rgb8(tmp_path / f"a.{suffix}")[..., 0].tolist() == [[255, 0], [127, 254]]


def test_of_several_frames_the_first_counts(tmp_path: Path, rgb: np.ndarray) -> None:
    others = [Image.fromarray(255 - rgb)]
    for name in ("a.png", "a.tif", "a.webp"):
        options: dict[str, Any] = {"lossless": True} if name == "a.webp" else {}
        Image.fromarray(rgb).save(tmp_path / name, save_all=True, append_images=others, **options)
        assert read_header(tmp_path / name).frames == 2
        assert np.array_equal(decode_rgb8(tmp_path / name), rgb), name


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}], ids=["VP8L", "VP8"])
@pytest.mark.parametrize(("mode", "metadata"), [("RGB", False), ("RGB", True), ("RGBA", False), ("RGBA", True)])
def test_webp_header_agrees_with_pillow(tmp_path: Path, options: dict[str, Any], mode: str, metadata: bool) -> None:
    samples = np.random.default_rng(6).integers(0, 256, (33, 57, len(mode)), np.uint8)
    exif = Image.Exif()
    exif[274] = 3
    extra: dict[str, Any] = {"exif": exif} if metadata else {}
    Image.fromarray(samples).save(tmp_path / "a.webp", **options, **extra)
    header = read_header(tmp_path / "a.webp")
    with Image.open(tmp_path / "a.webp") as picture:
        expected = (*picture.size, picture.mode, picture.getexif().get(274, 1))
    assert (header.width, header.height, header.mode, header.orientation) == expected


def test_thirty_two_bit_samples_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: 32-bit samples are not supported"):
        decode_rgb8(tmp_path / "a.tif")


def _png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(24_000, 24_000), (2**31 - 1, 2**31 - 1), (200_000_001, 1)])
def test_bombs_are_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, height: int
) -> None:
    def must_not_decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", must_not_decode)
    monkeypatch.setattr(decoding, "_decode_samples", must_not_decode)
    (tmp_path / "bomb.png").write_bytes(_png_claiming(width, height))
    assert read_header(tmp_path / "bomb.png").pixels == width * height
    with pytest.raises(DataError, match=r"bomb\.png: .* the limit is 200,000,000") as caught:
        decode_rgb8(tmp_path / "bomb.png")
    assert "\n" not in str(caught.value)


def test_the_limit_is_inclusive(tmp_path: Path, rgb: np.ndarray) -> None:
    Image.fromarray(rgb).save(tmp_path / "a.png")
    assert decode_rgb8(tmp_path / "a.png", max_pixels=35).shape == (7, 5, 3)
    with pytest.raises(DataError, match="35 pixels, the limit is 34"):
        decode_rgb8(tmp_path / "a.png", max_pixels=34)


def test_reading_a_header_decodes_no_pixels(tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageFile

    def must_not_load(self: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", must_not_load)
    for name in ("a.png", "a.jpg", "a.bmp", "a.tif"):
        buffer = io.BytesIO()
        monkeypatch.undo()
        Image.fromarray(rgb).save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(name[2:], name[2:].upper()))
        (tmp_path / name).write_bytes(buffer.getvalue())
        monkeypatch.setattr(ImageFile.ImageFile, "load", must_not_load)
        assert read_header(tmp_path / name).pixels == 35, name


@pytest.mark.parametrize(
    "content", [b"", b"no picture at all", b"GIF89a" + bytes(40), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]
)
def test_what_is_no_picture_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    for read in (read_header, decode_rgb8):
        with pytest.raises(DataError, match=r"a\.png: ") as caught:
            read(tmp_path / "a.png")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
def test_truncated_pictures_are_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(4).integers(0, 256, (64, 64, 3), np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for part in (0.1, 0.5, 0.95):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(DataError, match=rf"a\.{suffix}: "):
            decode_rgb8(path)


def test_a_png_chunk_beyond_the_end_reserves_no_memory(
    tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(rgb).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[content.index(b"IDAT") - 4] = 0x70
    (tmp_path / "a.png").write_bytes(content)

    def must_not_decode(*_: object) -> None:
        raise AssertionError("OpenCV would reserve 1.9 GB")

    monkeypatch.setattr(cv2, "imdecode", must_not_decode)
    with pytest.raises(DataError, match=r"a\.png: damaged"):
        decode_rgb8(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
def test_flipped_bytes_give_a_picture_or_a_data_error(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(5)
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[274] = 6
    options: dict[str, Any] = {} if suffix == "bmp" else {"exif": exif}
    Image.fromarray(rng.integers(0, 256, (24, 16, 3), np.uint8)).save(path, **options)
    whole = path.read_bytes()
    outcomes = {"decoded": 0, "refused": 0}
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(0, min(len(content), 400), 3):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            assert decode_rgb8(path, max_pixels=100_000).dtype == np.uint8
            outcomes["decoded"] += 1
        except DataError as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
    assert outcomes["refused"] > 0


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (read_header, decode_rgb8):
        with pytest.raises(DataError, match=r"gone\.png: cannot be opened: No such file"):
            read(tmp_path / "gone.png")


def test_a_strange_colour_profile_is_ignored_in_silence(
    tmp_path: Path, rgb: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(rgb).save(tmp_path / "a.png", icc_profile=b"\x00" * 200 + b"not a profile at all")
    np.testing.assert_array_equal(decode_rgb8(tmp_path / "a.png"), rgb)
    assert capfd.readouterr().err == ""
