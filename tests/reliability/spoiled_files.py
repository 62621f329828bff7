"""Spoiled files through the real command line, and what may become of them.

One process takes many files, one after the other, for the start of a process costs more than most files. It is forked
from a warm one, replaced after a hundred calls, and what takes it down is given to a fresh one once more, alone.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.inference.models import write_constant_model
from tests.reliability.cases import Case, Outcome
from tests.warm import Hook, Running, warm_program

_CALLS_A_PROCESS = 100
_START_SECONDS = 120.0
_LONGEST_LINE = 1000
"""What is longer is no message any more."""
LONGEST_SECONDS = 30.0
"""What takes longer counts as hanging; the slowest file of a good run takes two seconds."""
MOST_MEGABYTES = 200.0
"""What a small file may take above the idle process, whatever it claims to hold."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the command line."""

    arguments: Sequence[str | Path]
    cwd: Path
    around: Hook | None = None
    """Names a context manager in which the call is made."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a call."""

    end: str
    """"ended", "raised" (an error that the command line let through), "crashed" or "hung"."""
    exit_code: int | None
    """Negative for the signal that ended the process."""
    stdout: str = ""
    stderr: str = ""
    peak_megabytes: float = 0.0
    """Highest memory during the call, above that of the process when it had done one good file."""
    after: tuple[str, ...] = ()
    """Arguments of the calls that the process had made before this one, if it did not survive this one."""


class ReusedProgram:
    """The command line in a process that is used many times.

    Args:
        warm_up: calls that must go well; the first thing that every new process does.
    """

    def __init__(self, warm_up: Sequence[Call]) -> None:
        self._warm_up = warm_up
        self._home = tempfile.TemporaryDirectory(prefix="i2i-spoiled-")
        self._process: _Process | None = None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.end()
        self._process = None
        self._home.cleanup()

    def run(self, call: Call) -> Answer:
        """Make the call; if the process does not survive it, once more in a process of its own."""
        process = self._process
        if process is None or process.calls >= _CALLS_A_PROCESS:
            self._renew()
        assert self._process is not None
        before = tuple(self._process.history)
        answer = self._process.make(call, LONGEST_SECONDS)
        if answer.end not in ("crashed", "hung"):
            return answer
        self._renew()
        again = self._process.make(call, LONGEST_SECONDS)
        if again.end in ("crashed", "hung"):
            self._renew()
            return again
        return Answer(end=answer.end, exit_code=answer.exit_code, stderr=answer.stderr, after=before)

    def _renew(self) -> None:
        if self._process is not None:
            self._process.end()
        self._process = _Process(Path(self._home.name))
        for call in self._warm_up:
            good = self._process.make(call, _START_SECONDS)
            if good.exit_code != 0:
                raise RuntimeError(f"a good file fails already ({good.end}, {good.exit_code}): {good.stderr[-2000:]}")
        self._process.note_idle()


class _Process:
    """The side that asks."""

    def __init__(self, home: Path) -> None:
        self.history: list[str] = []
        self._read = {"stdout": 0, "stderr": 0}
        address = Path(tempfile.mkdtemp(dir=home)) / "s"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(address))
            listening.listen(1)
            listening.settimeout(_START_SECONDS)
            own = {name: str(home / name.lower()) for name in ("HOME", "I2I_CACHE", "I2I_CONFIG", "TORCH_HOME")}
            self.running: Running = warm_program().start(
                ["--help"],
                home,
                environment={**own, "NO_COLOR": "1", "COLUMNS": "120", "WANDB_MODE": "disabled"},
                hook=Hook(module=__name__, name="answer_calls", arguments={"address": str(address)}),
            )
            self._connection, _ = listening.accept()
        self._lines = self._connection.makefile("rb")

    @property
    def calls(self) -> int:
        return len(self.history)

    def note_idle(self) -> None:
        """From here on peaks are counted from what the process takes now."""
        self._ask({"idle": True}, _START_SECONDS)
        self.history.clear()

    def make(self, call: Call, seconds: float) -> Answer:
        around = call.around
        arguments = [*map(str, call.arguments)]
        asked = {
            "arguments": arguments,
            "cwd": str(call.cwd.resolve()),
            "around": None if around is None else [around.module, around.name, dict(around.arguments)],
        }
        told = self._ask(asked, seconds)
        out, err = (self._new_text(name) for name in self._read)
        self.history.append(" ".join(arguments))
        if told is not None:
            return Answer(end=told["end"], exit_code=told["code"], stdout=out, stderr=err, peak_megabytes=told["peak"])
        hung = self.running.wait(0.5) is None
        self.running.kill()
        code = self.running.exit_code
        return Answer(end="hung" if hung else "crashed", exit_code=code, stdout=out, stderr=err)

    def end(self) -> None:
        self._lines.close()
        self._connection.close()
        self.running.kill()

    def _ask(self, asked: Mapping[str, Any], seconds: float) -> Any:
        """The answer; None if the process died, or took longer."""
        self._connection.settimeout(seconds)
        try:
            self._connection.sendall(json.dumps(asked).encode() + b"\n")
            line = self._lines.readline()
        except OSError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def _new_text(self, name: str) -> str:
        with (self.running.folder / name).open("rb") as file:
            file.seek(self._read[name])
            content = file.read()
        self._read[name] += len(content)
        return content.decode(errors="replace")


# In the process that is used many times


def answer_calls(address: str) -> None:
    """Make every call that comes over the socket, until there is no other side."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    # Nobody asks for an orderly end here, and a thread that waits for one would be one more.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    idle = 0.0
    for line in connection.makefile("rb"):
        asked = json.loads(line)
        if asked.get("idle"):
            idle = memory_megabytes("VmRSS")
            answer: dict[str, Any] = {}
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
            end, code = _make(asked)
            answer = {"end": end, "code": code, "peak": max(0.0, memory_megabytes("VmHWM") - idle)}
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        connection.sendall(json.dumps(answer).encode() + b"\n")
    os._exit(0)


def _make(asked: Mapping[str, Any]) -> tuple[str, int]:
    from i2i.cli import main

    os.chdir(asked["cwd"])
    around: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    try:
        if asked["around"] is not None:
            module, name, arguments = asked["around"]
            around = getattr(importlib.import_module(module), name)(**arguments)
        with around:
            return "ended", main(asked["arguments"])
    except BaseException:  # whatever it is, it is what we look for
        traceback.print_exc()
        return "raised", 1


def memory_megabytes(entry: str) -> float:
    """Of this process; VmRSS now, VmHWM at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError(f"no {entry} in /proc/self/status")


@functools.cache
def reused_program(*, exporting: bool = False) -> ReusedProgram:
    """The one of this process; it ends with it.

    Args:
        exporting: one that has exported a model, so that the libraries for it are no memory that a bad file takes.
    """
    folder = Path(tempfile.mkdtemp(prefix="i2i-warm-up-"))
    model = good_model(folder)
    translate = ["translate", "--model", model, good_picture(folder), "-o", folder / "out", *PLAINLY]
    export = ["export", "--model", model, "--to", "onnx", "-o", folder / "good.onnx"]
    calls: list[Sequence[str | Path]] = [translate, export] if exporting else [translate]
    program = ReusedProgram([Call(arguments=arguments, cwd=folder) for arguments in calls])
    warm_program()  # which ends after what is registered from here on
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(program.close)
    return program


PLAINLY = ("--device", "cpu", "--runner", "torch", "--quiet")
"""Nothing is measured along, nothing but mistakes is said."""


def good_model(folder: Path) -> Path:
    """A model file of a tiny translator in the folder."""
    return write_constant_model(folder / "good.safetensors", {"AtoB": (10, 20, 30)})


def good_picture(folder: Path) -> Path:
    """A small photo in the folder."""
    path = folder / "good.png"
    Image.fromarray(np.linspace(0, 255, 40 * 56 * 3, dtype=np.uint8).reshape(40, 56, 3)).save(path)
    return path


# What may become of a file


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What is allowed to a call."""

    exit_codes: Collection[int]
    """Of a refusal."""
    names: Collection[str]
    """One of these must be in the message."""
    lines: int = 1
    """Most lines of the message; a recipe has one a mistake."""
    megabytes: float = MOST_MEGABYTES
    notes: Collection[str] = ()
    """Beginnings of further lines that may be said on stderr."""
    remarks: bool = False
    """Whether the C libraries that decode may say a line of their own about a damaged file: they have no switch for it,
    and silencing the whole process would swallow what matters. Python's warnings may not."""
    remedy: bool = True
    """Whether a message of one line says what to do; not where it sums up others that do."""


def judged(answer: Answer, bounds: Bounds) -> Outcome:
    """Whether a call went as it may: taken, or refused in so many lines that name the file and say what to do."""
    figures = {"peak_megabytes": round(answer.peak_megabytes, 1)}
    if answer.end != "ended":
        after = f" after {'; '.join(answer.after)}" if answer.after else ""
        what = f"{answer.end} after others" if answer.after else answer.end
        return Outcome(False, what, f"exit code {answer.exit_code}{after}: {answer.stderr[-3000:]}", figures)
    problem = _problem(answer, bounds)
    if problem is not None:
        return Outcome(False, *problem, figures)
    return Outcome(True, "refused" if answer.exit_code else "taken", answer.stderr.strip()[:300], figures)


def _problem(answer: Answer, bounds: Bounds) -> tuple[str, str] | None:
    """What is wrong, in two words, and the whole story."""
    said = answer.stderr.strip().splitlines()
    message = [line for line in said if not line.startswith(tuple(bounds.notes))]
    if bounds.remarks:
        message = [line for line in message if line.startswith("i2i: ") or ".py" in line]
    story = f"exit code {answer.exit_code}: {answer.stderr[-3000:]}"
    if "Traceback (most recent call last)" in answer.stderr + answer.stdout:
        return "traceback", story
    if answer.peak_megabytes > bounds.megabytes:
        return "too much memory", f"{answer.peak_megabytes:.0f} MB above idle; {story}"
    if any(not character.isprintable() for character in "".join([*said, *answer.stdout.splitlines()])):
        return "control characters", repr(story)
    if answer.exit_code == 0:
        return ("noise", story) if message else None
    if answer.exit_code not in bounds.exit_codes:
        return "wrong exit code", story
    if not message or not message[0].startswith("i2i: error: ") or len(message) > bounds.lines or _is_long(message):
        return "unclear message", story
    if not any(name in line for name in bounds.names for line in message):
        return "unnamed file", story
    if bounds.remedy and bounds.lines == 1 and " - " not in message[0]:
        return "no remedy", story
    return None


def _is_long(message: Sequence[str]) -> bool:
    return any(len(line) > _LONGEST_LINE for line in message)


def first_wrong(outcomes: Iterable[Outcome]) -> Outcome:
    """Of several calls with one file: the first that went wrong, else what became of the last."""
    last: Outcome | None = None
    peak = 0.0
    for outcome in outcomes:
        peak = max(peak, outcome.figures.get("peak_megabytes", 0.0))
        last = replace(outcome, figures={**outcome.figures, "peak_megabytes": peak})
        if not outcome.ok:
            break
    assert last is not None, "no call was made"
    return last


def weighted(scenario: str, weights: Mapping[str, int], count: int) -> list[Case]:
    """`count` cases of the kinds in proportion to their weights, the kinds mixed."""
    round_of_kinds = [kind for turn in range(max(weights.values())) for kind in weights if weights[kind] > turn]
    made: Counter[str] = Counter()
    cases = []
    for index in range(count):
        kind = round_of_kinds[index % len(round_of_kinds)]
        cases.append(Case(scenario, kind, made[kind]))
        made[kind] += 1
    return cases
