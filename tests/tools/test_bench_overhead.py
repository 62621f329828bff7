"""The share of the bare rate is worked out of the record of a real training."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
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
    rows = [{"step": step, "wall_seconds": seconds} for step, seconds in ((1, 3.0), (4, 6.0), (31, 83.0))]
    found = bench.rate_of_rows(rows, stopped_seconds=20.0)
    assert found == {"whole_steps_per_minute": 30.0, "steps": 30, "seconds": 60.0, "seconds_to_first_step": 3.0}
    for few in ([], rows[:1], [rows[0], rows[0]]):
        with pytest.raises(SystemExit, match="no two steps"):
            bench.rate_of_rows(few, 0.0)


def parsed(bench: Any, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    bench.add_arguments(parser)
    return parser.parse_args(words)


def test_a_whole_run(bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextlib.contextmanager
    def here(make: Any, *given: Any) -> Iterator[Any]:
        yield make(*given)

    def trained(command: list[str], folder: Path, take_turn: Any, arguments: argparse.Namespace) -> Any:
        assert "tracking.wandb=offline" in command and command[-1] == "--set"
        words = [*command[command.index("train") : -1], "--set", "tracking.wandb=disabled"]
        # By steps, for a test must not depend on the clock.
        assert main([*words, "--set", "training.length={minutes: null, steps: 5}"]) == 0
        whole = {**bench.rate_of_rows(read_metrics(folder), 0.0), **bench.left_behind(folder)}
        return whole, [take_turn(), take_turn()]

    monkeypatch.setattr(bench, "in_turns", trained)
    monkeypatch.setattr(bench, "in_own_process", here)
    changes = [word for change in TINY for word in ("--set", change)]
    result = bench.run(parsed(bench, "cyclegan_demo", "--bare-seconds", "0", "--out", str(tmp_path / "run"), *changes))
    assert json.loads(json.dumps(result)) == result
    (row,) = result["rows"]
    rows = read_metrics(tmp_path / "run")
    assert (rows[0]["step"], rows[-1]["step"]) == (1, 5)
    seconds = rows[-1]["wall_seconds"] - rows[0]["wall_seconds"]
    assert row["whole_steps_per_minute"] == pytest.approx(60 * 4 / seconds)
    assert row["share_of_bare_rate"] == pytest.approx(row["whole_steps_per_minute"] / row["bare_steps_per_minute"])
    assert row["bare_steps_per_minute_lowest"] <= row["bare_steps_per_minute"] <= row["bare_steps_per_minute_highest"]
    assert row["rows_written"] == len(rows) and row["sheets"] > 0 and row["checkpoints_kept"] == 1
    assert f"{100 * row['share_of_bare_rate']:.1f} %" in "\n".join(bench.table(result))


TRAINING = """
import json, pathlib, sys, time
assert "minutes: 0.01" in sys.argv[-1]
out = pathlib.Path(sys.argv[1])
for step in range(1, 41):
    time.sleep(0.1)
    with open(out / "metrics.jsonl", "a") as file:
        row = {"attempt": 1, "step": step, "images": step, "epoch": 0, "wall_seconds": time.monotonic(), "values": {}}
        file.write(json.dumps({**row, "time": "2026-01-01T00:00:00Z"}) + chr(10))
"""


def test_the_whole_stands_still_while_bare_steps_are_taken(bench: Any, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def take_turn() -> float:
        before = len(read_metrics(tmp_path))
        time.sleep(0.5)
        seen.append((before, len(read_metrics(tmp_path))))
        return 100.0 + len(seen)

    arguments = parsed(bench, "x", "--minutes", "0.0166", "--turn-seconds", "0.25", "--bare-seconds", "0.1")
    command = [sys.executable, "-c", TRAINING, str(tmp_path)]
    whole, rates = bench.in_turns(command, tmp_path, take_turn, arguments)
    assert rates == [101.0, 102.0] and whole["steps"] == 39
    # A row may be on its way when the signal comes.
    assert all(after <= before + 1 for before, after in seen)
    rows = read_metrics(tmp_path)
    assert rows[-1]["wall_seconds"] - rows[0]["wall_seconds"] - whole["seconds"] >= 1.0


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


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; print('no pictures here'); sys.exit(3)", "i2i train ended with 3: no pictures here"),
        ("pass", "over before the first turn"),
    ],
)
def test_a_training_that_fails(bench: Any, tmp_path: Path, program: str, message: str) -> None:
    arguments = parsed(bench, "x", "--turn-seconds", "30")
    with pytest.raises(SystemExit, match=message):
        bench.in_turns([sys.executable, "-c", program], tmp_path, lambda: 1.0, arguments)
