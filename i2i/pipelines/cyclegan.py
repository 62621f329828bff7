"""CycleGAN: translation between two sets of pictures without pairs.

Source: Zhu, Park, Isola & Efros 2017, https://arxiv.org/abs/1703.10593. Names here and there: ``generator_ab`` is *G*
and ``generator_ba`` is *F* in section 3; ``discriminator_b`` is *D_Y*, ``discriminator_a`` is *D_X*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from i2i.core.discriminators import DiscriminatorOutput, DiscriminatorSettings, PatchDiscriminatorSettings
from i2i.core.generators import GeneratorSettings, ResNetGeneratorSettings
from i2i.core.image_pool import ImagePool
from i2i.core.image_shape import ImageShape
from i2i.core.initialization import InitializationSettings, initialize
from i2i.core.layers import couples_batch
from i2i.core.losses.adversarial import AdversarialKind, adversarial_loss, equilibrium
from i2i.core.losses.perceptual import PerceptualSettings
from i2i.core.losses.reconstruction import mean_absolute_error
from i2i.core.randomness import generator_of
from i2i.core.step import Losses, Progress, StepContext, Term, Update, call_together
from i2i.pipelines.protocol import PictureEntryPoint, Sheet, Snapshot


@dataclass(frozen=True, kw_only=True)
class CycleGANSettings:
    """The method's settings; the defaults are the paper's."""

    kind: Literal["cyclegan"] = "cyclegan"
    generator: GeneratorSettings = field(default_factory=ResNetGeneratorSettings)
    discriminator: DiscriminatorSettings = field(default_factory=PatchDiscriminatorSettings)
    initialization: InitializationSettings = field(default_factory=InitializationSettings)
    adversarial: AdversarialKind = "lsgan"
    cycle_weight: float = 10.0
    """lambda in equation 3."""
    identity_weight: float = 0.5
    """Multiplies `cycle_weight` (section 5.2); 0 leaves the identity loss out."""
    pool_size: int = 50
    """Generated pictures kept for each discriminator; 0 shows it only the newest."""

    players: ClassVar[Sequence[str]] = ("generator", "discriminator")
    streams: ClassVar[Sequence[str]] = ("a", "b")
    classes: ClassVar[int] = 0
    scale: ClassVar[int] = 1
    directions: ClassVar[Sequence[str]] = ("AtoB", "BtoA")

    def __post_init__(self) -> None:
        for name in ("cycle_weight", "identity_weight", "pool_size"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name):g}; cannot be negative")

    @property
    def doubt_loss(self) -> float | None:
        """The discriminator's loss when it cannot tell the pictures apart, if theory knows it."""
        return equilibrium(self.adversarial).get("discriminator")

    def size_problem(self, shape: ImageShape) -> str | None:
        """Why the networks cannot translate pictures of this shape, or None."""
        if shape.channels != 3:
            return "translation needs colour pictures"
        multiple, smallest = self.generator.size_multiple, self.generator.minimum_pixels
        if shape.pixels % multiple:
            below = shape.pixels - shape.pixels % multiple
            tries = " or ".join(str(size) for size in (below, below + multiple) if size >= smallest)
            return f"this generator needs a multiple of {multiple} - try {tries}"
        return f"this generator needs at least {smallest}" if shape.pixels < smallest else None

    def build(self, shape: ImageShape | None = None) -> CycleGAN:
        """The method for pictures of any shape."""
        return CycleGAN(self)


class CycleGAN:
    """Two generators, one each way, and a discriminator for each set of pictures."""

    def __init__(self, settings: CycleGANSettings) -> None:
        self.settings = settings
        self.streams = settings.streams
        self.generator_ab = settings.generator.build()
        self.generator_ba = settings.generator.build()
        self.discriminator_a = settings.discriminator.build()
        self.discriminator_b = settings.discriminator.build()
        self.adversarial = adversarial_loss(settings.adversarial)
        self.pool_a = ImagePool(settings.pool_size, "pool_a")
        self.pool_b = ImagePool(settings.pool_size, "pool_b")
        self.networks: Mapping[str, nn.Module] = {
            "generator_ab": self.generator_ab,
            "generator_ba": self.generator_ba,
            "discriminator_a": self.discriminator_a,
            "discriminator_b": self.discriminator_b,
        }
        self.players: Mapping[str, Sequence[str]] = {
            "generator": ("generator_ab", "generator_ba"),
            "discriminator": ("discriminator_a", "discriminator_b"),
        }
        self.averaged: Sequence[str] = ("generator_ab", "generator_ba")
        self.snapshots: Mapping[str, Snapshot] = {}
        self.pretrained: Mapping[str, PerceptualSettings] = {}
        self.memories = {"pool_a": self.pool_a, "pool_b": self.pool_b}
        self.entry_points: Mapping[str, PictureEntryPoint] = {
            "AtoB": PictureEntryPoint("generator_ab", settings.generator, ("a", "b"), judge="discriminator_b"),
            "BtoA": PictureEntryPoint("generator_ba", settings.generator, ("b", "a"), judge="discriminator_a"),
        }
        self._join_generator_calls = not couples_batch(self.generator_ab)
        self._join_discriminator_calls = not couples_batch(self.discriminator_a)

    def initialize(self, seed: int) -> None:
        for name, network in self.networks.items():
            initialize(network, self.settings.initialization, generator_of(seed, "initialize", name))

    def phase_starts(self, batch_size: int) -> Sequence[int]:
        return (0,)

    def updates(self, progress: Progress) -> Sequence[Update]:
        coupled = f"the batch means of the {self.settings.adversarial} loss" if self.adversarial.couples_batch else ""
        # The generators move first; the discriminators then judge pictures made before that move.
        return (
            Update(
                "generator",
                "generator",
                self.generator_losses,
                draws=("a", "b"),
                couples_batch=coupled,
                audited=True,
            ),
            Update("discriminator", "discriminator", self.discriminator_losses, couples_batch=coupled),
        )

    def generator_losses(self, context: StepContext) -> Losses:
        """Equation 3 for both directions, with the identity loss of section 5.2."""
        real_a, real_b = context.batch["a"], context.batch["b"]
        fake_b, identity_b = self._translate_and_keep(self.generator_ab, real_a, real_b)
        fake_a, identity_a = self._translate_and_keep(self.generator_ba, real_b, real_a)
        cycle_weight = self.settings.cycle_weight
        terms = {
            "adversarial_ab": Term(self._deceive(self.discriminator_b, real_b, fake_b)),
            "adversarial_ba": Term(self._deceive(self.discriminator_a, real_a, fake_a)),
        }
        if cycle_weight > 0:
            terms["cycle_a"] = Term(mean_absolute_error(self.generator_ba(fake_b), real_a), cycle_weight)
            terms["cycle_b"] = Term(mean_absolute_error(self.generator_ab(fake_a), real_b), cycle_weight)
        if identity_a is not None and identity_b is not None:
            identity_weight = self.settings.identity_weight * cycle_weight
            terms["identity_a"] = Term(mean_absolute_error(identity_a, real_a), identity_weight)
            terms["identity_b"] = Term(mean_absolute_error(identity_b, real_b), identity_weight)
        # Detached: the discriminators learn from these pictures, not through them.
        context.carry.update(real_a=real_a, real_b=real_b, fake_a=fake_a.detach(), fake_b=fake_b.detach())
        return Losses(terms)

    def discriminator_losses(self, context: StepContext) -> Losses:
        """Each discriminator on real pictures and on generated ones from its pool; halved, as the paper's 4. says."""
        terms: dict[str, Term] = {}
        watched: dict[str, Tensor] = {}
        for domain, discriminator, pool in (
            ("a", self.discriminator_a, self.pool_a),
            ("b", self.discriminator_b, self.pool_b),
        ):
            pooled = pool.query(context.carry[f"fake_{domain}"], context)
            real, fake = self._judge(discriminator, context.carry[f"real_{domain}"], pooled)
            loss = self.adversarial.discriminator(real, fake)
            terms |= {f"{side}_{domain}": Term(value, 0.5) for side, value in loss.items()}
            watched[f"discriminator_{domain}/real"] = real.mean_logit()
            watched[f"discriminator_{domain}/fake"] = fake.mean_logit()
        return Losses(terms, watched)

    def _translate_and_keep(self, generator: nn.Module, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """The translation of `source` and, when the identity loss is on, what becomes of a picture of the target."""
        if self.settings.identity_weight * self.settings.cycle_weight == 0:
            return generator(source), None
        translated, kept = call_together(generator, source, target, together=self._join_generator_calls)
        return translated, kept

    def _deceive(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """The generator's adversarial loss; real pictures are judged only where it looks at them."""
        if not self.adversarial.generator_needs_real:
            return self.adversarial.generator(None, discriminator(fake))
        return self.adversarial.generator(*self._judge(discriminator, real, fake))

    def _judge(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> tuple[DiscriminatorOutput, ...]:
        if not self._join_discriminator_calls:
            return discriminator(real), discriminator(fake)
        output: DiscriminatorOutput = discriminator(torch.cat([real, fake.to(real.dtype)]))
        return output.split(len(real), len(fake))

    def show(self, networks: Mapping[str, nn.Module], pictures: Mapping[str, Tensor]) -> Mapping[str, Sheet]:
        there, back = networks["generator_ab"], networks["generator_ba"]
        sheets: dict[str, Sheet] = {}
        for name, stream, first, second in (("AtoB", "a", there, back), ("BtoA", "b", back, there)):
            translated = first(pictures[stream])
            sheets[name] = (
                ("input", pictures[stream]),
                ("translated", translated),
                ("reconstructed", second(translated)),
            )
        return sheets

    def consistency(self, networks: Mapping[str, nn.Module], pictures: Mapping[str, Tensor]) -> Tensor:
        """Mean absolute error of both round trips, (N,), in [0, 2]."""
        there, back = networks["generator_ab"], networks["generator_ba"]
        error_a = (back(there(pictures["a"])) - pictures["a"]).abs().mean(dim=(1, 2, 3))
        error_b = (there(back(pictures["b"])) - pictures["b"]).abs().mean(dim=(1, 2, 3))
        return (error_a + error_b) / 2
