"""What an update means: who moves, by which gradient, with which pictures."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from i2i.core.step import Losses, Progress, StepContext, Term, Update
from i2i.errors import RecipeError
from i2i.training.distributed import Processes
from i2i.training.engine import refuse_wrong_split
from i2i.training.schedule import StepSchedule
from i2i.training.settings import SGDSettings, TrainingSettings
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
