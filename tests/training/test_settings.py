"""Numbers that cannot be meant are refused where they are written, by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from i2i.training.settings import AdamSettings, CheckpointSettings, LengthSettings, SGDSettings, TrainingSettings


def test_a_length_needs_a_limit() -> None:
    with pytest.raises(ValueError, match="one of epochs, steps, images, minutes"):
        LengthSettings()


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize(
    "make",
    [
        lambda value: LengthSettings(epochs=value),
        lambda value: LengthSettings(steps=value),
        lambda value: LengthSettings(images=value),
        lambda value: LengthSettings(minutes=value),
        lambda value: LengthSettings(epochs=3, steps=value),
    ],
)
def test_a_limit_of_nothing_is_refused(make: Callable[[int], LengthSettings], value: int) -> None:
    with pytest.raises(ValueError, match=r"(epochs|steps|images|minutes) is (0|-1); needs more than 0"):
        make(value)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 3), (2, 4)])
def test_a_batch_that_does_not_split_is_refused(batch_size: int, accumulate: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size {batch_size} cannot be split into {accumulate}"):
        TrainingSettings(batch_size=batch_size, accumulate=accumulate)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: AdamSettings(learning_rate=0.0), "learning_rate"),
        (lambda: AdamSettings(betas=(0.5, 1.0)), "betas"),
        (lambda: SGDSettings(momentum=-0.1), "momentum"),
        (lambda: CheckpointSettings(keep_last=0), "keep_last"),
        (lambda: TrainingSettings(ema_half_life_images=-1.0), "ema_half_life_images"),
        (lambda: TrainingSettings(clip_gradient_norm=0.0), "clip_gradient_norm"),
        (lambda: TrainingSettings(log_every_steps=0), "log_every_steps"),
        (lambda: TrainingSettings(batch_size=0), "batch_size is 0; needs at least 1"),
        (lambda: TrainingSettings(batch_size=-2), "batch_size is -2; needs at least 1"),
        (lambda: TrainingSettings(batch_size=4, accumulate=0), "accumulate is 0; needs at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(make: Callable[[], object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()
