from __future__ import annotations

from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from i2i.core.resize import imresize
from i2i.inference import load_model
from i2i.inference.image_model import ImageModel
from i2i.inference.pictures import enlarging as module
from i2i.inference.pictures.enlarging import AlphaMode, enlarge_alpha, enlarge_alpha_rows, fill_hidden, with_pixels
from i2i.inference.pictures.image_files import Picture, read_picture, write_picture
from i2i.inference.translation.conveyor import Outcome, plan_translation, translate_files
from tests.inference.models import write_nearest_upscaler

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def doubling(tmp_path: Path) -> ImageModel:
    """Doubles every pixel."""
    return load_model(write_nearest_upscaler(tmp_path / "model.safetensors"), "cpu")


@pytest.fixture
def tinting(tmp_path: Path) -> ImageModel:
    """Doubles every pixel and makes it redder."""
    return load_model(write_nearest_upscaler(tmp_path / "tints.safetensors", (30.0, 0.0, -30.0)), "cpu")


def upscale(model: ImageModel, source: Path, out: Path, max_pixels: int = 1_000_000) -> Outcome:
    (outcome,) = translate_files(model, plan_translation([source], out).jobs, max_pixels=max_pixels)
    return outcome


def doubled(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(2, axis=0).repeat(2, axis=1)


# Transparency


def test_hidden_colours_give_way_to_the_nearest_visible_one() -> None:
    rgb = np.zeros((7, 9, 3), np.uint8)
    rgb[2:4, 1:3] = (200, 100, 50)
    rgb[5, 7] = (1, 2, 3)
    alpha = np.zeros((7, 9), np.uint8)
    alpha[2:4, 1:3], alpha[5, 7] = 255, 1
    filled = fill_hidden(Picture(rgb=rgb, alpha=alpha)).rgb
    assert filled[0, 0].tolist() == filled[6, 1].tolist() == [200, 100, 50]
    assert filled[6, 8].tolist() == filled[4, 7].tolist() == [1, 2, 3], "hardly visible is visible"
    assert np.array_equal(filled[alpha > 0], rgb[alpha > 0])
    assert not np.any(np.all(filled == 0, axis=2))


def test_nothing_to_fill_leaves_the_picture_alone() -> None:
    rgb = np.ones((4, 5, 3), np.uint16)
    for alpha in (None, np.full((4, 5), 9, np.uint16), np.zeros((4, 5), np.uint16)):
        picture = Picture(rgb=rgb, alpha=alpha)
        assert fill_hidden(picture) is picture


def test_no_hidden_black_reaches_the_edge_of_what_is_cut_out(doubling: ImageModel, tmp_path: Path) -> None:
    channels = np.zeros((10, 12, 4), np.uint8)
    channels[3:7, 4:8] = (250, 240, 230, 255)
    Image.fromarray(channels).save(tmp_path / "x.png")
    upscale(doubling, tmp_path / "x.png", tmp_path / "out")
    result = read_picture(tmp_path / "out" / "x.png")
    assert result.alpha is not None
    visible = result.alpha > 0
    assert 64 < visible.sum() < 24 * 20
    assert np.all(result.rgb[visible] == (250, 240, 230))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_alpha_is_bicubic_and_stays_in_its_range(kind: type[np.unsignedinteger]) -> None:
    top = int(np.iinfo(kind).max)
    alpha = np.zeros((6, 4), kind)
    alpha[:, 2:] = top
    grown = enlarge_alpha(alpha, 4)
    assert (grown.dtype, grown.shape) == (alpha.dtype, (24, 16))
    exact = imresize(torch.from_numpy(alpha.astype(np.float64))[None, None], 4)[0, 0].numpy()
    assert exact.min() < -0.01 * top and exact.max() > 1.01 * top, "bicubic overshoots here"
    assert np.abs(grown.astype(np.float64) - exact.clip(0, top)).max() <= 0.51
    assert grown[0, 0] == 0 and grown[0, -1] == top


def test_a_picture_that_keeps_its_size_keeps_everything() -> None:
    alpha = np.array([[0, 9]], np.uint8)
    picture = Picture(rgb=np.zeros((1, 2, 3), np.uint8), alpha=alpha, was_grey=True, exif=b"Exif\0\0any")
    colours = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    done = with_pixels(picture, colours)
    assert done.alpha is not None and np.array_equal(done.alpha, alpha)
    assert done.exif == picture.exif and not done.as_grey
    assert np.array_equal(done.rgb, colours)


# Grey


@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16"])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_grey_stays_grey(tinting: ImageModel, tmp_path: Path, mode: str, suffix: str) -> None:
    values = np.random.default_rng(0).integers(60, 190, (6, 5), dtype=np.uint8)
    image = Image.fromarray(values)
    if mode == "1":
        image = image.convert("1")
    elif mode == "LA":
        image.putalpha(Image.fromarray(values.T.copy().reshape(6, 5)))
    elif mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16) * 257)
    image.save(tmp_path / f"x.{suffix}")
    before = read_picture(tmp_path / f"x.{suffix}").rgb
    assert upscale(tinting, tmp_path / f"x.{suffix}", tmp_path / "out").status == "written"
    with Image.open(tmp_path / "out" / f"x.{suffix}") as written:
        assert written.mode == {"1": "L"}.get(mode, mode) and written.size == (10, 12)
    after = read_picture(tmp_path / "out" / f"x.{suffix}")
    assert after.was_grey and after.bits == (16 if mode == "I;16" else 8)
    tint = (0.299 * 30 - 0.114 * 30) * (257 if mode == "I;16" else 1)
    inside = (before > 40) & (before < 65000)
    if mode != "1":  # black and white cannot be tinted without being clamped
        assert np.abs(after.rgb.astype(float) - doubled(before) - tint)[doubled(inside)].max() <= 1.5
    assert np.all(after.rgb == after.rgb[..., :1])


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_grey_in_the_other_formats(tinting: ImageModel, tmp_path: Path, suffix: str) -> None:
    Image.new("L", (9, 8), 100).save(tmp_path / "x.png")
    upscale(tinting, tmp_path / "x.png", tmp_path / f"y.{suffix}")
    with Image.open(tmp_path / f"y.{suffix}") as written:
        assert written.mode == {"jpg": "L", "webp": "RGB"}[suffix]
        pixels = np.asarray(written.convert("RGB")).astype(int)
    assert np.abs(pixels - 106).max() <= 2


def test_grey_of_16_bits_with_transparency_is_written_as_equal_channels(tinting: ImageModel, tmp_path: Path) -> None:
    grey = np.full((4, 4), 30000, np.uint16)
    for suffix in ("png", "tiff"):
        source = Picture(rgb=np.dstack([grey] * 3), alpha=grey + 9000, was_grey=True)
        enlarged = with_pixels(source, doubled(np.dstack([grey + 500, grey, grey])))
        write_picture(tmp_path / f"x.{suffix}", enlarged, "png" if suffix == "png" else "tiff")
        again = read_picture(tmp_path / f"x.{suffix}")
        assert again.bits == 16 and np.all(again.rgb == 30150) and np.all(again.alpha == 39000)


def test_a_colour_picture_of_grey_pixels_is_a_colour_picture(tinting: ImageModel, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (90, 90, 90)).save(tmp_path / "x.png")
    upscale(tinting, tmp_path / "x.png", tmp_path / "out")
    assert read_picture(tmp_path / "out" / "x.png").rgb[0, 0].tolist() == [120, 90, 60]


# Other kinds


def test_16_bits_are_seen_by_the_network(doubling: ImageModel, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 65536, (5, 6, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "x.png"), pixels[..., ::-1])
    upscale(doubling, tmp_path / "x.png", tmp_path / "out")
    result = read_picture(tmp_path / "out" / "x.png")
    assert result.bits == 16
    assert np.array_equal(result.rgb, doubled(pixels))


def test_palette_and_cmyk(doubling: ImageModel, tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 1], [1, 0, 0]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "p.png", transparency=1)
    upscale(doubling, tmp_path / "p.png", tmp_path / "out")
    result = read_picture(tmp_path / "out" / "p.png")
    assert result.rgb.shape == (4, 6, 3) and result.alpha is not None
    assert np.all(result.rgb == (255, 0, 0)), "the other colour is hidden everywhere"
    Image.new("CMYK", (3, 2), (10, 200, 30, 5)).save(tmp_path / "c.tiff")
    outcome = upscale(doubling, tmp_path / "c.tiff", tmp_path / "out")
    assert "CMYK converted to RGB" in outcome.notes
    assert read_picture(tmp_path / "out" / "c.tiff").rgb.shape == (4, 6, 3)


def test_profile_and_exif_go_along_in_the_new_size(doubling: ImageModel, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x011A] = "camera", 6, IFDRational(72, 1)
    exif.get_ifd(0x8769)[0xA002] = 12
    Image.new("RGB", (12, 8), (9, 9, 9)).save(tmp_path / "x.jpg", exif=exif, icc_profile=SRGB)
    upscale(doubling, tmp_path / "x.jpg", tmp_path / "out")
    with Image.open(tmp_path / "out" / "x.jpg") as written:
        assert written.size == (16, 24)
        assert written.info["icc_profile"] == SRGB
        kept = written.getexif()
        assert (kept[0x010F], kept[0x011A], kept.get_ifd(0x8769)[0xA002]) == ("camera", 144, 16)
        assert 0x0112 not in kept


# Size


def test_the_limit_counts_what_is_read(doubling: ImageModel, tmp_path: Path) -> None:
    Image.new("RGB", (10, 10)).save(tmp_path / "x.png")
    assert upscale(doubling, tmp_path / "x.png", tmp_path / "out", max_pixels=100).status == "written"
    outcome = upscale(doubling, tmp_path / "x.png", tmp_path / "out", max_pixels=99)
    assert outcome.status == "failed"
    assert "x.png: 10 x 10 is 100 pixels, the limit is 99" in outcome.message


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_what_the_format_cannot_hold_is_refused_before_anything_is_computed(
    doubling: ImageModel, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> np.ndarray:
        raise AssertionError("computed")

    monkeypatch.setattr(ImageModel, "translate_array", never)
    longest = {"jpg": 65_500, "webp": 16_383}[suffix]
    Image.new("L", (longest // 2 + 1, 1)).save(tmp_path / "x.png")
    outcome = upscale(doubling, tmp_path / "x.png", tmp_path / f"y.{suffix}")
    assert outcome.status == "failed"
    expected = f"{longest // 2 * 2 + 2}x2 pixels cannot be written as {suffix}: no side may be longer than {longest:,}"
    assert expected in outcome.message and outcome.message.endswith("use --format tiff")


def test_what_is_written_from_memory_may_not_be_too_large_for_it(doubling: ImageModel, tmp_path: Path) -> None:
    # Only headers: the pixels are a hole in the file, and nothing is looked for.
    Image.new("L", (1, 1)).save(tmp_path / "x.bmp")
    content = bytearray((tmp_path / "x.bmp").read_bytes())
    content[18:26] = (10_001).to_bytes(4, "little") * 2
    with (tmp_path / "x.bmp").open("wb") as file:
        file.write(content)
        file.truncate(10_004 * 10_002)
    outcome = upscale(doubling, tmp_path / "x.bmp", tmp_path / "y.jpg", max_pixels=200_000_000)
    assert "20002x20002 pixels cannot be written as jpg: no more than 400,000,000 fit" in outcome.message


# In bands


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_rows_of_transparency_come_out_as_in_the_whole(scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALPHA_PIXELS", 200)
    alpha = np.random.default_rng(3).integers(0, 65536, (23, 9), dtype=np.uint16)
    whole = enlarge_alpha(alpha, scale) if scale > 1 else alpha
    rows = [enlarge_alpha_rows(alpha, scale, start, min(start + 7, 23 * scale)) for start in range(0, 23 * scale, 7)]
    assert np.abs(np.concatenate(rows).astype(int) - whole).max() <= 1


def test_transparency_through_the_model_or_left_out(tinting: ImageModel, tmp_path: Path) -> None:
    pixels = np.full((6, 5, 4), 100, np.uint8)
    pixels[:3, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "x.png")
    jobs = plan_translation([tmp_path / "x.png"], tmp_path / "out").jobs
    outcomes = {}
    for alpha in get_args(AlphaMode):
        (outcome,) = translate_files(tinting, jobs, alpha=alpha)
        outcomes[alpha] = (read_picture(tmp_path / "out/x.png"), outcome.notes)
    copied, through, dropped = (outcomes[alpha][0] for alpha in ("copy", "model", "drop"))
    assert copied.alpha is not None and through.alpha is not None
    assert np.array_equal(copied.alpha, enlarge_alpha(pixels[..., 3], 2))
    # Brightness of what the model makes of grey: redder by 30, less blue by 30, and clamped at black.
    expected = np.where(doubled(pixels[..., 3]) > 0, 100 + 0.299 * 30 - 0.114 * 30, 0.299 * 30)
    assert np.abs(through.alpha - expected).max() <= 1
    assert dropped.alpha is None and outcomes["drop"][1] == ("transparency left out",)
    assert np.all(dropped.rgb == (130, 100, 70))
