"""`i2i compare`: two evaluations side by side, where their figures were made alike."""

from __future__ import annotations

import contextlib
import itertools
import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from i2i.errors import DataError, UsageError

if TYPE_CHECKING:
    from i2i.evaluation.passports.figures import FigureSheet


def run(first: Path, second: Path, *, ignore: Sequence[str] = (), json: bool = False) -> None:
    """Compare the figures of two files that `i2i evaluate -o` wrote, or of two runs.

    Of a run with several evaluations that newest one is taken that was made like one of the other's.

    Args:
        ignore: fields of the passports that may differ.

    Raises:
        UsageError: passports differ in another field, or there is nothing to compare.
        DataError: a file is missing or damaged, or a run has no evaluation.
    """
    from i2i.evaluation.passports.comparison import compare_sheets
    from i2i.evaluation.passports.tables import comparison_table

    fields = [field.strip() for words in ignore for field in words.split(",") if field.strip()]
    sheets = _newest_alike(_sheets_at(first), _sheets_at(second), fields)
    comparison = compare_sheets(*sheets, ignore=fields)
    if json:
        about = {"first": str(first), "second": str(second)}
        about |= {f"{which}_subject": sheet.subject.description for which, sheet in zip(about, sheets, strict=True)}
        typer.echo(json_module.dumps(about | comparison.to_json()))
        return
    for place, sheet in zip((first, second), sheets, strict=True):
        typer.echo(f"{place}: {sheet.subject.description}, {sheet.created}")
    typer.echo(comparison_table(comparison, (str(first), str(second))))


def _newest_alike(
    mine: Sequence[FigureSheet], others: Sequence[FigureSheet], ignore: Sequence[str]
) -> tuple[FigureSheet, FigureSheet]:
    """The newest two sheets that compare; where none do, the newest of each: what is said of those is of use."""
    from i2i.evaluation.passports.comparison import compare_sheets

    pairs = sorted(itertools.product(mine, others), key=lambda pair: sorted(sheet.created for sheet in pair))
    for pair in reversed(pairs):
        with contextlib.suppress(UsageError):
            compare_sheets(*pair, ignore=ignore)
            return pair
    return mine[-1], others[-1]


def _sheets_at(path: Path) -> Sequence[FigureSheet]:
    """The sheet in a file, or all of a run, the newest last."""
    from i2i.evaluation.passports.figures import EVALUATIONS_FOLDER, FigureSheet, read_sheets

    if not path.is_dir():
        return [FigureSheet.read(path)]
    sheets = read_sheets(path)
    if not sheets:
        raise DataError(f"{path}: has no evaluation in {EVALUATIONS_FOLDER} - run: i2i evaluate --model {path}")
    return sheets
