"""Whatever happens to a service, training goes on, its record is whole and the process ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from i2i.training.tracking import read_metrics
from tests.training.runs import REPOSITORY

pytest.importorskip("wandb")


# A training of its own process: `what` happens to wandb's service in the middle of it.
TROUBLE = """
import os, signal, sys, time
from pathlib import Path
import wandb
from i2i.training.tracking import BackgroundSink, Row, Tracker
from i2i.training.tracking.wandb_sink import WandbSink

folder, what = Path(sys.argv[1]), sys.argv[2]
sink = BackgroundSink(WandbSink(folder, "i2i-test", "offline"), finish_timeout_seconds=1)
tracker = Tracker(folder, [sink])
tracker.start({}, "run")
tracker.log(Row(step=0, images=0, epoch=0, values={"loss": 0.0}))
while not (wandb.setup()._connection and sink._calls.empty()):
    time.sleep(0.05)
os.kill(wandb.setup()._connection._proc._process.pid, getattr(signal, what))
if what == "SIGKILL":
    wandb.setup()._connection._proc._process.wait()
for step in range(1, 200):
    tracker.log(Row(step=step, images=step, epoch=0, values={"loss": 1.0 / step}))
tracker.finish()
"""


@pytest.fixture(autouse=True)
def _own_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes start a service of their own; that of another test in this process is none of their business."""
    monkeypatch.delenv("WANDB_SERVICE", raising=False)


def run_training(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert finished.returncode == 0, finished.stderr
    return finished


# A training whose server takes connections and says nothing.
SILENCE = """
import socket, sys
from pathlib import Path
from i2i.training.tracking import Row, Tracker, TrackingSettings, open_sinks

server = socket.create_server(("127.0.0.1", 0))
import os
os.environ["WANDB_BASE_URL"] = f"http://127.0.0.1:{server.getsockname()[1]}"
os.environ["WANDB_API_KEY"] = "0" * 40
folder = Path(sys.argv[1])
settings = TrackingSettings(wandb="online", finish_seconds=4)
tracker = Tracker(folder, open_sinks(settings, folder))
tracker.start({}, "run")
for step in range(200):
    tracker.log(Row(step=step, images=step, epoch=0, values={"loss": float(step)}))
tracker.finish()
"""


def test_the_process_ends_in_order_where_the_server_says_nothing(tmp_path: Path) -> None:
    finished = run_training(SILENCE, str(tmp_path))
    assert len(read_metrics(tmp_path)) == 200
    ours = [line for line in finished.stderr.splitlines() if "WandbSink" in line]
    assert len(ours) == 1 and "did not finish in time and was left behind" in ours[0]
    assert "Traceback" not in finished.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows stops no processes")
@pytest.mark.parametrize(
    ("what", "said"), [("SIGSTOP", "did not finish in time and was left behind"), ("SIGKILL", "failed and is off")]
)
def test_the_process_ends_in_order_whatever_happens_to_wandb(tmp_path: Path, what: str, said: str) -> None:
    finished = run_training(TROUBLE, str(tmp_path), what)
    assert len(read_metrics(tmp_path)) == 200
    ours = [line for line in finished.stderr.splitlines() if "WandbSink" in line]
    assert len(ours) == 1 and said in ours[0]
    assert "Traceback" not in finished.stderr
