"""What a person sees of `i2i translate`: a bar in a terminal, plain lines elsewhere; failures always."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from i2i.commands.pace import pace
from i2i.errors import printable_lines

if TYPE_CHECKING:
    from i2i.inference.translation.planning import Outcome, Plan


class TranslationProgress:
    """Counts outcomes and shows how the work gets on, on standard error.

    Args:
        total: pictures and videos.
        quiet: nothing but failures is said.
        names: what to say for some paths, such as "standard input" for the file that keeps it.
    """

    def __init__(
        self,
        *,
        total: int,
        quiet: bool,
        names: Mapping[str, str] | None = None,
        line_every_seconds: float = 10.0,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self.counts: Counter[str] = Counter()
        self._pixels, self._part = 0, 0.0
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True, markup=False)
        self._quiet, self._total, self._line_every_seconds = quiet, total, line_every_seconds
        self._names = names or {}
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> TranslationProgress:
        self._started = self._line_at = time.monotonic()
        if not self._quiet and self._console.is_terminal:
            texts = (TextColumn("{task.fields[done]}"), TextColumn("{task.fields[rate]}"))
            self._bar = Progress(BarColumn(), *texts, TimeRemainingColumn(), console=self._console, transient=True)
            self._task = self._bar.add_task("translating", total=self._total, rate="", done="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started

    @property
    def megapixels(self) -> float:
        """Millions of pixels that were read and translated."""
        return self._pixels / 1e6

    def line(self, text: str) -> None:
        """Say something."""
        if not self._quiet:
            self._console.print(self._named(text))

    def settled(self, outcome: Outcome) -> None:
        """Count one outcome and say what there is to say of it."""
        self.outcomes.append(outcome)
        self.counts[outcome.status] += 1
        self._pixels += outcome.pixels
        self._part = 0.0
        if outcome.status == "failed":
            self._console.print(self._named(f"failed: {outcome.message}"))
        elif outcome.notes:
            self.line(f"{outcome.source}: {', '.join(outcome.notes)}")
        self._show()

    def part(self, share: float) -> None:
        """Note how much, 0 to 1, is done of a large picture or a video."""
        self._part = share
        self._show()

    def summary(self, plan: Plan, others: int = 0) -> None:
        """Say what was done.

        Args:
            others: pictures that other processes were to do.
        """
        from i2i.inference.translation.planning import UNKNOWN_MAKER

        written, skipped, failed = (self.counts[status] for status in ("written", "skipped", "failed"))
        jobs = [*plan.jobs, *plan.videos]
        places = [jobs[0].destination] if len(jobs) == 1 else plan.folders
        unknown = sum(outcome.message == UNKNOWN_MAKER for outcome in self.outcomes)
        there = f"there already; of {unknown} {UNKNOWN_MAKER}" if unknown else "there already"
        parts = [f"{written} written to {', '.join(map(str, places))}" if written else "none written"]
        parts += [f"{skipped} skipped ({there.replace('what made it', 'what made them')})"] if skipped else []
        parts += [f"{failed} failed"] if failed else []
        text = f"{', '.join(parts)} in {self.seconds:.1f} s ({self._rate()})"
        self.line(f"{text}; the other {others} are for the other processes" if others else text)

    def _show(self) -> None:
        done = len(self.outcomes)
        if self._bar is not None:
            part = f" + {self._part:.0%}" if self._part else ""
            self._bar.update(
                self._task, completed=done + self._part, rate=self._rate(), done=f"{done}/{self._total}{part}"
            )
        elif time.monotonic() - self._line_at >= self._line_every_seconds:
            self._line_at = time.monotonic()
            part = f", {self._part:.0%} of the next" if self._part else ""
            self.line(f"{done} of {self._total} pictures{part}, {self._rate()}")

    def _rate(self) -> str:
        megapixels = self.megapixels / max(self.seconds, 1e-9)
        return f"{pace(self.counts['written'], self.seconds)}, {megapixels:.2f} megapixels/s"

    def _named(self, text: str) -> str:
        for path, name in self._names.items():
            text = text.replace(path, name)
        return printable_lines([text])
