"""The programs that are timed do what they are said to do."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from i2i.cli import main

BENCHES = Path(__file__).parents[2] / "tools" / "benches"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHES)
    return importlib.import_module("bench_start")


def test_commands_work(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    # This process is a test's: nothing about its memory and threads is to change.
    monkeypatch.setattr("i2i.commands.planning.choose_precision", lambda device: "fp32")
    commands = bench.programs(tmp_path, "cpu")
    assert next(iter(commands)) == bench.TORCH
    for name, command in commands.items():
        if command[:2] != ["-m", "i2i"]:
            continue
        plain = ["--set", "speed=plain"] if "train" in command else []
        assert main([*command[2:], *plain]) == 0, name
    said = capsys.readouterr().out
    assert "Usage: i2i" in said and "nothing was written" in said
    made = cv2.imread(str(tmp_path / "out.png"))
    assert made is not None and made.shape == (64, 64, 3)


def test_rows(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = {bench.TORCH: ["-c", "pass"], "another": ["-c", "import json"]}
    monkeypatch.setattr(bench, "programs", lambda folder, device: commands)
    options = argparse.Namespace(device="cpu", rounds=2, warmup=1)
    result = bench.run(options)
    assert json.loads(json.dumps(result)) == result
    first, second = result["rows"]
    assert (first["row"], first["times_import_torch"], first["rounds"]) == (bench.TORCH, 1.0, 2)
    assert second["times_import_torch"] == pytest.approx(second["seconds"] / first["seconds"])
    assert len({len(line) for line in bench.table(result)}) == 1
    commands["failing"] = ["-c", "import sys; sys.exit('no such luck')"]
    with pytest.raises(RuntimeError, match="failing: ended with 1: no such luck"):
        bench.run(options)


def test_torch_is_not_what_the_package_imports(bench: Any, tmp_path: Path) -> None:
    (words,) = [command for name, command in bench.programs(tmp_path, "cpu").items() if name == "import i2i"]
    check = f"{words[1]}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=BENCHES.parents[1], check=False).returncode == 0
