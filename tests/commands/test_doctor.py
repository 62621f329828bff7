"""`i2i doctor` tells the truth, on a broken installation too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i import __version__
from i2i.commands import doctor
from i2i.commands.speed_trial import SpeedFindings
from i2i.errors import I2IError
from i2i.inference.runners import RunnerChoice

SPEED = SpeedFindings(
    device="cuda",
    training="a step of DCGAN, 64 px, batch 16, bf16",
    plain_seconds=0.4,
    seconds={"channels_last": 0.2, "compiled_networks": None, "raced_convolutions": 0.3},
    unmeasured={"channels_last": "it never hurts"},
    tried={"compiled_networks": "left: does not work here", "raced_convolutions": "taken: 1.33 times as fast"},
    auto=("channels_last", "raced_convolutions"),
    auto_seconds=0.1,
    failed=["speed: compiled_networks does not work here (no compiler); on without it"],
)


@pytest.fixture(autouse=True)
def _no_long_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i.commands.speed_trial.examine_speed", lambda device, precision: SPEED)


def findings(capsys: pytest.CaptureFixture[str], quick: bool = True) -> dict[str, Any]:
    doctor.run(quick=quick, json=True)
    return json.loads(capsys.readouterr().out)


def test_reports_this_installation(capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(capsys)
    assert found["i2i"] == __version__
    assert found["torch"]["version"] == torch.__version__
    assert found["torch"]["devices"][0] == "cpu"
    assert found["trial"] is None
    assert found["problems"] == []


def test_runners_are_listed_and_timed_unless_it_should_be_quick(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = findings(capsys)["runners"]
    assert {"torch", "onnxruntime"} <= set(quick["installed"])
    assert "fastest" not in quick
    monkeypatch.setattr("i2i.training.precision.measure_precisions", lambda device: {"fp32": 0.4, "bf16": 0.1})
    seconds = {"torch": 0.4, "openvino": 0.1}
    monkeypatch.setattr(
        "i2i.inference.runners.trial.compare_runners",
        lambda device: {"bf16": RunnerChoice("openvino", seconds, (256, 256), False, {"onnxruntime": "why"})},
    )
    timed = findings(capsys, quick=False)["runners"]
    assert timed["fastest"] == {"bf16": {"runner": "openvino", "seconds": seconds, "failed": {"onnxruntime": "why"}}}
    doctor.run(quick=False)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("runners:"))
    assert "bf16: torch 400.0 ms, openvino 100.0 ms, onnxruntime failed: openvino is fastest" in line


def test_trial_times_each_number_format(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("i2i.training.precision.measure_precisions", lambda device: {"fp32": 0.4, "bf16": 0.1})
    monkeypatch.setattr("i2i.inference.runners.trial.compare_runners", lambda device: {})
    trial = findings(capsys, quick=False)["trial"]
    assert trial["seconds"] == {"fp32": 0.4, "bf16": 0.1}
    assert trial["bf16_speedup"] == 4.0
    doctor.run()
    assert "bf16 pays, 4.0 times as fast" in capsys.readouterr().out


def test_what_makes_training_faster_is_timed_and_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert findings(capsys)["speed"] is None
    asked: list[str] = []
    monkeypatch.setattr("i2i.training.precision.measure_precisions", lambda device: {"fp32": 0.4, "bf16": 0.1})
    monkeypatch.setattr("i2i.inference.runners.trial.compare_runners", lambda device: {})
    monkeypatch.setattr(
        "i2i.commands.speed_trial.examine_speed", lambda device, precision: asked.append(precision) or SPEED
    )
    found = findings(capsys, quick=False)["speed"]
    assert asked == ["bf16"]
    assert found["seconds"] == SPEED.seconds and found["auto"] == ["channels_last", "raced_convolutions"]
    assert found["unmeasured"] == SPEED.unmeasured and found["tried"] == SPEED.tried
    doctor.run()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("speed:")]
    assert "batch 16, bf16, on cuda: `speed: plain` takes 400.0 ms" in lines[0]
    assert lines[1].endswith("channels_last: 200.0 ms; taken unmeasured: it never hurts")
    assert lines[2].endswith("compiled_networks: does not work here; left: does not work here")
    assert lines[3].endswith("raced_convolutions: 300.0 ms; taken: 1.33 times as fast")
    assert "`speed: auto` takes channels_last, raced_convolutions: 100.0 ms, 4.00 times as fast" in lines[4]


def test_a_failing_speed_trial_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(device: torch.device, precision: str) -> SpeedFindings:
        raise torch.OutOfMemoryError("out of\nmemory")

    monkeypatch.setattr("i2i.commands.speed_trial.examine_speed", fail)
    monkeypatch.setattr("i2i.inference.runners.trial.compare_runners", lambda device: {})
    doctor.run()
    assert "speed:          the trial failed: OutOfMemoryError: out of memory" in capsys.readouterr().out


def test_real_trial_measures_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i.inference.runners.trial.compare_runners", lambda device: {})
    trial = doctor.examine(quick=False)["trial"]
    assert set(trial["seconds"]) >= {"fp32", "bf16"}
    assert all(seconds > 0 for seconds in trial["seconds"].values())


def test_cache_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deep").mkdir()
    with (tmp_path / "deep" / "pictures").open("wb") as file:
        file.truncate(2**29)  # half a GiB that occupies nothing
    monkeypatch.setenv("I2I_CACHE", str(tmp_path))
    cache = findings(capsys)["cache"]
    assert cache["folder"] == str(tmp_path)
    assert cache["gib"] == 0.5
    assert cache["free_gib"] > 0


def test_absent_cache_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "not" / "there"))
    assert findings(capsys)["cache"]["gib"] == 0


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({"WANDB_MODE": "disabled"}, "disabled"),
        ({"WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_API_KEY": "x" * 40}, "online"),
    ],
)
def test_wandb_mode(
    environment: dict[str, str], mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert findings(capsys)["wandb"] == mode


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "_is_installed", lambda module: module not in ("tensorboard", "kornia"))
    with pytest.raises(I2IError, match="kornia is missing"):
        doctor.run(quick=True)
    text = capsys.readouterr().out
    assert "tensorboard: curves in TensorBoard" in text
    assert "PROBLEM:" in text


def test_broken_torch_is_said_and_the_rest_still_shown(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')")
    checkout = Path(doctor.__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-m", "i2i", "doctor", "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(checkout)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert "libtorch_cpu.so" in found["torch"]["problem"]
    assert found["trial"] is None
    assert found["cpu"]["cores"] >= 1
    assert result.stderr.startswith("i2i: error: torch does not work")
    assert len(result.stderr.splitlines()) == 1
