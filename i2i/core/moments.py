"""Mean and variance over a tensor of which only some rows are there at a time."""

from __future__ import annotations

import torch
from torch import Tensor

_MOST_SUMMED = 2**14
"""Pixels that the CPU's kernel sums in float32, one after the other: of 3 million it gets the third digit wrong."""


class Moments:
    """Mean and variance of each channel, gathered band by band in float64.

    Source: Chan et al. 1983, "Algorithms for computing the sample variance", American Statistician 37, equation 2.1.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self.squares = torch.zeros(channels, dtype=torch.float64)
        """Sum of the squared differences from the mean."""

    def add(self, other: Moments) -> None:
        """Take in more values."""
        count, mean = other.count, other.mean
        difference = mean - self.mean
        total = self.count + count
        self.squares += other.squares + difference.square() * (self.count * count / total)
        self.mean += difference * (count / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        """(C,), float64; of the values, not an estimate for others."""
        return self.squares / self.count


def moments_of(values: Tensor) -> Moments:
    """Of (1, C, rows, W)."""
    moments = Moments(values.shape[1])
    rows = max(1, _MOST_SUMMED // values.shape[3])
    for part in values.split(rows, dim=2) if values.device.type == "cpu" else (values,):
        floats = part.float()
        if floats.device.type == "cpu":
            # The kernel that batch norm itself takes: ten times as fast in channels-last memory as var_mean.
            mean, variance = torch.batch_norm_update_stats(floats, None, None, 0.0)
        else:
            variance, mean = torch.var_mean(floats, dim=(0, 2, 3), correction=0)
        moments.add(_moments(mean, variance, part.shape[2] * part.shape[3]))
    return moments


def _moments(mean: Tensor, variance: Tensor, count: int) -> Moments:
    moments = Moments(len(mean))
    moments.count, moments.mean, moments.squares = count, mean.cpu().double(), variance.cpu().double() * count
    return moments
