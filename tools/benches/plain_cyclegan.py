"""CycleGAN as its paper's readers write it: stock layers, float32, one call a picture; nothing of ours.

Source: Zhu et al. 2017, https://arxiv.org/abs/1703.10593.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from plain_resnet import plain_generator
from torch import Tensor, nn
from torch.nn import functional


def plain_discriminator(width: int = 64) -> nn.Module:
    """Pictures (N, 3, H, W) in [-1, 1] to a logit for every patch of 70 x 70 pixels."""
    return nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2, True),
        nn.Conv2d(width, 2 * width, 4, 2, 1), nn.InstanceNorm2d(2 * width), nn.LeakyReLU(0.2, True),
        nn.Conv2d(2 * width, 4 * width, 4, 2, 1), nn.InstanceNorm2d(4 * width), nn.LeakyReLU(0.2, True),
        nn.Conv2d(4 * width, 8 * width, 4, 1, 1), nn.InstanceNorm2d(8 * width), nn.LeakyReLU(0.2, True),
        nn.Conv2d(8 * width, 1, 4, 1, 1),
    )  # fmt: skip


class PlainCycleGAN:
    """Two generators, two discriminators, their optimizers, and a step; without a history of generated pictures."""

    def __init__(self, device: torch.device, width: int = 64, blocks: int = 9, discriminator_width: int = 64) -> None:
        self.g_ab, self.g_ba = (plain_generator(width, blocks).to(device) for _ in range(2))
        self.d_a, self.d_b = (plain_discriminator(discriminator_width).to(device) for _ in range(2))
        self.networks = {
            "generator_ab": self.g_ab,
            "generator_ba": self.g_ba,
            "discriminator_a": self.d_a,
            "discriminator_b": self.d_b,
        }
        generators = [*self.g_ab.parameters(), *self.g_ba.parameters()]
        discriminators = [*self.d_a.parameters(), *self.d_b.parameters()]
        self.g_optimizer = torch.optim.Adam(generators, 2e-4, (0.5, 0.999))
        self.d_optimizer = torch.optim.Adam(discriminators, 2e-4, (0.5, 0.999))

    def step(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Both updates on pictures "a" and "b" (N, 3, H, W) in [-1, 1]; the two losses."""
        a, b = samples["a"], samples["b"]
        g_ab, g_ba, d_a, d_b = self.g_ab, self.g_ba, self.d_a, self.d_b
        d_a.requires_grad_(False)
        d_b.requires_grad_(False)
        fake_b, fake_a = g_ab(a), g_ba(b)
        adversarial = (d_b(fake_b) - 1).square().mean() + (d_a(fake_a) - 1).square().mean()
        cycle = functional.l1_loss(g_ba(fake_b), a) + functional.l1_loss(g_ab(fake_a), b)
        identity = functional.l1_loss(g_ab(b), b) + functional.l1_loss(g_ba(a), a)
        g_loss = adversarial + 10 * cycle + 5 * identity
        self.g_optimizer.zero_grad()
        g_loss.backward()
        self.g_optimizer.step()

        d_a.requires_grad_(True)
        d_b.requires_grad_(True)
        self.d_optimizer.zero_grad()
        d_losses = []
        for discriminator, real, fake in ((d_a, a, fake_a), (d_b, b, fake_b)):
            on_real = (discriminator(real) - 1).square().mean()
            on_fake = discriminator(fake.detach()).square().mean()
            d_losses.append(0.5 * (on_real + on_fake))
            d_losses[-1].backward()
        self.d_optimizer.step()
        return {"generator": g_loss.detach(), "discriminator": d_losses[0].detach() + d_losses[1].detach()}
