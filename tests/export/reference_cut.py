"""The anti-aliased generator as its project puts it together, from stock layers, under that project's names."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Blur(nn.Module):
    """A fixed filter for each channel, stored as `filt`."""

    filt: Tensor

    def __init__(self, channels: int, taps: list[float], gain: float) -> None:
        super().__init__()
        row = torch.tensor(taps)
        kernel = row[:, None] * row
        self.register_buffer("filt", (gain * kernel / kernel.sum()).repeat(channels, 1, 1, 1))


class Down(Blur):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, [1.0, 2.0, 1.0], 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, (1,) * 4, mode="reflect"), self.filt, stride=2, groups=x.shape[1])


class Up(Blur):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, [1.0, 3.0, 3.0, 1.0], 4.0)

    def forward(self, x: Tensor) -> Tensor:
        repeated = functional.pad(x, (1,) * 4, mode="replicate")
        doubled = functional.conv_transpose2d(repeated, self.filt, stride=2, padding=2, groups=x.shape[1])
        return doubled[:, :, 1:, 1:][:, :, :-1, :-1]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width), nn.ReLU(True),
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class CutGenerator(nn.Module):
    """`ResnetGenerator` with instance norm and its default sampling."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        down: list[nn.Module] = []
        for before in (width, 2 * width):
            norm = nn.InstanceNorm2d(2 * before)
            down += [nn.Conv2d(before, 2 * before, 3, 1, 1), norm, nn.ReLU(True), Down(2 * before)]
        up: list[nn.Module] = []
        for before in (4 * width, 2 * width):
            norm = nn.InstanceNorm2d(before // 2)
            up += [Up(before), nn.Conv2d(before, before // 2, 3, 1, 1), norm, nn.ReLU(True)]
        self.model = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width), nn.ReLU(True),
            *down, *(Block(4 * width) for _ in range(blocks)), *up,
            nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
