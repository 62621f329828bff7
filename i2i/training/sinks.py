"""Where metrics go besides `metrics.jsonl`: Weights & Biases and TensorBoard, in the background.

A sink is foreign code that may be missing, fail or hang. Each one therefore works in a daemon thread behind a
bounded queue: training neither waits for it nor stops because of it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import netrc
import os
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import numpy as np

from i2i.data.cache import default_cache_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """Which services follow a run, besides the files of the run folder.

    Attributes:
        wandb: "auto" sends to Weights & Biases if a key is at hand and records offline otherwise.
        project: the Weights & Biases project.
        tensorboard: also write TensorBoard events, into `tensorboard/` of the run folder.
    """

    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "i2i"
    tensorboard: bool = False


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


class Sink(Protocol):
    """Something that follows a run; all calls come from one thread, `start` first and `finish` last."""

    def start(self, config: Mapping[str, Any], run_name: str, group: str, resumed: bool) -> None: ...

    def scalars(self, row: Row) -> None: ...

    def images(self, step: int, name: str, picture: np.ndarray) -> None: ...

    def alarm(self, step: int, title: str, text: str) -> None: ...

    def finish(self, summary: Mapping[str, float | str]) -> None: ...


def open_sinks(settings: TrackingSettings, run_folder: Path, message: Callable[[str], None] = _log.info) -> list[Sink]:
    """The sinks that the settings ask for and this machine has; `message` gets one line for each that is not."""
    sinks: list[Sink] = []
    mode = wandb_mode(settings, os.environ)
    if mode != "disabled":
        if importlib.util.find_spec("wandb") is None:
            message("wandb is not installed: metrics stay in the run folder (pip install wandb)")
        else:
            if mode == "offline" and settings.wandb != "offline":
                _say_once("wandb: no key, recorded offline in the run (tracking.wandb=disabled: not at all)", message)
            sinks.append(BackgroundSink(WandbSink(Path(run_folder), settings.project, mode)))
    if settings.tensorboard:
        if importlib.util.find_spec("tensorboard") is None:
            message("tensorboard is not installed: no events are written (pip install tensorboard)")
        else:
            sinks.append(BackgroundSink(TensorboardSink(Path(run_folder))))
    return sinks


def wandb_mode(settings: TrackingSettings, environment: Mapping[str, str]) -> Literal["online", "offline", "disabled"]:
    """Decide how to run wandb; never "online" without a key, because wandb would then ask for one.

    `WANDB_MODE` in the environment decides for "auto".
    """
    wish = settings.wandb
    if wish == "auto" and environment.get("WANDB_MODE") in ("offline", "dryrun"):
        wish = "offline"
    elif wish == "auto" and environment.get("WANDB_MODE") == "disabled":
        wish = "disabled"
    if wish in ("auto", "online"):
        return "online" if _has_wandb_key(environment) else "offline"
    return wish


def _say_once(text: str, message: Callable[[str], None]) -> None:
    """Pass on a text that this machine has not been told yet; whoever clears the cache hears it again."""
    told = default_cache_folder() / "told" / hashlib.sha256(text.encode()).hexdigest()[:16]
    if told.exists():
        return
    message(text)
    try:
        told.parent.mkdir(parents=True, exist_ok=True)
        told.touch()
    except OSError:
        _log.debug("%s cannot be written, so it will be said again: %s", told, text)


class BackgroundSink:
    """Runs another sink in a daemon thread.

    The first failure is logged once and ends the sink. When the sink falls behind by `capacity` calls, further ones
    are dropped (said once, counted at the end).

    Args:
        sink: the sink to run; only the thread touches it.
        capacity: calls that may wait.
        finish_timeout_seconds: how long `finish` waits for the rest before it gives up.
    """

    def __init__(self, sink: Sink, capacity: int = 512, finish_timeout_seconds: float = 30.0) -> None:
        self.name = type(sink).__name__
        self.dropped = 0
        self._sink = sink
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(capacity)
        self._finish_timeout_seconds = finish_timeout_seconds
        self._failed = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"i2i-{self.name}", daemon=True)

    def start(self, config: Mapping[str, Any], run_name: str, group: str, resumed: bool) -> None:
        self._thread.start()
        self._put(lambda: self._sink.start(config, run_name, group, resumed))

    def scalars(self, row: Row) -> None:
        self._put(lambda: self._sink.scalars(row))

    def images(self, step: int, name: str, picture: np.ndarray) -> None:
        # A copy: the caller may reuse its array before the thread gets to it.
        kept = picture.copy()
        self._put(lambda: self._sink.images(step, name, kept))

    def alarm(self, step: int, title: str, text: str) -> None:
        self._put(lambda: self._sink.alarm(step, title, text))

    def finish(self, summary: Mapping[str, float | str]) -> None:
        if not self._thread.is_alive():
            return
        try:
            self._calls.put(lambda: self._sink.finish(summary), timeout=self._finish_timeout_seconds)
            self._calls.put(None, timeout=self._finish_timeout_seconds)
        except queue.Full:
            pass
        self._thread.join(self._finish_timeout_seconds)
        if self._thread.is_alive():
            _log.warning("%s did not finish in time and was left behind", self.name)
        elif self.dropped:
            _log.warning("%s missed %d entries; metrics.jsonl has them all", self.name, self.dropped)

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
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as error:  # foreign code: whatever it raises, training goes on
                self._failed.set()
                _log.warning("%s failed and is off for this attempt: %s", self.name, error or type(error).__name__)
                return


class WandbSink:
    """Follows a run in Weights & Biases; files lie in `wandb/` of the run folder.

    Every attempt is a new wandb run in the group of its run: an offline resume under the old id would overwrite the
    history when synced.
    """

    def __init__(self, run_folder: Path, project: str, mode: Literal["online", "offline"]) -> None:
        self._folder, self._project = run_folder, project
        self._mode: Literal["online", "offline"] = mode
        self._run: Any = None

    def start(self, config: Mapping[str, Any], run_name: str, group: str, resumed: bool) -> None:
        import wandb

        self._run = wandb.init(
            project=self._project,
            name=run_name,
            group=group,
            tags=["resumed"] if resumed else None,
            config=dict(config),
            dir=str(self._folder),
            mode=self._mode,
            settings=wandb.Settings(console="off", disable_git=True, disable_code=True, silent=True, init_timeout=30),
        )
        self._run.define_metric("train/step")
        self._run.define_metric("train/images")
        self._run.define_metric("train/epoch")
        self._run.define_metric("*", step_metric="train/step")

    def scalars(self, row: Row) -> None:
        axes = {"train/step": row.step, "train/images": row.images, "train/epoch": row.epoch}
        self._run.log({**row.values, **axes})

    def images(self, step: int, name: str, picture: np.ndarray) -> None:
        import wandb

        self._run.log({f"samples/{name}": wandb.Image(picture), "train/step": step})

    def alarm(self, step: int, title: str, text: str) -> None:
        self._run.alert(title=title, text=f"Step {step}: {text}", level="WARN")

    def finish(self, summary: Mapping[str, float | str]) -> None:
        self._run.summary.update(dict(summary))
        self._run.finish()


class TensorboardSink:
    """Writes TensorBoard events into `tensorboard/` of the run folder."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder / "tensorboard"
        self._writer: Any = None

    def start(self, config: Mapping[str, Any], run_name: str, group: str, resumed: bool) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder))

    def scalars(self, row: Row) -> None:
        for name, value in row.values.items():
            self._writer.add_scalar(name, value, row.step)

    def images(self, step: int, name: str, picture: np.ndarray) -> None:
        self._writer.add_image(f"samples/{name}", picture, step, dataformats="HWC")

    def alarm(self, step: int, title: str, text: str) -> None:
        self._writer.add_text("alarms", f"**{title}**: {text}", step)

    def finish(self, summary: Mapping[str, float | str]) -> None:
        self._writer.close()


def _has_wandb_key(environment: Mapping[str, str]) -> bool:
    if environment.get("WANDB_API_KEY"):
        return True
    host = urlsplit(environment.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    candidates = [environment.get("NETRC"), "~/.netrc", "~/_netrc"]
    for candidate in filter(None, candidates):
        try:
            if netrc.netrc(Path(candidate).expanduser()).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
