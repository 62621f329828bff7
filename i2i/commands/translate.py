"""`i2i translate`: pictures through a trained model."""

from __future__ import annotations

import json as json_module
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from i2i.errors import PartialFailureError, UsageError

if TYPE_CHECKING:
    from i2i.inference.image_files import OutputFormat
    from i2i.inference.image_model import ImageModel, Precision
    from i2i.inference.translate import Outcome, Plan

_FORMAT_NAMES: dict[str, OutputFormat] = {
    "png": "png", "jpg": "jpg", "jpeg": "jpg", "webp": "webp", "tif": "tiff", "tiff": "tiff",
}  # fmt: skip


def run(
    model: Path | str,
    inputs: Sequence[Path | str],
    out: Path | None = None,
    *,
    direction: str | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    strength: float = 1.0,
    consistent: bool = False,
    skip_existing: bool = False,
    format: str | None = None,
    quality: int = 95,
    max_pixels: int = 200_000_000,
    batch: int = 1,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Translate `inputs` (files, folders, patterns) and write the results below `out`.

    Progress, notes and failures go to standard error; with `json` one object goes to standard output.

    Raises:
        PartialFailureError: some pictures failed; all others were done.
        UsageError, DataError, ModelError, StorageError: nothing could be done, or no more.
    """
    output_format = _output_format(format)
    _check_numbers(quality=quality, max_pixels=max_pixels, batch=batch)
    from i2i.inference import load_model
    from i2i.inference.translate import plan_translation, prepare_folders, translate_files

    loaded = load_model(model, device, direction, precision, strength=strength, consistent=consistent)
    # What the other directions make of the same pictures must not be taken for this one's.
    other = None if loaded.name == loaded.names[0] else loaded.name
    plan = plan_translation(inputs, out, output_format, direction=other)
    prepare_folders(plan)
    with _Show(total=len(plan.jobs) + len(plan.missing), quiet=quiet) as show:
        if direction is None and len(loaded.names) > 1:
            show.line(_default_direction_line(loaded))
        for outcome in plan.missing:
            show.settled(outcome)
        translate_files(
            loaded,
            plan.jobs,
            skip_existing=skip_existing,
            batch=batch,
            quality=quality,
            max_pixels=max_pixels,
            on_outcome=show.settled,
        )
        show.summary(plan)
    if json:
        typer.echo(json_module.dumps(_as_json(loaded, strength, show)))
    _raise_for_failures(show.outcomes)


class _Show:
    """What a person sees: a bar in a terminal, plain lines elsewhere; failures always."""

    def __init__(self, *, total: int, quiet: bool, line_every_seconds: float = 10.0) -> None:
        self.outcomes: list[Outcome] = []
        self.counts: Counter[str] = Counter()
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True, markup=False)
        self._quiet, self._total, self._line_every_seconds = quiet, total, line_every_seconds
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> _Show:
        self._started = self._line_at = time.monotonic()
        if not self._quiet and self._console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("translating", total=self._total, rate="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def line(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text)

    def settled(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.counts[outcome.status] += 1
        if outcome.status == "failed":
            self._console.print(f"failed: {outcome.message}")
        elif outcome.notes:
            self.line(f"{outcome.source}: {', '.join(outcome.notes)}")
        rate = f"{self.counts['written'] / max(self.seconds, 1e-9):.1f} pictures/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=len(self.outcomes), rate=rate)
        elif time.monotonic() - self._line_at >= self._line_every_seconds:
            self._line_at = time.monotonic()
            self.line(f"{len(self.outcomes)} of {self._total} pictures, {rate}")

    def summary(self, plan: Plan) -> None:
        written, skipped, failed = (self.counts[status] for status in ("written", "skipped", "failed"))
        seconds = self.seconds
        places = [plan.jobs[0].destination] if len(plan.jobs) == 1 else plan.folders
        parts = [f"{written} written to {', '.join(map(str, places))}"]
        parts += [f"{skipped} skipped (there already)"] if skipped else []
        parts += [f"{failed} failed"] if failed else []
        self.line(f"{', '.join(parts)} in {seconds:.1f} s ({written / max(seconds, 1e-9):.1f} pictures/s)")


def _output_format(name: str | None) -> OutputFormat | None:
    if name is None:
        return None
    chosen = _FORMAT_NAMES.get(name.lower().removeprefix("."))
    if chosen is None:
        raise UsageError(f"--format {name}: unknown - use png, jpg, webp or tiff")
    return chosen


def _check_numbers(*, quality: int, max_pixels: int, batch: int) -> None:
    if not 1 <= quality <= 100:
        raise UsageError(f"--quality {quality}: use 1 to 100")
    if max_pixels < 1:
        raise UsageError(f"--max-pixels {max_pixels}: use a positive number")
    if batch < 1:
        raise UsageError(f"--batch {batch}: use 1 or more")


def _default_direction_line(model: ImageModel) -> str:
    others = ", ".join(name for name in model.names if name != model.name)
    return f"direction {model.name} (this model also has {others}: choose with --direction)"


def _as_json(model: ImageModel, strength: float, show: _Show) -> dict[str, object]:
    return {
        "model": str(model.path),
        "direction": model.name,
        "device": str(model.device),
        "precision": model.precision,
        "scale": model.entry_point.scale,
        "strength": strength,
        "consistent": model.consistent,
        "seconds": round(show.seconds, 3),
        "written": show.counts["written"],
        "skipped": show.counts["skipped"],
        "failed": show.counts["failed"],
        "pictures": [
            {
                "source": str(outcome.source),
                "destination": None if outcome.destination is None else str(outcome.destination),
                "status": outcome.status,
                "message": outcome.message,
                "notes": list(outcome.notes),
            }
            for outcome in show.outcomes
        ],
    }


def _raise_for_failures(outcomes: Sequence[Outcome]) -> None:
    """Which and why was said as it happened."""
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    if failed == len(outcomes) and failed:
        raise PartialFailureError("nothing could be translated, see above")
    if failed:
        raise PartialFailureError(f"{failed} of {len(outcomes)} inputs failed, see above; the others are done")
