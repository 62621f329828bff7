"""What a run folder says, read once for a page: damaged and missing files count as empty."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from i2i.evaluation.passports.figures import FigureSheet, read_sheets
from i2i.files import read_regular
from i2i.training.checkpoint import checkpoint_folder, checkpoint_steps
from i2i.training.tracking import METRICS_FILE, read_alarms, read_metrics

RUN_FILES = ("recipe.yaml", "metrics.jsonl", "environment.json", "model.safetensors")
"""Any of these makes a folder a run."""

_OF_A_TRAINING = RUN_FILES[:2]


def is_run_folder(folder: Path) -> bool:
    """Whether `folder` is a run as far as anybody may say: writing into some other folder would only be clutter."""
    return any((folder / name).exists() for name in RUN_FILES)


def holds_training(folder: Path) -> bool:
    """Whether `folder` has what every training writes; a model that somebody put there alone does not make it one."""
    return all((folder / name).is_file() for name in _OF_A_TRAINING)


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """The files of a run folder as plain values."""

    folder: Path
    recipe_text: str
    recipe: Mapping[str, Any]
    """The resolved recipe; empty where it is missing or damaged."""
    environment: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    """See `i2i.training.tracking.read_metrics`."""
    alarms: Sequence[Mapping[str, Any]]
    evaluations: Sequence[FigureSheet]
    """In order of their making."""
    end: Mapping[str, float] | None
    """See `run_end`."""

    @property
    def name(self) -> str:
        """The recipe's, or the folder's."""
        return str(self.recipe.get("name") or self.folder.resolve().name)

    @property
    def pipeline(self) -> Mapping[str, Any]:
        pipeline = self.recipe.get("pipeline")
        return pipeline if isinstance(pipeline, dict) else {}

    @property
    def scale(self) -> int | None:
        """By which the run's model enlarges, where it does."""
        for part in (self.pipeline.get("generator"), self.recipe.get("data"), self.pipeline):
            scale = part.get("scale") if isinstance(part, dict) else None
            if isinstance(scale, int) and scale > 1:
                return scale
        return None


def read_run(run_folder: Path) -> RunFiles:
    """Read a run folder."""
    run_folder = Path(run_folder)
    rows = read_metrics(run_folder / METRICS_FILE)
    recipe_text = _read_text(run_folder / "recipe.yaml")
    return RunFiles(
        folder=run_folder,
        recipe_text=recipe_text,
        recipe=_parse_recipe(recipe_text),
        environment=_read_environment(run_folder / "environment.json"),
        rows=rows,
        alarms=read_alarms(run_folder),
        evaluations=read_sheets(run_folder),
        end=run_end(run_folder, rows),
    )


def run_end(run_folder: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """How far the run has come: step, images, epoch and wall_seconds; None when nothing tells.

    Rows are written every so many steps only, so the newest checkpoint may be ahead of the last one.
    """
    last = dict(rows[-1]) if rows else None
    counters = _newest_counters(run_folder)
    if last is not None:
        last["wall_seconds"] = max(row["wall_seconds"] for row in rows)
    if counters is None or (last is not None and last["step"] >= counters["step"]):
        return last
    # What an older checkpoint does not say follows from the rows, or is not known.
    per_image = last["epoch"] / last["images"] if last is not None and last["images"] else 0.0
    counters.setdefault("epoch", counters["images"] * per_image)
    counters["wall_seconds"] = max(counters.get("wall_seconds", 0.0), last["wall_seconds"] if last is not None else 0.0)
    return counters


def _newest_counters(run_folder: Path) -> dict[str, float] | None:
    for step in reversed(checkpoint_steps(run_folder)):
        try:
            content = json.loads(read_regular(checkpoint_folder(run_folder, step) / "state.json"))
            known = ("step", "images", "epoch", "wall_seconds")
            counters = {name: float(content[name]) for name in known if content.get(name) is not None}
        except (OSError, ValueError, TypeError, AttributeError):
            continue
        if "step" in counters and "images" in counters:
            return counters
    return None


def _read_text(path: Path) -> str:
    try:
        return read_regular(path).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _read_environment(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read_text(path) or "{}")
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}


def _parse_recipe(text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = None
    return content if isinstance(content, dict) else {}
