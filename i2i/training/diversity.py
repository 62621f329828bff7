"""How different the pictures of one sheet are from each other, beside as many real ones: what shows a mode collapse.

Numbers about a few dozen pictures made from fixed latents. They are coarse on purpose: seconds after it began,
a collapse must show; how good the pictures are is for the distances in `i2i.evaluation`.

Source: comparing distances among generated pictures with those among real ones is the idea of the MS-SSIM diversity
of Odena et al. 2017, section 4.2, here with plain distances between small pictures, which need no network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LARGEST_COMPARED_PIXELS = 16
# Two pictures count as the same one when they are nearer than this part of the distance at which a real picture
# typically has its nearest neighbour in a set of the same size.
REPEATED_BELOW = 0.25
# tanh passes on 1 - x^2 of a gradient: a fiftieth or less from here on.
SATURATED_FROM = 0.99
# Where real pictures have next to no midtones (line art), there is nothing to compare with.
LEAST_REAL_MIDTONES = 0.01


@dataclass(frozen=True, kw_only=True)
class RealSet:
    """What `diversity`, `repeated_share` and `midtones` of made pictures are compared with."""

    mean_distance: float
    """Mean distance between two real pictures, root mean square over pixels of pictures at most 16 pixels wide."""
    nearest_distance: float
    """Median distance from a real picture to its nearest neighbour in the set, same unit."""
    midtone_share: float
    """Share of all pixel values that are not as good as -1 or 1."""

    @classmethod
    def of(cls, pictures: Tensor) -> RealSet:
        """Measure as many real pictures (N, C, H, W) in [-1, 1] as made ones shall be compared with them, 2 at least.

        Raises:
            ValueError: fewer than two pictures.
        """
        distances = _distances(pictures)
        return cls(
            mean_distance=_mean_distance(distances),
            nearest_distance=float(_to_nearest(distances).median()),
            midtone_share=_midtone_share(pictures),
        )


def measure(pictures: Tensor, real: RealSet) -> dict[str, float]:
    """All measures of made pictures (N, C, H, W) in [-1, 1] by the name under which a run records them.

    A measure for which the real set gives no scale (all its pictures are the same) is left out. Where a picture is not
    finite, all are NaN.
    """
    values: dict[str, float] = {}
    if real.mean_distance > 0:
        values["sample/diversity"] = diversity(pictures, real)
    if real.nearest_distance > 0:
        values["sample/repeated"] = repeated_share(pictures, real)
    if real.midtone_share >= LEAST_REAL_MIDTONES:
        values["sample/midtones"] = midtones(pictures, real)
    finite = bool(torch.isfinite(pictures).all())
    return values if finite else dict.fromkeys(values, math.nan)


def diversity(pictures: Tensor, real: RealSet) -> float:
    """Mean distance between two of the pictures over that between two real ones.

    About 1 for a healthy generator, 0 when all its pictures are the same. With k equally frequent pictures (modes) as
    far apart as real ones it is 1 - 1/k (1 - 1/k of all pairs differ): 0.5 means two modes.

    Args:
        pictures: (N, C, H, W) in [-1, 1], N at least 2; values outside are clipped.
        real: the real pictures' measures; their mean distance must be above 0.
    """
    return _mean_distance(_distances(pictures)) / real.mean_distance


def repeated_share(pictures: Tensor, real: RealSet) -> float:
    """Share of the pictures, in [0, 1], that have a near twin among the others.

    It shows a collapse to several modes, for which `diversity` is still high: of N pictures (N, C, H, W) that show far
    fewer than N things nearly all have a twin.
    """
    nearest = _to_nearest(_distances(pictures))
    return float((nearest < REPEATED_BELOW * real.nearest_distance).double().mean())


def midtones(pictures: Tensor, real: RealSet) -> float:
    """Share of values between the ends of the range, over that of the real pictures.

    About 1 for a healthy generator, more while its pictures are still soft, 0 when its tanh is so saturated that hardly
    a gradient passes any more.
    """
    return _midtone_share(pictures) / real.midtone_share


def _midtone_share(pictures: Tensor) -> float:
    return float((pictures.detach().float().abs() < SATURATED_FROM).double().mean())


def _distances(pictures: Tensor) -> Tensor:
    """Root-mean-square distances of all pairs of reduced pictures: (N, N), float64, on the CPU."""
    if len(pictures) < 2:
        raise ValueError(f"{len(pictures)} picture(s) have no distance to each other; needs at least 2")
    small = pictures.detach().float().cpu().double().clamp(-1.0, 1.0)
    height, width = small.shape[2:]
    target = (min(height, LARGEST_COMPARED_PIXELS), min(width, LARGEST_COMPARED_PIXELS))
    # Area averages: shifts by a pixel and noise count little, what the picture shows counts.
    rows = functional.adaptive_avg_pool2d(small, target).flatten(1)
    # By differences, not by the product of the rows: equal pictures must have distance 0 exactly.
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist") / math.sqrt(rows.shape[1])


def _mean_distance(distances: Tensor) -> float:
    count = len(distances)
    return float(distances.sum()) / (count * (count - 1))


def _to_nearest(distances: Tensor) -> Tensor:
    return distances.clone().fill_diagonal_(torch.inf).amin(dim=1)
