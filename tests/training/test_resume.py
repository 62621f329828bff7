"""A resumed training equals one that never stopped, bit for bit, however it was stopped."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from i2i.commands import train
from i2i.errors import InterruptedBySignal, ModelError, RecipeError, UsageError
from i2i.training.tracking import read_metrics
from tests.training.runs import REPOSITORY, hash_of_state, i2i, make_pictures, make_recipe

STEPS = 12


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    return make_recipe(folder, make_pictures(folder / "pictures"))


def uninterrupted(recipe: Path, out: Path, *overrides: str) -> str:
    train.start(str(recipe), list(overrides), out=out, quiet=True)
    return hash_of_state(out, STEPS)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("cut", [1, 5, 9])
def test_cut_and_resumed_equals_uninterrupted(recipe: Path, tmp_path: Path, precision: str, cut: int) -> None:
    settings = [f"precision={precision}"]
    expected = uninterrupted(recipe, tmp_path / "whole", *settings)
    out = tmp_path / "cut"
    train.start(str(recipe), [*settings, f"training.length.steps={cut}"], out=out, quiet=True)
    train.start(None, [f"training.length.steps={STEPS}"], resume=out, quiet=True)
    assert hash_of_state(out, STEPS) == expected


def test_every_part_of_the_state_decides(recipe: Path, tmp_path: Path) -> None:
    """The hash would notice: another seed gives another one."""
    assert uninterrupted(recipe, tmp_path / "a") != uninterrupted(recipe, tmp_path / "b", "seed=4")


def test_same_seed_same_bits_whatever_the_workers(recipe: Path, tmp_path: Path) -> None:
    assert uninterrupted(recipe, tmp_path / "a") == uninterrupted(recipe, tmp_path / "b", "training.workers=2")


def test_looking_does_not_disturb(recipe: Path, tmp_path: Path) -> None:
    """Validation, sheets, logging and checkpoints at other times leave the weights as they are."""
    quiet = [
        "training.validation.every_epochs=null",
        "training.samples.every_epochs=null",
        "training.log_every_steps=100",
        "training.checkpoints.every_steps=null",
    ]
    train.start(str(recipe), quiet, out=tmp_path / "quiet", quiet=True)
    train.start(str(recipe), ["training.validation.every_steps=1"], out=tmp_path / "busy", quiet=True)
    states = [tmp_path / run / "checkpoints" / f"step_{STEPS}" / "state.safetensors" for run in ("quiet", "busy")]
    assert states[0].read_bytes() == states[1].read_bytes()


def test_killed_at_random_moments_and_resumed_equals_uninterrupted(recipe: Path, tmp_path: Path) -> None:
    expected = uninterrupted(recipe, tmp_path / "whole")
    out, moments = tmp_path / "killed", random.Random(5)
    command: list[str | Path] = ["train", recipe, "--out", out, "--quiet"]
    kills = 0
    while kills < 3:
        process = subprocess.Popen(
            [sys.executable, "-m", "i2i", *map(str, command)], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
        )
        wait_for_progress(out, process, moments)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        if (out / "checkpoints").is_dir() and any(out.glob("checkpoints/step_*")):
            command = ["train", "--resume", out, "--quiet"]
        else:
            command = ["train", recipe, "--out", out.with_name(f"killed-{kills}"), "--quiet"]
            out = Path(str(command[3]))
        if process.returncode == 0:
            break
    finished = i2i(*command)
    assert finished.returncode == 0, finished.stderr
    assert hash_of_state(out, STEPS) == expected


def wait_for_progress(out: Path, process: subprocess.Popen[bytes], moments: random.Random) -> None:
    """Until the run has written something new, and then a random while longer."""
    before = (out / "metrics.jsonl").stat().st_size if (out / "metrics.jsonl").exists() else 0
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (out / "metrics.jsonl").exists() and (out / "metrics.jsonl").stat().st_size > before:
            break
        time.sleep(0.01)
    time.sleep(moments.uniform(0, 0.4))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_exits_with_its_code(
    recipe: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "i2i", "train", str(recipe), "--out", str(out), "--set", "training.length.steps=100000"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_progress(out, process, random.Random(1))  # type: ignore[arg-type]
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert f"i2i train --resume {out}" in errors
    assert "Traceback" not in errors
    steps = sorted(int(path.name.removeprefix("step_")) for path in out.glob("checkpoints/step_*"))
    assert steps[-1] == max(row["step"] for row in read_metrics(out))


def test_interrupted_in_process_raises_with_the_step(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from i2i.training import loop

    def interrupt_at_four(run: loop.Run, *rest: object) -> None:
        if run.engine.step == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop, "_show_progress", interrupt_at_four)
    with pytest.raises(InterruptedBySignal, match="stopped at step 4") as caught:
        train.start(str(recipe), [], out=tmp_path / "run", quiet=True)
    assert caught.value.exit_code == 130
    assert (tmp_path / "run" / "checkpoints" / "step_4").is_dir()


def test_metrics_of_the_latest_attempt_win(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train.start(str(recipe), ["training.length.steps=6"], out=out, quiet=True)
    train.start(None, ["training.length.steps=9"], resume=out, quiet=True)
    rows = read_metrics(out)
    losses = [row for row in rows if any(name.startswith("loss/") for name in row["values"])]
    assert [row["step"] for row in losses] == list(range(1, 10))
    assert {row["attempt"] for row in rows} == {1, 2}


def test_resume_refuses_by_name_what_would_change_the_mathematics(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train.start(str(recipe), ["training.length.steps=2"], out=out, quiet=True)
    with pytest.raises(RecipeError, match=r"training\.batch_size"):
        train.start(None, ["training.batch_size=4"], resume=out, quiet=True)
    with pytest.raises(UsageError, match="--resume"):
        train.start(str(recipe), [], resume=out, quiet=True)
    with pytest.raises(UsageError, match="holds a run already"):
        train.start(str(recipe), [], out=out, quiet=True)
    with pytest.raises(ModelError, match="no run to resume"):
        train.start(None, [], resume=tmp_path / "nowhere", quiet=True)


def test_fine_tuning_starts_from_all_networks_of_a_run(recipe: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    first, second = tmp_path / "first", tmp_path / "second"
    train.start(str(recipe), ["training.length.steps=3"], out=first, quiet=True)
    train.start(
        str(recipe),
        [f"initialize_from={first}", "training.length.steps=1", "training.optimizers.generator.learning_rate=1e-12",
         "training.optimizers.discriminator.learning_rate=1e-12", "seed=77"],
        out=second, quiet=True,
    )  # fmt: skip
    before = load_file(first / "checkpoints" / "step_3" / "state.safetensors")
    after = load_file(second / "checkpoints" / "step_1" / "state.safetensors")
    compared = [name for name in before if name.startswith("network/")]
    assert any("discriminator" in name for name in compared)
    moved = 0.0
    for name in compared:
        # What the first run's model file holds: the running average, where one is kept.
        source = before.get(name.replace("network/", "average/", 1), before[name])
        moved += float((source - before[name]).abs().max())
        assert (source - after[name]).abs().max() < 1e-9, name
    assert moved > 1e-6, "the average is no other than the network: the test would not notice"


def test_the_last_report_shows_the_last_samples(recipe: Path, tmp_path: Path) -> None:
    # Validation finds a best model at the last step and writes a checkpoint, and a report, of its own.
    train.start(str(recipe), ["training.validation.every_steps=1"], out=tmp_path / "run", quiet=True)
    page = (tmp_path / "run" / "report.html").read_text()
    data = json.loads(re.search(r'id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert [sheets["frames"][-1]["step"] for sheets in data["sheets"]] == [STEPS, STEPS]
