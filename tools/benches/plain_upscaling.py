"""Networks and steps of super-resolution as released trainers have them: stock layers, float32; nothing of ours.

Pictures lie in [0, 1]. Sources: SRResNet and SRGAN, Ledig et al. 2017, https://arxiv.org/abs/1609.04802; MSRResNet, the
RRDB network and the discriminator, Wang et al. 2018, https://arxiv.org/abs/1809.00219, and the trainer released with
it; VGG19, Simonyan & Zisserman 2015, https://arxiv.org/abs/1409.1556.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

SCALE = 4
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PlainBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, 1, 1)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.relu(self.conv1(x)))


class PlainMSRResNet(nn.Module):
    """Pictures in [0, 1], four times larger."""

    def __init__(self, width: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(3, width, 3, 1, 1)
        self.body = nn.Sequential(*(PlainBlock(width) for _ in range(blocks)))
        self.upconv1 = nn.Conv2d(width, width * 4, 3, 1, 1)
        self.upconv2 = nn.Conv2d(width, width * 4, 3, 1, 1)
        self.pixel_shuffle = nn.PixelShuffle(2)
        self.conv_hr = nn.Conv2d(width, width, 3, 1, 1)
        self.conv_last = nn.Conv2d(width, 3, 3, 1, 1)
        self.lrelu = nn.LeakyReLU(0.1, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(self.lrelu(self.conv_first(x)))
        features = self.lrelu(self.pixel_shuffle(self.upconv1(features)))
        features = self.lrelu(self.pixel_shuffle(self.upconv2(features)))
        detail = self.conv_last(self.lrelu(self.conv_hr(features)))
        return detail + functional.interpolate(x, scale_factor=SCALE, mode="bilinear", align_corners=False)


class PlainNormalizedBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class PlainSRResNet(nn.Module):
    """Pictures in [0, 1], four times larger: the network of the paper's figure 4."""

    def __init__(self, width: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, width, 9, 1, 4), nn.PReLU())
        self.body = nn.Sequential(*(PlainNormalizedBlock(width) for _ in range(blocks)))
        self.trunk = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        self.up = nn.Sequential(
            nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2), nn.PReLU(),
            nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2), nn.PReLU(),
        )  # fmt: skip
        self.tail = nn.Conv2d(width, 3, 9, 1, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = self.head(x)
        return self.tail(self.up(features + self.trunk(self.body(features))))


class PlainDenseBlock(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(width + index * growth, growth if index < 4 else width, 3, 1, 1) for index in range(5)
        )
        self.lrelu = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for conv in self.convs[:4]:
            seen.append(self.lrelu(conv(torch.cat(seen, 1))))
        return x + 0.2 * self.convs[4](torch.cat(seen, 1))


class PlainRRDBBlock(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(*(PlainDenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.dense(x)


class PlainRRDB(nn.Module):
    """Pictures in [0, 1], four times larger: the network of ESRGAN."""

    def __init__(self, width: int = 64, growth: int = 32, blocks: int = 23) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, width, 3, 1, 1)
        self.body = nn.Sequential(*(PlainRRDBBlock(width, growth) for _ in range(blocks)))
        self.trunk = nn.Conv2d(width, width, 3, 1, 1)
        self.up1 = nn.Conv2d(width, width, 3, 1, 1)
        self.up2 = nn.Conv2d(width, width, 3, 1, 1)
        self.conv_hr = nn.Conv2d(width, width, 3, 1, 1)
        self.conv_last = nn.Conv2d(width, 3, 3, 1, 1)
        self.lrelu = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        features = self.head(x)
        features = features + self.trunk(self.body(features))
        for conv in (self.up1, self.up2):
            features = self.lrelu(conv(functional.interpolate(features, scale_factor=2, mode="nearest")))
        return self.conv_last(self.lrelu(self.conv_hr(features)))


def plain_discriminator(pixels: int = 128, width: int = 64, hidden: int = 100) -> nn.Module:
    """Pictures (N, 3, P, P) in [0, 1] to logits (N, 1); stages halve the size down to 4 to 7 pixels."""
    layers: list[nn.Module] = []
    before, side = 3, pixels
    while side // 2 >= 4:
        after = width if before == 3 else min(2 * before, 8 * width)
        first = before == 3
        layers += [nn.Conv2d(before, after, 3, 1, 1, bias=first)]
        layers += [] if first else [nn.BatchNorm2d(after)]
        layers += [nn.LeakyReLU(0.2, True), nn.Conv2d(after, after, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)]
        before, side = after, side // 2
    layers += [nn.Flatten(), nn.Linear(before * side**2, hidden), nn.LeakyReLU(0.2, True), nn.Linear(hidden, 1)]
    return nn.Sequential(*layers)


class PlainVGG19(nn.Module):
    """The convolutions of VGG19 as far as the last ReLU of block `last_block`, on pictures in [0, 1]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, last_block: int = 5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block, (width, count) in enumerate([(64, 2), (128, 2), (256, 4), (512, 4), (512, 4)][:last_block]):
            layers += [nn.MaxPool2d(2)] if block else []
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, 1, 1), nn.ReLU(True)]
                channels = width
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.features((images - self.mean) / self.deviation)


class PlainUpscaling:
    """A generator, its optimizer, and a step by pixels alone."""

    def __init__(
        self, generator: nn.Module, device: torch.device, distance: Literal["l1", "mse"] = "mse", rate: float = 1e-4
    ) -> None:
        self.generator = generator.to(device)
        self.networks: dict[str, nn.Module] = {"generator": self.generator}
        self.optimizer = torch.optim.Adam(self.generator.parameters(), rate, (0.9, 0.999))
        self.distance = functional.l1_loss if distance == "l1" else functional.mse_loss

    def step(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The update on pairs "low" and "high" in [0, 1]; its loss."""
        self.optimizer.zero_grad()
        loss = self.distance(self.generator(samples["low"]), samples["high"])
        loss.backward()
        self.optimizer.step()
        return {"pixels": loss.detach()}


class PlainSRGAN:
    """SRGAN's adversarial phase: features of VGG19 and a discriminator, no pixels."""

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        features: nn.Module,
        device: torch.device,
        feature_scale: float = 1 / 12.75,
    ) -> None:
        self.generator, self.discriminator = generator.to(device), discriminator.to(device)
        self.features = features.to(device)
        self.feature_scale = feature_scale
        self.networks = {"generator": generator, "discriminator": discriminator, "features": features}
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), 1e-4, (0.9, 0.999))
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), 1e-4, (0.9, 0.999))

    def step(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Both updates on pairs "low" and "high" in [0, 1]; the two losses."""
        low, high = samples["low"], samples["high"]
        cross_entropy = functional.binary_cross_entropy_with_logits
        self.discriminator.requires_grad_(False)
        self.g_optimizer.zero_grad()
        fake = self.generator(low)
        wanted = self.features(high)
        perceptual = functional.mse_loss(self.features(fake) * self.feature_scale, wanted * self.feature_scale)
        on_fake = self.discriminator(fake)
        g_loss = perceptual + 1e-3 * cross_entropy(on_fake, torch.ones_like(on_fake))
        g_loss.backward()
        self.g_optimizer.step()

        self.discriminator.requires_grad_(True)
        self.d_optimizer.zero_grad()
        on_real = self.discriminator(high)
        real_loss = cross_entropy(on_real, torch.ones_like(on_real))
        real_loss.backward()
        on_fake = self.discriminator(fake.detach())
        fake_loss = cross_entropy(on_fake, torch.zeros_like(on_fake))
        fake_loss.backward()
        self.d_optimizer.step()
        return {"generator": g_loss.detach(), "discriminator": real_loss.detach() + fake_loss.detach()}
