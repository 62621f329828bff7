"""One of two processes under torchrun is killed: the training recovers or says why it ends, and never hangs.

What it ends with, resumed by hand or by torchrun, is what the same two processes come to that nobody killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from i2i.errors import ModelError
from i2i.training.checkpoint import load_newest_checkpoint
from i2i.training.tracking import METRICS_FILE, read_metrics
from tests.reliability.cases import Case, Outcome, Scenario, prepared_of, spread
from tests.reliability.small_trainings import (
    arguments_of,
    difference_of_checkpoints,
    prepare_pictures,
    settings,
    standing_still,
)
from tests.reliability.undisturbed import cache_in
from tests.warm import REPOSITORY

STEPS = 80
_EVERY = 5
"""Steps from one checkpoint to the next."""
_MOST_STEPS_RESUMED = 15
_TRAINING = "cyclegan"
_LONGEST_RUN_SECONDS = 300.0
"""For a start and all steps, on a machine that has other things to do."""
_LONGEST_END_SECONDS = 60.0
"""After a kill, until all processes are gone or train again."""
_LATEST_KILL_SECONDS = 0.1
"""After the step that was waited for."""
_WAYS = ("then resumed", "restarted by torchrun")
_KINDS = [f"rank {rank}, {way}" for way in _WAYS for rank in (1, 0)]


def _words(prepared: Path, folder: Path, keep: int) -> list[str]:
    # The rate is to fall until the last step, but not to zero.
    overrides = [f"training.length.steps={STEPS}", "training.schedule.decay=100",
                 f"training.checkpoints={{every_minutes: null, every_steps: {_EVERY}, keep_last: {keep}}}"]  # fmt: skip
    return arguments_of(_TRAINING, prepared, folder, overrides)


def _prepare(folder: Path) -> None:
    """The run of two processes that nobody killed, with all its checkpoints."""
    prepare_pictures(folder)
    with _torchrun(_words(folder, folder, STEPS), folder) as group:
        assert _wait(group, _LONGEST_RUN_SECONDS) == 0, _said(folder)
    still = standing_still(_TRAINING, folder / "run", STEPS, before=STEPS - _EVERY)
    assert not still, f"{still} no longer move"


def _run(case: Case, folder: Path) -> Outcome:
    rank, way = case.kind.removeprefix("rank ").split(", ")
    restarts = 3 if way == "restarted by torchrun" else 0
    rng = case.rng
    last = int(rng.integers(_EVERY, STEPS - _MOST_STEPS_RESUMED))
    with _torchrun(_words(prepared_of(folder), folder, 2), folder, restarts) as group:
        if not _stands_at(group, folder, last):
            return Outcome(False, "never began", _said(folder))
        time.sleep(rng.uniform(0, _LATEST_KILL_SECONDS))
        victim = _process_of(group.pid, int(rank))
        if victim is None or group.poll() is not None:
            return Outcome(False, "undisturbed", f"it had ended before: {_said(folder)}")
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        if restarts:
            return _goes_on(group, folder, killed)
        code = _wait(group, _LONGEST_END_SECONDS)
    seconds = time.monotonic() - killed
    if code is None:
        return Outcome(False, "hung", _said(folder))
    if problem := _unclear(group, folder):
        return Outcome(False, "no clear end", problem)
    return _resume(folder, {"seconds_to_the_end": seconds})


def _goes_on(group: subprocess.Popen[bytes], folder: Path, killed: float) -> Outcome:
    """A restarted group writes rows again, before too long, and ends like one that nobody killed."""
    while not _is_restarted(folder):
        if group.poll() is not None:
            return Outcome(False, "not restarted", f"exit code {group.returncode}: {_said(folder)}")
        if time.monotonic() >= killed + _LONGEST_END_SECONDS:
            return Outcome(False, "hung", f"no row of a second attempt: {_said(folder)}")
        time.sleep(0.05)
    figures = {"seconds_to_go_on": time.monotonic() - killed}
    code = _wait(group, _LONGEST_RUN_SECONDS)
    if code != 0:
        return Outcome(False, "hung" if code is None else "failed", f"restarted, exit code {code}: {_said(folder)}")
    return _compare(folder, STEPS, "restarted", figures)


def _resume(folder: Path, figures: dict[str, float]) -> Outcome:
    """Two new processes go on from the newest checkpoint, some steps further than the killed ones came."""
    done = max(row["step"] for row in _rows(folder))
    to = min(STEPS, (done // _EVERY + 2) * _EVERY)
    words = ["train", "--resume", str(folder / "run"), "--quiet", *settings([f"training.length.steps={to}"])]
    with _torchrun(words, folder) as group:
        code = _wait(group, _LONGEST_RUN_SECONDS)
    if code != 0:
        return Outcome(False, "hung" if code is None else "not resumed", f"exit code {code}: {_said(folder)}")
    return _compare(folder, to, "stopped, resumed", figures)


def _compare(folder: Path, step: int, what: str, figures: dict[str, float]) -> Outcome:
    """With the checkpoint that the run of the same two processes, killed by nobody, wrote at that step."""
    run, whole = folder / "run", prepared_of(folder) / "run"
    if problem := difference_of_checkpoints(*(each / "checkpoints" / f"step_{step}" for each in (run, whole))):
        return Outcome(False, f"{what} unequal", problem, figures)
    steps = sorted({row["step"] for row in _rows(folder)})
    if steps != [*range(1, step + 1)]:
        return Outcome(False, "rows missing", f"metrics.jsonl has steps {steps}", figures)
    return Outcome(True, f"{what} equal", figures=figures)


@contextlib.contextmanager
def _torchrun(words: Sequence[str], folder: Path, restarts: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """Begin `i2i WORDS` in two processes; none is left at the end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", str(restarts), "-m", "i2i", *words]
    environment = {**os.environ, **cache_in(folder), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with (folder / "said").open("wb") as said:
        group = subprocess.Popen(command, stdout=said, stderr=said, env=environment, cwd=folder, start_new_session=True)
        try:
            yield group
        finally:
            # It ends its processes itself, if they let it.
            workers = [_process_of(group.pid, rank) for rank in (0, 1)]
            group.terminate()
            _wait(group, _LONGEST_END_SECONDS)
            for process in (group.pid, *filter(None, workers)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            group.wait()


def _wait(group: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit code; None if it still runs after that time."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        group.wait(seconds)
    return group.poll()


def _said(folder: Path) -> str:
    """What the processes of i2i themselves have said."""
    lines = (folder / "said").read_text(errors="replace").splitlines()
    return "\n".join([line for line in lines if line.startswith("i2i:")][-6:]) or "\n".join(lines)[-1000:]


def _unclear(group: subprocess.Popen[bytes], folder: Path) -> str:
    """What is missing where the survivor gave up; empty if it said so in a line and left a whole checkpoint."""
    said = (folder / "said").read_text(errors="replace")
    if group.returncode == 0 or "another of the processes has ended" not in said or "internal error" in said:
        return f"exit code {group.returncode}: {_said(folder)}"
    try:
        load_newest_checkpoint(folder / "run")
    except ModelError as error:
        return str(error)
    return ""


def _stands_at(group: subprocess.Popen[bytes], folder: Path, step: int) -> bool:
    """Wait until that step is recorded, and a checkpoint before it written."""
    deadline = time.monotonic() + _LONGEST_RUN_SECONDS
    while time.monotonic() < deadline and group.poll() is None:
        if any(row["step"] >= step for row in _rows(folder)):
            return True
        time.sleep(0.02)
    return False


def _is_restarted(folder: Path) -> bool:
    return any(row["attempt"] > 1 for row in _rows(folder))


def _rows(folder: Path) -> list[dict[str, Any]]:
    """Of a record that may be under way."""
    return read_metrics(folder / "run") if (folder / "run" / METRICS_FILE).exists() else []


def _process_of(parent: int, rank: int) -> int | None:
    """The process of that rank among the children of torchrun; None if it is gone."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            variables = (folder / "environ").read_bytes().split(b"\0")
            if int(stat[1]) == parent and f"RANK={rank}".encode() in variables:
                return int(folder.name)
    return None


RANKS = Scenario(
    name="ranks",
    title="SIGKILL of one of two processes under torchrun, then resumed or restarted to an equal end",
    long_count=52,
    cases=lambda count: spread("ranks", _KINDS, count),
    run=_run,
    prepare=_prepare,
)
SCENARIOS = (RANKS,)
