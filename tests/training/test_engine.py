"""What an update means: who moves, by which gradient, with which pictures, and what happens when numbers break."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from i2i.core.layers import BatchNorm
from i2i.core.step import Losses, Progress, StepContext, Term, Update
from i2i.errors import DivergedError, ModelError, RecipeError
from i2i.training.checkpoint import load_checkpoint, save_checkpoint
from i2i.training.distributed import Processes
from i2i.training.engine import refuse_wrong_split
from i2i.training.schedule import StepSchedule
from i2i.training.settings import NonfiniteSettings, SGDSettings, TrainingSettings
from tests.training.toys import PLAIN_DESCENT, Toy, assert_same_bits, both, copies, tiny_cyclegan, train

PLAIN = TrainingSettings(batch_size=2, optimizers=PLAIN_DESCENT)


# --- who moves, and when ---------------------------------------------------------------------------------------------


def test_a_step_applies_the_updates_in_order_and_moves_only_their_players() -> None:
    toy = Toy(lambda toy: (Update("paint", "painter", toy.paint, draws=("a",)),))
    engine, pictures = train(toy, PLAIN)
    before = {name: copies(network.state_dict()) for name, network in toy.networks.items()}
    assert list(engine.take_step(pictures)) == ["paint"]
    assert_same_bits(toy.judge.state_dict(), before["judge"])
    assert not torch.equal(toy.painter.weight, before["painter"]["weight"])


def test_a_move_is_the_gradient_of_the_weighted_sum() -> None:
    def losses(context: StepContext) -> Losses:
        painted = toy.painter(context.batch["a"])
        return Losses({"square": Term(painted.square().mean(), 3.0), "sum": Term(painted.mean(), -2.0)})

    toy = Toy(lambda toy: (Update("paint", "painter", losses, draws=("a",)),))
    engine, pictures = train(toy, PLAIN)
    weight = toy.painter.weight.detach().clone().requires_grad_()
    painted = nn.functional.conv2d(pictures(("a",), {"a": 0})[0]["a"], weight, toy.painter.bias.detach())  # type: ignore[union-attr]
    (gradient,) = torch.autograd.grad(3 * painted.square().mean() - 2 * painted.mean(), weight)
    engine.take_step(pictures)
    torch.testing.assert_close(toy.painter.weight, weight - 0.1 * gradient, rtol=0, atol=1e-14)


def test_every_leaves_out_the_steps_between() -> None:
    toy = Toy(lambda toy: (both(toy)[0], Update("lazy", "judge", toy.weigh, draws=("a", "b"), every=3)))
    engine, pictures = train(toy, PLAIN)
    ran = ["lazy" in engine.take_step(pictures) for _ in range(7)]
    assert ran == [True, False, False, True, False, False, True]


def test_repeats_draw_fresh_pictures_and_fresh_randomness() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def losses(context: StepContext) -> Losses:
        seen.append((context.batch["a"], context.random.normal("noise", (4,))))
        return toy.paint(context)

    toy = Toy(lambda toy: (Update("paint", "painter", losses, draws=("a",), repeats=3),))
    engine, pictures = train(toy, PLAIN)
    engine.take_step(pictures)
    assert pictures.asked == [{"a": 0}, {"a": 2}, {"a": 4}]
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert not torch.equal(seen[first][0], seen[second][0])
        assert not torch.equal(seen[first][1], seen[second][1])


def test_streams_count_their_own_draws() -> None:
    engine, pictures = train(Toy(both), PLAIN)
    for _ in range(3):
        engine.take_step(pictures)
    # The painter takes a; the judge a and b: a runs ahead.
    assert engine.draws == {"a": 12, "b": 6}
    assert pictures.asked[:4] == [{"a": 0}, {"a": 2, "b": 0}, {"a": 4}, {"a": 6, "b": 2}]
    assert (engine.step, engine.images, engine.progress.epoch) == (3, 6, 0.6)


def test_constrain_sees_the_moved_weights() -> None:
    def clip() -> None:
        seen.append(toy.judge.weight.detach().clone())
        with torch.no_grad():
            toy.judge.weight.clamp_(-0.01, 0.01)

    seen: list[Tensor] = []
    toy = Toy(lambda toy: (Update("weigh", "judge", toy.weigh, draws=("a", "b"), constrain=clip),))
    engine, pictures = train(toy, PLAIN)
    before = toy.judge.weight.detach().clone()
    engine.take_step(pictures)
    assert len(seen) == 1 and not torch.equal(seen[0], before)
    assert toy.judge.weight.abs().max() <= 0.01


def test_watched_values_and_terms_are_reported_without_a_graph() -> None:
    def losses(context: StepContext) -> Losses:
        value = toy.painter(context.batch["a"]).square().mean()
        return Losses({"square": Term(value, 2.0)}, {"twice": 2 * value})

    toy = Toy(lambda toy: (Update("paint", "painter", losses, draws=("a",)),))
    engine, pictures = train(toy, PLAIN)
    (report,) = engine.take_step(pictures)["paint"].losses
    assert report.watched["twice"] == 2 * report.terms["square"].value > 0
    assert report.terms["square"].weight == 2.0
    assert not report.watched["twice"].requires_grad and not report.terms["square"].value.requires_grad


def test_learning_rate_is_that_of_the_progress_before_the_step() -> None:
    settings = TrainingSettings(optimizers=PLAIN_DESCENT, schedule=StepSchedule(every=2, multiplier=0.5, unit="steps"))
    engine, pictures = train(Toy(both), settings)
    rates = []
    for _ in range(5):
        engine.take_step(pictures)
        rates.append(engine.players["painter"].learning_rate)
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.025]


# --- whose gradients -------------------------------------------------------------------------------------------------


def test_players_that_do_not_move_are_frozen_and_get_no_gradient() -> None:
    flags: dict[str, tuple[bool, bool]] = {}

    def spy(toy: Toy) -> Sequence[Update]:
        def watched(name: str) -> None:
            flags[name] = (toy.painter.weight.requires_grad, toy.judge.weight.requires_grad)

        def paint(context: StepContext) -> Losses:
            watched("paint")
            return toy.paint(context)

        def weigh(context: StepContext) -> Losses:
            watched("weigh")
            return toy.weigh(context)

        return Update("paint", "painter", paint, draws=("a",)), Update("weigh", "judge", weigh, draws=("a", "b"))

    toy = Toy(spy)
    engine, pictures = train(toy, PLAIN)
    engine.take_step(pictures)
    assert flags == {"paint": (True, False), "weigh": (False, True)}
    for network in toy.networks.values():
        assert all(parameter.grad is None for parameter in network.parameters())


def judge_first(toy: Toy, *, attached: bool) -> Sequence[Update]:
    """The judge learns from pictures that the painter's update then goes back through."""

    def weigh(context: StepContext) -> Losses:
        fake = toy.painter(context.batch["a"])
        context.carry["fake"] = fake
        # The second term leaves a gradient on the painter that is not the painter's own.
        own = toy.judge(fake.detach()).mean()
        return Losses({"fake": Term(own), "other": Term(toy.judge(toy.painter(context.batch["a"])).square().mean())})

    def paint(context: StepContext) -> Losses:
        return Losses({"adversarial": Term(-toy.judge(context.carry["fake"]).mean())})

    reached = ("painter",) if attached else ()
    return (
        Update("weigh", "judge", weigh, draws=("a",), needs_graph_of=reached),
        Update("paint", "painter", paint),
    )


def test_attached_pictures_reach_the_generator_and_nothing_else_does() -> None:
    toy = Toy(lambda toy: judge_first(toy, attached=True))
    engine, pictures = train(toy, PLAIN)
    images = pictures(("a",), {"a": 0})[0]["a"]
    weight = toy.painter.weight.detach().clone()
    bias = toy.painter.bias.detach().clone()  # type: ignore[union-attr]
    engine.take_step(pictures)
    # The judge has moved by the time the painter's loss is taken; the painting is from before.
    painted = nn.functional.conv2d(images, weight.requires_grad_(), bias)
    (gradient,) = torch.autograd.grad(-toy.judge(painted).mean(), weight)
    assert gradient.abs().max() > 1e-3
    torch.testing.assert_close(toy.painter.weight, weight - 0.1 * gradient, rtol=0, atol=1e-14)


def test_without_the_wish_for_a_graph_there_is_none() -> None:
    engine, pictures = train(Toy(lambda toy: judge_first(toy, attached=False)), PLAIN)
    with pytest.raises(RuntimeError, match="does not require grad"):
        engine.take_step(pictures)


@pytest.mark.parametrize("bound", [0.01, 1e6])
def test_clipping_bounds_the_norm_over_all_gradients_of_a_player(bound: float) -> None:
    settings = TrainingSettings(
        optimizers={"painter": SGDSettings(learning_rate=1.0, momentum=0.0)}, clip_gradient_norm=bound
    )
    toy = Toy(lambda toy: both(toy)[:1])
    engine, pictures = train(toy, settings)
    before = copies(toy.painter.state_dict())
    norm = engine.take_step(pictures)["paint"].gradient_norm
    assert norm is not None and 0.01 < norm < 1e6, "the norm that is told is the one before clipping"
    moved = torch.cat([(tensor - before[name]).flatten() for name, tensor in toy.painter.state_dict().items()]).norm()
    torch.testing.assert_close(moved, norm.clamp(max=bound), rtol=1e-4, atol=0)


# --- splitting the batch ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [2, 4])
def test_micro_batches_equal_the_joined_batch(accumulate: int) -> None:
    """CycleGAN with dropout and a pool that swaps: every draw belongs to its sample."""
    runs = []
    for split in (1, accumulate):
        settings = TrainingSettings(batch_size=4, accumulate=split)
        pipeline = tiny_cyclegan(dropout=0.5)
        engine, pictures = train(pipeline, settings, pixels=16)
        losses = []
        for _ in range(4):
            reports = engine.take_step(pictures)
            losses.append([torch.stack([part.total() for part in report.losses]).mean() for report in reports.values()])
        runs.append((engine.state().tensors, torch.tensor(losses)))
    (joined, joined_losses), (split_up, split_losses) = runs
    torch.testing.assert_close(split_losses, joined_losses, rtol=0, atol=1e-12)
    assert set(split_up) == set(joined) and "memory/pool_a/pictures" in joined
    for name, tensor in joined.items():
        torch.testing.assert_close(
            split_up[name], tensor, rtol=0, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_the_pool_of_that_comparison_does_swap() -> None:
    weights = []
    for pool_size in (0, 3):
        engine, pictures = train(tiny_cyclegan(pool_size=pool_size), TrainingSettings(batch_size=4), pixels=16)
        for _ in range(4):
            engine.take_step(pictures)
        weights.append(engine.pipeline.networks["discriminator_a"].state_dict()["judge.weight"])
    assert not torch.equal(weights[0], weights[1])


def test_splitting_under_batch_norm_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match=r"accumulate 2.*batch norm.*generator_ab, generator_ba") as caught:
        train(tiny_cyclegan(normalization="batch"), TrainingSettings(batch_size=2, accumulate=2))
    assert "\n" not in str(caught.value)
    train(tiny_cyclegan(normalization="batch"), TrainingSettings(batch_size=2))


def test_a_batch_that_does_not_divide_among_processes_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"batch_size 6.*multiple of 4"):
        refuse_wrong_split(Toy(both), TrainingSettings(batch_size=6, accumulate=2), Processes(0, 2))
    refuse_wrong_split(Toy(both), TrainingSettings(batch_size=8, accumulate=2), Processes(0, 2))


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


def test_after_a_broken_update_the_step_ends() -> None:
    """What it left for the later ones is not a number either."""
    engine, pictures = train(Toy(both), TrainingSettings())
    engine.take_step(pictures)
    before = copies(engine.state().tensors)
    pictures.poisoned = {("a", 2)}
    assert list(engine.take_step(pictures)) == ["paint"]
    assert_same_bits(engine.state().tensors, before)
    assert engine.draws == {"a": 3, "b": 1}
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


# --- going back ------------------------------------------------------------------------------------------------------


def test_roll_back_takes_the_old_weights_on_to_new_data(tmp_path: Path) -> None:
    noise: list[Tensor] = []

    def paint(context: StepContext) -> Losses:
        noise.append(context.random.normal("noise", (4,)))
        return toy.paint(context)

    toy = Toy(lambda toy: (Update("paint", "painter", paint, draws=("a",)),))
    settings = TrainingSettings(nonfinite=NonfiniteSettings(tolerated_steps=0), ema_half_life_images=5.0)
    engine, pictures = train(toy, settings)
    for _ in range(2):
        engine.take_step(pictures)
    saved = load_checkpoint(save_checkpoint(tmp_path, 2, engine.state()))
    pictures.poisoned = {("a", 3)}
    for _ in range(2):
        engine.take_step(pictures)
    assert engine.beyond_tolerance
    engine.roll_back(saved)
    assert_same_bits(engine.state().tensors, saved.tensors)
    assert (engine.step, engine.images) == (2, 2)
    assert engine.draws["a"] == 4, "the pictures that led astray are not drawn again"
    assert (engine.nonfinite_streak, engine.skipped_updates, engine.rollbacks) == (0, 1, 1)
    engine.take_step(pictures)
    assert pictures.asked[-1] == {"a": 4}
    assert not torch.equal(noise[-1], noise[2]), "nor are the same random numbers"
    assert not engine.beyond_tolerance


def test_roll_backs_add_up(tmp_path: Path) -> None:
    engine, pictures = train(Toy(both), TrainingSettings())
    engine.take_step(pictures)
    saved = load_checkpoint(save_checkpoint(tmp_path, 1, engine.state()))
    for _ in range(3):
        engine.take_step(pictures)
        engine.roll_back(saved)
    assert (engine.rollbacks, engine.step, engine.draws["b"]) == (3, 1, 4)


def test_weights_of_other_networks_are_refused_in_one_line() -> None:
    large, _ = train(tiny_cyclegan(base_channels=4), TrainingSettings())
    small, _ = train(tiny_cyclegan(), TrainingSettings())
    with pytest.raises(ModelError, match="network/generator_ab does not fit") as caught:
        small.load_state(large.state())
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_taking_weights_only_starts_everything_else_fresh() -> None:
    settings = TrainingSettings(ema_half_life_images=100.0)
    donor, pictures = train(Toy(both), settings)
    for _ in range(3):
        donor.take_step(pictures)
    heir, _ = train(Toy(both), settings)
    heir.load_networks(donor.state(), names=["painter"])
    assert heir.averages is not None
    weight = donor.pipeline.networks["painter"].state_dict()["weight"]
    assert torch.equal(heir.pipeline.networks["painter"].state_dict()["weight"], weight)
    assert torch.equal(heir.averages.networks["painter"].state_dict()["weight"], weight)
    assert not torch.equal(
        heir.pipeline.networks["judge"].state_dict()["weight"], donor.pipeline.networks["judge"].state_dict()["weight"]
    )
    assert heir.step == 0 and not heir.players["painter"].state()


# --- networks to make pictures with ----------------------------------------------------------------------------------


@pytest.mark.parametrize("half_life", [0.0, 2.0])
def test_inference_networks_are_in_evaluation_mode_and_apart_from_training(half_life: float) -> None:
    engine, pictures = train(tiny_cyclegan(), TrainingSettings(ema_half_life_images=half_life), pixels=16)
    engine.take_step(pictures)
    networks = engine.inference_networks()
    assert set(networks) == {"generator_ab", "generator_ba"}
    live = engine.pipeline.networks["generator_ab"]
    assert live.training and not any(module.training for module in networks["generator_ab"].modules())
    addresses = {parameter.data_ptr() for parameter in live.parameters()}
    assert addresses.isdisjoint(parameter.data_ptr() for parameter in networks["generator_ab"].parameters())
    same = torch.equal(networks["generator_ab"].state_dict()["head.1.weight"], live.state_dict()["head.1.weight"])
    assert same == (half_life == 0.0)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp64", torch.float64), ("fp32", torch.float32), ("bf16", torch.float32)]
)
def test_weights_are_kept_wide(precision: str, dtype: torch.dtype) -> None:
    engine, pictures = train(tiny_cyclegan(), TrainingSettings(), precision, pixels=16)  # type: ignore[arg-type]
    engine.take_step(pictures)
    kinds = {tensor.dtype for name, tensor in engine.state().tensors.items() if name.startswith("network/")}
    assert kinds == {dtype}


def test_progress_is_what_pipelines_see() -> None:
    seen: list[Progress] = []

    class Watching(Toy):
        def updates(self, progress: Progress) -> Sequence[Update]:
            seen.append(progress)
            return both(self)

    engine, pictures = train(Watching(both), PLAIN)
    for _ in range(2):
        engine.take_step(pictures)
    assert seen == [Progress(0, 0, 0.0), Progress(1, 2, 0.2)]
