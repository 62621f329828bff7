"""Penalties on the slope of a discriminator, which keep it smooth enough to teach a generator.

Each looks at the gradient of the judgement with respect to pictures and is itself differentiated with respect to the
discriminator's weights, so the discriminator must be differentiable twice. In a network whose samples influence each
other (batch norm) that gradient is none of single samples, and no penalty means what its paper says.

In float16 the gradient within would underflow, and loss scaling protects only the one outside: there a penalty runs
in float32. Compiled networks cannot be differentiated twice: inside a penalty they run as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from i2i.core.discriminators.output import DiscriminatorOutput
from i2i.core.ramp import CosineRamp, bounds, value_at
from i2i.core.randomness import SampleRandom
from i2i.core.step import Progress

Judge = Callable[[Tensor], DiscriminatorOutput]
"""A discriminator as a function of the pictures alone; labels, if any, are bound already."""
Side = Literal["real", "fake"]
"""Whose labels and augmentation the judgement takes at the points that a penalty looks at."""


def gradient_penalty(judge: Judge, points: Tensor, target_norm: float = 1.0) -> Tensor:
    """Mean squared distance of the slope's norm at `points` from `target_norm`, a scalar.

    The norm runs over all elements of a sample, (N, C, H, W) to (N,). Of a judge that gives a map, or several, the
    gradient is that of the sum over all its logits for a sample.

    Source: Gulrajani et al. 2017 (WGAN-GP), https://arxiv.org/abs/1704.00028, equation 3, without its weight.
    """
    norms = torch.linalg.vector_norm(_slope(judge, points).flatten(1), dim=1)
    return (norms - target_norm).square().mean()


def zero_centred_penalty(judge: Judge, images: Tensor) -> Tensor:
    """Mean squared norm of the slope at `images`, summed over channel, height and width of a sample, a scalar.

    Source: Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, equation 9 (R1, at real pictures) and its
    companion R2 (at generated ones), without the factor gamma / 2.
    """
    return _slope(judge, images).flatten(1).square().sum(dim=1).mean()


def points_between(real: Tensor, fake: Tensor, random: SampleRandom) -> Tensor:
    """A point on the line between each pair of pictures, its place uniform and keyed by sample; detached.

    Source: Gulrajani et al. 2017, algorithm 1, step 6.
    """
    share = random.own_uniform("points between", 1).to(real)[..., None, None]
    return mixed(real.detach(), fake.detach(), share)


def mixed(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """`share` (N, 1, 1, 1) of the real picture and the rest of the generated one."""
    assert real.shape == fake.shape, "a line needs as many real as generated pictures"
    return share * real + (1.0 - share) * fake


def points_nearby(real: Tensor, random: SampleRandom, deviation: float) -> Tensor:
    """Real pictures under Gaussian noise of `deviation` times each picture's own standard deviation; detached.

    Source: Kodali et al. 2017 (DRAGAN), https://arxiv.org/abs/1705.07215, section 2.3. The authors' program scales the
    noise by the deviation of the whole batch; here by that of each picture, so that the batch does not matter.
    """
    values = real.detach()
    scale = values.flatten(1).std(dim=1)[:, None, None, None]
    return values + deviation * scale * random.normal("points nearby", real.shape[1:]).to(values)


def _slope(judge: Judge, images: Tensor) -> Tensor:
    """Gradient of each sample's summed logits with respect to its pixels, (N, C, H, W), at least float32."""
    uncompiled = torch.compiler.set_stance("force_eager")
    with torch.enable_grad(), _wide_enough(images.device.type), uncompiled:
        points = images.detach()
        points = (points if points.dtype.itemsize >= 4 else points.float()).requires_grad_()
        summed = [(logits if logits.dtype.itemsize >= 4 else logits.float()).sum() for logits in judge(points).logits]
        (slope,) = torch.autograd.grad(summed, points, create_graph=True)
    return slope


@contextlib.contextmanager
def _wide_enough(device_type: str) -> Iterator[None]:
    """No automatic float16 inside; automatic bfloat16, whose range is that of float32, stays."""
    if torch.is_autocast_enabled(device_type) and torch.get_autocast_dtype(device_type) == torch.float16:
        with torch.autocast(device_type, enabled=False):
            yield
    else:
        yield


# --- settings ------------------------------------------------------------------------------------------------------
# `measure` gives the penalty, from generated pictures too where it says `needs_fake`; `weight_at` what to multiply it
# with. A penalty that is taken only `every` so many steps weighs as many times more (lazy regularization, Karras et al.
# 2020, https://arxiv.org/abs/1912.04958, appendix B).


@dataclass(frozen=True, kw_only=True)
class WGANGPSettings:
    """Slopes of norm 1 between real and generated pictures."""

    kind: Literal["wgan_gp"] = "wgan_gp"
    weight: float = 10.0
    """lambda in equation 3 of Gulrajani et al. 2017."""
    every: int = 1
    """Taken in steps whose number divides by this, and then weighs as many times more."""

    side: ClassVar[Side] = "real"
    needs_fake: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self.weight, self.every)

    def measure(self, judge: Judge, real: Tensor, fake: Tensor, random: SampleRandom) -> Tensor:
        return gradient_penalty(judge, points_between(real, fake, random))

    def weight_at(self, progress: Progress) -> float:
        return self.weight * self.every


@dataclass(frozen=True, kw_only=True)
class DRAGANSettings:
    """Slopes of norm 1 around real pictures."""

    kind: Literal["dragan"] = "dragan"
    weight: float = 10.0
    """lambda in Kodali et al. 2017, section 2.3."""
    deviation: float = 0.5
    """Standard deviation of the noise over that of the picture."""
    every: int = 1
    """Taken in steps whose number divides by this, and then weighs as many times more."""

    side: ClassVar[Side] = "real"
    needs_fake: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self.weight, self.every)
        if self.deviation <= 0:
            raise ValueError(f"deviation is {self.deviation}; needs more than 0")

    def measure(self, judge: Judge, real: Tensor, fake: Tensor, random: SampleRandom) -> Tensor:
        return gradient_penalty(judge, points_nearby(real, random, self.deviation))

    def weight_at(self, progress: Progress) -> float:
        return self.weight * self.every


@dataclass(frozen=True, kw_only=True)
class R1Settings:
    """Flat at real pictures."""

    kind: Literal["r1"] = "r1"
    weight: float | CosineRamp = 10.0
    """gamma in Mescheder et al. 2018; the squared norm is multiplied by half of it."""
    every: int = 1
    """Taken in steps whose number divides by this, and then weighs as many times more."""

    side: ClassVar[Side] = "real"
    needs_fake: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self.weight, self.every)

    def measure(self, judge: Judge, real: Tensor, fake: Tensor, random: SampleRandom) -> Tensor:
        return zero_centred_penalty(judge, real)

    def weight_at(self, progress: Progress) -> float:
        return value_at(self.weight, progress) / 2.0 * self.every


@dataclass(frozen=True, kw_only=True)
class R2Settings:
    """Flat at generated pictures."""

    kind: Literal["r2"] = "r2"
    weight: float | CosineRamp = 10.0
    """gamma in Mescheder et al. 2018; the squared norm is multiplied by half of it."""
    every: int = 1
    """Taken in steps whose number divides by this, and then weighs as many times more."""

    side: ClassVar[Side] = "fake"
    needs_fake: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self.weight, self.every)

    def measure(self, judge: Judge, real: Tensor, fake: Tensor, random: SampleRandom) -> Tensor:
        return zero_centred_penalty(judge, fake)

    def weight_at(self, progress: Progress) -> float:
        return value_at(self.weight, progress) / 2.0 * self.every


PenaltySettings = WGANGPSettings | DRAGANSettings | R1Settings | R2Settings


def _check(weight: float | CosineRamp, every: int) -> None:
    least, _ = bounds(weight)
    if least < 0:
        raise ValueError(f"weight is {least:g}; cannot be negative")
    if every < 1:
        raise ValueError(f"every is {every}; needs at least 1")
