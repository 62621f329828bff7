"""The discriminator of R3GAN: its generator turned round.

Source: Huang et al. 2024, https://arxiv.org/abs/2501.05441, section 4 and appendix.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from i2i.core.discriminators.output import ClassHead, Conditioning, DiscriminatorOutput
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
class R3GANDiscriminatorSettings:
    """One stage for each size from the picture down to 4 pixels; empty lists stand for the paper's numbers."""

    kind: Literal["r3gan"] = "r3gan"
    widths: tuple[int, ...] = ()
    """Channels of each stage, from the picture down to 4 pixels: the generator's, the other way round."""
    cardinalities: tuple[int, ...] = ()
    """Groups of each stage's 3x3 convolutions."""
    blocks: tuple[int, ...] = ()
    """Residual blocks of each stage."""
    expansion: int = 2
    """How many times wider a block is inside."""

    def __post_init__(self) -> None:
        check_stages(self.widths, self.cardinalities, self.blocks, self.expansion)

    def size_problem(self, shape: ImageShape) -> str | None:
        """Why pictures of this shape cannot be judged, naming the nearest that can, or None."""
        problem = unfit_size("r3gan", shape, SIZES)
        if problem is None:
            try:
                self.stages(shape)
            except ValueError as error:
                problem = str(error)
        return problem

    def stages(self, shape: ImageShape) -> list[Stage]:
        """Those for pictures of this shape, from the picture down."""
        _, count = doublings(shape.pixels)
        pixels = [shape.pixels >> index for index in range(count + 1)]
        return plan_stages(pixels, self.widths, self.cardinalities, self.blocks, self.expansion)

    def build(
        self, shape: ImageShape, classes: int = 0, conditioning: Conditioning = "projection"
    ) -> R3GANDiscriminator:
        """Raises: ValueError: what `size_problem` says."""
        refuse(self.size_problem(shape))
        return R3GANDiscriminator(self, shape, classes, conditioning)


class R3GANDiscriminator(nn.Module):
    """Judges whole pictures.

    With classes the projection is added to an unconditional logit, as in the other families; the released program has
    the projection alone.
    """

    def __init__(
        self,
        settings: R3GANDiscriminatorSettings,
        shape: ImageShape,
        classes: int = 0,
        conditioning: Conditioning = "projection",
    ) -> None:
        super().__init__()
        plan = settings.stages(shape)
        total = sum(stage.blocks for stage in plan)
        last = plan[-1].width
        self.extraction = ScaledConv2d(shape.channels, plan[0].width, 1)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(NormFreeBlock(stage.width, stage.cardinality, settings.expansion, total) for _ in range(stage.blocks))
            )
            for stage in plan
        )
        self.transitions = nn.ModuleList(_transition(before.width, after.width) for before, after in pairwise(plan))
        self.basis = DiscriminativeBasis(last)
        self.judge = ScaledLinear(last, 1, bias=False)
        self.head = ClassHead(last, classes, conditioning, linear=ScaledLinear)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        """(N, C, H, W) in [-1, 1], labels (N,) where there are classes, to logits (N, 1).

        Raises:
            ValueError: labels that do not fit.
        """
        self.head.check(images, labels)
        features = self.stages[0](self.extraction(images))
        for transition, stage in zip(self.transitions, self.stages[1:], strict=True):
            features = stage(transition(features))
        pooled = self.basis(features)
        return self.head(self.judge(pooled), pooled, labels, features=(features,))


class DiscriminativeBasis(nn.Module):
    """The inner product of each channel with a learned 4x4 map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, 1, 4, 4) / 4.0)

    def initialize_weights(self, generator: torch.Generator) -> None:
        """N(0, 1/16), the reciprocal of the summands."""
        nn.init.normal_(self.weight, 0.0, 0.25, generator=generator)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, 4, 4) to (N, C)."""
        return (features * self.weight[:, 0].to(features.dtype)).sum(dim=(2, 3))


def _transition(before: int, after: int) -> nn.Sequential:
    convolution = nn.Identity() if before == after else ScaledConv2d(before, after, 1)
    return nn.Sequential(SmoothResample(-1), convolution)
