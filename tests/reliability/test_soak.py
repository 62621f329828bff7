"""The soak finds a leak, is not fooled by teeth, and looks at all that a process started."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TOOLS = Path(__file__).parents[2] / "tools" / "campaigns"

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("soak")


def samples(soak: Any, megabytes: Any, attempt: int = 1, handles: int = 100) -> list[Any]:
    """One every ten seconds, of a training whose memory is `megabytes`."""
    return [
        soak.Sample(
            attempt=attempt, seconds=10.0 * number, megabytes=float(value), training_megabytes=500.0,
            worker_megabytes=300.0, handles=handles, threads=20, processes=5, run_files=number, run_megabytes=1.0,
        )
        for number, value in enumerate(megabytes)
    ]  # fmt: skip


def test_teeth_and_a_warm_up_are_no_growth(soak: Any) -> None:
    teeth = 1000 + 300 * (np.arange(720) % 24 < 3) + np.random.default_rng(0).normal(0, 5, 720)
    teeth[:100] = np.linspace(200, 1000, 100)
    result = soak.result_of(samples(soak, teeth))
    assert result["flat"] and abs(result["growth"]["megabytes"]["percent"]) < 0.5
    # Files of a run are kept on purpose, and handles are not.
    assert result["growth"]["run_files"]["percent"] > 300


def test_a_slow_leak_is_growth(soak: Any) -> None:
    leak = 1000 + np.linspace(0, 50, 720) + 300 * (np.arange(720) % 24 < 3)
    result = soak.result_of(samples(soak, leak))
    assert not result["flat"]
    assert result["growth"]["megabytes"]["percent"] == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_single_jump_is_growth(soak: Any, share: float) -> None:
    values = np.full(720, 1000.0)
    values[int(720 * share) :] = 1100
    result = soak.result_of(samples(soak, values))
    assert not result["flat"] and result["growth"]["megabytes"]["jump_percent"] == pytest.approx(10)


@pytest.mark.parametrize(("more", "flat"), [(1, True), (2, False)])
def test_one_thread_more_is_no_leak_and_two_are(soak: Any, more: int, flat: bool) -> None:
    taken = samples(soak, np.full(300, 1000.0))
    later = [dataclasses.replace(one, threads=20 + more) if one.seconds > 1500 else one for one in taken]
    assert soak.result_of(later)["flat"] is flat


def test_a_process_that_is_lost_is_not_flat(soak: Any) -> None:
    flat = samples(soak, np.full(300, 1000.0))
    assert soak.result_of(flat)["flat"]
    fewer = [dataclasses.replace(one, processes=4) if one.seconds > 2000 else one for one in flat]
    assert not soak.result_of(fewer)["flat"]


def test_the_longest_attempt_counts(soak: Any) -> None:
    flat, short = samples(soak, np.full(300, 1000.0)), samples(soak, np.linspace(1000, 2000, 100), attempt=2)
    result = soak.result_of([*flat, *short])
    assert result["flat"] and result["attempts"] == 2
    assert result["samples"] == 240


def test_too_few_samples_are_no_result(soak: Any) -> None:
    result = {"recipe": "x", **soak.result_of(samples(soak, [1000.0] * 8))}
    assert "flat" not in result
    assert "too short" in soak.table(result)[-1]


CHILDREN = """
import subprocess, sys, threading
held = [open(sys.executable, "rb") for _ in range(40)]
child = subprocess.Popen([sys.executable, "-c", "held = bytearray(60_000_000); print(flush=True); input()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(flush=True)
input()
"""


def test_children_count(soak: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "file").write_bytes(bytes(2_000_000))
    parent = subprocess.Popen(
        [sys.executable, "-c", CHILDREN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert parent.stdout is not None
        parent.stdout.readline()
        sample = soak.take_sample(parent.pid, tmp_path / "run", attempt=1, seconds=0.0)
        assert sample is not None and sample.processes == 2
        assert sample.worker_megabytes >= 60 and sample.training_megabytes < 60
        assert sample.megabytes == pytest.approx(sample.worker_megabytes + sample.training_megabytes, abs=0.1)
        assert sample.handles >= 40
        assert (sample.run_files, sample.run_megabytes) == (1, 2.0)
        os.kill(parent.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 20
        while not soak.is_stopped(parent.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
    assert soak.take_sample(parent.pid, tmp_path / "run", attempt=1, seconds=0.0) is None


TRAINING = """
import signal, sys, time
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1] if "--out" in sys.argv else sys.argv[sys.argv.index("--resume") + 1])
(out / "checkpoints" / "step_1").mkdir(parents=True, exist_ok=True)
print(*sys.argv[1:], flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
time.sleep(60)
"""


def test_a_second_call_goes_on_where_the_first_one_was_cut_off(
    soak: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the training: what is called, watched, ended and written."""
    place = tmp_path / "place"
    (place / "i2i").mkdir(parents=True)
    # A whole package: without this file, an i2i that is installed would come before it.
    (place / "i2i" / "__init__.py").touch()
    (place / "i2i" / "__main__.py").write_text(TRAINING)
    monkeypatch.setattr(soak, "REPOSITORY", place)
    folder = tmp_path / "soak"
    folder.mkdir()
    first = samples(soak, [1000.0])
    lines = "".join(json.dumps(dataclasses.asdict(sample)) + "\n" for sample in first)
    (folder / "samples.jsonl").write_text(lines + '{"attempt": 1, "sec')
    (folder / "run" / "checkpoints" / "step_1").mkdir(parents=True)
    result = soak.soak("cyclegan_demo", 0.05, folder, every_seconds=0.1)
    attempts = {sample.attempt for sample in soak.read_samples(folder)}
    assert attempts == {1, 2}
    assert "--resume" in (folder / "training.log").read_text()
    assert (result["checkpoints"], result["evaluations"]) == (1, 0)
    assert result == json.loads((folder / "soak.json").read_text())
