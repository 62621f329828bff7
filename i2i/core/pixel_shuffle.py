"""Enlarging by a convolution whose channels become pixels, exact and fast in channels-last memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.layers import is_recorded


class ShuffleStage(nn.Sequential):
    """A 3x3 convolution whose channels become the pixels of cells `factor` wide, and an activation.

    Equal to the three stock layers in a row, whose weights it holds under their usual names. In channels-last memory on
    a CPU the channels are computed in another order: whole pixels then lie side by side, and one pass through memory
    moves and rectifies them. Differentiable twice.

    The activation comes last, as its output is then what the next convolution keeps anyway.
    Source: Shi et al. 2016, https://arxiv.org/abs/1609.05158, equation 4.
    """

    def __init__(self, channels: int, factor: int, activation: nn.Module) -> None:
        super().__init__(nn.Conv2d(channels, channels * factor**2, 3, padding=1), nn.PixelShuffle(factor), activation)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H factor, W factor)."""
        convolution, shuffle, activation = self
        assert isinstance(convolution, nn.Conv2d) and isinstance(shuffle, nn.PixelShuffle)
        features = input
        on_cpu = features.device.type == "cpu" and features.is_contiguous(memory_format=torch.channels_last)
        if is_recorded() or not on_cpu:
            return super().forward(features)
        factor = shuffle.upscale_factor
        assert convolution.bias is not None
        weight, bias = (_place_by_place(values, factor) for values in (convolution.weight, convolution.bias))
        cells = functional.conv2d(features, weight, bias, padding=1)
        if not cells.is_contiguous(memory_format=torch.channels_last):
            # A format that the fast convolutions do not know came back in another layout.
            cells = cells.contiguous(memory_format=torch.channels_last)
        if isinstance(activation, nn.LeakyReLU):
            return _RectifiedPixels.apply(cells, factor, activation.negative_slope)  # type: ignore[return-value]
        # A slope of 1 rectifies nothing.
        return activation(_RectifiedPixels.apply(cells, factor, 1.0))


def _place_by_place(values: Tensor, factor: int) -> Tensor:
    """Reorder (C factor factor, ...) from channel by channel to place by place: (factor factor C, ...)."""
    return values.unflatten(0, (-1, factor**2)).transpose(0, 1).flatten(0, 1)


class _RectifiedPixels(torch.autograd.Function):
    """Cells (N, factor factor C, H, W), place by place, to leakily rectified pixels (N, C, H factor, W factor)."""

    @staticmethod
    def forward(ctx: Any, cells: Tensor, factor: int, slope: float) -> Tensor:
        rows, channels, height, width = cells.shape
        pixels = torch.empty(
            (rows, channels // factor**2, height * factor, width * factor),
            dtype=cells.dtype,
            memory_format=torch.channels_last,
        )
        torch.ops.aten.leaky_relu.out(_view_of_cells(cells, factor), slope, out=_view_of_pixels(pixels, factor))
        ctx.factor, ctx.slope = factor, slope
        ctx.save_for_backward(pixels)
        return pixels

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (pixels,), gradient = ctx.saved_tensors, gradients[0]
        if torch.is_grad_enabled():
            # A second derivative is wanted: operations whose graph is complete. Where nothing is rectified, pixels
            # have the sign of what they were.
            passed = torch.where(pixels > 0, gradient, gradient * ctx.slope)
            return _cells_of(passed, ctx.factor), None, None
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        rows, channels, height, width = pixels.shape
        cells = torch.empty(
            (rows, channels * ctx.factor**2, height // ctx.factor, width // ctx.factor),
            dtype=gradient.dtype,
            memory_format=torch.channels_last,
        )
        torch.ops.aten.leaky_relu_backward.grad_input(
            _view_of_pixels(gradient, ctx.factor),
            _view_of_pixels(pixels, ctx.factor),
            ctx.slope,
            True,  # what is given is the result, whose sign is that of the input
            grad_input=_view_of_cells(cells, ctx.factor),
        )
        return cells, None, None


def _view_of_cells(cells: Tensor, factor: int) -> Tensor:
    """(N, factor factor C, H, W) in channels-last memory, seen as (N, H, factor, W, factor, C)."""
    return cells.permute(0, 2, 3, 1).unflatten(-1, (factor, factor, -1)).permute(0, 1, 3, 2, 4, 5)


def _view_of_pixels(pixels: Tensor, factor: int) -> Tensor:
    """(N, C, H factor, W factor) in channels-last memory, seen as (N, H, factor, W, factor, C)."""
    return pixels.permute(0, 2, 3, 1).unflatten(2, (-1, factor)).unflatten(1, (-1, factor))


def _cells_of(pixels: Tensor, factor: int) -> Tensor:
    """Pixels moved back to where they were computed, by differentiable operations."""
    return _view_of_pixels(pixels, factor).permute(0, 2, 4, 5, 1, 3).flatten(1, 3)
