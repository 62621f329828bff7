"""What the reference values in parity/ do not say of the losses: several scales, narrow formats, direction, theory."""

from __future__ import annotations

import math
from typing import cast, get_args

import pytest
import torch
from torch import Tensor

from i2i.core.discriminators.output import DiscriminatorOutput
from i2i.core.losses.adversarial import AdversarialKind, adversarial_loss, equilibrium, judgement
from i2i.core.losses.reconstruction import mean_absolute_error
from i2i.core.randomness import SampleRandom
from i2i.core.step import Progress, StepContext, running

KINDS: tuple[AdversarialKind, ...] = get_args(AdversarialKind)
SMOOTHABLE: tuple[AdversarialKind, ...] = ("minimax", "nonsaturating", "maximum_likelihood", "lsgan")
RELATIVISTIC: tuple[AdversarialKind, ...] = ("relativistic_average", "relativistic_average_detached", "relativistic")


def judged(*logits: Tensor) -> DiscriminatorOutput:
    return DiscriminatorOutput(logits)


def values(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def total(terms: object) -> Tensor:
    return torch.stack([*cast(dict[str, Tensor], terms).values()]).sum()


def test_by_hand() -> None:
    """Logits 2 (real) and -0.5 (generated), by the formulas of the papers."""
    real, fake = judged(torch.tensor([[2.0]])), judged(torch.tensor([[-0.5]]))
    expected: dict[str, tuple[dict[str, float], float]] = {
        "minimax": ({"real": 0.126928, "fake": 0.474077}, -0.474077),
        "nonsaturating": ({"real": 0.126928, "fake": 0.474077}, 0.974077),
        "maximum_likelihood": ({"real": 0.126928, "fake": 0.474077}, -0.606531),
        "lsgan": ({"real": 1.0, "fake": 0.25}, 2.25),
        "hinge": ({"real": 0.0, "fake": 0.5}, 0.5),
        "wasserstein": ({"real": -2.0, "fake": -0.5}, 0.5),
        "relativistic_average": ({"real": 0.078889, "fake": 0.078889}, 2 * 2.5788897),
        "relativistic_average_detached": ({"real": 0.078889 / 2, "fake": 0.078889 / 2}, 2.5788897),
        "relativistic": ({"pair": 0.078889}, 2.578889),
    }
    assert set(expected) == set(KINDS)
    for kind, (terms, generator) in expected.items():
        loss = adversarial_loss(cast(AdversarialKind, kind))
        found = {name: float(term) for name, term in loss.discriminator(real, fake).items()}
        assert found == pytest.approx(terms, abs=1e-6), kind
        assert float(loss.generator(real, fake)) == pytest.approx(generator, abs=1e-6), kind


def test_the_relativistic_average_compares_with_the_mean_of_the_other_side() -> None:
    """By hand: reals 1 and 3 (mean 2), generated 0 and -2 (mean -1)."""
    loss = adversarial_loss("relativistic_average")
    real, fake = judged(torch.tensor([[1.0], [3.0]])), judged(torch.tensor([[0.0], [-2.0]]))
    terms = loss.discriminator(real, fake)
    assert float(terms["real"]) == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.exp(-4))) / 2)
    assert float(terms["fake"]) == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.exp(-4))) / 2)
    # The generator minimises the same two with the roles exchanged.
    exchanged = loss.discriminator(fake, real)
    torch.testing.assert_close(loss.generator(real, fake), total(exchanged))


def test_the_detached_average_has_half_the_values_and_other_gradients() -> None:
    """Every mean is a constant to the discriminator; to the generator, only that of the real pictures."""
    paper, released = adversarial_loss("relativistic_average"), adversarial_loss("relativistic_average_detached")
    real, fake = values(0, 5, 1).requires_grad_(), (values(1, 5, 1) - 1).requires_grad_()
    theirs, ours = (
        total(paper.discriminator(judged(real), judged(fake))),
        released.discriminator(judged(real), judged(fake)),
    )
    torch.testing.assert_close(total(ours), theirs / 2)
    mean_real, mean_fake = float(real.detach().mean()), float(fake.detach().mean())
    expected = {
        "real": (-torch.sigmoid(mean_fake - real) / 2 / len(real), None),
        "fake": (None, torch.sigmoid(fake - mean_real) / 2 / len(fake)),
    }
    for name, wanted in expected.items():
        for gradient, leaf in zip(wanted, (real, fake), strict=True):
            (found,) = torch.autograd.grad(ours[name], leaf, retain_graph=True, allow_unused=True)
            assert (found is None) == (gradient is None)
            if gradient is not None and found is not None:
                torch.testing.assert_close(found, gradient.detach())
    (of_paper,) = torch.autograd.grad(theirs, real, retain_graph=True)
    (of_released,) = torch.autograd.grad(total(ours), real)
    assert float((of_released - of_paper / 2).norm() / (of_paper / 2).norm()) > 0.1
    # The generator's real logits come from pictures it did not make, so detaching them takes nothing away.
    half = paper.generator(judged(real), judged(fake)) / 2
    made = released.generator(judged(real), judged(fake))
    torch.testing.assert_close(made, half)
    (slope,) = torch.autograd.grad(made, fake, retain_graph=True)
    torch.testing.assert_close(slope, torch.autograd.grad(half, fake)[0])
    assert torch.autograd.grad(made, real, allow_unused=True) == (None,)


def test_relativistic_pairs_are_matched_by_their_place() -> None:
    loss = adversarial_loss("relativistic")
    real, fake = values(0, 5, 1), values(1, 5, 1)
    one_by_one = [loss.discriminator(judged(real[i : i + 1]), judged(fake[i : i + 1]))["pair"] for i in range(5)]
    together = loss.discriminator(judged(real), judged(fake))["pair"]
    torch.testing.assert_close(together, torch.stack(one_by_one).mean())
    assert not torch.isclose(together, loss.discriminator(judged(real), judged(fake.flip(0)))["pair"])
    with pytest.raises(AssertionError, match="as many real as generated"):
        loss.discriminator(judged(real[:1]), judged(fake))


@pytest.mark.parametrize("kind", KINDS)
def test_each_scale_weighs_the_same_however_many_patches_it_has(kind: AdversarialKind) -> None:
    loss = adversarial_loss(kind)
    coarse, fine = values(0, 2, 1, 2, 2), values(1, 2, 1, 9, 9)
    both = loss.generator(judged(coarse + 1, fine + 1), judged(coarse, fine))
    apart = [loss.generator(judged(scale + 1), judged(scale)) for scale in (coarse, fine)]
    torch.testing.assert_close(both, (apart[0] + apart[1]) / 2)
    terms = loss.discriminator(judged(coarse, fine), judged(coarse - 1, fine - 1))
    single = [loss.discriminator(judged(scale), judged(scale - 1)) for scale in (coarse, fine)]
    for name, term in terms.items():
        torch.testing.assert_close(term, (single[0][name] + single[1][name]) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_players_pull_in_opposite_directions(kind: AdversarialKind) -> None:
    loss = adversarial_loss(kind)
    fake = torch.zeros(1, 1, requires_grad=True)
    real = torch.zeros(1, 1, requires_grad=True)
    (generator_slope,) = torch.autograd.grad(loss.generator(judged(real), judged(fake)), fake)
    assert generator_slope < 0, "the generator wants its pictures judged more real"
    terms = loss.discriminator(judged(real), judged(fake + 0.5))
    real_slope, fake_slope = torch.autograd.grad(total(terms), (real, fake))
    assert real_slope < 0 < fake_slope


# What is detached has another gradient than finite differences show, on purpose.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith("detached")])
def test_gradients_of_both_orders_are_right(kind: AdversarialKind) -> None:
    loss = adversarial_loss(kind, 0.9 if kind in SMOOTHABLE else 1.0)

    def both_sides(real: Tensor, fake: Tensor) -> tuple[Tensor, ...]:
        return (*loss.discriminator(judged(real), judged(fake)).values(), loss.generator(judged(real), judged(fake)))

    # Away from the corners of the hinge at -1 and 1.
    inputs = tuple((values(seed, 4, 1) * 3).round(decimals=1).add(0.05).requires_grad_() for seed in (2, 3))
    assert torch.autograd.gradcheck(both_sides, inputs)
    assert torch.autograd.gradgradcheck(both_sides, inputs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_logits_are_averaged_in_float32(kind: AdversarialKind, dtype: torch.dtype) -> None:
    loss = adversarial_loss(kind)
    # 300 squared overflows float16; a sum of 4096 values near 1 is too coarse in bfloat16.
    logits, others = torch.full((1, 1, 64, 64), -300.0, dtype=dtype), torch.ones(1, 1, 64, 64, dtype=dtype)
    result = loss.generator(judged(others), judged(logits))
    assert result.dtype == torch.float32
    wide = loss.generator(judged(others.double()), judged(logits.double()))
    torch.testing.assert_close(result.double(), wide, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_logits_stay_finite(kind: AdversarialKind) -> None:
    logits = torch.tensor([[-1e4, 1e4]], requires_grad=True)
    others = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = adversarial_loss(kind, 0.9 if kind in SMOOTHABLE else 1.0)
    result = total(loss.discriminator(judged(others), judged(logits))) + loss.generator(judged(others), judged(logits))
    gradients = torch.autograd.grad(result, (logits, others), allow_unused=True)
    assert torch.isfinite(result)
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_only_relativistic_losses_look_at_real_pictures_for_the_generator() -> None:
    needing = {kind for kind in KINDS if adversarial_loss(kind).generator_needs_real}
    assert needing == set(RELATIVISTIC)
    for kind in KINDS:
        loss = adversarial_loss(kind)
        if kind in needing:
            with pytest.raises(AssertionError, match="real pictures"):
                loss.generator(None, judged(values(0, 2, 1)))
        else:
            assert torch.isfinite(loss.generator(None, judged(values(0, 2, 1))))


class TwoHalves:
    """`Joined` for the first of two processes, told beforehand what the other one will say."""

    processes = 2

    def __init__(self, others: list[Tensor]) -> None:
        self.others = others

    def mean(self, value: Tensor) -> Tensor:
        return (value + self.others.pop(0)) / 2

    def gather(self, rows: Tensor) -> Tensor:
        raise NotImplementedError

    def local(self, rows: Tensor) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize("kind", ["relativistic_average", "relativistic_average_detached"])
def test_means_of_the_relativistic_average_are_those_of_the_joined_batch(kind: AdversarialKind) -> None:
    loss = adversarial_loss(kind)
    real, fake = values(0, 6, 1), values(1, 6, 1) - 1
    whole = loss.discriminator(judged(real), judged(fake))
    halves = []
    for own, other in ((slice(0, 3), slice(3, 6)), (slice(3, 6), slice(0, 3))):
        context = StepContext(
            Progress(step=0, images=0, epoch=0.0),
            {},
            SampleRandom(0, range(6), own),
            joined=TwoHalves([fake[other].mean(), real[other].mean()]),
        )
        with running(context):
            halves.append(loss.discriminator(judged(real[own]), judged(fake[own])))
    for name, term in whole.items():
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, term)


@pytest.mark.parametrize("kind", KINDS)
def test_whether_a_loss_couples_the_batch(kind: AdversarialKind) -> None:
    """Coupled means: the batch's loss is not the mean of its samples' losses."""
    loss = adversarial_loss(kind)
    real, fake = values(0, 4, 1), values(1, 4, 1)
    whole = total(loss.discriminator(judged(real), judged(fake)))
    parts = [total(loss.discriminator(judged(real[i : i + 1]), judged(fake[i : i + 1]))) for i in range(4)]
    assert bool(torch.isclose(torch.stack(parts).mean(), whole)) == (not loss.couples_batch)


# --- label smoothing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SMOOTHABLE)
def test_smoothing_is_one_sided(kind: AdversarialKind) -> None:
    plain, smooth = adversarial_loss(kind), adversarial_loss(kind, real_label=0.9)
    real, fake = judged(values(0, 4, 1)), judged(values(1, 4, 1))
    assert torch.equal(plain.discriminator(real, fake)["fake"], smooth.discriminator(real, fake)["fake"])
    assert torch.equal(plain.generator(real, fake), smooth.generator(real, fake))
    assert not torch.isclose(plain.discriminator(real, fake)["real"], smooth.discriminator(real, fake)["real"])


@pytest.mark.parametrize(("kind", "best"), [("nonsaturating", math.log(9)), ("lsgan", 0.9)])
def test_the_discriminator_is_content_at_the_smoothed_label(kind: AdversarialKind, best: float) -> None:
    real = torch.tensor([[best]], dtype=torch.float64, requires_grad=True)
    term = adversarial_loss(kind, real_label=0.9).discriminator(judged(real), judged(real.detach()))["real"]
    (slope,) = torch.autograd.grad(term, real)
    assert abs(float(slope)) < 1e-12


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(SMOOTHABLE)))
def test_losses_without_labels_refuse_smoothing(kind: AdversarialKind) -> None:
    with pytest.raises(ValueError, match=rf"real_label is 0.9, but {kind} has no labels.* minimax, nonsaturating"):
        adversarial_loss(kind, real_label=0.9)


@pytest.mark.parametrize("label", [0.5, 0.0, -1.0, 1.1, math.nan])
def test_impossible_labels_are_refused(label: float) -> None:
    with pytest.raises(ValueError, match=r"real_label is .* at most 1"):
        adversarial_loss("nonsaturating", real_label=label)


# --- theory ----------------------------------------------------------------------------------------------------------


def logit_of(kind: AdversarialKind, label: float) -> float:
    """The one logit at the equilibrium; where only the distance is known, any."""
    known = equilibrium(kind, label).get("judgement")
    return 0.3 if known is None else known if kind == "lsgan" else math.log(known / (1 - known))


@pytest.mark.parametrize(("kind", "label"), [(kind, 1.0) for kind in KINDS] + [(kind, 0.9) for kind in SMOOTHABLE])
def test_losses_take_the_values_of_the_equilibrium(kind: AdversarialKind, label: float) -> None:
    logit = torch.full((3, 1), logit_of(kind, label), dtype=torch.float64, requires_grad=True)
    loss, theory = adversarial_loss(kind, label), equilibrium(kind, label)
    discriminator = total(loss.discriminator(judged(logit), judged(logit)))
    assert float(discriminator.detach()) == pytest.approx(theory["discriminator"], abs=1e-12)
    if "generator" in theory:
        generator = loss.generator(judged(logit), judged(logit)).detach()
        assert float(generator) == pytest.approx(theory["generator"], abs=1e-12)
    # No judgement that is the same of both sets can be better.
    (slope,) = torch.autograd.grad(discriminator, logit)
    assert float(slope.abs().max()) < 1e-12


def test_the_minimax_game_ends_at_minus_log_four_and_one_half() -> None:
    theory = equilibrium("minimax")
    assert theory["value"] == pytest.approx(-math.log(4)) and theory["judgement"] == 0.5
    assert theory["value"] == pytest.approx(-theory["discriminator"])
    assert "value" not in equilibrium("minimax", real_label=0.9)


def test_judgement_is_a_probability_where_the_loss_is_a_cross_entropy() -> None:
    output = judged(torch.tensor([[0.0], [math.log(3)]], requires_grad=True))
    for kind in KINDS:
        watched = judgement(kind, output)
        cross_entropy = kind in ("minimax", "nonsaturating", "maximum_likelihood")
        assert float(watched) == pytest.approx((0.5 + 0.75) / 2 if cross_entropy else math.log(3) / 2), kind
        assert not watched.requires_grad


def test_mean_absolute_error_is_a_float32_mean_also_of_narrow_pictures() -> None:
    prediction = torch.tensor([1.0, -1.0, 0.5]).bfloat16().requires_grad_()
    target = torch.tensor([0.0, -1.0, 1.0]).bfloat16()
    result = mean_absolute_error(prediction, target)
    assert result.dtype == torch.float32 and result.item() == 0.5
    (gradient,) = torch.autograd.grad(result, prediction)
    torch.testing.assert_close(gradient.float(), torch.tensor([1.0, 0.0, -1.0]) / 3, rtol=0.01, atol=0)
