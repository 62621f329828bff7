"""`i2i generate`: pictures out of a trained generator."""

from __future__ import annotations

import json as json_module
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from i2i.commands.generation import (
    DEFAULT_COUNT,
    Wishes,
    device_of_this_process,
    listed,
    newest_generator,
    parse_classes,
    results_folder,
    saved_latents,
    share_of_this_process,
)
from i2i.commands.pace import pace
from i2i.errors import InterruptedBySignal, UsageError

if TYPE_CHECKING:
    from i2i.inference.generation.generate import Made, Series, Share, Target
    from i2i.inference.latent_model import LatentModel
    from i2i.inference.runtime import Precision

GRID_PICTURES = 100
"""As many pictures are shown on the sheet of ``--grid`` at most."""


def run(
    model: Path | str | None,
    wishes: Wishes,
    *,
    device: str = "auto",
    precision: Precision = "fp32",
    runner: str = "auto",
    trust: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Make pictures, or an interpolation, or the result of an arithmetic, with a generator.

    Under ``torchrun`` the processes share the pictures; the first one does all the rest and speaks for all.

    Args:
        model: None takes the newest run below ``runs/`` that generates.
        runner, trust: see `i2i.inference.load_model`.

    Raises:
        UsageError, DataError, ModelError, StorageError: nothing could be done, or no more.
    """
    wishes.check()
    from i2i.inference.generation.arithmetic import parse_arithmetic
    from i2i.inference.latent_model import LatentModel

    share = share_of_this_process()
    walks = wishes.interpolate is not None or wishes.arithmetic is not None
    if share.rank > 0 and walks:
        return
    terms = None if wishes.arithmetic is None else parse_arithmetic(wishes.arithmetic)
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True, markup=False, quiet=quiet or share.rank > 0)
    if model is None:
        model = newest_generator()
        console.print(f"model {model} (the newest run that generates)")
    # Nothing is timed for "auto": engines differ in last bits, and a seed should mean the same pictures every time.
    loaded = LatentModel.load(model, device_of_this_process(device), precision, runner=runner, trust=trust)
    started = time.monotonic()
    if walks:
        from i2i.commands import latent_walks

        done = (
            latent_walks.interpolate(loaded, wishes, console)
            if terms is None
            else latent_walks.arithmetic(loaded, wishes, terms, console)
        )
    else:
        done = _pictures(loaded, wishes, share, console)
    if json and share.rank == 0:
        facts = {"model": str(loaded.path), "device": str(loaded.device), "precision": loaded.precision}
        facts |= {"runner": loaded.runner.name}
        typer.echo(json_module.dumps({**facts, **done, "seconds": round(time.monotonic() - started, 3)}))


def _pictures(model: LatentModel, wishes: Wishes, share: Share, console: Console) -> dict[str, Any]:
    """Write the pictures and what belongs to them; returns what was done, for ``--json``."""
    from i2i.inference.generation.generate import Target, check_target, class_folders, generate_files
    from i2i.inference.translation.conveyor import Plan, prepare_folders

    started = time.monotonic()
    if wishes.labelled and not model.classes:
        raise UsageError("--labelled: this model was trained without classes - leave --labelled out")
    series = _series(model, wishes)
    target = Target(
        folder=results_folder(model, wishes),
        count=series.count,
        format=wishes.output_format,
        class_folders=class_folders(model.class_names) if wishes.labelled else (),
    )
    if not wishes.skip_existing and not wishes.force:
        check_target(target, series, share, beside=[path for path in (wishes.grid, wishes.save_latents) if path])
    prepare_folders(Plan((), (), (target.folder,)))
    keep = 0 if wishes.grid is None or share.rank > 0 else min(series.count, GRID_PICTURES)
    try:
        with _bar(console, sum(share.owns(number) for number in range(series.count))) as advance:
            made = generate_files(
                model, series, target, batch=wishes.batch, skip_existing=wishes.skip_existing, share=share, keep=keep,
                on_settled=advance,
            )  # fmt: skip
    except KeyboardInterrupt as error:
        if share.rank > 0:
            raise
        raise InterruptedBySignal(signal.SIGINT, _what_is_there(wishes, series, target)) from error
    if share.rank == 0:
        _write_beside(wishes, series, made)
    labels = [] if series.labels is None else series.labels(range(series.count)).tolist()
    classes = {model.class_names[label]: labels.count(label) for label in sorted(set(labels))}
    if classes:
        console.print(f"classes {listed(list(classes))}")
    console.print(_summary(made, series, target, share, time.monotonic() - started))
    if wishes.grid is not None:
        shown = "" if len(made.first) == series.count else f"the first {len(made.first)} "
        console.print(f"{shown}on one sheet: {wishes.grid}")
    if wishes.save_latents is not None:
        console.print(f"latents: {wishes.save_latents}")
    return {
        "n": series.count,
        "folder": str(target.folder),
        "written": made.written,
        "skipped": made.skipped,
        "classes": classes,
        "grid": None if wishes.grid is None else str(wishes.grid),
        "saved_latents": None if wishes.save_latents is None else str(wishes.save_latents),
        **wishes.origin,
    }


def _what_is_there(wishes: Wishes, series: Series, target: Target) -> str:
    """What an interruption left, and how to go on."""
    if wishes.force:
        return f"interrupted; {target.folder} may hold old pictures beside the new ones - run the command again"
    labels = [None] * series.count if series.labels is None else series.labels(range(series.count)).tolist()
    there = sum(target.path(number, label).exists() for number, label in enumerate(labels))
    return (
        f"interrupted; {there} of {series.count} pictures are in {target.folder}"
        " - the same command with --skip-existing makes the others"
    )


def _series(model: LatentModel, wishes: Wishes) -> Series:
    from i2i.inference.generation.generate import drawn_series, saved_series

    classes, saved = parse_classes(wishes.classes, model), saved_latents(model, wishes)
    if saved is not None:
        return saved_series(model, saved, wishes.n, classes)
    count = DEFAULT_COUNT if wishes.n is None else wishes.n
    return drawn_series(model, count, seed=wishes.seed or 0, truncation=wishes.truncation, classes=classes)


def _write_beside(wishes: Wishes, series: Series, made: Made) -> None:
    from i2i.commands.latent_walks import as_floats, save_drawing
    from i2i.inference.generation.latents import save_latents

    labels = None if series.labels is None else series.labels(range(series.count))
    if wishes.grid is not None:
        from i2i.training.sheets import grid

        # Of classes in turn each gets a column of its own.
        kinds = 0 if labels is None else len(labels[: len(made.first)].unique())
        columns = kinds if 1 < kinds <= 20 else math.ceil(math.sqrt(len(made.first)))
        save_drawing(wishes.grid, grid(as_floats(made.first), columns))
    if wishes.save_latents is not None:
        save_latents(wishes.save_latents, series.latents(range(series.count)), labels, wishes.origin)


def _summary(made: Made, series: Series, target: Target, share: Share, seconds: float) -> str:
    parts = [f"{made.written} written to {target.folder}"]
    parts += [f"{made.skipped} skipped (there already)"] if made.skipped else []
    text = f"{', '.join(parts)} in {seconds:.1f} s ({pace(made.written, seconds)})"
    rest = series.count - made.written - made.skipped
    return f"{text}; the other {rest} are for the other processes" if share.count > 1 else text


@contextmanager
def _bar(console: Console, total: int) -> Iterator[Callable[[int], None]]:
    """A bar in a terminal, nothing elsewhere."""
    if console.quiet or not console.is_terminal:
        yield lambda done: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("pictures"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("generating", total=total)
        yield lambda done: progress.advance(task, done)
