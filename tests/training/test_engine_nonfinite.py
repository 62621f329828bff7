"""What the engine does when numbers break: in a picture, a gradient, a loss, or for want of range in fp16."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from i2i.core.layers import BatchNorm
from i2i.core.step import Losses, StepContext, Term, Update
from i2i.errors import DivergedError
from i2i.training.settings import NonfiniteSettings, TrainingSettings
from tests.training.toys import PLAIN_DESCENT, Toy, assert_same_bits, both, copies, tiny_cyclegan, train

PLAIN = TrainingSettings(batch_size=2, optimizers=PLAIN_DESCENT)


# --- numbers that break ----------------------------------------------------------------------------------------------


def test_a_broken_picture_moves_nothing_and_is_counted() -> None:
    engine, pictures = train(Toy(both), TrainingSettings(ema_half_life_images=4.0))
    engine.take_step(pictures)
    before = copies(engine.state().tensors)
    # Update "weigh" draws it, after "paint" has moved.
    pictures.poisoned = {("b", 1)}
    reports = engine.take_step(pictures)
    after = engine.state().tensors
    assert reports["paint"].finite and not reports["weigh"].finite
    of_judge = [name for name in before if "/judge/" in name]
    assert any("exp_avg" in name for name in of_judge)
    assert_same_bits({name: after[name] for name in of_judge}, {name: before[name] for name in of_judge})
    assert not torch.equal(after["network/painter/weight"], before["network/painter/weight"])
    assert (engine.skipped_updates, engine.nonfinite_streak, engine.step) == (1, 1, 2)


def test_after_a_broken_update_nothing_moves_in_this_step() -> None:
    """What it left for the later ones is not a number either."""
    engine, pictures = train(Toy(both), TrainingSettings())
    engine.take_step(pictures)
    before = copies(engine.state().tensors)
    pictures.poisoned = {("a", 2)}
    reports = engine.take_step(pictures)
    assert not reports["paint"].finite and not reports["weigh"].finite
    assert_same_bits(engine.state().tensors, before)
    assert engine.draws == {"a": 4, "b": 2}
    assert (engine.skipped_updates, engine.nonfinite_streak, engine.step) == (1, 1, 2)


def broken_gradient(toy: Toy) -> Tensor:
    # The slope of a root at zero is infinite, the root itself is not.
    return (0.0 * toy.painter.weight).abs().sqrt().sum()


def broken_loss(toy: Toy) -> Tensor:
    return toy.painter.weight.sum() + torch.inf


@pytest.mark.parametrize("broken", [broken_gradient, broken_loss])
def test_gradient_or_loss_alone_can_break_an_update(broken: Callable[[Toy], Tensor]) -> None:
    toy = Toy(lambda toy: (Update("paint", "painter", lambda context: Losses({"x": Term(broken(toy))}), draws=("a",)),))
    engine, pictures = train(toy, PLAIN)
    before = copies(toy.painter.state_dict())
    assert not engine.take_step(pictures)["paint"].finite
    assert_same_bits(toy.painter.state_dict(), before)


@pytest.mark.parametrize("broken", [0, 1])
def test_one_broken_micro_batch_breaks_the_update(broken: int) -> None:
    losses_of_micro_batches = [0.0, 0.0]
    losses_of_micro_batches[broken] = torch.inf
    values = iter(losses_of_micro_batches)

    def paint(context: StepContext) -> Losses:
        # The gradients are finite, so nothing but the loss can tell.
        return Losses({"x": Term(toy.painter.weight.sum() + next(values))})

    toy = Toy(lambda toy: (Update("paint", "painter", paint, draws=("a",)),))
    engine, pictures = train(toy, TrainingSettings(batch_size=2, accumulate=2))
    before = copies(toy.painter.state_dict())
    assert not engine.take_step(pictures)["paint"].finite
    assert_same_bits(toy.painter.state_dict(), before)


def test_a_constraint_is_not_applied_to_a_skipped_update() -> None:
    calls: list[int] = []
    toy = Toy(lambda toy: (Update("paint", "painter", toy.paint, draws=("a",), constrain=lambda: calls.append(1)),))
    engine, pictures = train(toy, TrainingSettings())
    pictures.poisoned = {("a", 0)}
    engine.take_step(pictures)
    assert calls == []
    engine.take_step(pictures)
    assert calls == [1]


def test_a_good_step_ends_the_streak_and_tolerance_counts_steps_in_a_row() -> None:
    settings = TrainingSettings(nonfinite=NonfiniteSettings(tolerated_steps=2))
    engine, pictures = train(Toy(lambda toy: both(toy)[:1]), settings)
    pictures.poisoned = {("a", 0), ("a", 1), ("a", 3), ("a", 4), ("a", 5)}
    seen = []
    for _ in range(7):
        engine.take_step(pictures)
        seen.append((engine.nonfinite_streak, engine.beyond_tolerance))
    good = (0, False)
    assert seen == [(1, False), (2, False), good, (1, False), (2, False), (3, True), good]
    assert engine.skipped_updates == 5


def test_a_skipped_repetition_counts_even_if_the_last_one_is_good() -> None:
    """`tolerated_steps` speaks of steps with a skipped update; four skipped out of five must not look healthy."""
    toy = Toy(lambda toy: (Update("paint", "painter", toy.paint, draws=("a",), repeats=2),))
    engine, pictures = train(toy, TrainingSettings())
    pictures.poisoned = {("a", 0)}
    engine.take_step(pictures)
    assert engine.skipped_updates == 1
    assert engine.nonfinite_streak == 1


class NormalizedToy(Toy):
    """A painter with running statistics."""

    def __init__(self) -> None:
        super().__init__(lambda toy: both(toy)[:1])
        self.painter = nn.Sequential(nn.Conv2d(3, 3, 1), BatchNorm(3))  # type: ignore[assignment]
        self.networks = {"painter": self.painter, "judge": self.judge}


def test_a_broken_picture_leaves_running_statistics_alone() -> None:
    """Else the one update that is endured ends the training at its next checkpoint, or makes every picture NaN."""
    engine, pictures = train(NormalizedToy(), TrainingSettings(ema_half_life_images=1.0))
    engine.take_step(pictures)
    pictures.poisoned = {("a", 1)}
    engine.take_step(pictures)
    engine.take_step(pictures)
    for name, tensor in engine.state().tensors.items():
        assert torch.isfinite(tensor).all(), name


def test_a_broken_picture_does_not_enter_the_pool() -> None:
    """Else it comes back some day and breaks an update of the discriminator for no reason to be seen."""
    engine, pictures = train(tiny_cyclegan(pool_size=3), TrainingSettings(), pixels=16)
    pictures.poisoned = {("a", 1)}
    for _ in range(2):
        engine.take_step(pictures)
    pools = {name: tensor for name, tensor in engine.state().tensors.items() if name.startswith("memory/")}
    assert len(pools) == 2
    for name, tensor in pools.items():
        assert torch.isfinite(tensor).all(), name


@pytest.mark.parametrize("where", ["network", "average"])
def test_a_state_that_is_not_finite_is_refused(where: str) -> None:
    engine, _ = train(Toy(both), TrainingSettings(ema_half_life_images=1.0))
    assert engine.averages is not None
    network = engine.pipeline.networks["painter"] if where == "network" else engine.averages.networks["painter"]
    with torch.no_grad():
        network.bias[1] = torch.inf  # type: ignore[index]
    with pytest.raises(DivergedError, match=f"{where}/painter/bias") as caught:
        engine.state()
    assert "\n" not in str(caught.value)


# --- fp16 ------------------------------------------------------------------------------------------------------------


def gently(toy: Toy) -> Sequence[Update]:
    """The usual updates with losses so small that no float16 gradient overflows at the first loss scale."""

    def softened(losses: Callable[[StepContext], Losses]) -> Callable[[StepContext], Losses]:
        return lambda context: Losses({name: Term(term.value, 0.01) for name, term in losses(context).terms.items()})

    return tuple(replace(update, losses=softened(update.losses)) for update in both(toy))


def paint_hugely(toy: Toy) -> Sequence[Update]:
    """The painter's gradient overflows float32 once it is scaled, not before; the judge's does not."""

    def paint(context: StepContext) -> Losses:
        return Losses({"huge": Term(toy.painter(context.batch["a"]).float().mean(), 1e35)})

    return Update("paint", "painter", paint, draws=("a",)), gently(toy)[1]


def test_an_overflow_halves_the_scale_of_its_player_alone() -> None:
    toy = Toy(paint_hugely)
    engine, pictures = train(toy, TrainingSettings(), "fp16")
    start = engine.players["judge"].scaler.get_scale()
    before = copies(toy.painter.state_dict())
    reports = engine.take_step(pictures)
    assert engine.players["painter"].scaler.get_scale() == start / 2
    assert engine.players["judge"].scaler.get_scale() == start
    assert_same_bits(toy.painter.state_dict(), before)
    # The scaler feeling its way is no divergence, yet the update did not happen.
    assert (engine.skipped_updates, engine.nonfinite_streak) == (1, 0)
    assert reports["weigh"].finite


def test_the_scale_does_not_show_in_the_move() -> None:
    moves = {}
    for precision in ("fp32", "fp16"):
        toy = Toy(gently)
        engine, pictures = train(toy, PLAIN, precision)
        before = [network.get_parameter("weight").detach().clone() for network in toy.networks.values()]
        norm = engine.take_step(pictures)["paint"].gradient_norm
        assert norm is not None and engine.skipped_updates == 0
        after = [network.get_parameter("weight").detach() for network in toy.networks.values()]
        assert all(weight.dtype == torch.float32 for weight in after)
        moves[precision] = [norm, *(new - old for new, old in zip(after, before, strict=True))]
    for wide, narrow in zip(moves["fp32"], moves["fp16"], strict=True):
        assert wide.abs().max() > 1e-5
        torch.testing.assert_close(narrow, wide, rtol=0.02, atol=float(0.02 * wide.abs().max()))


@pytest.mark.parametrize("slope", [1.0, torch.inf], ids=["gradient finite", "gradient not finite"])
def test_fp16_that_never_recovers_is_noticed(slope: float) -> None:
    """A softplus of an overflown logit is infinite with slope 1: lowering the scale cannot help against that."""

    def paint(context: StepContext) -> Losses:
        return Losses({"broken": Term(toy.painter.weight.sum() * slope + torch.inf)})

    toy = Toy(lambda toy: (Update("paint", "painter", paint, draws=("a",)),))
    engine, pictures = train(toy, TrainingSettings(), "fp16")
    for _ in range(40):
        engine.take_step(pictures)
    assert engine.skipped_updates == 40
    assert engine.beyond_tolerance
