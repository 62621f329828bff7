"""What a service that follows a run is told, and how it is kept from disturbing the training.

A sink is foreign code that may be missing, fail or hang. Each one therefore works in a daemon thread behind a
bounded queue: training neither waits for it nor stops because of it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from i2i.evaluation.passports.figures import Figure

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Row:
    """Numbers measured at one step.

    Attributes:
        step: optimizer steps done.
        images: pictures seen per stream since the run began.
        epoch: passes over the data, fractional.
        values: name to value; the parts of a name are joined by "/", e.g. "loss/generator/total".
    """

    step: int
    images: int
    epoch: float
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a run, as it begins.

    Attributes:
        run_name: the name of the run's folder.
        group: what all attempts at the run have in common.
        number: 1 for the first.
        resumed: it goes on from a checkpoint of an earlier one.
        config: the resolved recipe as plain values.
        environment: versions, machine and git state (`describe_environment`).
    """

    run_name: str
    group: str
    number: int = 1
    resumed: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What tells this attempt from the others."""
        return self.run_name if self.number == 1 else f"{self.run_name} (attempt {self.number})"

    @property
    def commit(self) -> str | None:
        """The git commit of the folder that training was started in, else of the code of i2i."""
        states = self.environment.get("git") or {}
        known = (states.get("current_folder"), states.get("i2i"))
        return next((state["commit"] for state in known if state and state.get("commit")), None)


class Sink(Protocol):
    """Something that follows a run; all calls but the last come from one thread, `start` first, `finish` last."""

    def start(self, attempt: Attempt) -> None: ...

    def scalars(self, row: Row) -> None: ...

    def images(self, step: int, name: str, picture: np.ndarray) -> None: ...

    def alarm(self, step: int, title: str, text: str) -> None: ...

    def figures(self, step: int, figures: Sequence[Figure]) -> None: ...

    def model(self, path: Path, aliases: Sequence[str]) -> None:
        """The file may be replaced by that of a newer model at any time, whole."""
        ...

    def finish(self, summary: Mapping[str, float | str], failed: bool) -> None: ...

    def abandon(self) -> None:
        """It failed, or did not finish in time: see to it that nothing of it keeps this process from ending.

        Comes from another thread while a call may still be running.
        """
        ...


class BackgroundSink:
    """Runs another sink in a daemon thread.

    The first failure is logged once and ends the sink. When the sink falls behind by `capacity` calls, further ones
    are dropped (said once, counted at the end).

    Args:
        sink: the sink to run; only the thread touches it, but for `abandon`.
        capacity: calls that may wait.
        finish_timeout_seconds: how long `finish` waits for the rest before it gives up.
    """

    def __init__(self, sink: Sink, capacity: int = 512, finish_timeout_seconds: float = 60.0) -> None:
        self.name = type(sink).__name__
        self.dropped = 0
        self._sink = sink
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(capacity)
        self._finish_timeout_seconds = finish_timeout_seconds
        self._failed, self._given_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"i2i-{self.name}", daemon=True)

    def start(self, attempt: Attempt) -> None:
        self._thread.start()
        self._put(lambda: self._sink.start(attempt))

    def scalars(self, row: Row) -> None:
        self._put(lambda: self._sink.scalars(row))

    def images(self, step: int, name: str, picture: np.ndarray) -> None:
        # A copy: the caller may reuse its array before the thread gets to it.
        kept = picture.copy()
        self._put(lambda: self._sink.images(step, name, kept))

    def alarm(self, step: int, title: str, text: str) -> None:
        self._put(lambda: self._sink.alarm(step, title, text))

    def figures(self, step: int, figures: Sequence[Figure]) -> None:
        self._put(lambda: self._sink.figures(step, figures))

    def model(self, path: Path, aliases: Sequence[str]) -> None:
        self._put(lambda: self._sink.model(path, aliases))

    def finish(self, summary: Mapping[str, float | str], failed: bool) -> None:
        if not self._thread.is_alive():
            return
        deadline = time.monotonic() + self._finish_timeout_seconds
        try:
            for last in (lambda: self._sink.finish(summary, failed), None):
                self._calls.put(last, timeout=max(0.0, deadline - time.monotonic()))
        except queue.Full:
            _log.debug("%s does not even take the last call", self.name)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._given_up.set()
            _log.warning("%s did not finish in time and was left behind; the run folder has everything", self.name)
            self.abandon()
        elif self.dropped:
            _log.warning("%s missed %d entries; metrics.jsonl has them all", self.name, self.dropped)

    def abandon(self) -> None:
        try:
            self._sink.abandon()
        except Exception as error:  # foreign code: it is given up anyway
            _log.debug("%s could not be ended: %s", self.name, error or type(error).__name__)

    def _put(self, call: Callable[[], None]) -> None:
        if self._failed.is_set():
            return
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            if self.dropped == 0:
                _log.warning("%s is too slow: entries are dropped there; metrics.jsonl has them all", self.name)
            self.dropped += 1

    def _work(self) -> None:
        while (call := self._calls.get()) is not None and not self._given_up.is_set():
            try:
                call()
            except Exception as error:  # foreign code: whatever it raises, training goes on
                self._failed.set()
                # Given up, it has been spoken of already.
                if not self._given_up.is_set():
                    reason = error or type(error).__name__
                    _log.warning("%s failed and is off for this attempt: %s", self.name, reason)
                    self.abandon()
                return
