"""A player moves its own weights by its own optimizer, whose state it can give away and take back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from i2i.core.step import Progress
from i2i.training.distributed import Processes
from i2i.training.player import Move, Player
from i2i.training.precision import ChosenPrecision, Precision
from i2i.training.settings import AdamSettings, OptimizerSettings, SGDSettings
from tests.training.toys import assert_same_bits, copies

ADAM, DESCENT = AdamSettings(learning_rate=0.01), SGDSettings(learning_rate=0.1, momentum=0.9)
FINITE = torch.tensor(True)


def networks(layout: torch.memory_format = torch.channels_last) -> dict[str, nn.Module]:
    generator = torch.Generator().manual_seed(0)
    made: dict[str, nn.Module] = {"first": nn.Conv2d(3, 4, 3), "second": nn.Conv2d(4, 2, 1)}
    for network in made.values():
        for parameter in network.parameters():
            nn.init.normal_(parameter, generator=generator)
        network.to(memory_format=layout)  # type: ignore[call-overload]
    return made


def player(
    made: dict[str, nn.Module],
    settings: OptimizerSettings = ADAM,
    precision: ChosenPrecision = "fp32",
    *,
    fused: bool = True,
) -> Player:
    return Player(made, settings, Precision(precision, torch.device("cpu")), fused=fused)


def step(moving: Player, made: dict[str, nn.Module], turn: int = 0, *, clip: float | None = None) -> Move:
    images = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(turn))
    moving.scaler.scale(made["second"](made["first"](images)).square().mean()).backward()
    return moving.move(Processes(), clip, losses_finite=FINITE)


def weights(made: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": value for name, network in made.items() for key, value in network.state_dict().items()}


def test_parameters_are_named_by_network() -> None:
    assert list(player(networks()).parameters) == ["first.weight", "first.bias", "second.weight", "second.bias"]


def test_frozen_weights_pass_gradients_on_but_take_none() -> None:
    made = networks()
    frozen = player(made)
    frozen.set_trainable(False)
    images = torch.randn(1, 3, 6, 6, requires_grad=True)
    made["second"](made["first"](images)).sum().backward()
    assert images.grad is not None and images.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in frozen.parameters.values())
    frozen.set_trainable(True)
    assert all(parameter.requires_grad for parameter in frozen.parameters.values())


def test_learning_rate_factors_do_not_pile_up() -> None:
    moving = player(networks(), DESCENT)
    for factor in (0.5, 0.5, 0.25):
        moving.adjust(Progress(0, 0, 0.0), factor)
        assert moving.learning_rate == pytest.approx(0.1 * factor)


def test_norm_is_that_over_all_networks_and_no_gradient_remains() -> None:
    made = networks()
    moving = player(made)
    images = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    gradients = torch.autograd.grad(
        made["second"](made["first"](images)).square().mean(), list(moving.parameters.values())
    )
    move = step(moving, made)
    assert move.moved
    torch.testing.assert_close(move.gradient_norm, torch.cat([gradient.flatten() for gradient in gradients]).norm())
    assert all(parameter.grad is None for parameter in moving.parameters.values())


@pytest.mark.parametrize("reason", ["loss", "gradient"])
def test_what_is_not_finite_does_not_move_and_does_not_stay(reason: str) -> None:
    made = networks()
    moving = player(made)
    step(moving, made)
    before, slots = copies(weights(made)), copies(moving.state())
    factor = 1.0 if reason == "loss" else torch.nan
    (factor * made["second"](made["first"](torch.randn(1, 3, 6, 6))).square().mean()).backward()
    move = moving.move(Processes(), None, losses_finite=torch.tensor(reason == "gradient"))
    assert not move.moved and not move.overflowed
    assert_same_bits(weights(made), before)
    assert_same_bits(moving.state(), slots)
    # Nothing of it is left for the next move.
    assert all(parameter.grad is None for parameter in moving.parameters.values())


def test_a_player_none_of_whose_weights_took_part_stays() -> None:
    made = networks()
    moving = player(made)
    before = copies(weights(made))
    move = moving.move(Processes(), None, losses_finite=FINITE)
    assert move.moved and float(move.gradient_norm) == 0.0
    assert_same_bits(weights(made), before)


@pytest.mark.parametrize("settings", [ADAM, DESCENT], ids=["adam", "sgd"])
def test_fused_and_plain_optimizers_agree(settings: OptimizerSettings) -> None:
    results = []
    for fused in (True, False):
        made = networks()
        moving = player(made, settings, fused=fused)
        for turn in range(3):
            step(moving, made, turn)
        results.append(weights(made))
    for name, tensor in results[0].items():
        torch.testing.assert_close(tensor, results[1][name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("settings", [ADAM, DESCENT], ids=["adam", "sgd"])
def test_restored_optimizer_goes_on_to_the_last_bit(settings: OptimizerSettings, fused: bool) -> None:
    made = networks()
    moving = player(made, settings, fused=fused)
    for turn in range(3):
        step(moving, made, turn)
    other = networks()
    for name, network in other.items():
        network.load_state_dict(made[name].state_dict())
    restored = player(other, settings, fused=fused)
    # Files hold contiguous tensors.
    restored.load_state({name: slot.contiguous().clone() for name, slot in moving.state().items()})
    assert_same_bits(restored.state(), moving.state())
    for turn in range(3, 6):
        step(moving, made, turn)
        step(restored, other, turn)
    assert_same_bits(weights(other), weights(made))
    assert_same_bits(restored.state(), moving.state())


def test_restored_slots_lie_in_memory_as_the_weights_do() -> None:
    made = networks()
    moving = player(made)
    step(moving, made)
    kept = {name: slot.contiguous().clone() for name, slot in moving.state().items()}
    moving.load_state(kept)
    weight = moving.parameters["first.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    assert moving.optimizer.state[weight]["exp_avg"].stride() == weight.stride()
    # And they are the optimizer's own: a step leaves the given ones alone.
    before = copies(kept)
    step(moving, made, 1)
    assert_same_bits(kept, before)


@pytest.mark.parametrize("slot", ["exp_avg", "step"])
def test_slots_of_another_type_than_the_weights_are_refused(slot: str) -> None:
    made = networks()
    moving = player(made)
    step(moving, made)
    spoiled = {name: value.double() if name.endswith(f"/{slot}") else value for name, value in moving.state().items()}
    with pytest.raises(ValueError, match=r"is torch\.float64, its weight torch\.float32"):
        moving.load_state(spoiled)


def test_loading_forgets_what_was_there() -> None:
    made = networks()
    moving = player(made)
    step(moving, made)
    moving.load_state({})
    assert moving.state() == {}


def test_each_player_has_its_own_scaler() -> None:
    first, second = player(networks(), precision="fp16"), player(networks(), precision="fp16")
    assert first.scaler is not second.scaler
    assert not player(networks(), precision="bf16").scaler.is_enabled()


def test_clipping_happens_after_unscaling() -> None:
    """With plain descent at rate 1 the move is the clipped gradient, whatever the loss scale."""
    made = networks()
    moving = player(made, SGDSettings(learning_rate=1.0, momentum=0.0), "fp16")
    before = copies(weights(made))
    move = step(moving, made, clip=0.05)
    assert moving.scaler.get_scale() == 65536.0 and 0.05 < float(move.gradient_norm) < 1000
    moved = torch.cat([(tensor - before[name]).flatten() for name, tensor in weights(made).items()])
    torch.testing.assert_close(moved.norm(), torch.tensor(0.05), rtol=1e-3, atol=0)
