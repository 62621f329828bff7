"""Follows a run in Weights & Biases."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from i2i.evaluation.passports.figures import Figure, Passport
from i2i.files import link_or_copy
from i2i.training.tracking.settings import ModelUpload
from i2i.training.tracking.sinks import Attempt, Row

_log = logging.getLogger(__name__)

STEP, IMAGES, EPOCH = "train/step", "train/images", "train/epoch"
SHEETS_TABLE, FIGURES_TABLE = "tables/sheets", "tables/figures"
_FIGURE_COLUMNS = ("step", "name", "label", "value", "unit", "interval", "interval_kind")
_PASSPORT_COLUMNS = tuple(field.name for field in fields(Passport))
_ENDING_SECONDS = 2.0


class WandbSink:
    """Follows a run in Weights & Biases; files lie in `wandb/` of the run folder.

    Every attempt is a new wandb run in the group of its run: an offline resume under the old id would overwrite the
    history when synced.

    Args:
        run_folder: the run's folder.
        project: the Weights & Biases project.
        mode: "offline" sends nothing.
        upload_model: when the model becomes an artifact.
        message: gets the address of the run, online.
    """

    def __init__(
        self,
        run_folder: Path,
        project: str,
        mode: Literal["online", "offline"],
        upload_model: ModelUpload = "end",
        message: Callable[[str], None] = _log.info,
    ) -> None:
        self._folder, self._project = run_folder.absolute(), project
        self._mode: Literal["online", "offline"] = mode
        self._upload_model: ModelUpload = upload_model
        self._message = message
        self._run: Any = None
        self._run_name = ""
        self._tables: dict[str, _GrowingTable] = {}
        self._models: dict[str, Path] = {}
        self._model_count = 0

    def start(self, attempt: Attempt) -> None:
        if self._mode == "offline":
            # Else wandb reports on itself over the network even then. It reads this once, when it starts.
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._run_name = attempt.run_name
        self._run = wandb.init(
            project=self._project,
            name=attempt.title,
            group=attempt.group,
            job_type="resume" if attempt.resumed else "train",
            tags=["resumed"] if attempt.resumed else None,
            config={**attempt.config, "environment": dict(attempt.environment)},
            dir=str(self._folder),
            mode=self._mode,
            # A run of the caller's own, open in this process, stays theirs.
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                silent=True,
                init_timeout=30,
                disable_code=True,
                # Not wandb's own look at the repository, which would also send its uncommitted changes.
                disable_git=True,
                git_commit=attempt.commit,
            ),
        )
        for axis in (STEP, IMAGES, EPOCH):
            self._run.define_metric(axis)
        self._run.define_metric("*", step_metric=STEP)
        if self._mode == "online":
            self._message(f"wandb: {self._run.url}")

    def scalars(self, row: Row) -> None:
        self._run.log({**row.values, STEP: row.step, IMAGES: row.images, EPOCH: row.epoch})

    def images(self, step: int, name: str, picture: np.ndarray) -> None:
        import wandb

        from i2i.training.sheets import LARGEST_PNG_PIXELS

        large = picture.shape[0] * picture.shape[1] > LARGEST_PNG_PIXELS
        image = wandb.Image(picture, file_type="jpg" if large else "png")
        self._run.log({f"samples/{name}": image, STEP: step})
        self._table(SHEETS_TABLE, ("step", "name", "picture")).add([[step, name, image]])

    def alarm(self, step: int, title: str, text: str) -> None:
        self._run.alert(title=title, text=f"Step {step}: {text}", level="WARN")

    def figures(self, step: int, figures: Sequence[Figure]) -> None:
        rows = [_figure_row(step, figure) for figure in figures]
        self._table(FIGURES_TABLE, (*_FIGURE_COLUMNS, *_PASSPORT_COLUMNS)).add(rows)

    def model(self, path: Path, aliases: Sequence[str]) -> None:
        if self._upload_model == "never":
            return
        self._model_count += 1
        every = self._upload_model == "checkpoint"
        name = f"{self._model_count:04d}" if every else "-".join(aliases)
        kept = self._folder / "wandb" / "models" / self._run.id / f"{name}.safetensors"
        # A second name: wandb reads the file later (offline, whenever it is synced), and by then `path` is another.
        link_or_copy(path, kept)
        if every:
            self._log_model(kept, aliases)
        else:
            self._models.update((alias, kept) for alias in aliases)

    def finish(self, summary: Mapping[str, float | str], failed: bool) -> None:
        for table in self._tables.values():
            table.send()
        # The newest comes last, because Weights & Biases calls the last version the latest.
        for alias in sorted(self._models, key=lambda alias: alias == "latest"):
            self._log_model(self._models[alias], [alias])
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=1 if failed else 0)

    def abandon(self) -> None:
        """End wandb's service process, for which wandb itself would wait as Python exits, however long it takes.

        There is no public way to do so, hence the careful look at its insides.
        """
        if "wandb" not in sys.modules:
            return
        import wandb

        setup: Any = wandb.setup()
        # Known by its folder: where wandb hangs while it begins, there is no run here to compare with.
        active = list(getattr(setup, "_active_runs", ()))
        others = [run for run in active if Path(run.settings.root_dir).absolute() != self._folder]
        connection = getattr(setup, "_connection", None)
        process = getattr(getattr(connection, "_proc", None), "_process", None)
        if process is None or others:
            return
        process.terminate()
        try:
            process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        take_back_exit_hook = getattr(connection, "_cleanup", None)
        if take_back_exit_hook is not None:
            take_back_exit_hook()

    def _table(self, key: str, columns: Sequence[str]) -> _GrowingTable:
        if key not in self._tables:
            self._tables[key] = _GrowingTable(self._run, key, columns)
        return self._tables[key]

    def _log_model(self, path: Path, aliases: Sequence[str]) -> None:
        import wandb

        from i2i.inference.model_files.model_file import read_metadata

        metadata = asdict(read_metadata(path))
        provenance = metadata.pop("provenance")
        # Names of artifacts may hold no other characters; those of folders may.
        name = re.sub(r"[^\w.-]+", "-", self._run_name, flags=re.ASCII)[:100] or "run"
        artifact = wandb.Artifact(f"{name}-model", type="model", metadata={**provenance, **metadata})
        # The link does not change any more, so wandb needs no copy of it.
        artifact.add_file(str(path), name="model.safetensors", policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact, aliases=list(aliases))


class _GrowingTable:
    """A table to which rows are added all through a run.

    Every time it is sent makes a version, and each names all before it; so the larger it is, the more rows wait.
    """

    def __init__(self, run: Any, key: str, columns: Sequence[str]) -> None:
        import wandb

        self._run, self._key = run, key
        self._table = wandb.Table(columns=list(columns), log_mode="INCREMENTAL", allow_mixed_types=True)
        self._sent = 0

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            self._table.add_data(*row)
        if len(self._table.data) - self._sent >= max(1, self._sent // 10):
            self.send()

    def send(self) -> None:
        if len(self._table.data) > self._sent:
            self._run.log({self._key: self._table, STEP: self._table.data[-1][0]})
            self._sent = len(self._table.data)


def _figure_row(step: int, figure: Figure) -> list[Any]:
    interval, passport = figure.interval, figure.passport
    spread = (None, None) if interval is None else (interval.half_width, interval.kind)
    facts = {name: getattr(passport, name) for name in _PASSPORT_COLUMNS}
    facts["parameters"] = json.dumps(dict(passport.parameters), sort_keys=True)
    return [step, figure.name, figure.label, figure.value, figure.unit, *spread, *facts.values()]
