"""The real command line in processes that are forked from a warm one, so that hundreds of them pay for no imports.

A small server process, which has one thread, imports what is heavy and computes nothing. It forks a child for every
call; the child becomes what `python -m i2i ARGUMENTS` is. Needs an operating system that forks safely: Linux.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
AVAILABLE = sys.platform == "linux"
"""Whether there are warm processes on this machine."""
_MODULES = (
    "i2i.commands.train",
    "i2i.commands.translate",
    "i2i.commands.generate",
    "i2i.commands.export",
    "i2i.inference.translation.conveyor",
    "albumentations",
    "torch._dynamo",  # torch imports it when the first optimizer is made
    "torch._inductor.config",
)
"""What nearly every command needs."""
_START_SECONDS = 120.0
ENDED_UNANSWERED = 70
"""Exit code of a child that an exception has ended outside the command line, such as a signal while another one's is
printed."""


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A function `name` of `module` that the child calls, with `arguments`, before the command line begins."""

    module: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """JSON values."""


@dataclass
class Running:
    """One call of the command line."""

    program: WarmProgram
    pid: int
    folder: Path
    """Where what it says is kept."""
    handle: int | None = None
    """Of the process, as long as it runs."""
    exit_code: int | None = None
    """None while it runs; negative for the signal that ended it."""

    def wait(self, timeout_seconds: float) -> int | None:
        """The exit code as in `subprocess`; None if it still runs after that time."""
        deadline = time.monotonic() + timeout_seconds
        while self.exit_code is None and self.program.listen(max(0.0, deadline - time.monotonic())):
            pass
        return self.exit_code

    def send(self, signal_number: int) -> None:
        """Send a signal to the process alone, unless it has ended."""
        # By the open process and not by its number, which another one may have by now.
        if self.wait(0) is None and self.handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.handle, signal_number)

    def kill(self) -> None:
        """End it, unless it has ended; the server ends what it started."""
        self.send(signal.SIGKILL)
        self.wait(10)

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return (self.folder / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it has complained about so far."""
        return (self.folder / "stderr").read_text(errors="replace")


class WarmProgram:
    """The server and what it started; a context manager that ends them all.

    Args:
        modules: what to import beside the commands of most cases.
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="i2i-warm-")
        self._ours, theirs = socket.socketpair()
        self._running: dict[int, Running] = {}
        self._rest = b""
        self._calls = 0
        quiet = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(theirs.fileno()), *_MODULES, *modules],
            pass_fds=[theirs.fileno()],
            env={**os.environ, **quiet, "PYTHONPATH": str(REPOSITORY)},
            start_new_session=True,
        )
        theirs.close()

    def __enter__(self) -> WarmProgram:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server and all that it started."""
        self._ours.close()
        self._server.wait(30)
        self._folder.cleanup()

    def start(
        self,
        arguments: Sequence[str | Path],
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        limits: Mapping[int, int] | None = None,
        hook: Hook | None = None,
    ) -> Running:
        """Begin `i2i ARGUMENTS` in the folder `cwd`.

        Args:
            environment: what differs from the environment of this process.
            limits: such as {resource.RLIMIT_FSIZE: 20_000}.
            hook: called in the child first.
        """
        self._calls += 1
        said = Path(self._folder.name) / str(self._calls)
        said.mkdir()
        for name in ("stdout", "stderr"):
            (said / name).touch()  # it may end before it says anything
        asked = {
            "arguments": [*map(str, arguments)],
            "cwd": str(cwd.resolve()),
            "environment": {**os.environ, **(environment or {})},
            "limits": [[name, value] for name, value in (limits or {}).items()],
            "hook": None if hook is None else [hook.module, hook.name, dict(hook.arguments)],
            "said": str(said),
        }
        self._ours.sendall(json.dumps(asked).encode() + b"\n")
        self._started: int | None = None
        deadline = time.monotonic() + _START_SECONDS
        while self._started is None:
            if not self.listen(deadline - time.monotonic()):
                raise RuntimeError("the warm process starts nothing")
        return self._running[self._started]

    def run(self, arguments: Sequence[str | Path], cwd: Path, timeout_seconds: float = 60.0, **more: Any) -> Running:
        """Begin and wait for the end; killed if it takes longer, so that the exit code is then that of SIGKILL."""
        running = self.start(arguments, cwd, **more)
        if running.wait(timeout_seconds) is None:
            running.kill()
        return running

    def run_group(
        self,
        arguments: Sequence[str | Path],
        cwd: Path,
        timeout_seconds: float = 120.0,
        processes: int = 2,
        hook: Hook | None = None,
    ) -> list[Running]:
        """The same call in processes that know each other as those that torchrun starts do; waits for all of them."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
        started = [
            self.start(arguments, cwd, environment={**group, "RANK": str(rank), "LOCAL_RANK": str(rank)}, hook=hook)
            for rank in range(processes)
        ]
        for running in started:
            if running.wait(timeout_seconds) is None:
                running.kill()
        return started

    def listen(self, timeout_seconds: float) -> bool:
        """Take in what the server says next; False if it says nothing in that time."""
        while b"\n" not in self._rest:
            if not select.select([self._ours], [], [], max(0.0, timeout_seconds))[0]:
                return False
            received = self._ours.recv(65536)
            if not received:
                raise RuntimeError(f"the warm process ended with exit code {self._server.wait(10)}")
            self._rest += received
        line, self._rest = self._rest.split(b"\n", 1)
        word, pid, rest = json.loads(line)
        if word == "started":
            self._started = pid
            self._running[pid] = Running(self, pid, Path(rest))
            with contextlib.suppress(ProcessLookupError):  # it may have ended already
                self._running[pid].handle = os.pidfd_open(pid)
        else:
            ended = self._running.pop(pid)
            ended.exit_code = rest
            if ended.handle is not None:
                os.close(ended.handle)
        return True


@functools.cache
def warm_program() -> WarmProgram:
    """The one of this process; it ends with it."""
    program = WarmProgram()
    atexit.register(program.close)
    return program


# The server


def _serve(connection: socket.socket) -> None:
    """Fork a child for every line that comes, and tell how each ended, until the other side is gone."""
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    children: set[int] = set()
    rest = b""
    while True:
        ready, _, _ = select.select([connection, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _tell_ends(connection, children)
        if connection in ready:
            received = connection.recv(65536)
            if not received:
                break
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                children.add(_fork(json.loads(line), connection, (woken, wake)))
    for pid in children:
        os.killpg(pid, signal.SIGKILL)


def _tell_ends(connection: socket.socket, children: set[int]) -> None:
    while children:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return
        # What it started, and did not end itself, ends with it: first, for then its number is still its own.
        pid = found.si_pid
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        children.discard(pid)
        connection.sendall(json.dumps(["ended", pid, os.waitstatus_to_exitcode(status)]).encode() + b"\n")


def _fork(asked: Mapping[str, Any], connection: socket.socket, mine: Sequence[socket.socket]) -> int:
    threads = [*Path("/proc/self/task").iterdir()]
    assert len(threads) == 1, f"{len(threads)} threads: a fork would copy their locks and not them"
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):
            os.setpgid(pid, 0)  # both do it: whoever asks first must find it done
        connection.sendall(json.dumps(["started", pid, asked["said"]]).encode() + b"\n")
        return pid
    code = ENDED_UNANSWERED
    try:
        os.setpgid(0, 0)
        for end in (connection, *mine):
            end.close()
        _become(asked)
        code = _call(asked)
    finally:
        # A child never returns into the server's loop.
        os._exit(code)


def _become(asked: Mapping[str, Any]) -> None:
    """Everything by which a fresh process would differ from this copy."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    said = Path(asked["said"])
    for number, source in ((0, os.devnull), (1, said / "stdout"), (2, said / "stderr")):
        opened = os.open(source, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as Python itself at its start
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["cwd"])
    for name, value in asked["limits"]:
        resource.setrlimit(name, (value, value))


def _call(asked: Mapping[str, Any]) -> int:
    """The command line, from its first line to what Python does at its end."""
    import threading

    from i2i.__main__ import run

    sys.argv = ["i2i", *asked["arguments"]]
    try:
        if asked["hook"] is not None:
            module, name, arguments = asked["hook"]
            getattr(importlib.import_module(module), name)(**arguments)
        code = run()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


def _main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever stops the tests closes the connection
    for name in sys.argv[2:]:
        importlib.import_module(name)
    import torch

    from i2i.cli import command_line

    torch.set_num_threads(1)
    command_line()
    _serve(connection)


if __name__ == "__main__":
    _main()
