"""DCGAN as PyTorch's own example has it, for one grey channel of 64 pixels: the baseline of `tools/bench dcgan`.

Stock layers, float32, the ordinary memory layout; imports nothing of ours.

Source: Radford et al. 2016, https://arxiv.org/abs/1511.06434; the numbers are those of PyTorch's DCGAN example.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

LATENT = 100
WIDTH = 64
BATCH = 128


def plain_generator() -> nn.Module:
    """(N, 100, 1, 1) to (N, 1, 64, 64) in [-1, 1]."""
    return nn.Sequential(
        nn.ConvTranspose2d(LATENT, 8 * WIDTH, 4, 1, 0, bias=False), nn.BatchNorm2d(8 * WIDTH), nn.ReLU(True),
        nn.ConvTranspose2d(8 * WIDTH, 4 * WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(4 * WIDTH), nn.ReLU(True),
        nn.ConvTranspose2d(4 * WIDTH, 2 * WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * WIDTH), nn.ReLU(True),
        nn.ConvTranspose2d(2 * WIDTH, WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(True),
        nn.ConvTranspose2d(WIDTH, 1, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip


def plain_discriminator() -> nn.Module:
    """(N, 1, 64, 64) to probabilities (N,)."""
    return nn.Sequential(
        nn.Conv2d(1, WIDTH, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True),
        nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * WIDTH), nn.LeakyReLU(0.2, True),
        nn.Conv2d(2 * WIDTH, 4 * WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(4 * WIDTH), nn.LeakyReLU(0.2, True),
        nn.Conv2d(4 * WIDTH, 8 * WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(8 * WIDTH), nn.LeakyReLU(0.2, True),
        nn.Conv2d(8 * WIDTH, 1, 4, 1, 0, bias=False), nn.Sigmoid(), nn.Flatten(0),
    )  # fmt: skip


def initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def train_plain(pictures: Tensor, images: int, seed: int, device: torch.device) -> tuple[nn.Module, float]:
    """Train until `images` of the `pictures` (N, 1, 64, 64) uint8 were seen; the generator and the loop's seconds."""
    torch.manual_seed(seed)
    generator = plain_generator().to(device).apply(initialize)
    discriminator = plain_discriminator().to(device).apply(initialize)
    g_optimizer = torch.optim.Adam(generator.parameters(), 2e-4, (0.5, 0.999))
    d_optimizer = torch.optim.Adam(discriminator.parameters(), 2e-4, (0.5, 0.999))
    loss = nn.BCELoss()
    epochs = -(-images // len(pictures))
    order = torch.cat([torch.randperm(len(pictures)) for _ in range(epochs)])[:images]
    started = time.perf_counter()
    for chosen in order.split(BATCH):
        real = pictures[chosen].to(device).float() / 127.5 - 1
        ones, zeros = torch.ones(len(real), device=device), torch.zeros(len(real), device=device)

        discriminator.zero_grad()
        loss(discriminator(real), ones).backward()
        fake = generator(torch.randn(len(real), LATENT, 1, 1, device=device))
        loss(discriminator(fake.detach()), zeros).backward()
        d_optimizer.step()

        generator.zero_grad()
        loss(discriminator(fake), ones).backward()
        g_optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return generator, time.perf_counter() - started
