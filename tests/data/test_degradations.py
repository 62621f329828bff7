"""Bicubic equals the published low-resolution pictures; second order is a function of its key, and well centred."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from i2i.data.degradation_settings import (
    BicubicSettings,
    DegradationSettings,
    FirstRoundSettings,
    SecondOrderSettings,
    SecondRoundSettings,
)
from i2i.data.degradations import add_gaussian_noise, add_poisson_noise, bicubic, degrade, jpeg, second_order, to_bytes
from i2i.data.drawn_scenes import draw_scenes
from tests.real import CASES, PICTURES

_SET5 = PICTURES / "set5"
_REFERENCE = CASES / "07a_set5_bicubic_metrics" / "case.json"
_NAMES = ("baby", "bird", "butterfly", "head", "woman")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    (scene,) = draw_scenes(96, 1, 5, "train")
    scene.flags.writeable = False
    return scene


@pytest.mark.skipif(not (_SET5.is_dir() and _REFERENCE.is_file()), reason="needs Set5")
@pytest.mark.parametrize("scale", [3, 4])  # at 2 the numbers depend on how exact ties fell
def test_bicubic_equals_the_reference_s_pixels(scale: int) -> None:
    results: dict[str, Any] = json.loads(_REFERENCE.read_text())["results"]
    for number, name in enumerate(_NAMES, start=1):
        with Image.open(_SET5 / f"x{scale}" / f"img_{number:03d}_SRF_{scale}_HR.png") as opened:
            high = np.asarray(opened.convert("RGB"))
        low = bicubic(high, scale)
        assert hashlib.sha256(low.tobytes()).hexdigest() == results[name][f"x{scale}"]["lr_uint8_sha256"], name


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("settings", [BicubicSettings(), SecondOrderSettings()], ids=["bicubic", "second_order"])
def test_shapes_and_types(picture: np.ndarray, settings: DegradationSettings, scale: int) -> None:
    low = degrade(picture[:48, :72], scale, settings, "key")
    assert (low.dtype, low.shape) == (np.uint8, (48 // scale, 72 // scale, 3))
    assert low.flags.c_contiguous and low.flags.writeable


def test_bicubic_at_scale_1_is_the_picture(picture: np.ndarray) -> None:
    assert np.array_equal(bicubic(picture, 1), picture)


def test_second_order_is_a_function_of_its_key(picture: np.ndarray) -> None:
    settings = SecondOrderSettings()
    lows = [second_order(picture, 4, settings, "key", number) for number in range(20)]
    assert len({low.tobytes() for low in lows}) == 20
    for number in reversed(range(20)):
        assert np.array_equal(second_order(picture, 4, settings, "key", number), lows[number])


def test_threads_of_opencv_change_nothing(picture: np.ndarray) -> None:
    large = np.tile(picture, (4, 4, 1))
    before = cv2.getNumThreads()
    try:
        results = []
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            results.append([second_order(large, 4, SecondOrderSettings(), number).tobytes() for number in range(4)])
    finally:
        cv2.setNumThreads(before)
    assert results[0] == results[1]


def test_second_order_moves_nothing() -> None:
    """The middle of a bright spot stays where it is; a shift of half a high-resolution pixel would show."""
    down, right = np.mgrid[:96, :96].astype(np.float32)
    spot = 200 * np.exp(-(np.square(down - 43.5) + np.square(right - 51.5)) / (2 * 9**2))
    picture = np.repeat(np.rint(spot).astype(np.uint8)[:, :, None], 3, axis=2)
    lows = [second_order(picture, 4, SecondOrderSettings(), number) for number in range(150)]
    mean = np.mean([low.astype(np.float32) for low in lows], axis=(0, 3))
    mean[mean < 30] = 0
    middle = [float((mean * places).sum() / mean.sum()) for places in np.mgrid[:24, :24]]
    assert [4 * place + 1.5 for place in middle] == pytest.approx([43.5, 51.5], abs=0.3)


@pytest.mark.parametrize("side", [4, 8])
def test_the_smallest_pictures(side: int) -> None:
    small = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    assert {second_order(small, 4, SecondOrderSettings(), number).shape for number in range(40)} == {
        (side // 4, side // 4, 3)
    }


def test_with_everything_off_only_jpeg_at_its_best_is_left(picture: np.ndarray) -> None:
    nothing: dict[str, Any] = {
        "blur_probability": 0.0,
        "up_probability": 0.0,
        "down_probability": 0.0,
        "gaussian_probability": 1.0,
        "gaussian_sigma": (0.0, 0.0),
        "jpeg_quality": (100, 100),
    }
    settings = SecondOrderSettings(
        first=FirstRoundSettings(**nothing), second=SecondRoundSettings(**nothing), final_sinc_probability=0.0
    )
    # Grey, for JPEG keeps colours at half the resolution only.
    grey = np.repeat(picture[:, :, :1], 3, axis=2)
    assert np.abs(second_order(grey, 1, settings, 0).astype(int) - grey.astype(int)).max() <= 3


def test_jpeg_loses_more_at_lower_quality(picture: np.ndarray) -> None:
    levels = picture.astype(np.float32)
    losses = [float(np.square(jpeg(levels, quality) - levels).mean()) for quality in (95, 60, 10)]
    assert losses == sorted(losses) and losses[2] > 3 * losses[0]
    red = np.zeros((16, 16, 3), np.float32) + np.array((200, 20, 40), np.float32)
    assert np.abs(jpeg(red, 95) - red).max() < 6, "red stays red"


@pytest.mark.parametrize("grey", [True, False])
def test_gaussian_noise(grey: bool) -> None:
    rng = np.random.default_rng(0)
    noise = add_gaussian_noise(np.full((100, 100, 3), 100, np.float32), 12.0, grey, rng) - 100
    assert noise.std() == pytest.approx(12, rel=0.03) and abs(noise.mean()) < 0.5
    assert (np.ptp(noise, axis=2).max() < 1e-4) == grey


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("level", [2, 6, 50, 230])
def test_poisson_noise_is_as_strong_as_counting(level: int, grey: bool) -> None:
    """All levels in one corner, so that 256 quanta are counted; the rest is of one level."""
    levels = np.full((160, 160, 3), level, np.float32)
    levels[:16, :16] = np.arange(256, dtype=np.float32).reshape(16, 16, 1)
    noise = (add_poisson_noise(levels, 1.0, grey, np.random.default_rng(1)) - levels)[16:, 16:]
    assert noise.var() == pytest.approx(level * 255 / 256, rel=0.06)
    assert abs(noise.mean()) < 0.05 + 0.02 * level**0.5
    assert (np.ptp(noise, axis=2).max() < 1e-4) == grey
    doubled = (add_poisson_noise(levels, 2.0, grey, np.random.default_rng(1)) - levels)[16:, 16:]
    np.testing.assert_allclose(doubled, 2 * noise, atol=1e-3)
    # Skewed as counts are: by 1 / sqrt(expected).
    skewness = float(np.mean((noise / noise.std()) ** 3))
    assert skewness == pytest.approx((level * 256 / 255) ** -0.5, abs=0.08)


def test_an_even_picture_has_one_quantum_and_stays_finite() -> None:
    for level in (0.0, 255.0):
        noisy = add_poisson_noise(np.full((8, 8, 3), level, np.float32), 3.0, False, np.random.default_rng(0))
        assert np.isfinite(noisy).all()


def test_rounding_is_to_even_and_clipped() -> None:
    values = np.array([-3, 0.5, 1.5, 2.5, 254.5, 255.4, 300], np.float32)
    assert to_bytes(values).tolist() == [0, 0, 2, 2, 254, 255, 255]
