"""Which engine computes a network fastest on this machine: measured once, and remembered."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i.data.cache import default_cache_folder
from i2i.errors import I2IError, StorageError
from i2i.files import write_atomically
from i2i.inference.runners.protocol import Runner
from i2i.inference.runtime import Precision

_log = logging.getLogger(__name__)

WORTHWHILE_PIXELS = 20_000_000
"""From so many input pixels on the timing, which takes seconds, costs less than the wrong engine would."""
_FOLDER = "runners"
# The best of a few: a shared machine makes runs slower, never faster.
_RUNS = 3
_LONGEST_SECONDS = 3.0


@dataclass(frozen=True)
class RunnerChoice:
    """The engine that was chosen, and why."""

    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    """Of one picture of `pixels` by each engine that was timed; empty where there was nothing to choose or to win."""
    pixels: tuple[int, int] | None = None
    """Height and width of the picture that was timed."""
    remembered: bool = False
    """Whether the times are of an earlier day."""
    failed: dict[str, str] = field(default_factory=dict)
    """Engines that could not run the network, with the reason."""

    def __str__(self) -> str:
        """One phrase for people, such as "openvino (0.142 s for 256x256; torch 0.175 s; remembered)"."""
        if not self.seconds:
            return self.name
        others = [f"{name} {value:.3g} s" for name, value in self.seconds.items() if name != self.name]
        others += [f"{name} failed" for name in self.failed] + (["remembered"] if self.remembered else [])
        size = "" if self.pixels is None else f" for {self.pixels[1]}x{self.pixels[0]}"
        return f"{self.name} ({'; '.join([f'{self.seconds[self.name]:.3g} s{size}', *others])})"


def choose_runner(
    builders: Mapping[str, Callable[[], Runner]],
    example: Sequence[Tensor | None],
    *,
    sha256: Callable[[], str],
    device: torch.device,
    precision: Precision,
    variant: Sequence[object] = (),
    worthwhile: bool = True,
) -> tuple[RunnerChoice, Runner]:
    """The fastest of some engines on this machine, and its runner.

    Args:
        builders: make each engine's runner, by name; the first one is taken where nothing is timed.
        example: inputs to time with.
        sha256: gives that of the model file; the choice is remembered for it.
        variant: what else tells what is computed: entry point, strength.
        worthwhile: whether enough is to be computed for a timing to pay; see `WORTHWHILE_PIXELS`.

    Raises:
        I2IError, RuntimeError: of the first engine, where none works.
    """
    first = next(iter(builders))
    if len(builders) == 1 or not worthwhile:
        return RunnerChoice(first), builders[first]()
    file = _file_of(list(builders), sha256(), device, precision, variant)
    known = _remembered(file, builders)
    if known is not None:
        return known, builders[known.name]()
    choice, runner = time_runners(builders, example)
    try:
        write_atomically(file, json.dumps(asdict(choice), indent=1))
    except StorageError as error:
        _log.warning("the chosen runner cannot be remembered, it is timed anew at every start: %s", error)
    return choice, runner


def time_runners(
    builders: Mapping[str, Callable[[], Runner]], example: Sequence[Tensor | None]
) -> tuple[RunnerChoice, Runner]:
    """Time all of some engines; see `choose_runner`, which remembers the result.

    Raises:
        I2IError, RuntimeError: of the first engine, where none works.
    """
    seconds: dict[str, float] = {}
    failed: dict[str, str] = {}
    first_error: Exception | None = None
    best: Runner | None = None
    for name, build in builders.items():
        # Let go before the next one is made, unless it is the fastest so far: weights are large.
        runner = None
        try:
            runner = build()
            seconds[name] = _seconds(runner, example)
        except (I2IError, RuntimeError, MemoryError) as error:
            failed[name] = " ".join(str(error).split())[:200] or type(error).__name__
            # Of what was being built or run when it failed, the traceback would keep all.
            traceback.clear_frames(error.__traceback__)
            first_error = first_error or error
            continue
        if seconds[name] == min(seconds.values()):
            best = runner
    if best is None:
        assert first_error is not None
        raise first_error
    picture = example[0]
    pixels = (picture.shape[-2], picture.shape[-1]) if picture is not None and picture.ndim == 4 else None
    chosen = min(seconds, key=lambda name: seconds[name])
    return RunnerChoice(chosen, {name: round(value, 6) for name, value in seconds.items()}, pixels, False, failed), best


def _seconds(runner: Runner, example: Sequence[Tensor | None]) -> float:
    runner(*example)  # The first run prepares memory and kernels.
    best = float("inf")
    began = time.perf_counter()
    for _ in range(_RUNS):
        started = time.perf_counter()
        runner(*example).cpu()
        best = min(best, time.perf_counter() - started)
        if time.perf_counter() - began > _LONGEST_SECONDS:
            break
    return best


# What is remembered


def _file_of(
    names: Sequence[str], sha256: str, device: torch.device, precision: Precision, variant: Sequence[object]
) -> Path:
    versions = {name: _version(name) for name in names}
    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    key = [sha256, precision, accelerator, versions, torch.get_num_threads(), _processor(), *map(str, variant)]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return default_cache_folder() / _FOLDER / f"{digest}.json"


def _processor() -> str:
    """What tells this processor from others: a cache may lie in a home that several machines share."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return " ".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _remembered(file: Path, builders: Mapping[str, object]) -> RunnerChoice | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        seconds = {str(name): float(value) for name, value in found["seconds"].items()}
        failed = {str(name): str(reason) for name, reason in found["failed"].items()}
        pixels = None if found["pixels"] is None else (int(found["pixels"][0]), int(found["pixels"][1]))
        choice = RunnerChoice(str(found["name"]), seconds, pixels, True, failed)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return choice if choice.name in builders and choice.name in seconds else None
