"""Bicubic resizing beside MATLAB's formula written out pixel by pixel, and what must hold whatever the formula."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from i2i.core.resize import imresize

SCALES = [Fraction(1, 4), Fraction(1, 3), Fraction(1, 2), Fraction(3, 5), Fraction(1), Fraction(3, 2), 2, 3, 4]


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cubic(distance: float) -> float:
    x = abs(distance)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def weights_of(side: int, scale: Fraction | int) -> Tensor:
    """(output side, side): what each output pixel takes of each input pixel."""
    ratio = Fraction(scale)
    squeeze = min(1.0, float(ratio))
    table = torch.zeros(math.ceil(side * ratio), side, dtype=torch.float64)
    for row in range(len(table)):
        centre = (row + 0.5) / float(ratio) - 0.5
        reach = math.ceil(2 / squeeze) + 1
        taps = {
            place: squeeze * cubic(squeeze * (centre - place))
            for place in range(math.floor(centre) - reach, math.floor(centre) + reach + 1)
        }
        total = sum(taps.values())
        for place, weight in taps.items():
            mirrored = place % (2 * side)
            table[row, min(mirrored, 2 * side - 1 - mirrored)] += weight / total
    return table


@pytest.mark.parametrize("scale", SCALES, ids=str)
@pytest.mark.parametrize("size", [(48, 60), (29, 41), (5, 3), (1, 1)], ids=str)
def test_equals_the_formula(scale: Fraction | int, size: tuple[int, int]) -> None:
    images = pictures(2, 3, *size)
    expected = weights_of(size[0], scale) @ images @ weights_of(size[1], scale).T
    found = imresize(images, scale)
    assert found.shape == expected.shape == (2, 3, *(math.ceil(side * Fraction(scale)) for side in size))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(imresize(images.float(), scale).double(), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("scale", [Fraction(1, 4), 3], ids=str)
def test_one_colour_stays_that_colour_in_any_range(scale: Fraction | int) -> None:
    images = torch.full((1, 1, 9, 10), -117.25, dtype=torch.float64)
    torch.testing.assert_close(imresize(images, scale), torch.full_like(imresize(images, scale), -117.25))


def test_bicubic_overshoots_and_nothing_is_clamped() -> None:
    step = torch.zeros(1, 1, 8, 8)
    step[..., 4:] = 1.0
    found = imresize(step, 2)
    assert found.min() < -0.01 and found.max() > 1.01


@pytest.mark.parametrize("scale", [Fraction(1, 2), 2], ids=str)
def test_gradient(scale: Fraction | int) -> None:
    images = pictures(1, 2, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: imresize(values, scale), images)


def test_autocast_changes_nothing() -> None:
    images = pictures(1, 3, 16, 12).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(imresize(images, Fraction(1, 4)), imresize(images.clone(), Fraction(1, 4)))
        assert imresize(images, 2).dtype == torch.float32


def test_what_cannot_be_resized() -> None:
    with pytest.raises(ValueError, match="scale is 0; needs more than 0"):
        imresize(pictures(1, 1, 4, 4), 0)
    with pytest.raises(ValueError, match="float32 or float64"):
        imresize(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), 2)
    with pytest.raises(ValueError, match=r"images are \(4, 4\)"):
        imresize(torch.zeros(4, 4), 2)


@pytest.mark.gpu
@pytest.mark.parametrize("scale", [Fraction(1, 4), 4], ids=str)
def test_cuda_agrees(scale: Fraction | int) -> None:
    images = pictures(2, 3, 33, 47)
    torch.testing.assert_close(imresize(images.cuda(), scale).cpu(), imresize(images, scale), rtol=0, atol=1e-12)
    single = imresize(images.float().cuda(), scale).cpu()
    torch.testing.assert_close(single, imresize(images.float(), scale), rtol=0, atol=5e-6)
