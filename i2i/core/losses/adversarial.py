"""Adversarial losses behind one interface: both sides receive real and generated outputs.

A loss is stateless. ``generator(real, fake)`` is what the generator minimises, ``discriminator(real, fake)`` what the
discriminator minimises, as named terms: one for the real and one for the generated pictures where they can be told
apart, a single one for pairs. A loss whose generator side ignores the real output says so in
``generator_needs_real``, and the caller skips that pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from i2i.core.discriminators.output import DiscriminatorOutput
from i2i.core.step import joined_mean


class AdversarialLoss(Protocol):
    """The interface of every adversarial loss."""

    generator_needs_real: bool
    """Whether the generator's side looks at what the discriminator says of real pictures."""
    couples_batch: bool
    """Whether samples of a batch influence each other's loss, so that a batch must not be accumulated in parts."""

    def generator(self, real: DiscriminatorOutput | None, fake: DiscriminatorOutput) -> Tensor:
        """What the generator minimises, a scalar of at least float32."""
        ...

    def discriminator(self, real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Mapping[str, Tensor]:
        """What the discriminator minimises the sum of: scalars by name, `real` and `fake`, or `pair`."""
        ...


AdversarialKind = Literal[
    "minimax",
    "nonsaturating",
    "maximum_likelihood",
    "lsgan",
    "hinge",
    "wasserstein",
    "relativistic_average",
    "relativistic_average_detached",
    "relativistic",
]

CROSS_ENTROPY_KINDS: tuple[AdversarialKind, ...] = ("minimax", "nonsaturating", "maximum_likelihood")
"""Losses under which a logit is the log-odds of a picture being real."""

_SMOOTHABLE: tuple[AdversarialKind, ...] = (*CROSS_ENTROPY_KINDS, "lsgan")

# exp of this is far beyond any useful gradient, and its mean over a batch still fits into float32.
_LARGEST_EXPONENT = 64.0


def adversarial_loss(kind: AdversarialKind, real_label: float = 1.0) -> AdversarialLoss:
    """The loss of that name.

    `real_label` below 1 is one-sided label smoothing (Salimans et al. 2016, https://arxiv.org/abs/1606.03498, section
    3.4; 0.9 is usual): the discriminator's target on real pictures. The generator's target stays 1.

    Raises:
        ValueError: `real_label` is out of range, or the loss has no labels that could be smoothed.
    """
    if not 0.5 < real_label <= 1.0:
        raise ValueError(f"real_label is {real_label}; needs more than 0.5 and at most 1 (0.9 is usual)")
    if real_label != 1.0 and kind not in _SMOOTHABLE:
        raise ValueError(
            f"real_label is {real_label}, but {kind} has no labels to smooth; leave it at 1 or choose one of"
            f" {', '.join(_SMOOTHABLE)}"
        )
    if kind == "relativistic":
        return RelativisticLoss()
    if kind == "relativistic_average":
        return RelativisticAverageLoss()
    if kind == "relativistic_average_detached":
        return DetachedRelativisticAverageLoss()
    real, fake, generator = _sides(kind, real_label)
    return SeparableLoss(real=real, fake=fake, generator=generator)


_OnLogits = Callable[[Tensor], Tensor]


def _sides(kind: AdversarialKind, real_label: float) -> tuple[_OnLogits, _OnLogits, _OnLogits]:
    """The discriminator's loss on real and on generated logits, and the generator's."""
    if kind in CROSS_ENTROPY_KINDS:
        generators: dict[str, _OnLogits] = {
            "minimax": _log_of_one_minus_probability,
            "nonsaturating": _minus_log_probability,
            "maximum_likelihood": _minus_exponential,
        }
        return lambda logits: _cross_entropy(logits, real_label), _softplus, generators[kind]
    if kind == "lsgan":
        return lambda logits: (logits - real_label).square(), torch.square, lambda logits: (logits - 1.0).square()
    if kind == "hinge":
        return lambda logits: functional.relu(1.0 - logits), lambda logits: functional.relu(1.0 + logits), torch.neg
    assert kind == "wasserstein"
    return torch.neg, lambda logits: logits, torch.neg


class SeparableLoss:
    """A loss whose real and generated sides do not look at each other.

    Each side is a function of single logits, averaged over positions and samples, then over scales.

    Sources: minimax and non-saturating: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1 and the
    end of section 3. Maximum likelihood: Goodfellow 2014, https://arxiv.org/abs/1412.6515, without a factor 1/2;
    beyond a logit of 64 its exponential goes on as a straight line, so that it stays finite. Least squares: Mao et al.
    2017, equation 2 with targets 1 and 0 and without its factor 1/2 (CycleGAN halves the discriminator's sum instead).
    Hinge: Lim & Ye 2017; Miyato et al. 2018, equations 16 and 17. Wasserstein: Arjovsky et al. 2017, equation 2.
    """

    generator_needs_real = False
    couples_batch = False

    def __init__(self, *, real: _OnLogits, fake: _OnLogits, generator: _OnLogits) -> None:
        self._real, self._fake, self._generator = real, fake, generator

    def generator(self, real: DiscriminatorOutput | None, fake: DiscriminatorOutput) -> Tensor:
        return _mean_over_scales(self._generator, fake)

    def discriminator(self, real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Mapping[str, Tensor]:
        return {"real": _mean_over_scales(self._real, real), "fake": _mean_over_scales(self._fake, fake)}


class RelativisticLoss:
    """Is the real picture of a pair more real than the generated one? The i-th of either batch make a pair.

    Source: Jolicoeur-Martineau 2018, https://arxiv.org/abs/1807.00734 (RSGAN); R3GAN (Huang et al. 2024,
    https://arxiv.org/abs/2501.05441), equation 2 with f(t) = -softplus(-t), the generator non-saturating.
    """

    generator_needs_real = True
    couples_batch = False

    def generator(self, real: DiscriminatorOutput | None, fake: DiscriminatorOutput) -> Tensor:
        assert real is not None, "this loss needs the judgement of real pictures"
        return _mean_over_scales(_minus_log_probability_above, fake, real)

    def discriminator(self, real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Mapping[str, Tensor]:
        return {"pair": _mean_over_scales(_minus_log_probability_above, real, fake)}


class RelativisticAverageLoss:
    """Is a picture more real than those of the other side are on average? Both sides are moved by both terms.

    The averages are those of the joined batch, and gradients flow through them.

    Source: Jolicoeur-Martineau 2018, https://arxiv.org/abs/1807.00734 (RaSGAN): the generator minimises the
    discriminator's two terms with the roles exchanged.
    """

    generator_needs_real = True
    couples_batch = True

    def generator(self, real: DiscriminatorOutput | None, fake: DiscriminatorOutput) -> Tensor:
        assert real is not None, "this loss needs the judgement of real pictures"
        above, below = self._terms(fake, real)
        return above + below

    def discriminator(self, real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Mapping[str, Tensor]:
        above, below = self._terms(real, fake)
        return {"real": above, "fake": below}

    def _terms(self, upper: DiscriminatorOutput, lower: DiscriminatorOutput) -> tuple[Tensor, Tensor]:
        """Losses of `upper` for not lying above the mean of `lower`, and of `lower` for not lying below that of it."""
        return (
            _mean_over_scales(lambda high, low: _minus_log_probability(high - joined_mean(low.mean())), upper, lower),
            _mean_over_scales(lambda high, low: _softplus(low - joined_mean(high.mean())), upper, lower),
        )


class DetachedRelativisticAverageLoss:
    """The relativistic average as ESRGAN was released: halved sums, and means that are constants to the discriminator.

    A logit then moves the discriminator through its own term alone, which makes another gradient, not just a smaller
    one: in the reference's own numbers they are 93 % apart. The generator's is half of that of the paper, for there the
    mean of the generated pictures passes a gradient on, and that of the real ones has none to pass.

    Source: the code released with Wang et al. 2018, https://arxiv.org/abs/1809.00219, as BasicSR keeps it; the paper's
    equations 1 and 2 say nothing of this.
    """

    generator_needs_real = True
    couples_batch = True

    def generator(self, real: DiscriminatorOutput | None, fake: DiscriminatorOutput) -> Tensor:
        assert real is not None, "this loss needs the judgement of real pictures"
        above = _mean_over_scales(lambda f, r: _minus_log_probability(f - joined_mean(r.detach().mean())), fake, real)
        below = _mean_over_scales(lambda f, r: _softplus(r.detach() - joined_mean(f.mean())), fake, real)
        return (above + below) / 2.0

    def discriminator(self, real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Mapping[str, Tensor]:
        above = _mean_over_scales(lambda r, f: _minus_log_probability(r - joined_mean(f.detach().mean())), real, fake)
        below = _mean_over_scales(lambda r, f: _softplus(f - joined_mean(r.detach().mean())), real, fake)
        return {"real": above / 2.0, "fake": below / 2.0}


def equilibrium(kind: AdversarialKind, real_label: float = 1.0) -> Mapping[str, float]:
    """Where theory expects a training to end: generated pictures like real ones, and the best possible discriminator.

    Returns:
        By name, as far as theory knows it: `judgement` of any picture on the scale of `judgement`, the
        `discriminator`'s sum of terms, the `generator`'s loss, and the `value` of the minimax game.

    Source: Goodfellow et al. 2014, proposition 1 and theorem 1 (judgement 1/2, value -log 4); with smoothed labels
    Salimans et al. 2016, section 3.4 (judgement real_label / 2). The others follow from their definitions.
    """
    if kind in CROSS_ENTROPY_KINDS:
        judgement = real_label / 2.0
        no, yes = math.log(1.0 - judgement), math.log(judgement)
        loss = -real_label * yes - (1.0 - real_label) * no - no
        generators = {"minimax": no, "nonsaturating": -yes, "maximum_likelihood": -judgement / (1.0 - judgement)}
        known = {"judgement": judgement, "discriminator": loss, "generator": generators[kind]}
        return {**known, "value": -math.log(4.0)} if kind == "minimax" and real_label == 1.0 else known
    if kind == "lsgan":
        judgement = real_label / 2.0
        loss = (judgement - real_label) ** 2 + judgement**2
        return {"judgement": judgement, "discriminator": loss, "generator": (judgement - 1.0) ** 2}
    # No single logit is the answer here, only the distance between real and generated ones, which is none.
    ends = {
        "hinge": {"discriminator": 2.0},
        "wasserstein": {"discriminator": 0.0},
        "relativistic": {"discriminator": math.log(2.0), "generator": math.log(2.0)},
        "relativistic_average": {"discriminator": math.log(4.0), "generator": math.log(4.0)},
        "relativistic_average_detached": {"discriminator": math.log(2.0), "generator": math.log(2.0)},
    }
    return ends[kind]


def judgement(kind: AdversarialKind, output: DiscriminatorOutput) -> Tensor:
    """What is usually watched as D(real) and D(fake): a mean over the batch, detached, a scalar.

    A probability for the losses that are cross entropies, else the logit as it is.
    """
    if kind not in CROSS_ENTROPY_KINDS:
        return output.mean_logit()
    return _mean_over_scales(torch.sigmoid, output).detach()


def _mean_over_scales(loss: Callable[..., Tensor], *outputs: DiscriminatorOutput) -> Tensor:
    """Mean over positions and samples, then over scales, of `loss` on the logits of one or two outputs."""
    scales = []
    for logits in zip(*(output.logits for output in outputs), strict=True):
        assert all(part.shape[1:] == logits[0].shape[1:] for part in logits)
        scales.append(loss(*(part if part.dtype.itemsize >= 4 else part.float() for part in logits)).mean())
    return scales[0] if len(scales) == 1 else torch.stack(scales).mean()


def _softplus(logits: Tensor) -> Tensor:
    # That of torch turns into the identity above 20, which is wrong in the tenth digit.
    return -functional.logsigmoid(-logits)


def _minus_log_probability(logits: Tensor) -> Tensor:
    return -functional.logsigmoid(logits)


def _log_of_one_minus_probability(logits: Tensor) -> Tensor:
    return functional.logsigmoid(-logits)


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    loss = _minus_log_probability(logits)
    return loss if label == 1.0 else loss + (1.0 - label) * logits


def _minus_exponential(logits: Tensor) -> Tensor:
    within = logits.clamp(max=_LARGEST_EXPONENT)
    return -within.exp() * (1.0 + functional.relu(logits - _LARGEST_EXPONENT))


def _minus_log_probability_above(high: Tensor, low: Tensor) -> Tensor:
    assert high.shape == low.shape, "pairs need as many real as generated pictures"
    return _minus_log_probability(high - low)
