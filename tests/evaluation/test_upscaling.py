"""The measures on pictures small enough to do by hand, in batches, and the table made of them."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from i2i.core.resize import resize_levels
from i2i.evaluation.upscaling import (
    PROTOCOLS,
    UpscalingScores,
    daala_ssim,
    luma,
    luma_psnr,
    measure_all,
    minimum_pixels,
    psnr,
    score_picture,
    ssim,
)


def levels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def near(images: Tensor, seed: int = 9, by: int = 12) -> Tensor:
    noise = torch.randint(-by, by + 1, images.shape, generator=torch.Generator().manual_seed(seed))
    return (images.int() + noise).clamp(0, 255).to(torch.uint8)


def test_luma_of_black_white_and_the_primaries() -> None:
    colours = torch.tensor([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=torch.uint8)
    found = luma(colours.reshape(5, 3, 1, 1))
    assert found.dtype == torch.float64 and found.shape == (5, 1, 1, 1)
    assert found.flatten().tolist() == pytest.approx([16, 235, 81.481, 144.553, 40.966])


def test_psnr_by_hand_and_of_equal_pictures() -> None:
    black = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    dot = black.clone()
    dot[0, 0, 1, 1] = 12
    # 12^2 over 48 values is 3.
    assert psnr(dot, black).tolist() == pytest.approx([10 * math.log10(255**2 / 3)])
    assert psnr(black, black).tolist() == [math.inf]


def test_the_border_is_left_out() -> None:
    truth, made = levels(1, 3, 24, 30), near(levels(1, 3, 24, 30))
    spoilt = made.clone()
    spoilt[..., :4, :] = 0
    spoilt[..., -4:, :] = 255
    spoilt[..., :, :4] = 255
    spoilt[..., :, -4:] = 0
    inside = (made[..., 4:-4, 4:-4], truth[..., 4:-4, 4:-4])
    for name, protocol in PROTOCOLS.items():
        assert torch.equal(protocol.measure(made, truth, 4), protocol.measure(spoilt, truth, 4)), name
        assert torch.equal(protocol.measure(made, truth, 4), protocol.measure(*inside, 0)), name
        assert not torch.equal(protocol.measure(made, truth, 0), protocol.measure(spoilt, truth, 0)), name


def test_a_batch_gives_each_picture_its_own_number() -> None:
    truth = levels(3, 3, 26, 21)
    made = torch.cat([near(truth[:1], by=1), near(truth[1:2], by=30), truth[2:]])
    together = measure_all(made, truth, 2)
    assert list(together) == list(PROTOCOLS)
    for index in range(3):
        for name, numbers in measure_all(made[index : index + 1], truth[index : index + 1], 2).items():
            torch.testing.assert_close(numbers, together[name][index : index + 1], rtol=1e-13, atol=0)
    for name, numbers in together.items():
        assert numbers.dtype == torch.float64 and numbers.shape == (3,)
        assert numbers[0] > numbers[1], name
        assert float(numbers[2]) == (math.inf if "psnr" in name else pytest.approx(1.0, abs=1e-12)), name


def test_ssim_is_the_mean_over_whole_windows_and_channels() -> None:
    """Written out window by window."""
    truth = levels(1, 2, 13, 12)
    made = near(truth)
    line = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = torch.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found: list[float] = []
    for channel in range(2):
        for top in range(3):
            for left in range(2):
                x, y = (one[0, channel, top : top + 11, left : left + 11].double() for one in (made, truth))
                mx, my = float((window * x).sum()), float((window * y).sum())
                vx, vy = float((window * (x - mx) ** 2).sum()), float((window * (y - my) ** 2).sum())
                both = float((window * (x - mx) * (y - my)).sum())
                found.append((2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert float(ssim(made, truth)) == pytest.approx(sum(found) / len(found), abs=1e-12)


def daala_by_hand(made: Tensor, truth: Tensor) -> float:
    """The tool's loops, for one grey plane (H, W) of whole numbers."""
    height, width = truth.shape
    sigma = height * 1.5 / 256
    reach = min(
        math.floor(sigma * math.sqrt(-2 * math.log(math.sqrt(math.pi / 2) * sigma / 256))), min(truth.shape) - 1
    )
    side = [
        int(256 / (math.sqrt(2 * math.pi) * sigma) * math.exp(-0.5 * (i / sigma) ** 2) + 0.5)
        for i in range(1, reach + 1)
    ]
    kernel = [*reversed(side), 256 - 2 * sum(side), *side]
    total = weights = 0.0
    for row in range(height):
        for column in range(width):
            sums: dict[str, int] = dict.fromkeys(("w", "x", "y", "xx", "yy", "xy"), 0)
            for down in range(-reach, reach + 1):
                for across in range(-reach, reach + 1):
                    if 0 <= row + down < height and 0 <= column + across < width:
                        weight = kernel[down + reach] * kernel[across + reach]
                        x, y = int(made[row + down, column + across]), int(truth[row + down, column + across])
                        for name, value in {"w": 1, "x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y}.items():
                            sums[name] += weight * value
            w, x, y = sums["w"], sums["x"], sums["y"]
            c1, c2 = (0.01 * 255 * w) ** 2, (0.03 * 255 * w) ** 2
            above = (2 * x * y + c1) * (2 * (sums["xy"] * w - x * y) + c2)
            below = (x * x + y * y + c1) * (sums["xx"] * w - x * x + sums["yy"] * w - y * y + c2)
            total, weights = total + w * above / below, weights + w
    return total / weights


@pytest.mark.parametrize("size", [(150, 12), (90, 14)], ids=str)
def test_daala_ssim_equals_the_tools_loops(size: tuple[int, int]) -> None:
    truth = levels(1, 3, *size, seed=3)
    made = near(truth, by=25)
    first, second = (luma(one).round()[0, 0] for one in (made, truth))
    assert float(daala_ssim(made, truth)) == pytest.approx(daala_by_hand(first, second), abs=1e-12)


def test_pictures_that_cannot_be_scored() -> None:
    assert minimum_pixels(4) == 19
    small = levels(1, 3, 19, 18)
    with pytest.raises(ValueError, match="pictures are 18x19; the similarity needs sides of 11 pixels inside a border"):
        ssim(small, small, 4)
    with pytest.raises(ValueError, match="nothing is left inside a border of 9"):
        psnr(small, small, 9)
    with pytest.raises(ValueError, match="of one shape"):
        psnr(small, small[..., :-1])


def test_luma_psnr_of_arrays() -> None:
    truth = levels(1, 3, 20, 24)
    made = near(truth)
    arrays = [one[0].permute(1, 2, 0).numpy() for one in (made, truth)]
    found = luma_psnr(arrays[0], arrays[1], border_pixels=3)
    assert found == float(measure_all(made, truth, 3)["psnr_y"])
    assert luma_psnr(np.flip(arrays[0], 0), np.flip(arrays[1], 0), border_pixels=3) == pytest.approx(found)


def test_resized_levels_are_rounded_and_clamped() -> None:
    step = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    step[..., 8:] = 255
    large = resize_levels(step, 4)
    assert large.dtype == torch.uint8 and large.shape == (1, 3, 64, 64)
    assert large.min() == 0 and large.max() == 255
    assert torch.equal(resize_levels(large, Fraction(1, 4))[..., 2:6], torch.zeros(1, 3, 16, 4, dtype=torch.uint8))


@pytest.fixture
def scores() -> UpscalingScores:
    truth = levels(3, 40, 48, seed=4)
    low = resize_levels(truth[None], Fraction(1, 2))[0]
    return UpscalingScores(
        scale=2,
        pictures=[
            score_picture("noisy.png", near(truth), low, truth, 2),
            score_picture("a longer name.png", truth, low, truth, 2),
        ],
    )


def test_model_and_bicubic_are_scored_by_the_same_rule(scores: UpscalingScores) -> None:
    truth = levels(3, 40, 48, seed=4)
    low = resize_levels(truth[None], Fraction(1, 2))
    expected = measure_all(resize_levels(low, 2), truth[None], 2)
    for one in scores.pictures:
        assert one.bicubic == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-12)
    assert scores.pictures[1].model["psnr_y"] == math.inf
    mean = scores.mean()
    assert mean.bicubic == pytest.approx(scores.pictures[0].bicubic, rel=1e-12)
    assert mean.model["ssim_y"] == pytest.approx((scores.pictures[0].model["ssim_y"] + 1) / 2)


def test_json_holds_everything_and_no_infinity(scores: UpscalingScores) -> None:
    told = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert (told["scale"], told["border_pixels"], list(told["protocols"])) == (2, 2, list(PROTOCOLS))
    assert [one["name"] for one in told["pictures"]] == ["noisy.png", "a longer name.png"]
    assert told["pictures"][1]["model"]["psnr_rgb"] is None
    assert told["mean"]["bicubic"]["ssim_daala"] == pytest.approx(scores.mean().bicubic["ssim_daala"])


def test_table(scores: UpscalingScores) -> None:
    lines = scores.table().splitlines()
    assert lines[0].split() == ["PSNR-Y", "SSIM-Y", "PSNR-RGB", "SSIM-RGB", "SSIM-daala"]
    assert lines[1].startswith("noisy.png          model ") and lines[2].split()[0] == "bicubic"
    numbers = scores.pictures[0].model
    assert lines[1].split()[2:] == [f"{numbers[name]:.{PROTOCOLS[name].digits}f}" for name in PROTOCOLS]
    assert lines[3].split()[-5] == "inf"
    assert lines[5].startswith("mean of 2 ")
    assert len({len(line) for line in lines[:7]}) == 1
    assert lines[7] == "x2, 8-bit pictures without a border of 2 pixels"
    assert len(lines) == 8 + len(PROTOCOLS)


@pytest.mark.gpu
def test_cuda_agrees() -> None:
    truth = levels(2, 3, 64, 48)
    made = near(truth)
    on_gpu = measure_all(made.cuda(), truth.cuda(), 4)
    for name, numbers in measure_all(made, truth, 4).items():
        assert on_gpu[name].is_cuda
        torch.testing.assert_close(on_gpu[name].cpu(), numbers, rtol=1e-11, atol=0)
    assert torch.equal(resize_levels(truth.cuda(), 4).cpu(), resize_levels(truth, 4))
