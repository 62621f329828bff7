"""Where the figures of an evaluation go: to the screen, to a file that was named, and into the run's own folder."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from i2i.evaluation.passports.figures import EVALUATIONS_FOLDER, Figure, FigureSheet, Subject, sheet_of

if TYPE_CHECKING:
    from i2i.inference import ImageModel, LatentModel

_RECIPE_FILE = "recipe.yaml"


def sheet_of_model(model: ImageModel | LatentModel, figures: Sequence[Figure]) -> FigureSheet:
    """The sheet of a model's figures."""
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
        sheet.write(_free_name(run / EVALUATIONS_FOLDER))


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


def _free_name(folder: Path) -> Path:
    stem = f"evaluate-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    names = (folder / f"{stem}{'' if number == 1 else f'-{number}'}.json" for number in range(1, 10_000))
    return next(path for path in names if not path.exists())
