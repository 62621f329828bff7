from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.layers import BlurDown, BlurUp
from i2i.core.pixel_shuffle import ShuffleStage
from i2i.inference.tiling.streaming.operations import (
    Convolution,
    Local,
    Operation,
    Padding,
    Reflect,
    Rows,
    Shape,
    Span,
    TransposedConvolution,
)


def convolution(*arguments: Any, **options: Any) -> tuple[Operation, Callable[[Tensor], Tensor]]:
    layer = nn.Conv2d(2, 3, *arguments, **options)
    return Convolution(layer), layer


def behind_padding(kernel: int, pixels: int, **options: Any) -> tuple[Operation, Callable[[Tensor], Tensor]]:
    layer = nn.Conv2d(2, 3, kernel, **options)
    operation = Convolution(layer, Padding(pixels))
    return operation, lambda images: layer(functional.pad(images, (pixels,) * 4, mode="reflect"))


def transposed(*arguments: Any, **options: Any) -> tuple[Operation, Callable[[Tensor], Tensor]]:
    layer = nn.ConvTranspose2d(2, 3, *arguments, **options)
    return TransposedConvolution(layer), layer


def local(layer: nn.Module, channels: int, **options: Any) -> tuple[Operation, Callable[[Tensor], Tensor]]:
    return Local(layer, lambda _: channels, **options), layer


CASES: dict[str, Callable[[], tuple[Operation, Callable[[Tensor], Tensor]]]] = {
    "3x3": lambda: convolution(3, padding=1),
    "9x9": lambda: convolution(9, padding=4),
    "stride": lambda: convolution(4, stride=2, padding=1),
    "stride_3": lambda: convolution(3, stride=3, padding=0),
    "dilated": lambda: convolution(3, padding=2, dilation=2),
    "1x1": lambda: convolution(1),
    "reflected": lambda: behind_padding(7, 3),
    "reflected_stride": lambda: behind_padding(3, 1, stride=2),
    "transposed_3": lambda: transposed(3, stride=2, padding=1, output_padding=1),
    "transposed_4": lambda: transposed(4, stride=2, padding=1),
    "transposed_wide": lambda: transposed(3, stride=4, padding=0, output_padding=2),
    "reflection": lambda: (Reflect(Padding(2)), lambda images: functional.pad(images, (2,) * 4, mode="reflect")),
    "shuffle": lambda: local(ShuffleStage(2, 2, nn.PReLU()), 2, up=2, margin=2),
    "tripled": lambda: local(ShuffleStage(2, 3, nn.LeakyReLU(0.1)), 2, up=3, margin=3),
    "blur_down": lambda: local(BlurDown(), 2, down=2, margin=1),
    "blur_up": lambda: local(BlurUp(), 2, up=2, margin=2),
    "unshuffle": lambda: local(nn.PixelUnshuffle(2), 8, down=2),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("height", [9, 12])
@torch.inference_mode()
def test_any_rows_come_from_the_rows_they_need(
    case: Callable[[], tuple[Operation, Callable[[Tensor], Tensor]]], height: int
) -> None:
    torch.manual_seed(0)
    operation, layer = case()
    height += height % 2 if isinstance(operation, Local) and operation.down == 2 else 0
    images = torch.randn(1, 2, height, 11 + height % 2).contiguous(memory_format=torch.channels_last)
    images = images[..., :10].contiguous(memory_format=torch.channels_last)
    whole = layer(images)
    shape = Shape(2, height, 10)
    assert operation.shape([shape]) == whole.shape[1:]
    rows = whole.shape[2]
    reached = 0
    for first in range(rows):
        for end in (first + 1, min(first + 4, rows), rows):
            (need,) = operation.needs(Span(first, end), [shape])
            assert 0 <= need.first < need.end <= height
            # In two pieces, and with rows around that nobody asked for.
            pieces = [images[:, :, max(need.first - 1, 0) : need.first + 1], images[:, :, need.first + 1 : need.end]]
            given = Rows(max(need.first - 1, 0), [piece for piece in pieces if piece.shape[2]])
            made = operation.compute(Span(first, end), [given], [shape])
            torch.testing.assert_close(made, whole[:, :, first:end], rtol=1e-5, atol=1e-5)
            reached += 1
    assert reached == 3 * rows
