"""How training shows itself while it runs: a bar in a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text


class TrainingProgress:
    """Shows step, speed, time left and the main losses; use it as a context manager.

    Args:
        quiet: show nothing at all.
        console: where to write; standard error by default, because standard output is for results.
        line_every_seconds: time between lines when the output is not a terminal.
    """

    def __init__(
        self, *, quiet: bool = False, console: Console | None = None, line_every_seconds: float = 30.0
    ) -> None:
        listened_to = cast(TextIO, _WhileReadStream(sys.stderr))
        self._console = console or Console(file=listened_to, highlight=False, soft_wrap=True)
        self._quiet = quiet
        self._line_every_seconds = line_every_seconds
        self._next_line = 0.0
        self._last_line = ""
        self._shown_line = ""
        self._pace: tuple[float | None, Mapping[str, float]] = (None, {})
        self._bar: Progress | None = None
        self._task = None

    def __enter__(self) -> TrainingProgress:
        if not self._quiet and self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                BarColumn(bar_width=24),
                TextColumn("[bold]{task.percentage:>3.0f}%[/bold]"),
                _SummaryColumn(),
                console=self._console,
                refresh_per_second=4,
                transient=False,
            )
            self._task = self._bar.add_task("training", total=None, summary="starting")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif self._last_line != self._shown_line:
            # The end of a run is worth a line, however little time has passed since the last one.
            self._print(self._last_line)

    def update(
        self,
        step: int,
        total_steps: int | None = None,
        images_per_second: float | None = None,
        losses: Mapping[str, float] | None = None,
        fraction: float | None = None,
        seconds_left: float | None = None,
    ) -> None:
        """Show where training is.

        Args:
            step: optimizer steps done.
            total_steps: how many there will be, if known.
            images_per_second: speed.
            losses: the few to show, by name (generator and discriminator totals).
            fraction: how much of the training is done, in [0, 1]; from the steps if left out.
            seconds_left: estimated time to the end.
        """
        if self._quiet:
            return
        if fraction is None and total_steps:
            fraction = step / total_steps
        self._pace = (images_per_second, dict(losses or {}))
        if self._bar is not None and self._task is not None:
            # The bar itself shows the share.
            summary = describe(step, total_steps, images_per_second, losses or {}, seconds_left)
            total = None if fraction is None else 1.0
            self._bar.update(self._task, total=total, completed=fraction or 0.0, summary=summary)
            return
        self._last_line = describe(step, total_steps, images_per_second, losses or {}, seconds_left, fraction)
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + self._line_every_seconds
            self._shown_line = self._last_line
            self._print(self._last_line)

    def complete(self, step: int) -> None:
        """Show that training is at its end, at `step`: the last update may lie some steps back."""
        images_per_second, losses = self._pace
        self.update(step, None, images_per_second, losses, fraction=1.0)

    def message(self, text: str) -> None:
        """Write a line that stays, above the bar if there is one."""
        if not self._quiet:
            self._print(text)

    def _print(self, text: str) -> None:
        # Text, not markup: a path with [brackets] must appear as it is.
        console = self._bar.console if self._bar is not None else self._console
        console.print(Text(text))


def describe(
    step: int,
    total_steps: int | None,
    images_per_second: float | None,
    losses: Mapping[str, float],
    seconds_left: float | None,
    fraction: float | None = None,
) -> str:
    """One line of plain words and numbers: `step 120/2,000 · 6% · 12 min left · 31.4 images/s · generator 4.21`.

    What is cut off where a terminal is narrow stands last.
    """
    parts = [f"step {step:,}" + (f"/{total_steps:,}" if total_steps else "")]
    if fraction is not None:
        parts.append(f"{100 * fraction:.0f}%")
    if seconds_left is not None:
        parts.append(f"{format_duration(seconds_left)} left")
    if images_per_second is not None:
        parts.append(f"{_three_digits(images_per_second)} images/s")
    parts += [f"{name} {value:.4g}" for name, value in losses.items()]
    return " · ".join(parts)


def format_duration(seconds: float) -> str:
    """Whole units that a person would say: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


class _WhileReadStream:
    """A text stream that falls silent when its reader or terminal has gone: training does not end because they have."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._fall_silent()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._fall_silent()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _fall_silent(self) -> None:
        # Whoever else writes there, and Python itself at its end, must not fail either.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


class _SummaryColumn(ProgressColumn):
    """The summary of the task, cut to the terminal's width instead of wrapped."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("summary", "")), no_wrap=True, overflow="ellipsis")


def _three_digits(value: float) -> str:
    """31.4, 604 or 1,240: no exponent where a person would not write one."""
    return f"{value:.3g}" if value < 999.5 else f"{round(value, -1):,.0f}"
