from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from i2i.core.resize import imresize
from i2i.errors import UsageError
from i2i.inference import load_model
from i2i.inference.consistency import back_project
from tests.inference.models import write_nearest_upscaler


def smooth(height: int = 12, width: int = 15) -> Tensor:
    """A picture without black and white, (1, 3, height, width)."""
    coarse = torch.rand(1, 3, 3, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


def difference(upscaled: Tensor, low: Tensor, scale: int) -> float:
    return float((imresize(upscaled, Fraction(1, scale)) - low).square().mean().sqrt())


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_a_colour_shift_is_taken_away_whole(scale: int) -> None:
    low = smooth()
    shifted = imresize(low, scale) + torch.tensor([0.2, -0.1, 0.05]).view(1, 3, 1, 1)
    assert difference(shifted, low, scale) > 0.1
    assert difference(back_project(shifted, low, scale), low, scale) < 0.1 / 300


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_of_a_difference_like_noise_little_is_left(scale: int) -> None:
    low = smooth()
    noise = 0.2 * torch.randn(low.shape, generator=torch.Generator().manual_seed(2))
    wrong = imresize(low + noise, scale)
    before = difference(wrong, low, scale)
    after = [difference(back_project(wrong, low, scale, count), low, scale) for count in range(1, 11)]
    assert after[-1] < before / 50
    assert sorted(after, reverse=True) == after, "every iteration helps"


def test_detail_that_the_small_picture_does_not_show_is_kept() -> None:
    low = smooth()
    upscaled = back_project(imresize(low, 4), low, 4)
    checkers = 0.1 * (1 - 2 * (torch.arange(48)[:, None] + torch.arange(60)).remainder(2).float())
    corrected = back_project(upscaled + checkers, low, 4)
    assert float((corrected - upscaled - checkers).abs().max()) < 0.02


def test_what_is_consistent_already_stays() -> None:
    upscaled = imresize(smooth(24, 30), 2)
    low = imresize(upscaled, Fraction(1, 4))
    torch.testing.assert_close(back_project(upscaled, low, 4), upscaled, rtol=0, atol=1e-5)


def test_results_stay_in_the_range() -> None:
    low = torch.where(torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(3)) > 0.5, 1.0, -1.0)
    corrected = back_project(torch.zeros(1, 3, 36, 36), low, 4)
    assert float(corrected.abs().max()) <= 1
    assert difference(corrected, low, 4) < difference(torch.zeros(1, 3, 36, 36), low, 4) / 3


def test_a_model_that_tints_is_corrected(tmp_path: Path) -> None:
    path = write_nearest_upscaler(tmp_path / "m.safetensors", (20.0, -10.0, 0.0))
    image = np.random.default_rng(0).integers(60, 180, (2, 3, 3), dtype=np.uint8).repeat(5, axis=0).repeat(4, axis=1)
    tinted = load_model(path, "cpu")(image)
    assert np.array_equal(tinted[::2, 1::2].astype(int) - image, np.broadcast_to([20, -10, 0], image.shape))
    corrected = load_model(path, "cpu", consistent=True)(image)
    reduced = imresize(torch.from_numpy(corrected).permute(2, 0, 1)[None].double(), Fraction(1, 2))
    left = reduced[0].permute(1, 2, 0).numpy() - image
    assert np.abs(left.mean(axis=(0, 1))).max() < 0.2
    assert np.sqrt((left**2).mean()) < 0.5, "rounding to levels remains"


def test_a_model_that_keeps_the_size_refuses(two_way_model: Path) -> None:
    with pytest.raises(UsageError, match=r"model\.safetensors: --consistent is for upscalers"):
        load_model(two_way_model, "cpu", consistent=True)
