"""The generator of R3GAN: residual blocks without normalization.

Source: Huang et al. 2024, https://arxiv.org/abs/2501.05441, section 4 and appendix.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from i2i.core.conditioning import LatentInput
from i2i.core.image_shape import ImageShape
from i2i.core.norm_free import (
    SIZES,
    NormFreeBlock,
    ScaledConv2d,
    ScaledLinear,
    SmoothResample,
    Stage,
    check_stages,
    plan_stages,
)
from i2i.core.sizes import doublings, refuse, unfit_size


@dataclass(frozen=True, kw_only=True)
class R3GANGeneratorSettings:
    """One stage for each size from 4 pixels up to the picture; empty lists stand for the paper's numbers."""

    kind: Literal["r3gan"] = "r3gan"
    latent: int = 64
    widths: tuple[int, ...] = ()
    """Channels of each stage, from 4 pixels up."""
    cardinalities: tuple[int, ...] = ()
    """Groups of each stage's 3x3 convolutions."""
    blocks: tuple[int, ...] = ()
    """Residual blocks of each stage."""
    expansion: int = 2
    """How many times wider a block is inside."""

    def __post_init__(self) -> None:
        if self.latent < 1:
            raise ValueError(f"latent is {self.latent}; needs at least 1")
        check_stages(self.widths, self.cardinalities, self.blocks, self.expansion)

    def size_problem(self, shape: ImageShape) -> str | None:
        """Why pictures of this shape cannot be made, naming the nearest that can, or None."""
        problem = unfit_size("r3gan", shape, SIZES)
        if problem is None:
            try:
                self.stages(shape)
            except ValueError as error:
                problem = str(error)
        return problem

    def stages(self, shape: ImageShape) -> list[Stage]:
        """Those for pictures of this shape, from 4 pixels up."""
        smallest, count = doublings(shape.pixels)
        pixels = [smallest << index for index in range(count + 1)]
        return plan_stages(pixels, self.widths, self.cardinalities, self.blocks, self.expansion)

    def build(self, shape: ImageShape, classes: int = 0) -> R3GANGenerator:
        """Raises: ValueError: what `size_problem` says."""
        refuse(self.size_problem(shape))
        return R3GANGenerator(self, shape, classes)


class GenerativeBasis(nn.Module):
    """Learned 4x4 maps, each multiplied by a number that is linear in the latent."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(channels, 4, 4))
        self.linear = ScaledLinear(features, channels, bias=False)

    def initialize_weights(self, generator: torch.Generator) -> None:
        """Standard normal maps."""
        nn.init.normal_(self.maps, generator=generator)
        self.linear.initialize_weights(generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, features) to (N, channels, 4, 4)."""
        factors = self.linear(inputs)[..., None, None]
        return self.maps.to(factors.dtype) * factors


class R3GANGenerator(nn.Module):
    """Turns latents into pictures whose values are not bounded: round and clamp them where pictures are made."""

    def __init__(self, settings: R3GANGeneratorSettings, shape: ImageShape, classes: int = 0) -> None:
        super().__init__()
        plan = settings.stages(shape)
        total = sum(stage.blocks for stage in plan)
        self.input = LatentInput(settings.latent, classes)
        self.basis = GenerativeBasis(self.input.features, plan[0].width)
        # The 1x1 convolution comes before the larger size: the two commute, and so it has less to do.
        self.transitions = nn.ModuleList(_transition(before.width, after.width) for before, after in pairwise(plan))
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(NormFreeBlock(stage.width, stage.cardinality, settings.expansion, total) for _ in range(stage.blocks))
            )
            for stage in plan
        )
        self.picture = ScaledConv2d(plan[-1].width, shape.channels, 1)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (N, latent), labels (N,) where there are classes, to (N, C, H, W) around [-1, 1].

        Raises:
            ValueError: latents or labels that do not fit.
        """
        features = self.stages[0](self.basis(self.input(latents, labels)))
        for transition, stage in zip(self.transitions, self.stages[1:], strict=True):
            features = stage(transition(features))
        return self.picture(features)


def _transition(before: int, after: int) -> nn.Sequential:
    convolution = nn.Identity() if before == after else ScaledConv2d(before, after, 1)
    return nn.Sequential(convolution, SmoothResample(1))
