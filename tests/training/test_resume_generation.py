"""Methods that start from noise resume bit for bit too: keyed latents, ramps, adaptive augmentation, lazy penalties."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from i2i.commands import train
from tests.training.runs import ADAPTIVE, R3GAN, hash_of_state, make_generation_recipe

STEPS = 12


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "variant",
    [pytest.param([], id="dcgan"), pytest.param(ADAPTIVE, id="adaptive"), pytest.param(R3GAN, id="r3gan")],
)
def test_cut_and_resumed_equals_uninterrupted(tmp_path: Path, precision: str, variant: list[str]) -> None:
    recipe = str(make_generation_recipe(tmp_path))
    settings = [f"precision={precision}", *variant]
    train.start(recipe, settings, out=tmp_path / "whole", quiet=True)
    train.start(recipe, [*settings, "training.length.steps=5"], out=tmp_path / "cut", quiet=True)
    train.start(None, [f"training.length.steps={STEPS}"], resume=tmp_path / "cut", quiet=True)
    assert hash_of_state(tmp_path / "cut", STEPS) == hash_of_state(tmp_path / "whole", STEPS)


def test_adaptive_augmentation_has_something_to_resume(tmp_path: Path) -> None:
    """Its probability moves within the steps of these tests, so that losing it would show."""
    train.start(str(make_generation_recipe(tmp_path)), ADAPTIVE, out=tmp_path / "run", quiet=True)
    early, late = (
        load_file(tmp_path / "run" / "checkpoints" / f"step_{step}" / "state.safetensors") for step in (9, STEPS)
    )
    names = [name for name in early if name.startswith("memory/augmentation/")]
    assert names
    assert any(not early[name].equal(late[name]) for name in names)


def test_a_run_that_the_clock_ended_is_finished_and_stays_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "run"
    by_clock = "training.length={steps: null, minutes: 0.005}"
    first = train.start(str(make_generation_recipe(tmp_path)), [by_clock], out=out, quiet=True)
    model = (out / "model.safetensors").read_bytes()
    again = train.start(None, [], resume=out, quiet=True)
    assert again.step == first.step
    assert (out / "model.safetensors").read_bytes() == model


def test_a_run_killed_while_it_was_finishing_gets_its_last_model(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train.start(str(make_generation_recipe(tmp_path)), [], out=out, quiet=True)
    whole = (out / "model.safetensors").read_bytes()
    # As a kill between the checkpoint and its model leaves it.
    (out / "checkpoints" / f"step_{STEPS}" / "model.safetensors").unlink()
    (out / "model.safetensors").write_bytes((out / "checkpoints" / "step_9" / "model.safetensors").read_bytes())
    train.start(None, [], resume=out, quiet=True)
    assert (out / "model.safetensors").read_bytes() == whole
