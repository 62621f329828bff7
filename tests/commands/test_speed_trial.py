"""What `speed: auto` comes to is measured once, for the recipe's own networks, and stays."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i.commands import planning, speed_trial, train
from i2i.commands.planning import choose
from i2i.commands.speed_trial import examine_speed, made_up_samples
from i2i.errors import OutOfMemoryError, RecipeError
from i2i.recipe import Recipe, load_recipe
from i2i.training.acceleration_trial import Timing, Tried
from i2i.training.settings import TrickName
from tests.training.runs import make_upscaling_recipe

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ALWAYS = ("channels_last", "fused_optimizers", "kept_memory", "fitting_threads")
TINY = (
    "precision=fp32",
    "tracking.wandb=disabled",
    "training.length={steps: 2, minutes: null, epochs: null}",
    "training.batch_size=2",
    "pipeline.generator.base_channels=2",
    "pipeline.discriminator.base_channels=2",
    "data={kind: drawn_digits, size_pixels: 16, pictures: 4, test_pictures: 2}",
    "training.samples={every_minutes: null, every_epochs: null}",
)


def tiny(*changes: str) -> Recipe:
    return load_recipe("dcgan_demo", [*TINY, *changes])


def found(name: TrickName, *, kept: bool) -> Tried:
    return Tried(name=name, without=Timing(2.0, 2.0), timing=Timing(1.0, 1.0), kept=kept, why="twice as fast")


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[TrickName]]:
    """The candidates of each trial; the first of them is kept."""
    asked: list[Sequence[TrickName]] = []

    def try_tricks(build: Any, draw: Any, candidates: Sequence[TrickName], **rest: Any) -> list[Tried]:
        asked.append(candidates)
        return [found(name, kept=name == candidates[0]) for name in candidates]

    monkeypatch.setattr(speed_trial, "try_tricks", try_tricks)
    monkeypatch.setattr(speed_trial, "throwaway_bench", lambda recipe, rows, device: (None, None))
    return asked


def test_on_a_cpu_nothing_needs_a_trial(trials: list[Sequence[TrickName]]) -> None:
    assert choose(tiny(), CPU).speed == ALWAYS
    assert trials == []


def test_on_a_gpu_what_pays_is_taken_and_all_is_said(trials: list[Sequence[TrickName]]) -> None:
    lines: list[str] = []
    chosen = choose(tiny(), CUDA, report=lines.append)
    assert chosen.speed == ("channels_last", "fused_optimizers", "raced_convolutions")
    assert trials == [("raced_convolutions", "compiled_networks")]
    assert lines == [
        "speed: raced_convolutions is taken: twice as fast",
        "speed: compiled_networks is left: twice as fast",
    ]


def test_where_the_same_seed_must_give_the_same_bits_nothing_is_measured(trials: list[Sequence[TrickName]]) -> None:
    assert choose(tiny("deterministic=true"), CUDA).speed == ("channels_last", "fused_optimizers")
    assert trials == []


@pytest.mark.parametrize("speed", ["plain", (), ("compiled_networks",)])
def test_what_the_recipe_says_is_done(trials: list[Sequence[TrickName]], speed: Any) -> None:
    assert choose(dataclasses.replace(tiny(), speed=speed), CUDA).speed == speed
    assert trials == []


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, OutOfMemoryError, AssertionError, ImportError])
def test_networks_too_large_for_a_trial_are_left_to_the_training(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a step fails, the user reads one line of it and the training begins."""

    def too_large(*arguments: Any, **rest: Any) -> list[Tried]:
        raise kind("tried to allocate\n3 TiB")

    monkeypatch.setattr(speed_trial, "try_tricks", too_large)
    monkeypatch.setattr(speed_trial, "throwaway_bench", lambda recipe, rows, device: (None, None))
    lines: list[str] = []
    assert choose(tiny(), CUDA, report=lines.append).speed == ("channels_last", "fused_optimizers")
    assert lines == [
        "speed: nothing could be measured (tried to allocate 3 TiB); on with channels_last, fused_optimizers"
    ]


@pytest.mark.parametrize(
    ("recipe", "shapes"),
    [
        ("cyclegan_demo", {"a": (2, 3, 64, 64), "b": (2, 3, 64, 64)}),
        ("sr_demo", {"low": (2, 3, 24, 24), "high": (2, 3, 96, 96)}),
    ],
)
def test_samples_have_the_shapes_of_the_recipe(recipe: str, shapes: dict[str, tuple[int, ...]]) -> None:
    made = made_up_samples(dataclasses.replace(load_recipe(recipe), precision="fp32"), 2, CPU)
    assert {name: tuple(pictures.shape) for name, pictures in made.items()} == shapes
    for pictures in made.values():
        assert pictures.dtype == torch.float32
        assert -1 <= float(pictures.min()) < -0.9 and 0.9 < float(pictures.max()) <= 1


def test_a_real_trial_takes_steps_of_the_recipes_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, where auto would not try it."""
    monkeypatch.setattr(speed_trial, "measured_tricks", lambda device: ("fused_optimizers",))
    lines: list[str] = []
    (tried,) = speed_trial.try_for(tiny(), CPU, 1, lines.append)
    assert tried.name == "fused_optimizers" and tried.timing is not None and tried.timing.seconds > 0
    assert lines == []


@pytest.fixture
def trial_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real trial of one trick on this CPU, where auto would take it without one."""
    monkeypatch.setattr(speed_trial, "unmeasured_tricks", lambda device: ())
    monkeypatch.setattr(speed_trial, "measured_tricks", lambda device: ("fused_optimizers",))


@pytest.fixture
def scripted(tmp_path: Path) -> Recipe:
    """SRGAN that looks through a scripted network, in a pixel phase of two steps first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Conv2d(3, 2, 3), torch.zeros(1, 3, 8, 8)), tmp_path / "features.pt")
    digest = hashlib.sha256((tmp_path / "features.pt").read_bytes()).hexdigest()
    perceptual = f"{{kind: torchscript, path: {tmp_path / 'features.pt'}, sha256: {digest}, output_weights: [1.0]}}"
    return load_recipe(make_upscaling_recipe(tmp_path), [f"pipeline.perceptual={perceptual}", "speed=auto"])


def test_a_trial_looks_through_the_scripted_network_of_the_recipe(scripted: Recipe, trial_here: None) -> None:
    """Such a recipe ended in an internal error as soon as `speed: auto` tried anything, on every GPU."""
    lines: list[str] = []
    choose(scripted, CPU, report=lines.append)
    (line,) = lines
    assert line.startswith("speed: fused_optimizers is ")


def test_a_scripted_network_that_is_not_there_is_named(scripted: Recipe, trial_here: None, tmp_path: Path) -> None:
    (tmp_path / "features.pt").unlink()
    lines: list[str] = []
    choose(scripted, CPU, report=lines.append)
    (line,) = lines
    assert "nothing could be measured" in line and "features.pt: no such file of a scripted network" in line


def test_the_share_of_a_process_may_be_smaller_than_the_reference_batch(trial_here: None) -> None:
    """All processes give their pictures for the reference; the trial has those of one."""
    virtual = ("pipeline.discriminator.normalization=virtual", "pipeline.discriminator.reference_rows=8")
    recipe = tiny("training.batch_size=8", *virtual)
    lines: list[str] = []
    choose(recipe, CPU, processes=4, report=lines.append)
    (line,) = lines
    assert line.startswith("speed: fused_optimizers is ")


@pytest.mark.parametrize("steps_alone", [0, 5])
def test_steps_of_the_last_phase_are_timed(steps_alone: int) -> None:
    """The discriminator alone takes less time than what most of the training consists of."""
    recipe = tiny(f"pipeline.discriminator_pretraining_steps={steps_alone}")
    build, draw = speed_trial.throwaway_bench(recipe, 2, CPU)
    assert list(build().take_step(draw)) == ["discriminator", "generator"]


def test_steps_of_the_last_phase_of_upscaling_are_timed(scripted: Recipe) -> None:
    build, draw = speed_trial.throwaway_bench(scripted, 2, CPU)
    assert list(build().take_step(draw)) == ["generator", "discriminator"]


# --- a run keeps it --------------------------------------------------------------------------------------------------


def spy_on(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes of which engines are built."""
    built: list[Recipe] = []
    real = planning.build_engine

    def build_engine(recipe: Recipe, *rest: Any) -> Any:
        built.append(recipe)
        return real(recipe, *rest)

    monkeypatch.setattr(train, "build_engine", build_engine)
    return built


def test_a_run_keeps_the_names_and_a_resumed_one_asks_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = spy_on(monkeypatch)
    run = tmp_path / "run"
    train.start("dcgan_demo", [*TINY], out=run, device="cpu", quiet=True)
    assert load_recipe(run / "recipe.yaml").speed == ALWAYS
    monkeypatch.setattr(planning, "choose_tricks", lambda *arguments: pytest.fail("asked again"))
    train.start(None, ["training.length.steps=3"], resume=run, device="cpu", quiet=True)
    assert [recipe.speed for recipe in built] == [ALWAYS, ALWAYS]
    with pytest.raises(RecipeError, match="speed: was"):
        train.start(None, ["speed=plain"], resume=run, device="cpu", quiet=True)


def test_a_run_of_before_goes_on_with_what_auto_meant_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = spy_on(monkeypatch)
    run = tmp_path / "run"
    train.start("dcgan_demo", [*TINY], out=run, device="cpu", quiet=True)
    kept = run / "recipe.yaml"
    text = kept.read_text()
    assert text.count("speed: [") == 1
    # Such a run has no line at the top either that tells whether the rest was changed.
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    kept.write_text("\n".join("speed: auto" if line.startswith("speed: [") else line for line in lines))
    train.start(None, ["training.length.steps=3"], resume=run, device="cpu", quiet=True)
    assert built[-1].speed == ("channels_last", "fused_optimizers", "kept_memory")


def test_plain_is_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i.training.acceleration.keep_freed_memory", lambda: pytest.fail("plain keeps nothing"))
    train.start("dcgan_demo", [*TINY, "speed=plain"], out=tmp_path / "run", device="cpu", quiet=True)
    assert load_recipe(tmp_path / "run" / "recipe.yaml").speed == "plain"


# --- looking at a machine --------------------------------------------------------------------------------------------


def test_every_trick_of_this_machine_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_trial, "_STANDARD_CHANGES", TINY)
    monkeypatch.setattr(speed_trial, "_TURNS", 1)
    seen = examine_speed(CPU, "fp32")
    assert set(seen.seconds) == set(seen.unmeasured) == set(seen.auto) == set(ALWAYS)
    assert seen.plain_seconds > 0 and seen.auto_seconds > 0
    assert all(seconds is not None and seconds > 0 for seconds in seen.seconds.values())
    assert seen.tried == {} and seen.failed == []
    assert "16 px, batch 2, fp32" in seen.training
