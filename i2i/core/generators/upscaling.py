"""What the generators that enlarge pictures share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.layers import is_recorded

SCALES = (2, 3, 4, 8)


def check_scale(scale: int, scales: Iterable[int] = SCALES) -> None:
    """Raises: ValueError: no network of the family enlarges that much."""
    if scale not in scales:
        raise ValueError(f"scale is {scale}; needs one of {', '.join(map(str, scales))}")


def stage_factors(scale: int) -> tuple[int, ...]:
    """Factors of the stages that together enlarge by `scale`: doublings, or one tripling."""
    if scale == 3:
        return (3,)
    count = scale.bit_length() - 1
    assert 1 << count == scale, "a scale that check_scale lets through"
    return (2,) * count


def cells_touched(side: int, factor: int) -> int:
    """Most cells of `factor` pixels that a window of `side` pixels can touch."""
    return (side + factor - 2) // factor + 1


def to_unit(images: Tensor) -> Tensor:
    """[-1, 1] to [0, 1], where the published networks work: the zeros of their padding are black."""
    return images.mul(0.5).add_(0.5)


def from_unit(result: Tensor, images: Tensor) -> Tensor:
    """[0, 1] to [-1, 1], in the number format of `images`: stretching a narrower one would round a second time."""
    return result.to(images.dtype).mul(2).sub_(1)


class PReLU(nn.PReLU):
    """The rectifier with a learnt slope, in the number format of what it rectifies.

    Source: He et al. 2015, https://arxiv.org/abs/1502.01852, equation 1. On a CPU the stock layer fails under autocast,
    and its derivative takes five times as long.
    """

    def forward(self, input: Tensor) -> Tensor:
        slope = self.weight.to(input.dtype)
        if input.device.type == "cpu" and torch.is_grad_enabled() and not is_recorded():
            return _Rectified.apply(input, slope)  # type: ignore[return-value]
        return functional.prelu(input, slope)


class _Rectified(torch.autograd.Function):
    """``functional.prelu`` with a derivative made of fast elementwise operations."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(features, slope)
        return functional.prelu(features, slope)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (features, slope), gradient = ctx.saved_tensors, gradients[0]
        above = torch.ops.aten.threshold_backward(gradient, features, 0)
        below = gradient - above
        factors = slope.reshape(()) if slope.numel() == 1 else slope[:, None, None]
        by_value = (below * features).sum(dim=(0, 2, 3), dtype=_summing(features.dtype))
        of_slope = by_value.sum(dim=0, keepdim=True) if slope.numel() == 1 else by_value
        return above + below * factors, of_slope.to(slope.dtype)


def _summing(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype.itemsize >= 4 else torch.float32
