"""The engine goes back to an earlier state, or takes weights from another training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2i.core.step import Losses, StepContext, Update
from i2i.errors import ModelError
from i2i.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from i2i.training.distributed import Processes
from i2i.training.engine import Engine
from i2i.training.precision import Precision
from i2i.training.settings import NonfiniteSettings, TrainingSettings
from tests.training.toys import Toy, assert_same_bits, both, tiny_cyclegan, train


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


@pytest.mark.parametrize("accumulate", [1, 2])
def test_several_processes_split_no_batch_because_one_had_to(accumulate: int) -> None:
    """Resumed by two processes, a training that ran out of memory on one would else give its pictures wrong draws."""
    settings = TrainingSettings(batch_size=8, accumulate=accumulate)
    alone, _ = train(Toy(both), settings)
    state = alone.state()
    split = TrainingState(state.tensors, {**state.counters, "micro_batches": 4})
    for count, expected in ((1, 4), (2, accumulate)):
        engine = Engine(
            Toy(both), settings, Precision("fp64", torch.device("cpu")), images_per_epoch=10, seed=3,
            processes=Processes(0, count),
        )  # fmt: skip
        engine.load_state(split)
        assert engine.micro_batches == expected
