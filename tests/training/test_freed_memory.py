"""Large blocks stay in the process when they are freed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from i2i.training import freed_memory

# Two blocks in turn, so that the second is not what the first was: faults are counted once all has been touched.
_PROGRAM = """
import resource, sys
from i2i.training.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def touch():
    block = bytearray(1 << 26)
    block[::4096] = bytes(len(block[::4096]))
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name not in freed_memory._CHOSEN_OTHERWISE}
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, how], env=environment, check=True, capture_output=True, text=True
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_blocks_are_handed_out_again() -> None:
    kept = faults("keep")
    # Huge pages, where the system gives them unasked, fault seldom either way.
    assert kept < 1000
    assert kept <= faults("as it is")


@pytest.mark.parametrize("name", freed_memory._CHOSEN_OTHERWISE)
def test_choices_of_the_environment_stand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not freed_memory.keep_freed_memory()


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in freed_memory._CHOSEN_OTHERWISE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda name: object())
    assert not freed_memory.keep_freed_memory()
    monkeypatch.setattr(freed_memory.sys, "platform", "win32")
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", None)
    assert not freed_memory.keep_freed_memory()
