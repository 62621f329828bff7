"""A resumed training equals one that never stopped, bit for bit, however it was stopped."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path

import pytest

from i2i.commands import train
from i2i.errors import InterruptedBySignal, ModelError, RecipeError, UsageError
from i2i.training.distributed import Processes
from i2i.training.tracking import read_metrics
from tests.training.runs import hash_of_state, make_pictures, make_recipe

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


def test_the_first_and_the_last_step_are_logged_however_seldom_the_others(recipe: Path, tmp_path: Path) -> None:
    train.start(str(recipe), ["training.log_every_steps=5"], out=tmp_path, quiet=True)
    logged = [row["step"] for row in read_metrics(tmp_path) if any(name.startswith("loss/") for name in row["values"])]
    assert logged == [1, 5, 10, STEPS]


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


def test_a_checkpoint_is_put_back_when_all_processes_have_read_it(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its replacement was cut off between two renames; one process must not rename what another is reading."""
    out, seen = tmp_path / "run", []
    train.start(str(recipe), ["training.length.steps=3"], out=out, quiet=True)
    folder = out / "checkpoints" / "step_3"
    aside = folder.rename(folder.with_name(".replaced-step_3"))
    monkeypatch.setattr(Processes, "wait", lambda processes: seen.append((aside.exists(), folder.exists())))
    train.start(None, ["training.length.steps=4"], resume=out, quiet=True)
    assert seen[0] == (True, False) and len(seen) > 1
    assert folder.is_dir() and not aside.exists()


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
    with pytest.raises(ModelError, match="no run to resume here, there is no such folder - name that of a run"):
        train.start(None, [], resume=tmp_path / "nowhere", quiet=True)
    with pytest.raises(ModelError, match=f"it has no recipe.yaml - the newest run in there is {out}"):
        train.start(None, [], resume=tmp_path, quiet=True)


def test_what_was_left_before_its_first_checkpoint_begins_anew_and_says_so(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    train.start(str(recipe), ["training.length.steps=2"], out=out, quiet=True)
    shutil.rmtree(out / "checkpoints")
    train.start(str(recipe), ["training.length.steps=2"], out=out)
    assert "left before its first checkpoint, so it begins anew" in capsys.readouterr().err


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
