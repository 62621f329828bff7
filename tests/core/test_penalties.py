"""What the reference values in parity/ do not say of the penalties: gradients, draws, narrow formats, settings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from i2i.core.discriminators.output import DiscriminatorOutput
from i2i.core.losses.penalties import (
    DRAGANSettings,
    Judge,
    PenaltySettings,
    R1Settings,
    R2Settings,
    WGANGPSettings,
    gradient_penalty,
    mixed,
    points_between,
    points_nearby,
    zero_centred_penalty,
)
from i2i.core.ramp import CosineRamp
from i2i.core.randomness import SampleRandom
from i2i.core.step import Progress

ALL: list[PenaltySettings] = [WGANGPSettings(), DRAGANSettings(), R1Settings(), R2Settings()]
KINDS = [settings.kind for settings in ALL]


def after(images: int) -> Progress:
    return Progress(step=0, images=images, epoch=0.0)


def pictures(seed: int, count: int = 3, side: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(count, 2, side, side, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 - 1


def draws(count: int = 3, first: int = 0) -> SampleRandom:
    return SampleRandom(5, range(first, first + count))


class Curved(nn.Module):
    """Small, curved everywhere, with a map for an output if so wished."""

    def __init__(self, mapped: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1)
        self.last = nn.Conv2d(3, 1, 2 if mapped else 4)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)

    def forward(self, images: Tensor) -> DiscriminatorOutput:
        logits = self.last(torch.tanh(self.first(images)))
        return DiscriminatorOutput((logits if logits.shape[-1] > 1 else logits.flatten(1),))


def linear_judge(slope: Tensor) -> Judge:
    return lambda images: DiscriminatorOutput(((images * slope).sum(dim=(1, 2, 3))[:, None],))


def test_by_hand_on_a_judge_with_a_known_slope() -> None:
    slope = torch.full((1, 2, 4, 4), 0.5, dtype=torch.float64)  # norm sqrt(32 / 4) in every sample
    judge, images = linear_judge(slope), pictures(0)
    norm = 8.0**0.5
    assert float(zero_centred_penalty(judge, images)) == pytest.approx(norm**2)
    assert float(gradient_penalty(judge, images)) == pytest.approx((norm - 1.0) ** 2)
    assert float(gradient_penalty(judge, images, target_norm=norm)) == pytest.approx(0.0, abs=1e-20)
    assert float(gradient_penalty(judge, images, target_norm=0.0)) == pytest.approx(norm**2)


def test_norms_are_of_single_samples() -> None:
    """Slopes of norm 0 and 2 are each 1 away from 1; a norm over the batch would say otherwise."""
    per_sample = torch.tensor([0.0, 2.0], dtype=torch.float64)[:, None, None, None]
    judge = linear_judge(per_sample * torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64))
    images = torch.zeros(2, 1, 2, 2, dtype=torch.float64)
    assert float(gradient_penalty(judge, images)) == pytest.approx(1.0)


def test_all_logits_of_a_sample_count() -> None:
    """Two scales and several positions: the gradient is that of their sum."""
    images = pictures(1)

    def judge(points: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput((points[:, :1] * 2.0, points[:, 1:, ::2, ::2] * 3.0))

    expected = 16 * 2.0**2 + 4 * 3.0**2
    assert float(zero_centred_penalty(judge, images)) == pytest.approx(expected)


@pytest.mark.parametrize("mapped", [False, True], ids=["number", "map"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_both_orders_with_respect_to_the_weights(kind: str, mapped: bool) -> None:
    settings = next(settings for settings in ALL if settings.kind == kind)
    network = Curved(mapped).double()
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in network.named_parameters()}
    real, fake = pictures(2, count=2), pictures(3, count=2)

    def penalty(*values: Tensor) -> Tensor:
        current = dict(zip(weights, values, strict=True))
        judge: Callable[[Tensor], DiscriminatorOutput] = lambda x: torch.func.functional_call(network, current, (x,))  # noqa: E731
        return settings.measure(judge, real, fake, draws(2))

    # The last bias shifts every judgement and no slope.
    inputs = tuple(weights.values())
    assert torch.autograd.gradcheck(penalty, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(penalty, inputs, fast_mode=True)
    found = torch.autograd.grad(penalty(*inputs), inputs[:-1])
    assert all(float(gradient.abs().max()) > 0 for gradient in found)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_flows_to_the_generator(kind: str) -> None:
    settings = next(settings for settings in ALL if settings.kind == kind)
    network = Curved().double()
    fake = pictures(3).requires_grad_()
    settings.measure(network, pictures(2), fake * 1.0, draws()).backward()
    assert fake.grad is None
    assert network.first.weight.grad is not None


def test_a_judge_without_any_slope_gives_finite_gradients() -> None:
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)

    def judge(images: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(((weight * images.square()).sum(dim=(1, 2, 3))[:, None],))

    for penalty in (gradient_penalty(judge, pictures(0)), zero_centred_penalty(judge, pictures(0))):
        (gradient,) = torch.autograd.grad(penalty, weight)
        assert torch.isfinite(gradient).all()


def test_penalties_work_where_gradients_are_switched_off() -> None:
    with torch.no_grad():
        value = zero_centred_penalty(linear_judge(torch.ones(1, 2, 4, 4)), pictures(0, dtype=torch.float32))
    assert float(value) == pytest.approx(32.0)


# --- narrow formats --------------------------------------------------------------------------------------------------


def tiny_slopes(images: Tensor) -> DiscriminatorOutput:
    """A judge whose slope (2e-8 a pixel) is nothing in float16; its matrix product is what autocast makes narrow."""
    weight = torch.full((1, images[0].numel()), 2e-4)
    return DiscriminatorOutput((torch.nn.functional.linear(images.flatten(1), weight) * 1e-4,))


@pytest.mark.parametrize(("dtype", "narrow"), [(torch.float16, False), (torch.bfloat16, True)])
def test_float16_is_left_and_bfloat16_stays(dtype: torch.dtype, narrow: bool) -> None:
    seen: list[torch.dtype] = []

    def judge(images: Tensor) -> DiscriminatorOutput:
        logits = torch.nn.functional.linear(images.flatten(1), torch.ones(1, 32))
        seen.append(logits.dtype)
        return DiscriminatorOutput((logits,))

    with torch.autocast("cpu", dtype=dtype):
        value = zero_centred_penalty(judge, pictures(0, dtype=torch.float32).to(dtype))
    assert seen == [dtype if narrow else torch.float32]
    assert value.dtype == torch.float32 and float(value) == pytest.approx(32.0)


def test_slopes_that_float16_cannot_hold_are_measured() -> None:
    images = pictures(0, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.float16):
        value = gradient_penalty(tiny_slopes, images, target_norm=0.0)
    assert float(value) == pytest.approx(32 * 2e-8**2, rel=1e-4)


# --- where slopes are measured ----------------------------------------------------------------------------------------


def test_points_between_lie_on_the_lines_each_at_its_own_share() -> None:
    real, fake = pictures(0, count=64), pictures(1, count=64)
    points = points_between(real, fake, draws(64))
    shares = (points - fake) / (real - fake)
    first = shares.flatten(1)[:, 0]
    torch.testing.assert_close(shares, first[:, None, None, None].expand_as(shares))
    assert len(set(first.tolist())) == 64 and first.min() >= 0 and first.max() < 1
    assert abs(float(first.mean()) - 0.5) < 4 * (1 / 12 / 64) ** 0.5
    assert torch.equal(mixed(real, fake, torch.ones(64, 1, 1, 1)), real)


def test_points_nearby_are_noisy_in_proportion_to_the_picture() -> None:
    real = pictures(0, count=50, side=16)
    real[0] = 0.25  # a picture without any contrast stays as it is
    noise = points_nearby(real, draws(50), deviation=0.5) - real
    assert torch.equal(noise[0], torch.zeros_like(noise[0]))
    ratio = noise[1:].flatten(1).std(dim=1) / real[1:].flatten(1).std(dim=1)
    assert abs(float(ratio.mean()) - 0.5) < 0.01
    assert abs(float(noise.mean())) < 0.01


@pytest.mark.parametrize("where", [lambda r, f, d: points_between(r, f, d), lambda r, f, d: points_nearby(r, d, 0.5)])
def test_points_do_not_depend_on_the_batch_around_them(where: Callable[..., Tensor]) -> None:
    real, fake = pictures(0, count=6), pictures(1, count=6)
    whole = where(real, fake, draws(6, first=10))
    parts = [where(real[s], fake[s], SampleRandom(5, range(10, 16), s)) for s in (slice(0, 2), slice(2, 6))]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(where(real, fake, SampleRandom(6, range(10, 16))), whole)


# --- settings --------------------------------------------------------------------------------------------------------


def test_each_penalty_looks_where_it_should() -> None:
    """A judge that is steep at bright pictures only."""

    def judge(images: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput((images.clamp(min=0.5).sum(dim=(1, 2, 3))[:, None],))

    bright, dark = torch.full((2, 1, 2, 2), 0.9), torch.full((2, 1, 2, 2), -0.9)
    assert float(R1Settings().measure(judge, bright, dark, draws(2))) == pytest.approx(4.0)
    assert float(R1Settings().measure(judge, dark, bright, draws(2))) == 0.0
    assert float(R2Settings().measure(judge, bright, dark, draws(2))) == 0.0
    assert float(R2Settings().measure(judge, dark, bright, draws(2))) == pytest.approx(4.0)
    assert float(DRAGANSettings().measure(judge, bright, dark, draws(2))) == pytest.approx(1.0)
    assert float(WGANGPSettings().measure(judge, bright, bright, draws(2))) == pytest.approx(1.0)


def test_weights() -> None:
    assert WGANGPSettings(weight=10.0).weight_at(after(0)) == 10.0
    assert DRAGANSettings(weight=10.0, every=4).weight_at(after(0)) == 40.0
    assert R1Settings(weight=10.0).weight_at(after(0)) == 5.0, "gamma / 2"
    assert R2Settings(weight=10.0, every=16).weight_at(after(0)) == 80.0, "taken rarely, it weighs more"
    ramp = CosineRamp(start=0.05, end=0.005, images=100)
    assert R1Settings(weight=ramp).weight_at(after(0)) == pytest.approx(0.025)
    assert R2Settings(weight=ramp).weight_at(after(100)) == pytest.approx(0.0025)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda: WGANGPSettings(weight=-1.0), "weight is -1; cannot be negative"),
        (lambda: R1Settings(weight=CosineRamp(start=1.0, end=-0.5, images=5)), "weight is -0.5; cannot be negative"),
        (lambda: R2Settings(every=0), "every is 0; needs at least 1"),
        (lambda: DRAGANSettings(deviation=0.0), "deviation is 0.0; needs more than 0"),
    ],
)
def test_impossible_settings_are_refused(settings: Callable[[], PenaltySettings], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings()
