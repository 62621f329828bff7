"""The share of the bare rate is worked out of the record of a real training."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from i2i.cli import main
from i2i.recipe import load_recipe
from i2i.training.tracking import read_metrics

BENCHES = Path(__file__).parents[2] / "tools" / "benches"
TINY = (
    "data={kind: drawn_animals, size_pixels: 32, pictures: 2, test_pictures: 2}",
    "pipeline.generator={kind: resnet, base_channels: 4, blocks: 1}",
    "pipeline.discriminator={kind: patch, base_channels: 4, layers: 1}",
    "training.batch_size=2",
    "training.log_every_steps=2",
    "precision=fp32",
    "speed=plain",
)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHES)
    return importlib.import_module("bench_overhead")


def test_rates_of_a_record(bench: Any) -> None:
    rows = [{"step": step, "wall_seconds": seconds} for step, seconds in ((1, 3.0), (4, 6.0), (31, 63.0))]
    found = bench.rate_of_rows(rows)
    assert found == {"whole_steps_per_minute": 30.0, "steps": 30, "seconds": 60.0, "seconds_to_first_step": 3.0}
    for few in ([], rows[:1], [rows[0], rows[0]]):
        with pytest.raises(SystemExit, match="no two steps"):
            bench.rate_of_rows(few)


@contextlib.contextmanager
def here(make: Any, *given: Any) -> Iterator[Any]:
    yield make(*given)


def test_a_whole_run(bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def train(command: list[str], **named: Any) -> Any:
        seen.append(command)
        words = command[command.index("train") :]
        # By steps, for a test must not depend on the clock; and without a service's files.
        assert "minutes: 0.25" in " ".join(words) and "tracking.wandb=offline" in words
        steps = ["--set", "training.length={minutes: null, steps: 5}", "--set", "tracking.wandb=disabled"]
        return SimpleNamespace(returncode=main([*words, *steps]), stderr="")

    monkeypatch.setattr(bench, "subprocess", SimpleNamespace(run=train))
    monkeypatch.setattr(bench, "in_own_process", here)
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    bench.add_arguments(parser)
    changes = [word for change in TINY for word in ("--set", change)]
    words = ["cyclegan_demo", "--minutes", "0.25", "--bare-seconds", "0", "--out", str(tmp_path / "run"), *changes]
    result = bench.run(parser.parse_args(words))
    assert json.loads(json.dumps(result)) == result
    (row,) = result["rows"]
    rows = read_metrics(tmp_path / "run")
    assert (rows[0]["step"], rows[-1]["step"]) == (1, 5)
    seconds = rows[-1]["wall_seconds"] - rows[0]["wall_seconds"]
    assert row["whole_steps_per_minute"] == pytest.approx(60 * 4 / seconds)
    bare = (row["bare_steps_per_minute_before"] + row["bare_steps_per_minute_after"]) / 2
    assert row["share_of_bare_rate"] == pytest.approx(row["whole_steps_per_minute"] / bare)
    assert row["share_lowest"] <= row["share_of_bare_rate"] <= row["share_highest"]
    assert row["rows_written"] == len(rows) and row["sheets"] > 0 and row["checkpoints_kept"] == 1
    assert len(seen) == 1
    assert f"{100 * row['share_of_bare_rate']:.1f} %" in "\n".join(bench.table(result))


def test_bare_steps_are_those_of_the_recipe(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[Any] = []
    build = bench.engine_for

    def building(*given: Any) -> Any:
        engines.append(build(*given))
        return engines[-1]

    monkeypatch.setattr(bench, "engine_for", building)
    recipe = load_recipe("cyclegan_demo", [*TINY, "training.accumulate=2"])
    assert bench.bare_steps(recipe, "cpu")(0.0) > 0
    (engine,) = engines
    assert engine.step == bench._WARMUP_STEPS + 1 and engine.images == 2 * engine.step
    assert engine.settings == recipe.training


def test_a_training_that_fails(bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(command: list[str], **named: Any) -> Any:
        return subprocess.CompletedProcess(command, 3, "", "no pictures here")

    monkeypatch.setattr(bench, "subprocess", SimpleNamespace(run=fail))
    with pytest.raises(SystemExit, match="i2i train ended with 3: no pictures here"):
        bench.whole_rate(tmp_path / "recipe.yaml", tmp_path / "run", "cpu", 1.0)
