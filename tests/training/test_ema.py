"""Averages follow the formula, in the right direction, and keep their half-life whatever the batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from i2i.core.layers import BatchNorm
from i2i.training.ema import ExponentialMovingAverage


def network(value: float) -> nn.Conv2d:
    made = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(value)
    return made


# So late in a training that the half-life has its full length.
LATE = 10**9


def fill(made: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(value)


def average_of(averages: ExponentialMovingAverage) -> float:
    return float(averages.networks["net"].get_parameter("weight"))


def test_the_formula_on_known_numbers() -> None:
    live = network(0.0)
    averages = ExponentialMovingAverage({"net": live}, half_life_images=10)
    kept = 0.5**0.2
    expected = 0.0
    for value in (1.0, 5.0, -2.0):
        fill(live, value)
        averages.update(images=2, seen=LATE)
        expected = kept * expected + (1 - kept) * value
        assert average_of(averages) == pytest.approx(expected, rel=1e-6)


def test_most_of_the_old_average_remains_when_the_half_life_is_long() -> None:
    """The classic mistake is a decay turned upside down: the average then jumps to the newest weights."""
    live = network(0.0)
    averages = ExponentialMovingAverage({"net": live}, half_life_images=10_000)
    fill(live, 1.0)
    averages.update(images=1, seen=LATE)
    assert 0 < average_of(averages) < 1e-3


@pytest.mark.parametrize("batch", [1, 4, 32, 64])
def test_after_its_half_life_an_old_weight_counts_half(batch: int) -> None:
    live = network(0.0)
    averages = ExponentialMovingAverage({"net": live}, half_life_images=64)
    fill(live, 1.0)
    for _ in range(64 // batch):
        averages.update(images=batch, seen=LATE)
    assert average_of(averages) == pytest.approx(0.5, rel=1e-5)


def test_buffers_are_copied_not_averaged() -> None:
    live = BatchNorm(2)
    averages = ExponentialMovingAverage({"net": live}, half_life_images=1000)
    live(torch.randn(4, 2, 3, 3))
    averages.update(images=1, seen=LATE)
    for name, buffer in live.named_buffers():
        assert torch.equal(averages.networks["net"].get_buffer(name), buffer), name
    assert live.num_batches_tracked == 1


def test_averages_are_frozen_copies_in_evaluation_mode() -> None:
    live = nn.Sequential(network(1.0), BatchNorm(1))
    averages = ExponentialMovingAverage({"net": live}, half_life_images=10)
    averaged = averages.networks["net"]
    assert live.training and not any(module.training for module in averaged.modules())
    assert not any(parameter.requires_grad for parameter in averaged.parameters())
    fill(live, 7.0)
    assert float(averaged.get_parameter("0.weight")) == 1.0
    averages.update(images=1, seen=LATE)
    assert live.get_parameter("0.weight").item() == 7.0
    assert all(parameter.requires_grad for parameter in live.parameters())


def test_restart_begins_at_the_live_weights() -> None:
    live = network(0.0)
    averages = ExponentialMovingAverage({"net": live}, half_life_images=1000)
    fill(live, 3.0)
    averages.restart()
    assert average_of(averages) == 3.0
    fill(live, 4.0)
    assert average_of(averages) == 3.0


def test_float64_is_averaged_in_float64() -> None:
    live = network(0.0).double()
    averages = ExponentialMovingAverage({"net": live}, half_life_images=3)
    fill(live, 1.0)
    averages.update(images=1, seen=LATE)
    assert average_of(averages) == pytest.approx(1 - 0.5 ** (1 / 3), abs=1e-15)


def test_the_average_of_a_short_training_has_left_the_first_weights() -> None:
    live = network(0.0)
    averages = ExponentialMovingAverage({"net": live}, half_life_images=100_000)
    fill(live, 1.0)
    for step in range(1, 26):
        averages.update(images=4, seen=4 * step)
    assert average_of(averages) > 0.95


def test_an_inverted_decay_is_caught_by_these_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
    monkeypatch.setattr(torch, "_foreach_lerp_", lambda old, new, weight: forward(old, new, 1.0 - weight))
    for test in (test_the_formula_on_known_numbers, test_most_of_the_old_average_remains_when_the_half_life_is_long):
        with pytest.raises(AssertionError):
            test()
