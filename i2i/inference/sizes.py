"""Pictures of any size through networks that need multiples: padded by mirroring, cut back afterwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from i2i.pipelines.protocol import PictureEntryPoint


class AnySize(nn.Module):
    """The network of an entry point for pictures of any size.

    Sides are padded at the right and at the bottom to what the network needs, see `pad_mirrored`, and cut back.
    """

    def __init__(self, network: nn.Module, entry_point: PictureEntryPoint) -> None:
        super().__init__()
        self.network = network
        self.size_multiple = entry_point.generator.size_multiple
        self.minimum_pixels = entry_point.generator.minimum_pixels
        self.scale = entry_point.scale

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] to (N, 3, H * scale, W * scale)."""
        height, width = images.shape[-2:]
        sides = (padded_side(side, self.size_multiple, self.minimum_pixels) for side in (height, width))
        padded = pad_mirrored(images, *sides).contiguous(memory_format=torch.channels_last)
        return self.network(padded)[..., : height * self.scale, : width * self.scale]


class MirroredSides(AnySize):
    """`AnySize` in a form that exporters record: equal results, no decision in Python that depends on a size."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] to (N, 3, H * scale, W * scale)."""
        if self.size_multiple == 1 and self.minimum_pixels == 1:
            return self.network(images)
        padded = images
        for axis in (-2, -1):
            have = images.shape[axis]
            want = (_at_least(have, self.minimum_pixels) + self.size_multiple - 1) // self.size_multiple
            position = _positions(images, want * self.size_multiple)
            # As a tensor: not every exporter divides by a symbol.
            length = images.new_ones(have, dtype=torch.int64).sum()
            padded = padded.index_select(axis, _recorded_indices(position, length))
        result = self.network(padded)
        for axis in (-2, -1):
            # Not a slice: that would ask the recorder whether the result is longer, which is no question for it.
            result = result.index_select(axis, _positions(images, images.shape[axis] * self.scale))
        return result


def _at_least(side: Any, minimum: int) -> Any:
    """The larger of the two; `side` is an integer, a symbol of one, or a tensor where a trace is recorded."""
    return side.clamp(min=minimum) if isinstance(side, Tensor) else torch.sym_max(side, minimum)


def _positions(images: Tensor, count: int) -> Tensor:
    """0, 1, 2, ... on the device of `images`; an arange would record the device of the recording."""
    return images.new_ones(count, dtype=torch.int64).cumsum(0) - 1


def _recorded_indices(position: Tensor, have: Tensor) -> Tensor:
    """As `_mirrored_indices`, where both kinds of mirroring are computed and one is taken."""
    reflected = 2 * have - 2 - position
    symmetric = position % (2 * have)
    return torch.where(
        reflected[-1:] >= 0,
        torch.minimum(position, reflected),
        torch.minimum(symmetric, 2 * have - 1 - symmetric),
    )


def padded_side(pixels: int, multiple: int, minimum: int) -> int:
    """The smallest multiple of `multiple` that is at least `pixels` and `minimum`."""
    return -(-max(pixels, minimum) // multiple) * multiple


def pad_mirrored(images: Tensor, height: int, width: int) -> Tensor:
    """Extend (N, C, H, W) at the bottom and at the right to `height` and `width` by mirroring."""
    for axis, side in ((-2, height), (-1, width)):
        if side > images.shape[axis]:
            images = images.index_select(axis, _mirrored_indices(images.shape[axis], side, images.device))
    return images


def _mirrored_indices(have: int, want: int, device: torch.device) -> Tensor:
    position = torch.arange(want, device=device)
    if want - have < have:
        return torch.minimum(position, 2 * have - 2 - position)  # 0 1 2 1 0: reflection
    # 0 1 2 2 1 0 0 1 2 ...: symmetric, defined for any size, one pixel included, where reflection is not.
    position %= 2 * have
    return torch.minimum(position, 2 * have - 1 - position)
