"""`i2i convert`: checkpoints of other projects as model files of ours."""

from __future__ import annotations

import dataclasses
import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from i2i import __version__

if TYPE_CHECKING:
    from i2i.export.convert import Conversion


def run(
    source: Path, out: Path, *, layout: str | None = None, direction: str | None = None, json: bool = False
) -> None:
    """Convert the checkpoint `source` to the model file `out` and say what it is.

    Raises:
        ModelError, UsageError, StorageError: see `i2i.export.convert.convert_checkpoint`.
    """
    from i2i.export.convert import convert_checkpoint

    done = convert_checkpoint(source, out, layout, direction, version=__version__)
    if json:
        typer.echo(json_module.dumps(_as_json(done, source, out)))
        return
    assert done.model.metadata is not None
    left_out = f", {len(done.recognized.left_out)} left out that carry nothing" if done.recognized.left_out else ""
    typer.echo(f"{out}: {done.model.metadata.description}")
    found = done.recognized.layout
    typer.echo(f"from {source.name}: layout {found.name}, {done.weights:,} weights{left_out}")
    if found.assumption:
        typer.echo(f"taken for granted, since the file does not say: {found.assumption}")
    use = f"generate --model {out}" if found.purpose == "generate" else f"translate --model {out} PICTURES"
    typer.echo(f"use it: i2i {use}")


def _as_json(done: Conversion, source: Path, out: Path) -> dict[str, Any]:
    entry_point, shape = done.model.entry_point, done.recognized.shape
    return {
        "model": str(out),
        "source": str(source),
        "sha256": done.sha256,
        "layout": done.recognized.layout.name,
        "assumption": done.recognized.layout.assumption,
        "entry_point": done.model.name,
        "scale": getattr(entry_point, "scale", None),
        "shape": None if shape is None else dataclasses.asdict(shape),
        "generator": dataclasses.asdict(done.recognized.settings),
        "weights": done.weights,
        "left_out": list(done.recognized.left_out),
    }
