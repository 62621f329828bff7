"""SRGAN: pictures from low to high resolution, first by pixels alone, then against a discriminator.

One pipeline for SRResNet and SRGAN (Ledig et al. 2017, https://arxiv.org/abs/1609.04802), ESRGAN (Wang et al. 2018,
https://arxiv.org/abs/1809.00219) and Real-ESRGAN (Wang et al. 2021, https://arxiv.org/abs/2107.10833): they differ in
networks, losses and in how the data make the low resolution, all of which are settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from i2i.core.discriminators import (
    DiscriminatorOutput,
    PatchDiscriminatorSettings,
    UpscalingDiscriminatorSettings,
    VGGDiscriminatorSettings,
)
from i2i.core.generators import SRResNetSettings, UpscalerSettings
from i2i.core.image_shape import ImageShape
from i2i.core.initialization import InitializationSettings, initialize
from i2i.core.losses.adversarial import AdversarialKind, adversarial_loss, equilibrium
from i2i.core.losses.perceptual import PerceptualSettings
from i2i.core.losses.reconstruction import mean_absolute_error, mean_squared_error, total_variation
from i2i.core.randomness import generator_of
from i2i.core.resize import imresize
from i2i.core.step import Losses, Progress, StepContext, Term, Update
from i2i.pipelines.protocol import PictureEntryPoint, Sheet, Snapshot, Stateful

PixelDistance = Literal["l1", "mse"]
"""Mean absolute or mean squared difference, with pixels on the scale of [0, 1] as the released codes have them."""


@dataclass(frozen=True, kw_only=True)
class SRGANSettings:
    """The method's settings; the defaults are SRGAN's, without the perceptual loss, which needs downloaded weights."""

    kind: Literal["srgan"] = "srgan"
    generator: UpscalerSettings = field(default_factory=SRResNetSettings)
    discriminator: UpscalingDiscriminatorSettings | None = field(default_factory=VGGDiscriminatorSettings)
    """None trains on pixels alone, to the end."""
    initialization: InitializationSettings = field(
        default_factory=lambda: InitializationSettings(kind="kaiming", factor=0.1)
    )
    discriminator_initialization: InitializationSettings = field(
        default_factory=lambda: InitializationSettings(kind="kaiming")
    )
    pixel_images: int = 0
    """The generator trains on pixels alone until it has seen so many; 0 begins with the adversarial phase, which then
    wants weights to start from (`initialize_from`)."""
    pixel_distance: PixelDistance = "l1"
    """In both phases."""
    pixel_weight: float = 1e-2
    """Of the distance in the adversarial phase; in the pixel phase it is all there is."""
    perceptual: PerceptualSettings | None = None
    perceptual_weight: float = 1.0
    adversarial: AdversarialKind = "nonsaturating"
    adversarial_weight: float = 1e-3
    total_variation_weight: float = 0.0

    streams: ClassVar[Sequence[str]] = ("low", "high")
    classes: ClassVar[int] = 0
    directions: ClassVar[Sequence[str]] = ()

    def __post_init__(self) -> None:
        weights = ("pixel_weight", "perceptual_weight", "adversarial_weight", "total_variation_weight")
        for name in (*weights, "pixel_images"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name):g}; cannot be negative")
        if self.discriminator is not None and self.adversarial_weight == 0:
            raise ValueError("adversarial_weight is 0; set discriminator to null to train on pixels alone")
        if self.discriminator is None and (self.perceptual is not None or self.total_variation_weight > 0):
            raise ValueError(
                "perceptual and total_variation_weight belong to the adversarial phase; discriminator is null"
            )

    @property
    def players(self) -> Sequence[str]:
        return ("generator",) if self.discriminator is None else ("generator", "discriminator")

    @property
    def scale(self) -> int:
        """Side of a made picture over that of the given one."""
        return self.generator.scale

    @property
    def doubt_loss(self) -> float | None:
        """The discriminator's loss when it cannot tell the pictures apart, if theory knows it."""
        return None if self.discriminator is None else equilibrium(self.adversarial).get("discriminator")

    def size_problem(self, shape: ImageShape) -> str | None:
        """Why the networks cannot make or judge high-resolution crops of this shape, or None."""
        if shape.channels != 3:
            return "super-resolution needs colour pictures"
        multiple = self.scale * self.generator.size_multiple
        if shape.pixels % multiple:
            below = shape.pixels - shape.pixels % multiple
            tries = " or ".join(str(size) for size in (below, below + multiple) if size)
            return f"this generator needs a multiple of {multiple} - try {tries}"
        if self.perceptual is not None and shape.pixels < self.perceptual.minimum_pixels:
            return f"the perceptual loss needs at least {self.perceptual.minimum_pixels}"
        least = self.scale * self.generator.minimum_pixels
        if shape.pixels < least:
            return f"this generator needs at least {least}"
        judge = self.discriminator
        if isinstance(judge, PatchDiscriminatorSettings):
            too_small = shape.pixels < judge.minimum_pixels
            return f"this discriminator needs at least {judge.minimum_pixels}" if too_small else None
        return None if judge is None else judge.size_problem(shape)

    def build(self, shape: ImageShape) -> SRGAN:
        return SRGAN(self, shape)


class SRGAN:
    """A generator that enlarges pictures, and a discriminator that tells enlarged ones from true ones."""

    averaged: Sequence[str] = ("generator",)
    consistency = None

    def __init__(self, settings: SRGANSettings, shape: ImageShape) -> None:
        self.settings = settings
        self.streams = settings.streams
        self.memories: Mapping[str, Stateful] = {}
        self.generator = settings.generator.build()
        self.adversarial = adversarial_loss(settings.adversarial)
        self.networks: dict[str, nn.Module] = {"generator": self.generator}
        self.players: Mapping[str, Sequence[str]] = {name: (name,) for name in settings.players}
        self.snapshots: dict[str, Snapshot] = {}
        self.pretrained: dict[str, PerceptualSettings] = {}
        if settings.discriminator is not None:
            self.discriminator = self.networks["discriminator"] = _judge(settings.discriminator, shape)
            self.networks["pixel_generator"] = settings.generator.build()
            self.snapshots["pixel_generator"] = Snapshot(of="generator", at_images=settings.pixel_images)
        if settings.perceptual is not None and settings.perceptual_weight > 0:
            self.features = self.networks["features"] = settings.perceptual.build()
            self.pretrained["features"] = settings.perceptual
        self.entry_points: Mapping[str, PictureEntryPoint] = {
            "upscale": PictureEntryPoint(
                "generator",
                settings.generator,
                ("low", "high"),
                settings.scale,
                next(iter(self.snapshots), None),
                judge=None if settings.discriminator is None else "discriminator",
            )
        }

    def initialize(self, seed: int) -> None:
        settings = self.settings
        initialize(self.generator, settings.initialization, generator_of(seed, "initialize", "generator"))
        for name, snapshot in self.snapshots.items():
            self.networks[name].load_state_dict(self.networks[snapshot.of].state_dict())
        if settings.discriminator is not None:
            random = generator_of(seed, "initialize", "discriminator")
            initialize(self.discriminator, settings.discriminator_initialization, random)

    def phase_starts(self, batch_size: int) -> Sequence[int]:
        if self.settings.discriminator is None or self.settings.pixel_images == 0:
            return (0,)
        return (0, -(-self.settings.pixel_images // batch_size))

    def updates(self, progress: Progress) -> Sequence[Update]:
        settings = self.settings
        if settings.discriminator is None or progress.images < settings.pixel_images:
            return (Update("pixels", "generator", self.pixel_losses, draws=self.streams, audited=True),)
        coupled = f"the batch means of the {settings.adversarial} loss" if self.adversarial.couples_batch else ""
        # The generator moves first; the discriminator then judges pictures made before that move.
        return (
            Update(
                "generator",
                "generator",
                self.generator_losses,
                draws=self.streams,
                couples_batch=coupled,
                audited=True,
            ),
            Update("discriminator", "discriminator", self.discriminator_losses, couples_batch=coupled),
        )

    def pixel_losses(self, context: StepContext) -> Losses:
        """The pixel phase: nothing but the distance (Ledig et al. 2017, equation 4, or its absolute form)."""
        return Losses({"pixel": Term(self._distance(self.generator(context.batch["low"]), context.batch["high"]))})

    def generator_losses(self, context: StepContext) -> Losses:
        """The adversarial phase (Ledig et al. 2017, equation 3; Wang et al. 2018, equation 3)."""
        settings, high = self.settings, context.batch["high"]
        fake = self.generator(context.batch["low"])
        terms: dict[str, Term] = {}
        if settings.pixel_weight > 0:
            terms["pixel"] = Term(self._distance(fake, high), settings.pixel_weight)
        if settings.perceptual is not None and settings.perceptual_weight > 0:
            with torch.no_grad():
                wanted = self.features(high)
            loss = settings.perceptual.loss(self.features(fake), wanted)
            terms["perceptual"] = Term(loss, settings.perceptual_weight)
        terms["adversarial"] = Term(self._deceive(high, fake), settings.adversarial_weight)
        if settings.total_variation_weight > 0:
            terms["total_variation"] = Term(total_variation(fake), settings.total_variation_weight)
        # Detached: the discriminator learns from these pictures, not through them.
        context.carry.update(high=high, fake=fake.detach())
        return Losses(terms)

    def discriminator_losses(self, context: StepContext) -> Losses:
        """True high-resolution pictures against enlarged ones, each side a batch of its own for batch norm."""
        real = self.discriminator(context.carry["high"])
        fake = self.discriminator(context.carry["fake"])
        terms = {name: Term(value) for name, value in self.adversarial.discriminator(real, fake).items()}
        return Losses(terms, {"discriminator/real": real.mean_logit(), "discriminator/fake": fake.mean_logit()})

    def show(self, networks: Mapping[str, nn.Module], pictures: Mapping[str, Tensor]) -> Mapping[str, Sheet]:
        """Bicubic beside what the network makes and the truth."""
        multiple, scale = self.settings.generator.size_multiple, self.settings.scale
        # Test pictures have any size; the network may need multiples.
        height, width = (side - side % multiple for side in pictures["low"].shape[-2:])
        low, high = pictures["low"][..., :height, :width], pictures["high"][..., : height * scale, : width * scale]
        return {
            "upscale": (
                ("bicubic", imresize(low, scale).clamp(-1.0, 1.0)),
                ("upscaled", networks["generator"](low)),
                ("truth", high),
            )
        }

    def _distance(self, made: Tensor, wanted: Tensor) -> Tensor:
        # Pixels lie in [-1, 1], which doubles differences.
        if self.settings.pixel_distance == "l1":
            return mean_absolute_error(made, wanted) / 2.0
        return mean_squared_error(made, wanted) / 4.0

    def _deceive(self, high: Tensor, fake: Tensor) -> Tensor:
        """The generator's adversarial loss; true pictures are judged only where it looks at them."""
        judged: DiscriminatorOutput | None = None
        if self.adversarial.generator_needs_real:
            judged = self.discriminator(high)
        return self.adversarial.generator(judged, self.discriminator(fake))


def _judge(settings: UpscalingDiscriminatorSettings, shape: ImageShape) -> nn.Module:
    """The discriminator for crops of `shape`; one of patches is the same for all."""
    return settings.build() if isinstance(settings, PatchDiscriminatorSettings) else settings.build(shape)
