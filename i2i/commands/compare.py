"""`i2i compare`: two evaluations side by side, where their figures were made alike."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from i2i.errors import DataError

if TYPE_CHECKING:
    from i2i.evaluation.passports.figures import FigureSheet


def run(first: Path, second: Path, *, ignore: Sequence[str] = (), json: bool = False) -> None:
    """Compare the figures of two files that `i2i evaluate -o` wrote, or of the newest evaluations of two runs.

    Args:
        ignore: fields of the passports that may differ.

    Raises:
        UsageError: passports differ in another field, or there is nothing to compare.
        DataError: a file is missing or damaged, or a run has no evaluation.
    """
    from i2i.evaluation.passports.comparison import compare_sheets
    from i2i.evaluation.passports.tables import comparison_table

    sheets = _sheet_at(first), _sheet_at(second)
    fields = [field.strip() for words in ignore for field in words.split(",") if field.strip()]
    comparison = compare_sheets(*sheets, ignore=fields)
    if json:
        about = {"first": str(first), "second": str(second)}
        about |= {f"{which}_subject": sheet.subject.description for which, sheet in zip(about, sheets, strict=True)}
        typer.echo(json_module.dumps(about | comparison.to_json()))
        return
    for place, sheet in zip((first, second), sheets, strict=True):
        typer.echo(f"{place}: {sheet.subject.description}, {sheet.created}")
    typer.echo(comparison_table(comparison, (str(first), str(second))))


def _sheet_at(path: Path) -> FigureSheet:
    from i2i.evaluation.passports.figures import EVALUATIONS_FOLDER, FigureSheet, read_sheets

    if not path.is_dir():
        return FigureSheet.read(path)
    sheets = read_sheets(path)
    if not sheets:
        raise DataError(f"{path}: has no evaluation in {EVALUATIONS_FOLDER} - run: i2i evaluate --model {path}")
    return sheets[-1]
