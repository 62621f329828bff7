"""DCGAN as PyTorch's own example has it, for pictures of 64 pixels: the baseline of `tools/bench dcgan` and `steps`.

Stock layers, float32, the ordinary memory layout; imports nothing of ours.

Source: Radford et al. 2016, https://arxiv.org/abs/1511.06434; the numbers are those of PyTorch's DCGAN example.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

LATENT = 100
WIDTH = 64
BATCH = 128


def plain_generator(channels: int = 1, width: int = WIDTH) -> nn.Module:
    """(N, 100, 1, 1) to (N, channels, 64, 64) in [-1, 1]."""
    return nn.Sequential(
        nn.ConvTranspose2d(LATENT, 8 * width, 4, 1, 0, bias=False), nn.BatchNorm2d(8 * width), nn.ReLU(True),
        nn.ConvTranspose2d(8 * width, 4 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(4 * width), nn.ReLU(True),
        nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(True),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True),
        nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip


def plain_discriminator(channels: int = 1, width: int = WIDTH) -> nn.Module:
    """(N, channels, 64, 64) to probabilities (N,)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True),
        nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2, True),
        nn.Conv2d(2 * width, 4 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(4 * width), nn.LeakyReLU(0.2, True),
        nn.Conv2d(4 * width, 8 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(8 * width), nn.LeakyReLU(0.2, True),
        nn.Conv2d(8 * width, 1, 4, 1, 0, bias=False), nn.Sigmoid(), nn.Flatten(0),
    )  # fmt: skip


def initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class PlainDCGAN:
    """Both networks, their optimizers, and a step; the generator learns through the pictures that were judged."""

    def __init__(self, device: torch.device, channels: int = 1, width: int = WIDTH) -> None:
        self.generator = plain_generator(channels, width).to(device).apply(initialize)
        self.discriminator = plain_discriminator(channels, width).to(device).apply(initialize)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), 2e-4, (0.5, 0.999))
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), 2e-4, (0.5, 0.999))
        self.loss = nn.BCELoss()
        self.needless_gradients = True
        """As in the example, the generator's update computes gradients for the discriminator too, which nobody uses;
        off where operations are counted."""

    def step(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Both updates on pictures "real" (N, C, 64, 64) in [-1, 1]; the two losses."""
        real, loss, discriminator = samples["real"], self.loss, self.discriminator
        ones, zeros = real.new_ones(len(real)), real.new_zeros(len(real))

        discriminator.zero_grad()
        on_real = loss(discriminator(real), ones)
        on_real.backward()
        fake = self.generator(self.latents(real))
        on_fake = loss(discriminator(fake.detach()), zeros)
        on_fake.backward()
        self.d_optimizer.step()

        discriminator.requires_grad_(self.needless_gradients)
        self.generator.zero_grad()
        deceived = loss(discriminator(fake), ones)
        deceived.backward()
        self.g_optimizer.step()
        discriminator.requires_grad_(True)
        return {"discriminator": on_real.detach() + on_fake.detach(), "generator": deceived.detach()}

    def latents(self, real: Tensor) -> Tensor:
        """One for each picture, (N, 100, 1, 1)."""
        return torch.randn(len(real), LATENT, 1, 1, device=real.device)


def train_plain(pictures: Tensor, images: int, seed: int, device: torch.device) -> tuple[nn.Module, float]:
    """Train until `images` of the `pictures` (N, 1, 64, 64) uint8 were seen; the generator and the loop's seconds."""
    torch.manual_seed(seed)
    training = PlainDCGAN(device)
    epochs = -(-images // len(pictures))
    order = torch.cat([torch.randperm(len(pictures)) for _ in range(epochs)])[:images]
    started = time.perf_counter()
    for chosen in order.split(BATCH):
        training.step({"real": pictures[chosen].to(device).float() / 127.5 - 1})
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return training.generator, time.perf_counter() - started
