from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from i2i.errors import DataError, StorageError
from i2i.inference.pictures import image_files as module
from i2i.inference.pictures.image_files import (
    OUTPUT_FORMATS,
    OutputFormat,
    Picture,
    in_eight_bits,
    read_picture,
    write_picture,
)

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATION = 0x0112
MAKER = 0x010F


def noise(height: int = 9, width: int = 7, channels: int = 3, bits: int = 8) -> np.ndarray:
    dtype = np.uint16 if bits == 16 else np.uint8
    return np.random.default_rng(2).integers(0, 2**bits, (height, width, channels), dtype=dtype)


def smooth(height: int = 48, width: int = 64) -> np.ndarray:
    """A picture that lossy formats keep well."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 4, columns * 3, rows + columns], axis=-1).astype(np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


# Reading


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_rgb_is_read_as_it_is(tmp_path: Path, suffix: str) -> None:
    pixels = noise()
    picture = read_picture(save(tmp_path / f"x.{suffix}", Image.fromarray(pixels)))
    assert np.array_equal(picture.rgb, pixels)
    assert (picture.alpha, picture.bits, picture.was_grey, picture.icc, picture.exif) == (None, 8, False, None, None)
    assert picture.notes == ()


@pytest.mark.parametrize(
    ("suffix", "format"), [("png", "png"), ("jpg", "jpg"), ("webp", "webp"), ("tiff", "tiff"), ("bmp", "png")]
)
def test_same_format_as_the_input(tmp_path: Path, suffix: str, format: str) -> None:
    assert read_picture(save(tmp_path / f"x.{suffix}", Image.fromarray(smooth()))).format == format


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(noise()[..., 0]).convert(mode)
    picture = read_picture(save(tmp_path / "x.png", image))
    assert picture.was_grey
    assert np.array_equal(picture.rgb, np.asarray(image.convert("RGB")))


def test_grey_with_transparency_keeps_it(tmp_path: Path) -> None:
    pixels = noise(channels=2)
    picture = read_picture(save(tmp_path / "x.png", Image.fromarray(pixels, "LA")))
    assert picture.was_grey
    assert np.array_equal(picture.rgb, pixels[..., :1].repeat(3, axis=2))
    assert picture.alpha is not None and np.array_equal(picture.alpha, pixels[..., 1])


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_alpha_is_kept_apart_and_colours_under_it_untouched(tmp_path: Path, suffix: str) -> None:
    pixels = noise(channels=4)
    pixels[:2, :, 3] = 0
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    picture = read_picture(save(tmp_path / f"x.{suffix}", Image.fromarray(pixels), **options))
    assert np.array_equal(picture.rgb, pixels[..., :3])
    assert picture.alpha is not None and np.array_equal(picture.alpha, pixels[..., 3])


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    picture = read_picture(save(tmp_path / "x.png", image, transparency=1))
    assert picture.rgb.tolist() == [[[255, 0, 0], [0, 0, 255]], [[0, 0, 255], [255, 0, 0]]]
    assert picture.alpha is not None and picture.alpha.tolist() == [[255, 0], [0, 255]]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_read_as_16_bits(tmp_path: Path, suffix: str, channels: int) -> None:
    pixels = noise(channels=channels, bits=16)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    path = tmp_path / f"x.{suffix}"
    assert cv2.imwrite(str(path), pixels[..., order])
    picture = read_picture(path)
    assert (picture.bits, picture.was_grey) == (16, channels == 1)
    assert np.array_equal(picture.rgb, pixels.repeat(3, axis=2) if channels == 1 else pixels[..., :3])
    assert (picture.alpha is not None) == (channels == 4)
    if picture.alpha is not None:
        assert np.array_equal(picture.alpha, pixels[..., 3])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff", "png16"])
def test_exif_rotation_is_applied_once_and_its_tag_dropped(tmp_path: Path, kind: str, orientation: int) -> None:
    stored = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8))
    stored = stored[..., None].repeat(3, axis=2)
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER] = orientation, "camera"
    path = tmp_path / f"x.{kind.removesuffix('16')}"
    if kind == "png16":
        block = np.frombuffer(exif.tobytes().removeprefix(b"Exif\0\0"), np.uint8)
        cv2.imwriteWithMetadata(str(path), stored.astype(np.uint16) * 257, [cv2.IMAGE_METADATA_EXIF], [block])
    elif kind == "tiff":
        save(path, Image.fromarray(stored), tiffinfo={ORIENTATION: orientation})
    else:
        save(path, Image.fromarray(stored), exif=exif)
    upright = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.swapaxes(0, 1),
        6: np.rot90(stored, -1), 7: stored[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(stored),
    }[orientation]  # fmt: skip
    picture = read_picture(path)
    assert picture.bits == (16 if kind == "png16" else 8)
    assert picture.rgb.shape == upright.shape
    levels = picture.rgb.astype(int) // (257 if kind == "png16" else 1)
    # Block means: JPEG and WebP ring at the edges.
    difference = (levels - upright.astype(int)).reshape(upright.shape[0] // 16, 16, upright.shape[1] // 16, 16, 3)
    assert np.abs(difference.mean(axis=(1, 3))).max() < 2
    if kind != "tiff":
        assert picture.exif is not None
        kept = Image.Exif()
        kept.load(picture.exif)
        assert kept.get(MAKER) == "camera"
        assert ORIENTATION not in kept


@pytest.mark.parametrize("format", ["jpg", "png", "webp"])
def test_exif_and_profile_travel_from_file_to_file(tmp_path: Path, format: OutputFormat) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER] = 6, "camera"
    path = save(tmp_path / f"x.{format}", Image.fromarray(smooth()), exif=exif, icc_profile=SRGB)
    write_picture(tmp_path / f"y.{format}", read_picture(path), format)
    with Image.open(tmp_path / f"y.{format}") as written:
        assert written.size == (48, 64), "turned in its pixels"
        assert written.getexif().get(MAKER) == "camera"
        assert ORIENTATION not in written.getexif()
        assert written.info["icc_profile"] == SRGB


def test_the_thumbnail_of_the_untranslated_picture_does_not_travel(tmp_path: Path) -> None:
    thumbnail = io.BytesIO()
    Image.fromarray(noise(16, 16)).save(thumbnail, "JPEG")
    # Two directories: camera maker, then the thumbnail's offset and length.
    first = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x0f\x01\x02\0\x04\0\0\0cam\0" + (26).to_bytes(4, "little")
    second = b"\x02\0" + b"\x01\x02\x04\0\x01\0\0\0" + (56).to_bytes(4, "little")
    second += b"\x02\x02\x04\0\x01\0\0\0" + len(thumbnail.getvalue()).to_bytes(4, "little") + b"\0\0\0\0"
    exif = b"Exif\0\0" + first + second + thumbnail.getvalue()
    path = save(tmp_path / "x.jpg", Image.fromarray(smooth()), exif=exif)
    assert thumbnail.getvalue() in path.read_bytes()
    picture = read_picture(path)
    assert picture.exif is not None and b"cam" in picture.exif
    assert thumbnail.getvalue()[-64:] not in picture.exif


def test_damaged_exif_does_not_lose_the_picture(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", Image.fromarray(noise()), exif=b"Exif\0\0II*\0\xff\xff\xff\xff junk")
    assert np.array_equal(read_picture(path).rgb, noise())


def test_cmyk_becomes_rgb_without_its_profile(tmp_path: Path) -> None:
    image = Image.fromarray(smooth()).convert("CMYK")
    picture = read_picture(save(tmp_path / "x.tiff", image))
    assert picture.rgb.shape == (48, 64, 3)
    assert np.array_equal(picture.rgb, np.asarray(image.convert("RGB")))
    assert picture.notes == ("CMYK converted to RGB",)
    # A profile that is not for CMYK must neither fail nor travel on.
    with_profile = read_picture(save(tmp_path / "y.jpg", image, icc_profile=SRGB, quality=100, subsampling=0))
    assert with_profile.icc is None
    assert np.abs(with_profile.rgb.astype(int) - picture.rgb).mean() < 3


def test_a_profile_that_is_not_for_rgb_is_left_out_and_said(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture = read_picture(save(tmp_path / "x.png", Image.fromarray(noise()), icc_profile=lab))
    assert picture.icc is None
    assert "not for RGB" in picture.notes[0]


@pytest.mark.parametrize("suffix", ["webp", "png", "tiff"])
def test_first_frame_of_several_and_said(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (10, 90, 200)]
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"x.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    picture = read_picture(path)
    assert np.all(picture.rgb == 10)
    assert picture.notes == ("first of 3 frames",)


def test_large_pictures_are_refused_from_their_header(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", Image.fromarray(noise(10, 10)))
    assert read_picture(path, max_pixels=100).rgb.shape == (10, 10, 3)
    with pytest.raises(DataError, match="10 x 10") as caught:
        read_picture(path, max_pixels=99)
    assert caught.value.exit_code == 4


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    # The header of a 30,000 x 30,000 picture with no pixels behind it: decoding it would fail in another way.
    whole = io.BytesIO()
    Image.new("L", (1, 1)).save(whole, "PNG")
    content = bytearray(whole.getvalue())
    content[16:24] = (30_000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(DataError, match="900,000,000 pixels"):
        read_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "bmp"])
def test_truncated_pictures_are_data_errors_of_one_line(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"x.{suffix}", Image.fromarray(noise(64, 64)))
    content = path.read_bytes()
    for length in (0, 3, 20, len(content) // 3, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(DataError) as caught:
            read_picture(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_truncated_16_bit_pictures_are_data_errors(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    cv2.imwrite(str(path), noise(64, 64, bits=16))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError):
        read_picture(path)


def test_mutated_pictures_raise_nothing_but_data_errors(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    refused = 0
    for suffix, options in (("png", {}), ("jpg", {}), ("tiff", {"compression": "tiff_lzw"}), ("webp", {})):
        path = save(tmp_path / f"x.{suffix}", Image.fromarray(smooth(16, 16)), icc_profile=SRGB, **options)
        content = path.read_bytes()
        for _ in range(60):
            mutated = bytearray(content)
            for position in random.integers(0, len(content), 3):
                mutated[position] = random.integers(0, 256)
            path.write_bytes(mutated)
            try:
                read_picture(path, max_pixels=10_000)
            except DataError:
                refused += 1
    assert refused > 20


@pytest.mark.parametrize("content", [b"", b"hello", b"GIF89a" + b"\0" * 30, b"\x89PNG\r\n\x1a\n"], ids=str)
def test_what_is_no_picture_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError):
        read_picture(tmp_path / "x.png")


def test_missing_files_and_float_pictures_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        read_picture(tmp_path / "nothing.png")
    path = save(tmp_path / "x.tiff", Image.fromarray(noise()[..., 0].astype(np.float32)))
    with pytest.raises(DataError, match="8 or 16"):
        read_picture(path)


# Writing


@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_lossless_round_trip_with_profile(tmp_path: Path, format: OutputFormat, bits: int, with_alpha: bool) -> None:
    pixels = noise(channels=4, bits=bits)
    picture = Picture(rgb=pixels[..., :3], alpha=pixels[..., 3] if with_alpha else None, icc=SRGB, format=format)
    path = tmp_path / f"x.{format}"
    assert write_picture(path, picture, format) == ()
    again = read_picture(path)
    assert again.bits == bits
    assert np.array_equal(again.rgb, picture.rgb)
    assert again.icc == SRGB
    assert (again.alpha is None) == (picture.alpha is None)
    if again.alpha is not None and picture.alpha is not None:
        assert np.array_equal(again.alpha, picture.alpha)


@pytest.mark.parametrize("bits", [8, 16])
def test_other_programs_see_alpha_in_our_tiffs(tmp_path: Path, bits: int) -> None:
    pixels = noise(channels=4, bits=bits)
    write_picture(tmp_path / "x.tiff", Picture(rgb=pixels[..., :3], alpha=pixels[..., 3]), "tiff")
    with Image.open(tmp_path / "x.tiff") as image:
        assert image.mode == "RGBA"
        assert image.tag_v2[338] == (2,)  # type: ignore[attr-defined]
        assert image.tag_v2[258] == (bits,) * 4  # type: ignore[attr-defined]


@pytest.mark.parametrize("format", OUTPUT_FORMATS)
def test_every_format_holds_the_picture(tmp_path: Path, format: OutputFormat) -> None:
    write_picture(tmp_path / "x", Picture(rgb=smooth()), format)
    with Image.open(tmp_path / "x") as image:
        assert image.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tiff": "TIFF"}[format]
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - smooth()).mean() < 2


@pytest.mark.parametrize("format", ["jpg", "webp"])
def test_quality_is_obeyed(tmp_path: Path, format: OutputFormat) -> None:
    for quality in (20, 95):
        write_picture(tmp_path / f"{quality}", Picture(rgb=noise(64, 64)), format, quality)
    assert (tmp_path / "20").stat().st_size < 0.7 * (tmp_path / "95").stat().st_size


def test_alpha_survives_lossy_webp_exactly(tmp_path: Path) -> None:
    alpha = noise(48, 64)[..., 0]
    write_picture(tmp_path / "x.webp", Picture(rgb=smooth(), alpha=alpha), "webp")
    again = read_picture(tmp_path / "x.webp")
    assert again.alpha is not None and np.array_equal(again.alpha, alpha)


def test_jpeg_lays_transparency_on_white_and_says_so(tmp_path: Path) -> None:
    alpha = np.zeros((48, 64), np.uint8)
    alpha[:, 32:] = 255
    notes = write_picture(tmp_path / "x.jpg", Picture(rgb=smooth(), alpha=alpha), "jpg")
    assert notes == ("transparency laid on white for jpg",)
    written = read_picture(tmp_path / "x.jpg").rgb.astype(int)
    assert written[:, :28].min() > 245
    assert np.abs(written[:, 36:] - smooth()[:, 36:]).mean() < 3


@pytest.mark.parametrize("rows_pixels", [1, 64 * 5, 10**6])
def test_row_by_row_nothing_comes_out_otherwise(rows_pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_PIXELS", rows_pixels)
    deep = np.random.default_rng(0).integers(0, 65536, (48, 64, 4), dtype=np.uint16)
    picture = in_eight_bits(Picture(rgb=deep[..., :3], alpha=deep[..., 3]), "here")
    assert picture.notes == ("16 bits rounded to 8 here",) and in_eight_bits(picture, "again") is picture
    assert picture.alpha is not None and picture.bits == 8
    assert np.array_equal(picture.rgb, np.rint(deep[..., :3] / 257))
    assert np.array_equal(picture.alpha, np.rint(deep[..., 3] / 257))
    weight = picture.alpha[..., None] / 255
    on_white = module._on_white(picture.rgb, picture.alpha)
    assert np.abs(on_white - (picture.rgb * weight + 255 * (1 - weight))).max() < 0.501


def test_16_bits_are_rounded_to_8_where_they_do_not_fit_and_that_is_said(tmp_path: Path) -> None:
    level = 100 * 257 + 200  # nearer to 101
    rgb = np.full((16, 16, 3), level, np.uint16)
    alpha = np.full((16, 16), 65535, np.uint16)
    notes = write_picture(tmp_path / "x.webp", Picture(rgb=rgb, alpha=alpha), "webp", quality=100)
    assert notes == ("16 bits rounded to 8 for webp",)
    written = read_picture(tmp_path / "x.webp")
    assert written.bits == 8
    assert np.abs(written.rgb.astype(int) - 101).max() <= 1
    write_picture(tmp_path / "x.jpg", Picture(rgb=rgb), "jpg", quality=100)
    assert np.all(read_picture(tmp_path / "x.jpg").rgb == 101)


def test_a_picture_too_large_for_the_format_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="17000x1 pixels cannot be written as webp"):
        write_picture(tmp_path / "x.webp", Picture(rgb=np.zeros((1, 17000, 3), np.uint8)), "webp")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        write_picture(path, Picture(rgb=noise()), "png")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
