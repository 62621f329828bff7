"""Ctrl-C while modules are imported: they would swallow it or turn it into another error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from i2i.__main__ import interrupted

REPOSITORY = Path(__file__).resolve().parents[1]
SWALLOWS = """
import time
print("importing", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    REACTION
"""


def interrupt_while_importing(folder: Path, module: str, reaction: str, *words: str) -> tuple[int, str]:
    """Exit code and standard error of i2i, interrupted while it imports a `module` of ours with this `reaction`."""
    (folder / f"{module}.py").write_text(SWALLOWS.replace("REACTION", reaction))
    process = subprocess.Popen(
        [sys.executable, "-m", "i2i", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder, REPOSITORY)))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=50)
    return process.returncode, errors


@pytest.mark.parametrize("reaction", ["pass", "raise ImportError('broken')", "raise"])
@pytest.mark.parametrize(
    ("module", "words"), [("typer", ["recipes"]), ("torch", ["train", "cyclegan_demo"]), ("torch", ["doctor"])]
)
def test_ctrl_c_during_an_import_ends_with_130_and_one_line(
    tmp_path: Path, module: str, words: list[str], reaction: str
) -> None:
    assert interrupt_while_importing(tmp_path, module, reaction, *words) == (130, "i2i: interrupted\n")


def test_ctrl_c_elsewhere_is_the_usual_exception() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(signal.SIGINT, sys._getframe())


def test_a_background_job_goes_on_ignoring_ctrl_c(tmp_path: Path) -> None:
    code = (
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "sys.argv = ['i2i', '--version']\nfrom i2i.__main__ import run\nrun()\n"
        "sys.exit(signal.getsignal(signal.SIGINT) is not signal.SIG_IGN)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_end_runs_what_was_registered_and_loses_no_word(processes: str) -> None:
    code = (
        "import atexit; from i2i.__main__ import end; atexit.register(lambda: print('last', flush=False));"
        "print('first', end=' '); end(7)"
    )
    environment = {**os.environ, "WORLD_SIZE": processes}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "first last\n", "")
