"""`i2i demo`: train a small CycleGAN on drawn pictures for a few minutes, then say in decibels what it learnt."""

from __future__ import annotations

import json as json_module
from pathlib import Path

import numpy as np
import typer

from i2i.commands import train
from i2i.commands.planning import RECIPE_FILE
from i2i.data.streams import open_streams
from i2i.evaluation.paired import PairedScores, paired_scores
from i2i.inference import load_model
from i2i.recipe import load_recipe

RECIPE = "cyclegan_demo"


def run(
    *, minutes: float, seed: int, device: str = "auto", out: Path | None = None, quiet: bool = False, json: bool = False
) -> Path:
    """Train the built-in demo recipe for `minutes`, score it against the true counterparts; returns the run folder.

    Raises:
        UsageError, StorageError, DivergedError: as `i2i.commands.train.run`.
    """
    # A demonstration sends nothing anywhere, whatever keys lie on the machine.
    overrides = [f"training.length.minutes={minutes}", "tracking.wandb=disabled"]
    finished = train.start(RECIPE, [f"seed={seed}", *overrides], out=out, device=device, quiet=quiet)
    folder = Path(finished.run)
    scores = score(folder, device)
    report = folder / "report.html"
    if json:
        typer.echo(json_module.dumps({"run": str(folder), "report": str(report)} | scores.to_json()))
        return folder
    typer.echo(scores.table())
    for direction, rows in scores.directions.items():
        gain = rows.model.psnr_db - rows.untranslated.psnr_db
        where = "nearer to" if gain >= 0 else "farther from"
        typer.echo(f"{direction}: translations are {abs(gain):.1f} dB {where} the truth than the pictures themselves")
    typer.echo(f"pictures, curves and numbers: {report}")
    typer.echo(f"translate your own: i2i translate --model {folder} PICTURES")
    return folder


def score(folder: Path, device: str) -> PairedScores:
    """Scores of a demo run's model on the drawn test pictures."""
    data = open_streams(load_recipe(folder / RECIPE_FILE).data, seed=0)
    models = {direction: load_model(folder, device, direction) for direction in ("AtoB", "BtoA")}

    def translate(direction: str, pictures: np.ndarray) -> np.ndarray:
        return models[direction](pictures)

    return paired_scores(translate, data.test["a"], data.test["b"])
