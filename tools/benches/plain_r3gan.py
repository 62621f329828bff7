"""R3GAN as its paper's readers write it: stock layers, float32, both penalties in every step; nothing of ours.

The two networks mirror each other: stages from 4 pixels up to the picture, each of residual blocks without
normalization, between them a smoothing filter to twice or half the size.

Source: Huang et al. 2024, https://arxiv.org/abs/2501.05441, sections 3 and 4, and the program released with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

LATENT = 64
WIDTHS_64 = (768, 768, 768, 768, 384)
"""Channels of each stage for pictures of 64 pixels, from 4 pixels up."""
BLOCKS, EXPANSION, GROUP = 2, 2, 16
GAIN = math.sqrt(2 / (1 + 0.2**2))


def scaled(layer: nn.Module, gain: float = 1.0) -> nn.Module:
    """The layer with weights from N(0, gain^2 / fan_in) and biases of 0."""
    weight = layer.get_parameter("weight")
    nn.init.normal_(weight, 0.0, gain / math.sqrt(weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.get_parameter("bias"))
    return layer


class Block(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolution, added to their input."""

    def __init__(self, width: int, gain: float) -> None:
        super().__init__()
        wide = EXPANSION * width
        self.branch = nn.Sequential(
            scaled(nn.Conv2d(width, wide, 1), gain), nn.LeakyReLU(0.2, True),
            scaled(nn.Conv2d(wide, wide, 3, padding=1, groups=wide // GROUP), gain), nn.LeakyReLU(0.2, True),
            scaled(nn.Conv2d(wide, width, 1, bias=False), 0.0),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return x + self.branch(x)


class Resample(nn.Module):
    """Twice or half the size through the filter [1, 3, 3, 1]."""

    kernel: Tensor

    def __init__(self, up: bool) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.up = up
        self.register_buffer("kernel", (4 if up else 1) * torch.outer(line, line)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 2 H, 2 W) or (N, C, H / 2, W / 2)."""
        channels = x.shape[1]
        kernel = self.kernel.expand(channels, 1, 4, 4)
        resample = functional.conv_transpose2d if self.up else functional.conv2d
        return resample(x, kernel, stride=2, padding=1, groups=channels)


class PlainGenerator(nn.Module):
    """Latents (N, 64) to pictures (N, C, P, P) around [-1, 1]."""

    def __init__(self, channels: int = 3, widths: Sequence[int] = WIDTHS_64) -> None:
        super().__init__()
        gain = GAIN * (BLOCKS * len(widths)) ** -0.25
        self.maps = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.linear = scaled(nn.Linear(LATENT, widths[0], bias=False))
        layers: list[nn.Module] = [Block(widths[0], gain) for _ in range(BLOCKS)]
        for before, after in pairwise(widths):
            # The 1x1 convolution at the smaller size: it commutes with the filter.
            narrower = [] if before == after else [scaled(nn.Conv2d(before, after, 1, bias=False))]
            layers += [*narrower, Resample(up=True), *(Block(after, gain) for _ in range(BLOCKS))]
        self.layers = nn.Sequential(*layers)
        self.picture = scaled(nn.Conv2d(widths[-1], channels, 1, bias=False))

    def forward(self, latents: Tensor) -> Tensor:
        return self.picture(self.layers(self.maps * self.linear(latents)[..., None, None]))


class PlainDiscriminator(nn.Module):
    """Pictures (N, C, P, P) in [-1, 1] to logits (N, 1)."""

    def __init__(self, channels: int = 3, widths: Sequence[int] = WIDTHS_64) -> None:
        super().__init__()
        gain = GAIN * (BLOCKS * len(widths)) ** -0.25
        falling = widths[::-1]
        layers = [scaled(nn.Conv2d(channels, falling[0], 1, bias=False))]
        layers += [Block(falling[0], gain) for _ in range(BLOCKS)]
        for before, after in pairwise(falling):
            wider = [] if before == after else [scaled(nn.Conv2d(before, after, 1, bias=False))]
            layers += [Resample(up=False), *wider, *(Block(after, gain) for _ in range(BLOCKS))]
        self.layers = nn.Sequential(*layers)
        # The inner product of each channel with a map of its own: as wide as deep, so one output a group.
        self.maps = scaled(nn.Conv2d(falling[-1], falling[-1], 4, groups=falling[-1], bias=False))
        self.judge = scaled(nn.Linear(falling[-1], 1, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        return self.judge(self.maps(self.layers(images)).flatten(1))


class PlainR3GAN:
    """Both networks, their optimizers, and a step with R1 and R2."""

    def __init__(
        self,
        device: torch.device,
        channels: int = 3,
        widths: Sequence[int] = WIDTHS_64,
        penalty_weight: float = 2.0,
    ) -> None:
        self.generator = PlainGenerator(channels, widths).to(device)
        self.discriminator = PlainDiscriminator(channels, widths).to(device)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.penalty_weight = penalty_weight
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), 2e-4, (0.0, 0.99))
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), 2e-4, (0.0, 0.99))

    def step(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Both updates on pictures "real" (N, C, P, P) in [-1, 1]; the two losses."""
        real = samples["real"]
        self.generator.requires_grad_(False)
        self.discriminator.requires_grad_(True)
        images = real.detach().requires_grad_()
        fake = self.generator(self.latents(real)).detach().requires_grad_()
        on_real, on_fake = self.discriminator(images), self.discriminator(fake)
        penalties = slope(on_real, images) + slope(on_fake, fake)
        d_loss = functional.softplus(on_fake - on_real).mean() + self.penalty_weight / 2 * penalties
        self.d_optimizer.zero_grad()
        d_loss.backward()
        self.d_optimizer.step()

        self.generator.requires_grad_(True)
        self.discriminator.requires_grad_(False)
        on_fake = self.discriminator(self.generator(self.latents(real)))
        g_loss = functional.softplus(self.discriminator(real) - on_fake).mean()
        self.g_optimizer.zero_grad()
        g_loss.backward()
        self.g_optimizer.step()
        return {"discriminator": d_loss.detach(), "generator": g_loss.detach()}

    def latents(self, real: Tensor) -> Tensor:
        """One for each picture, (N, 64)."""
        return torch.randn(len(real), LATENT, device=real.device)


def slope(logits: Tensor, images: Tensor) -> Tensor:
    """Mean squared norm of the gradient of the logits at the pictures."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()
