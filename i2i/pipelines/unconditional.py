"""Unconditional generation: pictures from noise, or from noise and a label.

One pipeline for Goodfellow et al. 2014, DCGAN (Radford et al. 2016), WGAN-GP (Gulrajani et al. 2017), SNGAN (Miyato et
al. 2018) and R3GAN (Huang et al. 2024): they differ in networks, loss, penalties and in whether both players see the
same pictures, all of which are settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.augmentation import (
    AdaptiveAugmentation,
    AdaptiveAugmentationSettings,
    AugmentationSettings,
    InstanceNoiseSettings,
)
from i2i.core.discriminators import (
    Conditioning,
    DCGANDiscriminatorSettings,
    DiscriminatorOutput,
    ImageDiscriminatorSettings,
)
from i2i.core.generators import DCGANGeneratorSettings, LatentGeneratorSettings
from i2i.core.image_shape import ImageShape
from i2i.core.initialization import InitializationSettings, initialize
from i2i.core.losses.adversarial import (
    CROSS_ENTROPY_KINDS,
    AdversarialKind,
    adversarial_loss,
    equilibrium,
    judgement,
)
from i2i.core.losses.penalties import PenaltySettings
from i2i.core.losses.perceptual import PerceptualSettings
from i2i.core.randomness import generator_of, to_device
from i2i.core.step import Losses, Progress, StepContext, Term, Update
from i2i.core.virtual_batch_norm import has_reference, reference_rows, set_reference
from i2i.errors import RecipeError
from i2i.pipelines.protocol import Grid, LatentEntryPoint, Snapshot, Stateful

_SHOWN, _SHOWN_COLUMNS = 64, 8
_DOUBTFUL_LOGIT: Mapping[AdversarialKind, float] = {
    **dict.fromkeys(CROSS_ENTROPY_KINDS, 0.0),
    "hinge": 0.0,
    "lsgan": 0.5,
}
"""The logit of a discriminator in doubt, for losses that know one."""


@dataclass(frozen=True, kw_only=True)
class UnconditionalSettings:
    """The method's settings; the defaults are DCGAN's."""

    kind: Literal["unconditional"] = "unconditional"
    generator: LatentGeneratorSettings = field(default_factory=DCGANGeneratorSettings)
    discriminator: ImageDiscriminatorSettings = field(default_factory=DCGANDiscriminatorSettings)
    initialization: InitializationSettings = field(default_factory=InitializationSettings)
    adversarial: AdversarialKind = "nonsaturating"
    real_label: float = 1.0
    """Target of the discriminator on real pictures; 0.9 is one-sided label smoothing (Salimans et al. 2016, 3.4)."""
    penalties: tuple[PenaltySettings, ...] = ()
    """On the discriminator's gradient; those that are not due in every step move it in an update of their own."""
    discriminator_steps: int = 1
    """Moves of the discriminator for one of the generator, each with fresh pictures."""
    discriminator_pretraining_steps: int = 0
    """Steps in which the discriminator moves alone."""
    fakes: Literal["shared", "separate"] = "shared"
    """Whether the generator learns through the very pictures that the discriminator judged (DCGAN) or through fresh
    ones, against fresh real pictures where the loss wants such (WGAN-GP, R3GAN)."""
    classes: int = 0
    """How many the labels of the data tell apart; 0 trains without labels."""
    conditioning: Conditioning = "projection"
    """How the discriminator takes a label."""
    classification_weight: float = 1.0
    """Of the auxiliary classifier's cross-entropy (Odena et al. 2017), if there is one."""
    augmentation: AugmentationSettings | None = None
    """Of real and generated pictures before the discriminator, for small sets."""
    instance_noise: InstanceNoiseSettings | None = None

    players: ClassVar[Sequence[str]] = ("generator", "discriminator")
    scale: ClassVar[int] = 1
    directions: ClassVar[Sequence[str]] = ()

    def __post_init__(self) -> None:
        for name, least in (("discriminator_steps", 1), ("discriminator_pretraining_steps", 0), ("classes", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; needs at least {least}")
        if self.classes == 1:
            raise ValueError("classes is 1; needs 0 (no labels) or at least 2")
        if self.classification_weight < 0:
            raise ValueError(f"classification_weight is {self.classification_weight}; cannot be negative")
        adversarial_loss(self.adversarial, real_label=self.real_label)  # refuses smoothing where it has no meaning
        if self.penalties and getattr(self.discriminator, "normalization", "none") == "batch":
            raise ValueError(
                "penalties look at the slope at single pictures, which batch norm mixes;"
                " set discriminator.normalization to none"
            )
        if isinstance(self.augmentation, AdaptiveAugmentationSettings) and self.adversarial not in _DOUBTFUL_LOGIT:
            raise ValueError(
                f"augmentation adapts to the signs of logits, which mean nothing under the {self.adversarial} loss;"
                " use kind ramped or diffaugment"
            )

    @property
    def streams(self) -> Sequence[str]:
        """Those that the data must have."""
        return ("real", "label") if self.classes else ("real",)

    @property
    def doubt_loss(self) -> float | None:
        """The discriminator's loss when it cannot tell the pictures apart, if theory knows it."""
        return equilibrium(self.adversarial, self.real_label).get("discriminator")

    def size_problem(self, shape: ImageShape) -> str | None:
        """Why the networks cannot make or judge pictures of this shape, or None."""
        return self.generator.size_problem(shape) or self.discriminator.size_problem(shape)

    def batch_problem(self, rows: int) -> str | None:
        """Why the first micro-batch, all processes together, cannot have so few `rows`, or None."""
        judge = self.discriminator
        if not isinstance(judge, DCGANDiscriminatorSettings) or judge.normalization != "virtual":
            return None
        wanted, rows_key = judge.reference_rows, "pipeline.discriminator.reference_rows"
        if wanted <= rows:
            return None
        return (
            f"the discriminator's virtual batch norm takes its {wanted} reference pictures from the first micro-batch,"
            f" which has {rows} - set {rows_key} to at most {rows}, or training.batch_size to at least {wanted} times"
            " training.accumulate"
        )

    def build(self, shape: ImageShape) -> Unconditional:
        return Unconditional(self, shape)


class Unconditional:
    """A generator that turns latents into pictures, and a discriminator that judges them."""

    averaged: Sequence[str] = ("generator",)
    consistency = None

    def __init__(self, settings: UnconditionalSettings, shape: ImageShape) -> None:
        self.settings = settings
        self.streams = settings.streams
        self.generator = settings.generator.build(shape, settings.classes)
        self.discriminator = settings.discriminator.build(shape, settings.classes, settings.conditioning)
        self.adversarial = adversarial_loss(settings.adversarial, real_label=settings.real_label)
        self.augmentation = None if settings.augmentation is None else settings.augmentation.build()
        self.networks: Mapping[str, nn.Module] = {"generator": self.generator, "discriminator": self.discriminator}
        self.players: Mapping[str, Sequence[str]] = {name: (name,) for name in settings.players}
        self.snapshots: Mapping[str, Snapshot] = {}
        self.pretrained: Mapping[str, PerceptualSettings] = {}
        self.memories: Mapping[str, Stateful] = (
            {"augmentation": self.augmentation} if isinstance(self.augmentation, AdaptiveAugmentation) else {}
        )
        self.entry_points: Mapping[str, LatentEntryPoint] = {
            "generate": LatentEntryPoint(
                "generator", settings.generator, shape, settings.classes, judge="discriminator"
            )
        }
        self._always_penalties = [penalty for penalty in settings.penalties if penalty.every == 1]
        self._lazy_penalties = [penalty for penalty in settings.penalties if penalty.every > 1]
        self._shown_latents = torch.zeros(_SHOWN, settings.generator.latent)

    def initialize(self, seed: int) -> None:
        for name, network in self.networks.items():
            initialize(network, self.settings.initialization, generator_of(seed, "initialize", name))
        self._shown_latents = torch.randn(self._shown_latents.shape, generator=generator_of(seed, "show", "latent"))

    def phase_starts(self, batch_size: int) -> Sequence[int]:
        alone = self.settings.discriminator_pretraining_steps
        return (0, alone) if alone else (0,)

    def updates(self, progress: Progress) -> Sequence[Update]:
        if self.augmentation is not None:
            self.augmentation.prepare(progress)
        settings = self.settings
        shared = settings.fakes == "shared"
        coupled = "the means of the relativistic average loss" if self.adversarial.couples_batch else ""
        discriminator = Update(
            "discriminator",
            "discriminator",
            self.discriminator_losses,
            draws=self.streams,
            repeats=settings.discriminator_steps,
            needs_graph_of=("generator",) if shared else (),
            couples_batch=coupled,
        )
        lazy = [
            Update(
                f"penalty_{penalty.kind}",
                "discriminator",
                self._lazy_penalty(penalty),
                draws=self.streams,
                every=penalty.every,
            )
            for penalty in self._lazy_penalties
        ]
        if progress.step < settings.discriminator_pretraining_steps:
            return (discriminator, *lazy)
        generator = Update(
            "generator",
            "generator",
            self.generator_losses,
            draws=() if shared or not self.adversarial.generator_needs_real else self.streams,
            couples_batch=coupled,
            audited=True,
        )
        return (discriminator, *lazy, generator)

    def discriminator_losses(self, context: StepContext) -> Losses:
        """The loss on real and generated pictures, the classifier's if there is one, and the penalties always due."""
        self._settle_references(context)
        real, real_labels = context.batch["real"], context.batch.get("label")
        fake, fake_labels = self._generate(context)
        if self.settings.fakes == "shared":
            # Attached: the generator's update goes back through these very pictures.
            context.carry.update(real=real, fake=fake, **_labels(real_label=real_labels, fake_label=fake_labels))
        judged_real = self._judge(real, real_labels, context, "real")
        judged_fake = self._judge(fake.detach(), fake_labels, context, "fake")
        terms = {name: Term(loss) for name, loss in self.adversarial.discriminator(judged_real, judged_fake).items()}
        terms |= self._classification(judged_real, real_labels)
        for penalty in self._always_penalties:
            terms[penalty.kind] = self._penalty(penalty, context, (real, real_labels), (fake.detach(), fake_labels))
        watched = {
            "discriminator/real": judged_real.mean_logit(),
            "discriminator/fake": judged_fake.mean_logit(),
        }
        if self.settings.adversarial in CROSS_ENTROPY_KINDS:
            watched["discriminator/real_probability"] = judgement(self.settings.adversarial, judged_real)
            watched["discriminator/fake_probability"] = judgement(self.settings.adversarial, judged_fake)
        if isinstance(self.augmentation, AdaptiveAugmentation):
            boundary = _DOUBTFUL_LOGIT[self.settings.adversarial]
            watched["augmentation/overfitting"] = self.augmentation.observe(judged_real, boundary)
            watched["augmentation/probability"] = real.new_full((), self.augmentation.probability)
        return Losses(terms, watched)

    def generator_losses(self, context: StepContext) -> Losses:
        """What the generator minimises, on shared or fresh pictures."""
        if self.settings.fakes == "shared":
            fake, fake_labels = context.carry["fake"], context.carry.get("fake_label")
            real, real_labels = context.carry["real"], context.carry.get("real_label")
        else:
            fake, fake_labels = self._generate(context)
            real, real_labels = context.batch.get("real"), context.batch.get("label")
        judged_real = None
        if self.adversarial.generator_needs_real:
            assert real is not None, "the update draws them"
            judged_real = self._judge(real, real_labels, context, "real")
        judged_fake = self._judge(fake, fake_labels, context, "fake")
        terms = {"adversarial": Term(self.adversarial.generator(judged_real, judged_fake))}
        return Losses(terms | self._classification(judged_fake, fake_labels))

    def show(self, networks: Mapping[str, nn.Module], pictures: Mapping[str, Tensor]) -> Mapping[str, Grid]:
        """The same latents every time, in rows of one class where there are classes."""
        network = networks["generator"]
        first = next(network.parameters())
        labels = None
        if self.settings.classes:
            labels = torch.arange(_SHOWN, device=first.device) // _SHOWN_COLUMNS % self.settings.classes
        made = network(self._shown_latents.to(first), labels)
        return {"generate": Grid(made, _SHOWN_COLUMNS, "real")}

    def _generate(self, context: StepContext) -> tuple[Tensor, Tensor | None]:
        """Pictures from keyed latents, with uniformly drawn labels where there are classes."""
        latents, labels = self.draw_latents(context), None
        if self.settings.classes:
            share = context.random.own_uniform("label", 1)[:, 0]
            labels = to_device((share * self.settings.classes).long(), latents.device)
        return self.generator(latents, labels), labels

    def draw_latents(self, context: StepContext) -> Tensor:
        """(own rows, latent) standard normal draws, keyed by sample."""
        like = next(self.generator.parameters())
        return context.random.normal("latent", (self.settings.generator.latent,)).to(like)

    def _judge(
        self, images: Tensor, labels: Tensor | None, context: StepContext, side: Literal["real", "fake"]
    ) -> DiscriminatorOutput:
        """The discriminator behind instance noise and augmentation, whose draws are the same for equal `side`."""
        if self.settings.instance_noise is not None:
            noise = self.settings.instance_noise
            images = noise.add(images, context.progress, context.random, f"instance_noise/{side}")
        if self.augmentation is not None:
            images = self.augmentation.augment(images, context.random, f"augmentation/{side}")
        return self.discriminator(images, labels)

    def _classification(self, judged: DiscriminatorOutput, labels: Tensor | None) -> dict[str, Term]:
        if judged.class_logits is None or labels is None or self.settings.classification_weight == 0:
            return {}
        loss = functional.cross_entropy(judged.class_logits.float(), labels)
        return {"classification": Term(loss, self.settings.classification_weight)}

    def _penalty(
        self,
        penalty: PenaltySettings,
        context: StepContext,
        real: tuple[Tensor, Tensor | None],
        fake: tuple[Tensor, Tensor | None],
    ) -> Term:
        """At the pixels before noise and augmentation, which the judgement goes through."""
        (images, labels), (fakes, fake_labels) = real, fake
        labels_there = labels if penalty.side == "real" else fake_labels
        value = penalty.measure(
            lambda points: self._judge(points, labels_there, context, penalty.side), images, fakes, context.random
        )
        return Term(value, penalty.weight_at(context.progress))

    def _lazy_penalty(self, penalty: PenaltySettings) -> Callable[[StepContext], Losses]:
        def losses(context: StepContext) -> Losses:
            real = context.batch["real"], context.batch.get("label")
            fake = real
            if penalty.needs_fake:
                with torch.no_grad():
                    fake = self._generate(context)
            return Losses({penalty.kind: self._penalty(penalty, context, real, fake)})

        return losses

    def _settle_references(self, context: StepContext) -> None:
        """Virtual batch norm in the discriminator takes the first real pictures that it meets as its reference.

        Raises:
            RecipeError: it meets too few.
        """
        if not has_reference(self.discriminator):
            first = context.joined.gather(context.batch["real"])
            # A recipe that starts from other weights may have promised a reference that these do not bring.
            if (problem := self.settings.batch_problem(len(first))) is not None:
                raise RecipeError(f"training.batch_size: {problem}")
            set_reference(self.discriminator, first[: reference_rows(self.discriminator)])


def _labels(**labels: Tensor | None) -> dict[str, Tensor]:
    return {name: values for name, values in labels.items() if values is not None}
