"""Hours of one real training, watched from outside: memory, open files and threads must stay where they are.

    tools/campaign soak --minutes 120                  a table of growth; exit code 1 beyond 2 %

The training is `i2i train` of a demo recipe in a process of its own, with data workers, averages, a checkpoint a
minute, sheets, validation and evaluation every few minutes, and W&B offline where it is installed. Every ten seconds
a line goes to samples.jsonl of the folder. A second call on the same folder goes on with the same run.

Growth is measured between the end of the warm-up, the first fifth, and the end. The line through the samples is that of
Theil and Sen (the median of all slopes between two samples), which the teeth of evaluations and checkpoints don't bend.
It hardly sees a single jump either, so the medians of the first and the last fifth of the samples are compared too.
Processes must not become fewer, and there must have been evaluations.

Time in which the training is stopped by a signal (SIGSTOP) is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES_FILE, RESULT_FILE, LOG_FILE, PROCESS_FILE, RUN_FOLDER = (
    "samples.jsonl", "soak.json", "training.log", "training.pid", "run",
)  # fmt: skip
WARM_UP_SHARE = 0.2
HIGHEST_GROWTH_PERCENT = 2.0
_EVERY_SECONDS = 10.0
_LONGEST_END_SECONDS = 300.0
_MOST_POINTS = 1500
"""Of a fit, whose effort grows with their square; of more samples, every n-th counts."""
FLAT = ("megabytes", "training_megabytes", "worker_megabytes", "handles", "threads", "processes")
"""What must not grow. The files of a run do: sheets, figures and rows are kept on purpose."""

OVERRIDES = (
    "training.length.minutes=null",
    "training.length.steps=1000000000",
    "training.workers=2",
    "training.checkpoints.every_minutes=1",
    "training.samples.every_minutes=3",
    "training.samples.every_epochs=null",
    "training.validation.every_minutes=2",
    "training.validation.every_epochs=null",
)
RECIPES: Mapping[str, Sequence[str]] = {
    "cyclegan_demo": ("evaluate={metrics: [psnr, ssim, l1], every_minutes: 4, samples: 20}",),
    "dcgan_demo": ("evaluate={metrics: [d_probability], every_minutes: 4, samples: 256}",),
    "sr_demo": ("evaluate={metrics: [psnr, ssim, l1], every_minutes: 4, samples: 8}",),
}
"""What can be trained, and how each is evaluated without a network to look at pictures."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the training and all processes that it started hold at one moment."""

    attempt: int
    """Call on the folder: each starts a new process."""
    seconds: float
    """Since this attempt began, without what it was stopped."""
    megabytes: float
    """Resident memory of all processes; what they share counts as often as it is shared."""
    training_megabytes: float
    """Of that, the training process."""
    worker_megabytes: float
    """Of that, its Python processes: data workers and their server. The rest is services of trackers."""
    handles: int
    """Open files, pipes and sockets of all processes that can be looked into."""
    threads: int
    processes: int
    run_files: int
    """Files in the run folder."""
    run_megabytes: float


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How one figure moved between the end of the warm-up and the end."""

    start: float
    end: float
    """Both of the fitted line."""
    percent: float
    jump: float
    """Between the medians of the first and the last fifth of the samples."""
    jump_percent: float

    @property
    def is_flat(self) -> bool:
        """Whether it stayed where it was, or fell; one thread more of 26, say of a tracker's service, is no leak."""
        return self.percent < HIGHEST_GROWTH_PERCENT and (self.jump_percent < HIGHEST_GROWTH_PERCENT or self.jump <= 1)


def growth_of(seconds: Sequence[float], values: Sequence[float]) -> Growth:
    """The line of Theil and Sen through samples that begin when the warm-up has ended.

    Source: Sen 1968, "Estimates of the regression coefficient based on Kendall's tau".
    """
    times, heights = np.asarray(seconds, np.float64), np.asarray(values, np.float64)
    assert len(times) == len(heights) >= 2, "a line needs two points"
    kept = slice(None, None, math.ceil(len(times) / _MOST_POINTS))
    times, heights = times[kept], heights[kept]
    first, second = np.triu_indices(len(times), 1)
    slope = float(np.median((heights[second] - heights[first]) / (times[second] - times[first])))
    offset = float(np.median(heights - slope * times))
    start, end = (offset + slope * float(moment) for moment in (times[0], times[-1]))
    fifth = math.ceil(len(heights) / 5)
    first_median, last_median = (float(np.median(part)) for part in (heights[:fifth], heights[-fifth:]))
    return Growth(
        start=start,
        end=end,
        percent=_percent(start, end),
        jump=last_median - first_median,
        jump_percent=_percent(first_median, last_median),
    )


def _percent(start: float, end: float) -> float:
    return 100.0 * (end - start) / start if start else math.copysign(math.inf, end) if end else 0.0


def result_of(samples: Sequence[Sample]) -> dict[str, Any]:
    """Growth of every figure, in the attempt that lasted longest."""
    lengths = {sample.attempt: sample.seconds for sample in samples}
    attempt = max(lengths, key=lambda number: lengths[number], default=0)
    of_attempt = [sample for sample in samples if sample.attempt == attempt]
    counted = [sample for sample in of_attempt if sample.seconds >= WARM_UP_SHARE * lengths[attempt]]
    if len(counted) < 10:
        return {"minutes": lengths.get(attempt, 0.0) / 60, "samples": len(counted), "growth": {}}
    names = [*FLAT, "run_files", "run_megabytes"]
    seconds = [sample.seconds for sample in counted]
    growth = {name: growth_of(seconds, [getattr(sample, name) for sample in counted]) for name in names}
    return {
        "minutes": round(lengths[attempt] / 60, 2),
        "warm_up_minutes": round(WARM_UP_SHARE * lengths[attempt] / 60, 2),
        "samples": len(counted),
        "attempts": len(lengths),
        "growth": {name: asdict(one) for name, one in growth.items()},
        "flat": all(growth[name].is_flat for name in FLAT) and growth["processes"].jump_percent >= 0,
    }


# What /proc says


def family_of(root: int) -> list[int]:
    """The process `root` and all that it started, and they."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        found.append(one := waiting.pop())
        waiting += children.get(one, [])
    return found


def take_sample(root: int, run: Path, *, attempt: int, seconds: float) -> Sample | None:
    """Look at the process `root`, its family and the folder of its run; None if it has ended."""
    held = {process: facts for process in family_of(root) if (facts := _facts(process)) is not None}
    if root not in held:
        return None
    files = [path for path in run.rglob("*") if path.is_file()] if run.is_dir() else []
    sizes = [path.stat().st_size for path in files if path.exists()]
    workers = [facts for process, facts in held.items() if process != root and facts["python"]]
    return Sample(
        attempt=attempt,
        seconds=round(seconds, 1),
        megabytes=round(sum(facts["megabytes"] for facts in held.values()), 2),
        training_megabytes=round(held[root]["megabytes"], 2),
        worker_megabytes=round(sum(facts["megabytes"] for facts in workers), 2),
        handles=int(sum(facts["handles"] for facts in held.values())),
        threads=int(sum(facts["threads"] for facts in held.values())),
        processes=len(held),
        run_files=len(files),
        run_megabytes=round(sum(sizes) / 1e6, 2),
    )


def is_stopped(process: int) -> bool:
    """Whether a signal has stopped it (SIGSTOP), so that it does nothing until another lets it go on."""
    fields = _stat(process)
    return fields is not None and fields[0] in "Tt"


def _stat(process: int) -> list[str] | None:
    """Fields of /proc/N/stat from the third on: state, parent, ...; None if there is no such process."""
    try:
        # The second field is the name in parentheses, which may hold anything.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return None


def _facts(process: int) -> dict[str, float] | None:
    place = Path(f"/proc/{process}")
    try:
        pages = int((place / "statm").read_text().split()[1])
        fields = (place / "stat").read_text().rpartition(")")[2].split()
        python = "python" in (place / "exe").readlink().name
        handles = len(list((place / "fd").iterdir()))
    except (OSError, ValueError, IndexError):
        return None  # it ended while we looked
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return {"megabytes": megabytes, "handles": handles, "threads": int(fields[17]), "python": python}


# The training


def arguments_of(recipe: str, run: Path) -> list[str]:
    """What `i2i` is called with: a new run, or on with the one that is there."""
    if any((run / "checkpoints").glob("step_*")):
        return ["train", "--resume", str(run), "--quiet", "--device", "cpu"]
    tracker = "offline" if importlib.util.find_spec("wandb") else "disabled"
    overrides = [*OVERRIDES, *RECIPES[recipe], f"tracking.wandb={tracker}"]
    settings = [part for override in overrides for part in ("--set", override)]
    return ["train", recipe, "--out", str(run), "--quiet", "--device", "cpu", *settings]


def soak(recipe: str, minutes: float, folder: Path, every_seconds: float = _EVERY_SECONDS) -> dict[str, Any]:
    """Train for so long in one piece, unless an attempt in `folder` has lasted so long already.

    Raises:
        SystemExit: the training ended by itself, or not as asked; training.log says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    samples = read_samples(folder)
    if max((sample.seconds for sample in samples), default=0.0) < 60 * minutes:
        attempt = max((sample.attempt for sample in samples), default=0) + 1
        # Without a line that was cut off, behind which nothing could be read.
        (folder / SAMPLES_FILE).write_text("".join(json.dumps(asdict(sample)) + "\n" for sample in samples))
        code = _attempt(arguments_of(recipe, folder / RUN_FOLDER), 60 * minutes, folder, attempt, every_seconds)
        if code != 128 + signal.SIGTERM:
            raise SystemExit(f"the training ended with {code}; see {folder / LOG_FILE}")
        samples = read_samples(folder)
    run = folder / RUN_FOLDER
    done = {
        "evaluations": len([*run.glob("evaluations/*.json")]),
        "checkpoints": len([*run.glob("checkpoints/step_*")]),
    }
    result = {"recipe": recipe, **done, **result_of(samples)}
    (folder / RESULT_FILE).write_text(json.dumps(result, indent=1) + "\n")
    return result


def _attempt(arguments: Sequence[str], seconds: float, folder: Path, attempt: int, every_seconds: float) -> int:
    """One training process until it has run for `seconds`; returns its exit code after SIGTERM."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1"}
    with (folder / LOG_FILE).open("ab") as log, (folder / SAMPLES_FILE).open("a") as kept:
        training = subprocess.Popen(
            [sys.executable, "-m", "i2i", *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True,
        )  # fmt: skip
        (folder / PROCESS_FILE).write_text(str(training.pid))
        ran, sampled, before = 0.0, -math.inf, time.monotonic()
        try:
            while training.poll() is None and ran < seconds:
                time.sleep(min(1.0, every_seconds))
                now = time.monotonic()
                # A second in which it was both is counted by how it ended; over hours that is nothing.
                ran += 0.0 if is_stopped(training.pid) else now - before
                before = now
                # The last one says how long it was.
                if is_stopped(training.pid) or (ran - sampled < every_seconds and ran < seconds):
                    continue
                sampled = ran
                sample = take_sample(training.pid, folder / RUN_FOLDER, attempt=attempt, seconds=ran)
                if sample is not None:
                    kept.write(json.dumps(asdict(sample)) + "\n")
                    kept.flush()
            training.terminate()
            return training.wait(_LONGEST_END_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(training.pid, signal.SIGKILL)
            (folder / PROCESS_FILE).unlink(missing_ok=True)


def read_samples(folder: Path) -> list[Sample]:
    """All samples of the folder, without a last line that was cut off."""
    path = folder / SAMPLES_FILE
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [Sample(**json.loads(line)) for line in lines if line.endswith("\n")]


def table(result: Mapping[str, Any]) -> list[str]:
    """The result as lines of text."""
    lines = [f"{result['recipe']}: {result['minutes']:.1f} minutes, {result['samples']} samples after the warm-up"]
    if not result["growth"]:
        return [*lines, "too short to tell: fewer than ten samples after the warm-up"]
    lines[0] += f", {result['evaluations']} evaluations"
    lines.append(f"{'':<20}{'after warm-up':>15}{'end':>12}{'growth':>10}{'jump':>10}")
    for name, growth in result["growth"].items():
        mark = " " if name in FLAT else "  (kept on purpose)"
        lines.append(
            f"{name:<20}{growth['start']:>15,.1f}{growth['end']:>12,.1f}{growth['percent']:>9.2f}%"
            f"{growth['jump_percent']:>9.2f}%{mark}"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="tools/campaign soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="cyclegan_demo")
    parser.add_argument("--folder", type=Path, default=Path("soak"), help="where run, samples and result lie")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    if not Path("/proc/self/statm").exists():
        parser.error("needs Linux: memory and open files of processes are read from /proc")
    # Asked to stop, it ends by an exception and takes the training with it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    result = soak(given.recipe, given.minutes, given.folder.resolve())
    print(json.dumps(result) if given.json else "\n".join(table(result)))
    return 0 if result.get("flat") and result["evaluations"] and result["checkpoints"] else 1


if __name__ == "__main__":
    sys.exit(main())
