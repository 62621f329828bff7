"""What the reference values in parity/ do not say of the losses: several scales, narrow formats, direction."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from i2i.core.discriminators import DiscriminatorOutput
from i2i.core.losses.adversarial import AdversarialKind, adversarial_loss
from i2i.core.losses.reconstruction import mean_absolute_error

KINDS: tuple[AdversarialKind, ...] = get_args(AdversarialKind)


def judged(*logits: Tensor) -> DiscriminatorOutput:
    return DiscriminatorOutput(logits)


def values(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_hand() -> None:
    """Logits 2 (real) and -0.5 (generated), by the formulas of the papers."""
    real, fake = judged(torch.tensor([[2.0]])), judged(torch.tensor([[-0.5]]))
    expected = {
        "lsgan": (1.0, 0.25, 2.25),
        "nonsaturating": (0.126928, 0.474077, 0.974077),
        "hinge": (0.0, 0.5, 0.5),
        "wasserstein": (-2.0, -0.5, 0.5),
    }
    assert set(expected) == set(KINDS)
    for kind, numbers in expected.items():
        loss = adversarial_loss(kind)  # type: ignore[arg-type]
        sides = loss.discriminator(real, fake)
        found = (float(sides.real), float(sides.fake), float(loss.generator(None, fake)))
        assert found == pytest.approx(numbers, abs=1e-6), kind


@pytest.mark.parametrize("kind", KINDS)
def test_each_scale_weighs_the_same_however_many_patches_it_has(kind: AdversarialKind) -> None:
    loss = adversarial_loss(kind)
    coarse, fine = values(0, 2, 1, 2, 2), values(1, 2, 1, 9, 9)
    both = loss.generator(None, judged(coarse, fine))
    apart = [loss.generator(None, judged(scale)) for scale in (coarse, fine)]
    torch.testing.assert_close(both, (apart[0] + apart[1]) / 2)
    sides = loss.discriminator(judged(coarse, fine), judged(fine, coarse))
    real = [loss.discriminator(judged(scale), judged(scale)).real for scale in (coarse, fine)]
    torch.testing.assert_close(sides.real, (real[0] + real[1]) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_players_pull_in_opposite_directions(kind: AdversarialKind) -> None:
    loss = adversarial_loss(kind)
    fake = torch.zeros(1, 1, requires_grad=True)
    real = torch.zeros(1, 1, requires_grad=True)
    (generator_slope,) = torch.autograd.grad(loss.generator(None, judged(fake)), fake)
    assert generator_slope < 0, "the generator wants its pictures judged more real"
    sides = loss.discriminator(judged(real), judged(fake + 0.5))
    real_slope, fake_slope = torch.autograd.grad(sides.real + sides.fake, (real, fake))
    assert real_slope < 0 < fake_slope


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_logits_are_averaged_in_float32(kind: AdversarialKind, dtype: torch.dtype) -> None:
    loss = adversarial_loss(kind)
    # 300 squared overflows float16; a sum of 4096 values near 1 is too coarse in bfloat16.
    logits = torch.full((1, 1, 64, 64), -300.0, dtype=dtype)
    result = loss.generator(None, judged(logits))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), loss.generator(None, judged(logits.double())), rtol=1e-6, atol=1e-6)


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([[-1e4, 1e4]], requires_grad=True)
    for kind in KINDS:
        loss = adversarial_loss(kind)
        sides = loss.discriminator(judged(logits), judged(logits))
        total = sides.real + sides.fake + loss.generator(None, judged(logits))
        (gradient,) = torch.autograd.grad(total, logits)
        assert torch.isfinite(total) and torch.isfinite(gradient).all(), kind


def test_no_loss_asks_for_a_pass_that_it_ignores() -> None:
    assert not any(adversarial_loss(kind).generator_needs_real for kind in KINDS)


def test_mean_absolute_error_is_a_float32_mean_also_of_narrow_pictures() -> None:
    prediction = torch.tensor([1.0, -1.0, 0.5]).bfloat16().requires_grad_()
    target = torch.tensor([0.0, -1.0, 1.0]).bfloat16()
    result = mean_absolute_error(prediction, target)
    assert result.dtype == torch.float32 and result.item() == 0.5
    (gradient,) = torch.autograd.grad(result, prediction)
    torch.testing.assert_close(gradient.float(), torch.tensor([1.0, 0.0, -1.0]) / 3, rtol=0.01, atol=0)
