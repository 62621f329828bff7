from __future__ import annotations

import pytest
import torch

from i2i.core.moments import Moments, moments_of


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_bands_together_are_the_whole(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(1, 3, 37, 11, generator=generator).cumsum(dim=2) + offset
    values = values.contiguous(memory_format=torch.channels_last)
    moments = Moments(3)
    for band in values.split([1, 5, 20, 11], dim=2):
        moments.add(moments_of(band))
    variance, mean = torch.var_mean(values.double(), dim=(0, 2, 3), correction=0)
    assert moments.count == 37 * 11
    torch.testing.assert_close(moments.mean, mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(moments.variance, variance, rtol=1e-5, atol=1e-6)


def test_narrow_formats_are_summed_in_wide_ones() -> None:
    values = torch.full((1, 2, 64, 64), 1.0078125, dtype=torch.bfloat16)
    values[:, :, ::2] += 1
    moments = moments_of(values.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(moments.mean, values.double().mean(dim=(0, 2, 3)), rtol=1e-5, atol=0)
    torch.testing.assert_close(moments.variance, values.double().var(dim=(0, 2, 3), correction=0), rtol=1e-4, atol=0)


def test_many_values_lose_no_digits() -> None:
    values = torch.randn(1, 2, 1000, 1000, generator=torch.Generator().manual_seed(0)) * 0.5 + 5
    moments = moments_of(values.contiguous(memory_format=torch.channels_last))
    variance, mean = torch.var_mean(values.double(), dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(moments.variance, variance, rtol=2e-5, atol=0)
    torch.testing.assert_close(moments.mean, mean, rtol=1e-5, atol=0)
