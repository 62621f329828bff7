"""Two processes that train together equal one with the joined batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from i2i.commands import train
from i2i.training.tracking import read_metrics
from tests.training.runs import (
    ADAPTIVE,
    R3GAN,
    REPOSITORY,
    i2i,
    make_generation_recipe,
    make_pictures,
    make_recipe,
    make_upscaling_recipe,
)
from tests.warm import AVAILABLE, warm_program

needs_fork = pytest.mark.skipif(not AVAILABLE, reason="processes are forked from a warm one")

STEPS = 4
COMMON = [
    "precision=fp64",
    "training.batch_size=4",
    f"training.length.steps={STEPS}",
    "training.checkpoints.every_steps=null",
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    return make_recipe(folder, make_pictures(folder / "pictures"))


def state(run_folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run_folder / "checkpoints" / f"step_{step}" / "state.safetensors")


@needs_fork
@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(["pipeline.generator.dropout=0.5", "training.clip_gradient_norm=1.0"], id="dropout-clipping"),
        pytest.param(["training.accumulate=2"], id="accumulation"),
        pytest.param(
            ["pipeline.generator.normalization=batch", "pipeline.discriminator.normalization=batch"], id="batch-norm"
        ),
    ],
)
def test_two_processes_equal_one(recipe: Path, tmp_path: Path, variant: list[str]) -> None:
    # The pool of 3 is full after one step, so swapping is part of it.
    assert_two_equal_one(recipe, tmp_path, [*COMMON, *variant])


@needs_fork
@pytest.mark.parametrize(
    "variant",
    [
        pytest.param([], id="batch-norm"),
        pytest.param(["pipeline.adversarial=relativistic_average"], id="relativistic-average"),
        pytest.param(R3GAN, id="r3gan"),
        pytest.param(ADAPTIVE, id="adaptive"),
        pytest.param(
            ["pipeline.classes=10", "data.labels=true", "pipeline.augmentation={kind: diffaugment}"],
            id="labels-diffaugment",
        ),
    ],
)
def test_two_processes_generate_as_one(tmp_path: Path, variant: list[str]) -> None:
    """Statistics, means and augmentation decisions of the joined batch."""
    assert_two_equal_one(make_generation_recipe(tmp_path), tmp_path, [*COMMON, *variant])


@needs_fork
@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(["pipeline.generator.kind=srresnet"], id="batch-norm"),
        pytest.param(["pipeline.adversarial=relativistic_average_detached"], id="relativistic-average"),
    ],
)
def test_two_processes_enlarge_as_one(tmp_path: Path, variant: list[str]) -> None:
    """Both phases, and what the first leaves to the second."""
    assert_two_equal_one(make_upscaling_recipe(tmp_path), tmp_path, [*COMMON, *variant])


def assert_two_equal_one(recipe: Path, folder: Path, overrides: list[str]) -> None:
    """Train both ways and compare everything that a checkpoint holds, and the numbers logged on the way."""
    train.start(str(recipe), overrides, out=folder / "one", quiet=True)
    sets = [argument for override in overrides for argument in ("--set", override)]
    group = warm_program().run_group(["train", recipe, "--out", folder / "two", "--quiet", *sets], folder)
    assert [process.exit_code for process in group] == [0, 0], "".join(process.stderr for process in group)
    one, two = state(folder / "one", STEPS), state(folder / "two", STEPS)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(
            two[name], tensor, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )
    for single, joined in zip(read_metrics(folder / "one"), read_metrics(folder / "two"), strict=True):
        for name, value in single["values"].items():
            if name.startswith(("loss/", "gradient_norm/", "term_gradient_norm/", "output/")):
                assert joined["values"][name] == pytest.approx(value, rel=1e-8, abs=1e-10), name


@needs_fork
def test_a_batch_that_cannot_be_split_is_refused_by_name(recipe: Path, tmp_path: Path) -> None:
    words = ["train", recipe, "--out", tmp_path / "run", "--set", "training.batch_size=3", "--quiet"]
    group = warm_program().run_group(words, tmp_path)
    assert [process.exit_code for process in group] == [3, 3]
    assert "training.batch_size 3 cannot be split evenly" in group[0].stderr


def test_a_signal_to_one_process_stops_both_at_the_same_step(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["train", str(recipe), "--out", str(out), "--set", "training.length.steps=100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "i2i", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    deadline = time.monotonic() + 120
    while not (out / "metrics.jsonl").exists() or not (out / "metrics.jsonl").stat().st_size:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "stopped at step" in output
    step = max(int(path.name.removeprefix("step_")) for path in out.glob("checkpoints/step_*"))
    resumed = i2i("train", "--resume", out, "--set", f"training.length.steps={step + 1}", "--quiet")
    assert resumed.returncode == 0, resumed.stderr
