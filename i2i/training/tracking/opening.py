"""Which sinks a run gets: what its recipe asks for and this machine has."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import netrc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from i2i.data.cache import default_cache_folder
from i2i.training.tracking.settings import TrackingSettings
from i2i.training.tracking.sinks import BackgroundSink, Sink
from i2i.training.tracking.tensorboard_sink import TensorboardSink
from i2i.training.tracking.wandb_sink import WandbSink

_log = logging.getLogger(__name__)
# The name that `wandb login` writes today, and the one that it wrote before and still reads.
_WANDB_HOSTS = ("api.forge.coreweave.com", "api.wandb.ai")


def open_sinks(settings: TrackingSettings, run_folder: Path, message: Callable[[str], None] = _log.info) -> list[Sink]:
    """The sinks that the settings ask for and this machine has; `message` gets one line for each that is not."""
    sinks: list[Sink] = []
    mode = wandb_mode(settings, os.environ)
    if mode != "disabled":
        if importlib.util.find_spec("wandb") is None:
            message("wandb is not installed: metrics stay in the run folder (pip install wandb)")
        else:
            if mode == "offline" and settings.wandb == "online":
                message(
                    "wandb: no key, so this run is recorded offline - run: wandb login, or set tracking.wandb=offline"
                )
            elif mode == "offline" and settings.wandb == "auto":
                _say_once("wandb: no key, recorded offline in the run (tracking.wandb=disabled: not at all)", message)
            sinks.append(WandbSink(Path(run_folder), settings.project, mode, settings.upload_model, message))
    if settings.tensorboard:
        if importlib.util.find_spec("tensorboard") is None:
            message("tensorboard is not installed: no events are written (pip install tensorboard)")
        else:
            sinks.append(TensorboardSink(Path(run_folder)))
    return [BackgroundSink(sink, finish_timeout_seconds=settings.finish_seconds) for sink in sinks]


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


def _has_wandb_key(environment: Mapping[str, str]) -> bool:
    if environment.get("WANDB_API_KEY"):
        return True
    url = environment.get("WANDB_BASE_URL")
    hosts = (urlsplit(url).netloc, urlsplit(url).hostname or "") if url else _WANDB_HOSTS
    candidates = [environment.get("NETRC"), "~/.netrc", "~/_netrc"]
    for candidate in filter(None, candidates):
        try:
            known = netrc.netrc(Path(candidate).expanduser())
        except (OSError, netrc.NetrcParseError):
            continue
        if any(known.authenticators(host) for host in hosts):
            return True
    return False


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
