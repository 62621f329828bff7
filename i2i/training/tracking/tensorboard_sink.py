"""Follows a run in TensorBoard."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from i2i.evaluation.passports.figures import Figure, passport_fields
from i2i.training.tracking.sinks import Attempt, Row

TENSORBOARD_FOLDER = "tensorboard"
_FLUSH_SECONDS = 20


class TensorboardSink:
    """Writes TensorBoard events into `tensorboard/` of the run folder, all attempts into one run.

    Where training went back, TensorBoard is told so and forgets what is done anew, as `read_metrics` does.
    """

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder / TENSORBOARD_FOLDER
        self._writer: Any = None
        self._newest_step = -1
        self._begins_anew = False

    def start(self, attempt: Attempt) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self._writer = SummaryWriter(str(self._folder), flush_secs=_FLUSH_SECONDS)
        self._begins_anew = attempt.number > 1
        flat = _flat(attempt.config)
        # Without a description of the experiment TensorBoard takes all scalars for its results, as they come.
        _, started, _ = hparams(flat, {})
        self._writer.file_writer.add_summary(started)
        recipe = yaml.safe_dump(json.loads(json.dumps(attempt.config, default=str)), sort_keys=False)
        self._writer.add_text("recipe", f"```yaml\n{recipe}```")
        environment = json.dumps(attempt.environment, indent=1, default=str)
        self._writer.add_text("environment", f"```json\n{environment}\n```")

    def scalars(self, row: Row) -> None:
        self._reach(row.step, goes_back=row.step < self._newest_step)
        self._newest_step = row.step
        for name, value in row.values.items():
            self._writer.add_scalar(name, value, row.step)

    def images(self, step: int, name: str, picture: np.ndarray) -> None:
        self._reach(step)
        self._writer.add_image(f"samples/{name}", picture, step, dataformats="HWC")

    def alarm(self, step: int, title: str, text: str) -> None:
        self._reach(step)
        self._writer.add_text("alarms", f"**{title}**: {text}", step)

    def figures(self, step: int, figures: Sequence[Figure]) -> None:
        self._reach(step)
        self._writer.add_text("figures", _as_markdown(figures), step)

    def model(self, path: Path, aliases: Sequence[str]) -> None:
        """TensorBoard keeps no files."""

    def finish(self, summary: Mapping[str, float | str], failed: bool) -> None:
        from torch.utils.tensorboard.summary import hparams

        for name, value in summary.items():
            if not isinstance(value, str):
                self._writer.add_scalar(name, value, max(self._newest_step, 0))
        if not failed:
            _, _, ended = hparams({}, {})
            self._writer.file_writer.add_summary(ended)
        self._writer.close()

    def abandon(self) -> None:
        """Its own threads are daemons: nothing keeps the process from ending."""

    def _reach(self, step: int, goes_back: bool = False) -> None:
        """What is written next is about this step; if training went back to it, have what was beyond forgotten."""
        if self._begins_anew or goes_back:
            events: Any = importlib.import_module("tensorboard.compat.proto.event_pb2")
            log = events.SessionLog(status=events.SessionLog.START)
            self._writer.file_writer.add_event(events.Event(step=step, session_log=log))
        self._begins_anew = False


def _flat(config: Mapping[str, Any], before: str = "") -> dict[str, bool | str | float | int]:
    """Nested settings by dotted names; what is no number, flag or text is written as JSON."""
    found: dict[str, bool | str | float | int] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        elif value is not None:
            plain = isinstance(value, bool | str | float | int)
            found[f"{before}{name}"] = value if plain else json.dumps(value, default=str)
    return found


def _as_markdown(figures: Sequence[Figure]) -> str:
    lines = ["| figure | value | interval | how it was made |", "| --- | --- | --- | --- |"]
    for figure in figures:
        interval = "" if figure.interval is None else f"± {figure.interval.half_width:.4g} ({figure.interval.kind})"
        facts = {
            # Twelve digits tell files apart, and more would fill the table.
            name.removeprefix("parameters."): str(value)[:12] if name.endswith("sha256") else value
            for name, value in passport_fields(figure.passport).items()
            if value is not None
        }
        made = ", ".join(f"{name} {value}" for name, value in facts.items())
        value = f"{figure.value:.6g}{'' if figure.unit is None else f' {figure.unit}'}"
        lines.append(f"| {figure.label} | {value} | {interval} | {made} |")
    return "\n".join(lines)
