"""One of two processes under torchrun is killed: the training recovers or says why it ends, and never hangs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from i2i.errors import ModelError
from i2i.training.checkpoint import checkpoint_steps, load_newest_checkpoint
from i2i.training.tracking import read_metrics
from tests.reliability.cases import Case, Outcome, Scenario, prepared_of, spread
from tests.reliability.undisturbed import TRAININGS, arguments_of, cache_in
from tests.training.runs import make_pictures
from tests.warm import REPOSITORY

_LONGEST_START_SECONDS = 300.0
_LONGEST_END_SECONDS = 60.0
"""After a kill, until all processes are gone or train again."""
_STEPS = 400
_KINDS = [f"rank {rank}, {way}" for way in ("then resumed", "restarted by torchrun") for rank in (1, 0)]
_OVERRIDES = ("training.checkpoints.every_steps=10", f"training.length.steps={_STEPS}", "training.batch_size=4",
              "training.samples.every_steps=null", "training.validation.every_steps=null")  # fmt: skip


def _prepare(folder: Path) -> None:
    make_pictures(folder / "pictures")
    (folder / "cyclegan.yaml").write_text(TRAININGS["cyclegan"].replace("ROOT", str(folder / "pictures")))


def _run(case: Case, folder: Path) -> Outcome:
    rank, way = case.kind.removeprefix("rank ").split(", ")
    restarts = 3 if way == "restarted by torchrun" else 0
    words = [str(word) for word in arguments_of(prepared_of(folder), "cyclegan", folder)]
    words += [word for override in _OVERRIDES for word in ("--set", override)]
    with _torchrun(words, folder, restarts) as group:
        if not _has_checkpoint(group, folder):
            return Outcome(False, "never began", _said(folder))
        time.sleep(case.rng.uniform(0, 2))
        before = _rows(folder)
        victim = _process_of(group.pid, int(rank))
        if victim is None or group.poll() is not None:
            return Outcome(group.wait(_LONGEST_END_SECONDS) == 0, "finished before", _said(folder))
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        if restarts:
            return _goes_on(group, folder, before, killed)
        with contextlib.suppress(subprocess.TimeoutExpired):
            group.wait(_LONGEST_END_SECONDS)
        if group.poll() is None:
            return Outcome(False, "hung", _said(folder))
    seconds = time.monotonic() - killed
    problem = _unclear(group, folder)
    if problem:
        return Outcome(False, "no clear end", problem)
    return Outcome(True, "stopped, resumable", figures={"seconds_to_the_end": seconds})


def _goes_on(group: subprocess.Popen[bytes], folder: Path, before: int, killed: float) -> Outcome:
    """Wait until a restarted group writes rows again, or has said why it does not."""
    while time.monotonic() < killed + _LONGEST_END_SECONDS + _LONGEST_START_SECONDS:
        attempts = {row["attempt"] for row in read_metrics(folder / "run")}
        if max(attempts, default=1) > 1:
            return Outcome(True, "restarted", figures={"seconds_to_go_on": time.monotonic() - killed})
        if group.poll() is not None:
            return Outcome(False, "not restarted", f"exit code {group.returncode}: {_said(folder)}")
        time.sleep(0.2)
    return Outcome(False, "hung", f"{before} rows before: {_said(folder)}")


@contextlib.contextmanager
def _torchrun(words: list[str], folder: Path, restarts: int) -> Iterator[subprocess.Popen[bytes]]:
    """Begin the training in two processes; none is left at the end."""
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
            with contextlib.suppress(subprocess.TimeoutExpired):
                group.wait(_LONGEST_END_SECONDS)
            for process in (group.pid, *filter(None, workers)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            group.wait()


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


def _rows(folder: Path) -> int:
    return len(read_metrics(folder / "run"))


def _has_checkpoint(group: subprocess.Popen[bytes], folder: Path) -> bool:
    deadline = time.monotonic() + _LONGEST_START_SECONDS
    while time.monotonic() < deadline and group.poll() is None:
        if checkpoint_steps(folder / "run"):
            return True
        time.sleep(0.05)
    return False


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
    title="SIGKILL of one of two processes under torchrun",
    long_count=52,
    cases=lambda count: spread("ranks", _KINDS, count),
    run=_run,
    prepare=_prepare,
)
SCENARIOS = (RANKS,)
