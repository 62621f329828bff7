"""Adversarial losses behind one interface: both sides receive real and generated outputs.

A loss is stateless. ``generator(real, fake)`` is what the generator minimises, ``discriminator(real, fake)`` what the
discriminator minimises, split into the part of the real and the part of the generated pictures. A loss whose
generator side ignores the real output says so in ``generator_needs_real``, and the caller skips that pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from i2i.core.discriminators.output import DiscriminatorOutput


class SidedLoss(NamedTuple):
    """A discriminator's loss on real and on generated pictures, scalars."""

    real: Tensor
    fake: Tensor


class AdversarialLoss(Protocol):
    """The interface of every adversarial loss."""

    generator_needs_real: bool

    def generator(self, real: DiscriminatorOutput | None, fake: DiscriminatorOutput) -> Tensor: ...

    def discriminator(self, real: DiscriminatorOutput, fake: DiscriminatorOutput) -> SidedLoss: ...


AdversarialKind = Literal["lsgan", "nonsaturating", "hinge", "wasserstein"]


def adversarial_loss(kind: AdversarialKind) -> AdversarialLoss:
    """The loss of that name."""
    losses: dict[AdversarialKind, AdversarialLoss] = {
        "lsgan": SeparableLoss(real=_square_to_one, fake=_square_to_zero, generator=_square_to_one),
        "nonsaturating": SeparableLoss(real=_softplus_negative, fake=functional.softplus, generator=_softplus_negative),
        "hinge": SeparableLoss(real=_hinge_real, fake=_hinge_fake, generator=torch.neg),
        "wasserstein": SeparableLoss(real=torch.neg, fake=_identity, generator=torch.neg),
    }
    return losses[kind]


class SeparableLoss:
    """A loss whose real and generated sides do not look at each other.

    Each side is a function of single logits, averaged over positions and samples, then over scales.

    Sources: least squares: Mao et al. 2017, equation 2 with targets 1 and 0 and without its factor 1/2 (CycleGAN
    halves the discriminator's sum instead). Non-saturating: Goodfellow et al. 2014, section 3. Hinge: Lim & Ye 2017;
    Miyato et al. 2018, equations 16 and 17. Wasserstein: Arjovsky et al. 2017, equation 2.
    """

    generator_needs_real = False

    def __init__(
        self,
        *,
        real: Callable[[Tensor], Tensor],
        fake: Callable[[Tensor], Tensor],
        generator: Callable[[Tensor], Tensor],
    ) -> None:
        self._real, self._fake, self._generator = real, fake, generator

    def generator(self, real: DiscriminatorOutput | None, fake: DiscriminatorOutput) -> Tensor:
        return _mean_over_scales(self._generator, fake)

    def discriminator(self, real: DiscriminatorOutput, fake: DiscriminatorOutput) -> SidedLoss:
        return SidedLoss(_mean_over_scales(self._real, real), _mean_over_scales(self._fake, fake))


def _mean_over_scales(loss: Callable[[Tensor], Tensor], output: DiscriminatorOutput) -> Tensor:
    scales = [loss(logits if logits.dtype.itemsize >= 4 else logits.float()).mean() for logits in output.logits]
    return scales[0] if len(scales) == 1 else torch.stack(scales).mean()


def _square_to_one(logits: Tensor) -> Tensor:
    return (logits - 1.0).square()


def _square_to_zero(logits: Tensor) -> Tensor:
    return logits.square()


def _softplus_negative(logits: Tensor) -> Tensor:
    return functional.softplus(-logits)


def _hinge_real(logits: Tensor) -> Tensor:
    return functional.relu(1.0 - logits)


def _hinge_fake(logits: Tensor) -> Tensor:
    return functional.relu(1.0 + logits)


def _identity(logits: Tensor) -> Tensor:
    return logits
