"""What a training does when its watchdog says that it has failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i.commands import train
from i2i.errors import DivergedError
from i2i.inference.model_files.model_file import read_model_file
from i2i.training import engine as engine_module
from i2i.training import evaluation as evaluation_module
from i2i.training import recovery
from i2i.training.checkpoint import checkpoint_steps
from i2i.training.gradients import Gradients, StepUnderway, Work
from i2i.training.late_numbers import LateNumbers
from i2i.training.run import Best, Run
from i2i.training.tracking import read_alarms, read_metrics
from i2i.training.watchdog import Action, Verdict, Watchdog
from tests.training.evaluating import evaluating
from tests.training.runs import make_generation_recipe

FAILED_AT, BEGAN_AT = 8, 5


def seen_once() -> Callable[[Watchdog, int, int, Mapping[str, float]], Verdict | None]:
    """A look that finds, once, at step `FAILED_AT`, that the training has failed since step `BEGAN_AT`."""
    said: list[int] = []

    def look(self: Watchdog, step: int, images: int, values: Mapping[str, float]) -> Verdict | None:
        if step != FAILED_AT or said:
            return None
        said.append(step)
        return Verdict(
            kind="collapsed",
            action=self.settings.action,
            step=step,
            images=images,
            began_step=BEGAN_AT,
            title="Mode collapse",
            reason="the made pictures are nearly all alike",
            advice="lower the learning rate",
        )

    return look


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watchdog, "look", seen_once())


def trained(folder: Path, action: Action) -> train.Finished:
    recipe = str(make_generation_recipe(folder))
    return train.start(recipe, [f"training.watchdog.action={action}"], out=folder / "run", quiet=True)


@pytest.mark.usefixtures("failing")
def test_a_warning_is_recorded_and_training_goes_on(tmp_path: Path) -> None:
    assert trained(tmp_path, "warn").step == 12
    (alarm,) = read_alarms(tmp_path / "run")
    assert (alarm["step"], alarm["title"]) == (FAILED_AT, "Mode collapse")
    assert "Mode collapse" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.usefixtures("failing")
def test_stop_ends_the_run_with_the_reason_and_writes_no_checkpoint_of_the_failure(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"step 8: Mode collapse: .* alike - lower the learning rate") as caught:
        trained(tmp_path, "stop")
    assert caught.value.exit_code == 8
    assert "\n" not in str(caught.value)
    assert max(checkpoint_steps(tmp_path / "run")) == 6


@pytest.mark.usefixtures("failing")
def test_rollback_goes_behind_the_beginning_of_the_failure_and_on_with_other_pictures(tmp_path: Path) -> None:
    assert trained(tmp_path, "rollback").step == 12
    run = tmp_path / "run"
    # Checkpoints were at 3 and 6; the failure began at 5.
    attempted = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    back = attempted.index(FAILED_AT) + 1
    assert attempted[back] == 4
    counters = json.loads((run / "checkpoints" / "step_12" / "state.json").read_text())
    assert counters["rollbacks"] == 1
    # 8 steps before the failure and 9 after it, each with fresh pictures.
    assert counters["draws"]["real"] == 4 * (FAILED_AT + 12 - 3)
    assert [row["step"] for row in read_metrics(run)][-1] == 12


@pytest.mark.usefixtures("failing")
def test_without_a_good_checkpoint_rollback_stops(tmp_path: Path) -> None:
    recipe = str(make_generation_recipe(tmp_path))
    settings = ["training.watchdog.action=rollback", "training.checkpoints.every_steps=6"]
    with pytest.raises(DivergedError, match="no checkpoint from before step 5 is left"):
        train.start(recipe, settings, out=tmp_path / "run", quiet=True)


@pytest.mark.usefixtures("failing")
def test_after_a_rollback_the_model_of_the_run_is_that_of_its_newest_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever translates with the run before its next checkpoint, or after a kill, gets the failed model."""
    go_back, run, seen = recovery.go_back, tmp_path / "run", []

    def watched(*arguments: Any, **others: Any) -> None:
        models = [run / "model.safetensors", run / "checkpoints" / "step_3" / "model.safetensors"]
        before = models[0].read_bytes() == models[1].read_bytes()
        go_back(*arguments, **others)
        seen.append((before, models[0].read_bytes() == models[1].read_bytes(), checkpoint_steps(run)))

    monkeypatch.setattr(recovery, "go_back", watched)
    trained(tmp_path, "rollback")
    assert seen == [(False, True, [3])]


def test_a_last_step_that_is_not_finite_is_one_too_many_on_a_gpu_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the outcome of a step is read one step later, and after the last step there is none."""
    monkeypatch.setattr(engine_module, "LateNumbers", lambda late_by: LateNumbers(late_by=1))
    take, broken = Gradients.take, []

    def breaking(self: Gradients, work: Work, step: StepUnderway, *others: Any) -> Tensor:
        finite = take(self, work, step, *others)
        if step.number < 12 or len(broken) == 2:
            return finite
        broken.append(work.update.name)
        return torch.zeros_like(finite)

    monkeypatch.setattr(Gradients, "take", breaking)
    settings = ["training.nonfinite={tolerated_steps: 0, then: rollback}", "training.log_every_steps=5"]
    finished = train.start(str(make_generation_recipe(tmp_path)), settings, out=tmp_path / "run", quiet=True)
    counters = json.loads((tmp_path / "run" / "checkpoints" / "step_12" / "state.json").read_text())
    assert len(broken) == 2 and finished.step == 12
    assert (counters["rollbacks"], counters["nonfinite_streak"]) == (1, 0)


# Evaluations at 2, 4 and 6, then back, and on to 12.
@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize(
    ("scores", "back_to", "best"),
    [
        pytest.param([5.0, 3.0, 1.0, 8.0, 7.0, 6.0, 9.0], 4, (3.0, 4), id="its-checkpoint-is-kept"),
        pytest.param([5.0, 6.0, 1.0, 7.0, 9.0, 8.0, 9.0, 9.0], 3, (7.0, 4), id="its-model-is-gone"),
    ],
)
def test_rollback_takes_back_what_was_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], back_to: int, best: tuple[float, int]
) -> None:
    told, measure, go_back = iter(scores), evaluation_module.assess, recovery.go_back
    gone_back: list[tuple[int, int | None, int | None, bool]] = []

    def measured(*arguments: Any, **others: Any) -> list[Any]:
        return [replace(one, value=next(told)) for one in measure(*arguments, **others)]

    def watched(run: Run, *arguments: Any, **others: Any) -> None:
        assert (run.best, run.evaluated_step) == (Best(1.0, 6), 6)
        go_back(run, *arguments, **others)
        kept = run.folder / "best.safetensors"
        if kept.exists():
            assert read_model_file(kept)[0].provenance["step"] == run.best.step
        gone_back.append((run.engine.step, run.evaluated_step, run.best.step, kept.exists()))

    monkeypatch.setattr(evaluation_module, "assess", measured)
    monkeypatch.setattr(recovery, "go_back", watched)
    asked = evaluating(tmp_path, metrics="fid", best="fid", every_steps=2)
    recipe = str(make_generation_recipe(tmp_path))
    out = tmp_path / "run"
    finished = train.start(recipe, ["training.watchdog.action=rollback", *asked], out=out, quiet=True)
    its_own = back_to == best[1]
    assert gone_back == [(back_to, None, best[1] if its_own else None, its_own)]
    counters = json.loads((out / "checkpoints" / "step_12" / "state.json").read_text())
    assert (finished.best_score, counters["best_score"], counters["best_step"]) == (best[0], *best)
    assert read_model_file(out / "best.safetensors")[0].provenance["step"] == best[1]
    assert best[1] in checkpoint_steps(out)


def test_a_failure_seen_at_the_last_step_is_gone_back_from_and_the_rest_trained_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.FAILED_AT", 12)
    monkeypatch.setattr(f"{__name__}.BEGAN_AT", 11)
    monkeypatch.setattr(Watchdog, "look", seen_once())
    assert trained(tmp_path, "rollback").step == 12
    counters = json.loads((tmp_path / "run" / "checkpoints" / "step_12" / "state.json").read_text())
    assert (counters["step"], counters["rollbacks"]) == (12, 1)
