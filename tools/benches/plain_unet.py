"""The U-Net of pix2pix as its paper's readers write it: stock layers, float32, nothing of ours.

Source: Isola et al. 2017, https://arxiv.org/abs/1611.07004, appendix 6.1.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PlainUNet(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1] to such; H and W multiples of 2 to the power of `levels`."""

    def __init__(self, width: int = 64, levels: int = 8) -> None:
        super().__init__()
        widths = [width * min(2**depth, 8) for depth in range(levels)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for depth in range(levels):
            outer, inner = depth == 0, depth == levels - 1
            above = 3 if outer else widths[depth - 1]
            encoder: list[nn.Module] = [] if outer else [nn.LeakyReLU(0.2)]
            encoder.append(nn.Conv2d(above, widths[depth], 4, 2, 1, bias=False))
            if not (outer or inner):
                encoder.append(nn.BatchNorm2d(widths[depth]))
            decoder: list[nn.Module] = [nn.ReLU()]
            below = widths[depth] if inner else 2 * widths[depth]
            decoder.append(nn.ConvTranspose2d(below, above, 4, 2, 1, bias=outer))
            decoder.append(nn.Tanh() if outer else nn.BatchNorm2d(above))
            if 4 <= depth < levels - 1:
                decoder.append(nn.Dropout(0.5))
            self.down.append(nn.Sequential(*encoder))
            self.up.append(nn.Sequential(*decoder))

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for encoder in self.down:
            x = encoder(x)
            skips.append(x)
        x = self.up[-1](skips.pop())
        for decoder in reversed(self.up[:-1]):
            x = decoder(torch.cat([skips.pop(), x], 1))
        return x
