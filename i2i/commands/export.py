"""`i2i export`: a trained model as one file that other engines run."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from i2i import __version__

if TYPE_CHECKING:
    from i2i.export.exporting import ExportReport
    from i2i.inference.model_files.exported_metadata import ExportForm


def run(
    model: Path,
    to: ExportForm,
    out: Path,
    *,
    direction: str | None = None,
    strength: float = 1.0,
    uint8: bool = False,
    json: bool = False,
) -> None:
    """Export `model` to `out`, with a card beside it, and say how near the two are.

    Raises:
        ModelError, UsageError, StorageError: see `i2i.export.exporting.export_model`.
    """
    from i2i.export.exporting import as_json, export_model
    from i2i.report.card import write_model_card

    report = export_model(model, to, out, direction=direction, strength=strength, uint8=uint8, version=__version__)
    card = write_model_card(out, source=model)
    if json:
        typer.echo(json_module.dumps({"out": str(out), **as_json(report), "card": str(card)}))
        return
    lines = _lines(report, out, card)
    if direction is None:
        lines += _left_out(model, report.entry_point)
    for line in lines:
        typer.echo(line)


def _lines(report: ExportReport, out: Path, card: Path) -> list[str]:
    from i2i.export.formats import FORMATS
    from i2i.inference.model_files.loading import read_any_metadata
    from i2i.inference.model_files.trust import report_path

    pixels = "uint8 (N, H, W, C)" if report.uint8 else "float32 (N, C, H, W) in [-1, 1]"
    sizes = {(row.height, row.width) for row in report.parity}
    batches = sorted({row.batch for row in report.parity})
    metadata = read_any_metadata(out)
    lines = [
        f"{out}: {metadata.description}; {report.form}, {pixels}, {report.bytes:,} bytes",
        f"from {report.source}: differs by at most {report.levels:.2g} of 255 grey levels, at {len(sizes)} sizes in"
        f" batches of {' and '.join(map(str, batches))}; see {report_path(out)}, and {card} for a card",
    ]
    if FORMATS[report.form].carries_code and report.seal is None:
        lines.append(
            f"it can carry code, and no key to know it again could be kept ({report.unsealed}): --trust opens it"
        )
    verb = f"i2i translate --model {out} PICTURES" if metadata.translates else f"i2i generate --model {out}"
    return [*lines, f"use it: {verb}"]


def _left_out(model: Path, exported: str) -> list[str]:
    """A line on the directions that the file does not have, of a model with several."""
    from i2i.inference.model_files.loading import read_any_metadata

    others = [name for name in read_any_metadata(model).entry_points if name != exported]
    if not others:
        return []
    wanted = ", ".join(f"--direction {name}" for name in others)
    return [f"it has {exported} alone; for a file of what else the model has: {wanted}"]
