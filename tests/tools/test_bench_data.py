"""Every row opens what its recipe opens, and what trainings take is read from the record of the steps."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from i2i.data.loader import StreamLoader

BENCHES = Path(__file__).parents[2] / "tools" / "benches"
FEW = ("data.pictures=4", "data.test_pictures=0")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHES)
    module = importlib.import_module("bench_data")
    monkeypatch.setattr(module, "_WORKERS", (0,))
    return module


@contextlib.contextmanager
def here(make: Any, *given: Any) -> Iterator[Any]:
    yield make(*given)


def options(bench: Any, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    bench.add_arguments(parser)
    return parser.parse_args(["--seconds", "0", "--pictures", "2", "--set", "training.batch_size=2", *words])


def test_rows_of_files(bench: Any, tmp_path: Path) -> None:
    record = tmp_path / "steps.json"
    steps = [
        {"name": "cyclegan", "batch": 1, "ours_seconds": 4.0},
        {"name": "srresnet", "batch": 16, "ours_seconds": 2.0},
    ]
    record.write_text(json.dumps({"rows": steps}))
    names = ["unpaired", "unpaired-memory", "faces", "bicubic", "blind"]
    result = bench.run(options(bench, "--only", *names, "--no-training", "--steps", str(record)))
    assert json.loads(json.dumps(result)) == result
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == names
    assert [rows[name]["consumed_per_second"] for name in names] == [0.25, 0.25, None, 8.0, 8.0]
    # Of A, of B; one set otherwise.
    assert [rows[name]["pictures"] for name in names] == [4, 4, 2, 2, 2]
    for row in rows.values():
        taken = row["consumed_per_second"]
        assert row["times_consumed"] == (None if taken is None else pytest.approx(row["samples_per_second"] / taken))
        assert row["pictures_per_second_first"] == pytest.approx(row["pictures"] / row["seconds_first"])
    heading, *lines = bench.table(result)
    assert {len(line) for line in lines} == {len(heading)}
    assert "286 to 256 px, not cached, 0 workers" in lines[1]


def test_the_cache_is_where_it_is_said_to_be(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "theirs"))
    bench.draw_sets(tmp_path, 1)
    rows = {row.name: row for row in bench.ROWS}
    kept = {}
    for name in ("unpaired", "unpaired-memory"):
        recipe = bench.recipe_of(rows[name], tmp_path)
        with bench._opened(recipe) as (data, _):
            kept[name] = data.train["a"].pictures.file
            assert data.train["a"][0].shape == (256, 256, 3)
    assert kept["unpaired"] is not None and kept["unpaired-memory"] is None
    assert not (tmp_path / "theirs").exists()


def test_drawn_sets(bench: Any) -> None:
    changes = [word for change in FEW for word in ("--set", change)]
    result = bench.run(options(bench, "--only", "animals", "scenes", "digits", *changes))
    assert [(row["name"], row["samples_per_second"] > 0) for row in result["rows"]] == [
        ("animals", True), ("scenes", True), ("digits", True),
    ]  # fmt: skip
    assert result["trainings"] == []


def test_a_training_with_its_pictures(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "in_own_process", here)
    drawn: list[int] = []
    draw = StreamLoader.draw

    def drawing(loader: StreamLoader, names: tuple[str, ...], first_counter: int) -> Any:
        drawn.append(first_counter)
        return draw(loader, names, first_counter)

    tiny = (
        "pipeline.generator={kind: srresnet, scale: 4, base_channels: 4, blocks: 1}", "data.crop_pixels=32",
        "precision=fp32", "speed=plain",
    )  # fmt: skip
    changes = [word for change in tiny for word in ("--set", change)]
    monkeypatch.setattr(StreamLoader, "draw", drawing)
    monkeypatch.setattr(bench, "measure_row", lambda row, recipe, arguments: [])
    result = bench.run(options(bench, "--only", "bicubic", "--turns", "3", "--warmup", "1", *changes))
    assert json.loads(json.dumps(result)) == result
    # The side with data draws anew in every step, the bare one never.
    assert drawn == [0, 2, 4, 6]
    (row,) = result["trainings"]
    assert (row["name"], row["precision"], row["steps"]) == ("bicubic", "fp32", 3)
    assert row["share_lowest"] <= row["share_of_bare_rate"] <= row["share_highest"]
    heading, line = bench.table(result)[-2:]
    assert len(heading) == len(line) and "step of srresnet_x4, batch 2" in line


def test_rows_are_of_recipes_and_steps_that_there_are(bench: Any, tmp_path: Path) -> None:
    steps = {row.name: row for row in importlib.import_module("bench_steps").ROWS}
    for row in bench.ROWS:
        recipe = bench.recipe_of(row, tmp_path)
        if row.step is not None:
            assert steps[row.step].recipe == row.recipe
            assert importlib.import_module("bench_steps").recipe_of(steps[row.step]).data.shape == recipe.data.shape
    assert {row.name for row in bench.ROWS} >= set(bench.TRAININGS)
