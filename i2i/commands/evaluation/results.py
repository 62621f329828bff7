"""Where the figures of an evaluation go: to the screen, to a file that was named, and into the run's own folder."""

from __future__ import annotations

import contextlib
import itertools
import json as json_module
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from i2i.errors import PartialFailureError, StorageError
from i2i.evaluation.passports.figures import EVALUATIONS_FOLDER, Figure, FigureSheet, Setting, Subject, sheet_of

if TYPE_CHECKING:
    from i2i.evaluation.team import Team
    from i2i.inference import ImageModel, LatentModel

_RECIPE_FILE = "recipe.yaml"


def console_of(team: Team, quiet: bool) -> Console:
    """Where notes go: the standard error of the process that speaks for all."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True, markup=False, quiet=quiet or not team.leads)


def tell_failures(failed: Sequence[str], team: Team) -> None:
    """Name what cannot be read, each in a line of the process that speaks for all."""
    for reason in failed if team.leads else ():
        typer.echo(f"failed: {reason}", err=True)


def refuse_silence(failed: Sequence[str]) -> None:
    """End with another exit code where pictures were left out, once the figures are told.

    Raises:
        PartialFailureError: some were.
    """
    if failed:
        raise PartialFailureError(f"{len(failed)} pictures could not be used, see above")


def deliver(
    model: ImageModel | LatentModel,
    figures: Sequence[Figure],
    table: str,
    *,
    about: Mapping[str, str | None],
    scores: Mapping[str, object] | None = None,
    failed: Sequence[str],
    out: Path | None,
    json: bool,
) -> None:
    """A model's figures to standard output, to `out` and into its run.

    Args:
        table: what a person is shown of them.
        about: what they were measured on, and which of its directions if one was asked for; None where not said.
        scores: more than the figures, for JSON.
        failed: a line for each picture that was left out.

    Raises:
        StorageError: a file cannot be written.
    """
    settings = settings_of(model)
    # Not on what: that is in the passports, by content; a path means nothing on another machine.
    direction = about.get("direction")
    sheet = sheet_of_model(model, figures, settings | ({} if direction is None else {"direction": direction}))
    keep(sheet, out, model.path)
    facts = {"model": str(model.path), **about, **settings, "device": str(model.device), **(scores or {})}
    tell(facts, sheet, table, json=json, failed=failed)


def settings_of(model: ImageModel | LatentModel) -> dict[str, Setting]:
    """How a model is run."""
    from i2i.inference import ImageModel

    settings: dict[str, Setting] = {"precision": model.precision, "runner": model.runner.name}
    if isinstance(model, ImageModel) and model.entry_point.scale > 1:
        settings |= {"strength": model.strength, "consistent": model.consistent}
    return settings


def sheet_of_model(
    model: ImageModel | LatentModel, figures: Sequence[Figure], settings: Mapping[str, Setting]
) -> FigureSheet:
    """The sheet of a model's figures, which was run with these settings."""
    origin: Mapping[str, Any] = {} if model.metadata is None else model.metadata.provenance
    step, images = (origin.get(key) if isinstance(origin.get(key), int) else None for key in ("step", "images"))
    run = run_folder_of(model.path)
    name = "a model" if model.path is None else model.path.name if run is None else f"{run.name}, {model.path.name}"
    subject = Subject(
        description=name if step is None else f"{name}, step {step:,}",
        model=None if model.path is None else str(model.path),
        sha256=model.sha256,
        step=step,
        images=images,
        settings=settings,
    )
    return sheet_of(subject, figures)


def keep(sheet: FigureSheet, out: Path | None, model: Path | None) -> None:
    """Write the sheet to `out`, and into the run that the file `model` belongs to.

    Raises:
        StorageError: a file cannot be written.
    """
    if out is not None:
        sheet.write(out)
    run = run_folder_of(model)
    if run is not None:
        path = _new_file(run / EVALUATIONS_FOLDER)
        try:
            sheet.write(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        _show_anew(run)


def _show_anew(run: Path) -> None:
    """Bring the run's report and card up to date, where there are such."""
    from i2i.report.card import CARD_FILE, write_card
    from i2i.report.page import REPORT_FILE, write_report

    if (run / REPORT_FILE).is_file():
        write_report(run)
    if (run / CARD_FILE).is_file():
        write_card(run)


def tell(about: Mapping[str, Any], sheet: FigureSheet, table: str, *, json: bool, failed: Sequence[str] = ()) -> None:
    """The table, or one JSON object, on standard output."""
    typer.echo(json_module.dumps({**about, **sheet.to_json(), "failed": list(failed)}) if json else table)


def run_folder_of(model: Path | None) -> Path | None:
    """The run that a model lies in, itself or as a checkpoint; None for one elsewhere.

    Args:
        model: its file, or the folder that `--model` may name in its place.
    """
    if model is None:
        return None
    place = Path(model).resolve()
    folder = place if place.is_dir() else place.parent
    candidates = [folder]
    if folder.parent.name == "checkpoints":
        candidates.append(folder.parent.parent)
    return next((place for place in candidates if (place / _RECIPE_FILE).is_file()), None)


def _new_file(folder: Path) -> Path:
    """An empty file of a name that nothing has: others may evaluate the same run in the same second."""
    stem = f"evaluate-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            path = folder / f"{stem}{'' if number == 1 else f'-{number}'}.json"
            with contextlib.suppress(FileExistsError):
                path.touch(exist_ok=False)
                return path
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written: {error.strerror or error} - free space or choose another folder"
        ) from error
    raise AssertionError("numbers do not end")
