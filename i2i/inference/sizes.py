"""Pictures of any size through networks that need multiples: padded by mirroring, cut back afterwards."""

from __future__ import annotations

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
