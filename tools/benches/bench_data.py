"""How fast pictures arrive: decoded and resized once, then cropped, mirrored and stacked for a training.

    tools/bench data                                   about eight minutes on two CPU cores
    tools/bench data --steps steps.json                beside what the steps in that file take (tools/bench steps)
    tools/bench data --only unpaired digits --no-training

Pictures are JPEGs drawn by code, which cost what photographs cost: 256 x 256 for translation, 481 x 321 for
super-resolution, 178 x 218 for faces. "First" is opening the set with an empty cache, which decodes and resizes every
picture; "again" is opening it a second time. Then batches are drawn while nobody trains, by the training process alone
and with worker processes. A sample has one picture of every stream: a horse and a zebra, say.

Last, training steps of the recipes on these files, beside the bare step on a batch that lies in memory; both take turns
(A B A B ...), each in a process of its own, without workers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench_srgan import draw_photographs, environment_variable
from bench_turns import alternate, in_own_process, now
from our_training import engine_for, our_step, prepare_process, with_precision

from i2i.commands.planning import open_data
from i2i.data.dataset import DataSet
from i2i.data.loader import StreamLoader
from i2i.recipe import Recipe, load_recipe
from i2i.training.loop import bind_draws

_WORKERS = (0, 2)
_AHEAD = 8


@dataclass(frozen=True, kw_only=True)
class DataRow:
    """One way in which pictures come."""

    name: str
    title: str
    recipe: str
    changes: tuple[str, ...] = ()
    """Of the recipe; FOLDER stands for the drawn pictures."""
    step: str | None = None
    """The row of `tools/bench steps` that takes these samples."""


_PHOTOS = ("data.root=FOLDER/photos", "data.held_out=0", "data.crop_pixels=128")

ROWS: tuple[DataRow, ...] = (
    DataRow(
        name="unpaired",
        title="two folders, 286 to 256 px, cached",
        recipe="cyclegan_horse2zebra",
        changes=("data.root=FOLDER/unpaired",),
        step="cyclegan",
    ),
    DataRow(
        name="unpaired-memory",
        title="two folders, 286 to 256 px, not cached",
        recipe="cyclegan_horse2zebra",
        changes=("data.root=FOLDER/unpaired", "data.cache=false"),
        step="cyclegan",
    ),
    DataRow(
        name="faces",
        title="one folder, 64 px, cached",
        recipe="dcgan_faces64",
        changes=("data.root=FOLDER/faces",),
        step="dcgan",
    ),
    DataRow(
        name="bicubic",
        title="crops of 128 px and bicubic quarters",
        recipe="srresnet_x4",
        changes=_PHOTOS,
        step="srresnet",
    ),
    DataRow(
        name="blind",
        title="crops of 128 px, degraded twice",
        recipe="srresnet_x4",
        changes=(*_PHOTOS, "data.degradation={kind: second_order}"),
        step="srresnet",
    ),
    DataRow(name="animals", title="drawn animals, 64 px", recipe="cyclegan_demo"),
    DataRow(name="scenes", title="drawn scenes, crops of 96 px", recipe="sr_demo"),
    DataRow(name="digits", title="drawn digits, 28 px", recipe="dcgan_demo"),
)
TRAININGS = ("unpaired", "faces", "bicubic")
"""Rows whose recipes are also trained with their data."""


def recipe_of(row: DataRow, folder: Path, more: Sequence[str] = ()) -> Recipe:
    """The recipe of a row, on the pictures in `folder`."""
    return load_recipe(row.recipe, [*(change.replace("FOLDER", str(folder)) for change in row.changes), *more])


def draw_sets(folder: Path, pictures: int) -> None:
    """All pictures that rows read from files."""
    for name, (width, height) in {
        "unpaired/trainA": (256, 256), "unpaired/trainB": (256, 256), "faces": (178, 218), "photos": (481, 321),
    }.items():  # fmt: skip
        (folder / name).mkdir(parents=True)
        draw_photographs(folder / name, pictures, width, height)


# Pictures alone


@contextmanager
def _opened(recipe: Recipe) -> Iterator[tuple[DataSet, dict[str, float]]]:
    """The data of a recipe, opened twice with a cache of their own, and what that took."""
    with tempfile.TemporaryDirectory() as cache, environment_variable("I2I_CACHE", cache):
        times = [time.perf_counter()]
        open_data(recipe)
        times.append(time.perf_counter())
        data = open_data(recipe)
        times.append(time.perf_counter())
        yield data, {"seconds_first": times[1] - times[0], "seconds_again": times[2] - times[1]}


def measure_row(row: DataRow, recipe: Recipe, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Opening, and drawing with each number of workers."""
    batch = recipe.training.batch_size
    found = []
    with _opened(recipe) as (data, seconds):
        pictures = _pictures_in(data)
        for workers in _WORKERS:
            with StreamLoader(data.train, batch, workers=workers, device=torch.device(arguments.device)) as loader:
                streams = tuple(recipe.pipeline.streams)
                rate = batch * draws_per_second(loader, streams, batch, arguments.seconds)
            found.append(
                {
                    "name": row.name,
                    "row": f"{row.title}, {workers} workers",
                    "workers": workers,
                    "batch": batch,
                    "pictures": pictures,
                    **seconds,
                    "pictures_per_second_first": pictures / seconds["seconds_first"],
                    "samples_per_second": rate,
                }
            )
    return found


def _pictures_in(data: DataSet) -> int:
    """How many pictures were decoded or drawn; high and low resolution are of one."""
    train = sum(stream.images_per_epoch for name, stream in data.train.items() if name != "low")
    return train + sum(len(samples) for name, samples in data.test.items() if name != "low")


def draws_per_second(loader: StreamLoader, streams: tuple[str, ...], batch: int, at_least_seconds: float) -> float:
    """Batches a second over `at_least_seconds`; what was read ahead before does not count."""
    before = max(1, _AHEAD * loader.workers)
    drawn, started = 0, 0.0
    while drawn <= before or time.perf_counter() - started < at_least_seconds:
        loader.draw(streams, drawn * batch)
        drawn += 1
        if drawn == before:
            started = time.perf_counter()
    return (drawn - before) / (time.perf_counter() - started)


def consumed_by_step(file: Path) -> dict[str, float]:
    """Samples a second that each row of a record of `tools/bench steps` takes, by the row's name."""
    record = json.loads(file.read_text())
    return {row["name"]: row["batch"] / row["ours_seconds"] for row in record["rows"]}


# With a training


def step_with_data(recipe: Recipe, device_name: str) -> Callable[[], None]:
    """The engine's step with the pictures of its recipe; give it a process of its own."""
    device = torch.device(device_name)
    recipe = prepare_process(recipe, device)
    data = open_data(recipe)
    engine = engine_for(recipe, device, data)
    settings = recipe.training
    loader = StreamLoader(data.train, settings.batch_size, micro_batches=settings.accumulate, device=device)
    draw = bind_draws(loader, engine)

    def step() -> None:
        assert engine.take_step(draw)
        now(device)

    return step


def measure_training(row: DataRow, recipe: Recipe, arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps with data beside bare ones."""
    device = str(arguments.device)
    recipe, precision = with_precision(recipe, torch.device(device))
    with (
        tempfile.TemporaryDirectory() as cache,
        environment_variable("I2I_CACHE", cache),
        in_own_process(our_step, recipe, device) as bare,
        in_own_process(step_with_data, recipe, device) as with_data,
    ):
        seconds = alternate(bare, with_data, arguments.turns, arguments.warmup, torch.device("cpu"))
    ratios = [alone / beside for alone, beside in zip(*seconds, strict=True)]
    return {
        "name": row.name,
        "row": f"step of {row.recipe}, batch {recipe.training.batch_size}",
        "precision": precision,
        "bare_seconds": statistics.median(seconds[0]),
        "with_data_seconds": statistics.median(seconds[1]),
        "share_of_bare_rate": statistics.median(ratios),
        "share_lowest": min(ratios),
        "share_highest": max(ratios),
        "steps": len(ratios),
    }


# The verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bench's own options."""
    names = [row.name for row in ROWS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--pictures", type=int, default=100, help="to draw for each folder (default 100)")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement of drawing (default 5)")
    parser.add_argument("--steps", type=Path, metavar="FILE", help="what `tools/bench steps --json FILE` kept")
    parser.add_argument("--no-training", action="store_true", help="leave the training steps out")
    parser.add_argument("--turns", type=int, default=7, help="counted training steps of each (default 7)")
    parser.add_argument("--warmup", type=int, default=2, help="uncounted ones before (default 2)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change of the recipes")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Rows of the pictures alone, and "trainings" with them."""
    chosen = [row for row in ROWS if arguments.only is None or row.name in arguments.only]
    consumed = {} if arguments.steps is None else consumed_by_step(arguments.steps)
    rows: list[dict[str, Any]] = []
    trainings: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as drawn:
        folder = Path(drawn)
        draw_sets(folder, arguments.pictures)
        for row in chosen:
            recipe = recipe_of(row, folder, arguments.set)
            taken = consumed.get(row.step or "")
            for found in measure_row(row, recipe, arguments):
                delivered = found["samples_per_second"]
                rows.append(
                    {
                        **found,
                        "consumed_per_second": taken,
                        "times_consumed": None if taken is None else delivered / taken,
                    }
                )
            if row.name in TRAININGS and not arguments.no_training:
                trainings.append(measure_training(row, recipe, arguments))
    return {"rows": rows, "trainings": trainings, "cores": os.cpu_count()}


def table(result: Mapping[str, Any]) -> Sequence[str]:
    """The measurements as lines of text."""
    heading = f"{'':<50}{'first':>10}{'':>14}{'again':>10}{'samples':>12}{'taken':>10}{'times':>8}"
    lines = [heading]
    for row in result["rows"]:
        taken, times = row["consumed_per_second"], row["times_consumed"]
        lines.append(
            f"{row['row']:<50}{row['seconds_first']:>8.2f} s{row['pictures_per_second_first']:>12,.0f}/s"
            f"{row['seconds_again']:>8.2f} s{row['samples_per_second']:>10,.0f}/s"
            f"{'-' if taken is None else f'{taken:,.1f}/s':>10}{'-' if times is None else f'{times:,.0f}':>8}"
        )
    if result["trainings"]:
        lines += ["", f"{'':<50}{'bare':>10}{'with data':>12}{'of the bare rate':>18}{'(range)':>18}"]
    for row in result["trainings"]:
        spread = f"({100 * row['share_lowest']:.1f} - {100 * row['share_highest']:.1f})"
        lines.append(
            f"{row['row']:<50}{row['bare_seconds']:>8.3f} s{row['with_data_seconds']:>10.3f} s"
            f"{100 * row['share_of_bare_rate']:>16.1f} %{spread:>18}"
        )
    return lines
