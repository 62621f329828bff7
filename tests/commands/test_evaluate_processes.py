"""Under torchrun the processes share the work, and the figures are those of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.cli import main
from i2i.evaluation.features.lenet import LeNet, save_lenet
from i2i.evaluation.passports.figures import FigureSheet
from tests.inference.models import DCGAN, GREY, write_constant_model, write_generator

CHECKOUT = Path(__file__).resolve().parents[2]


def paint(folder: Path, count: int, level: int) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        noise = np.random.default_rng(index).integers(-8, 9, (12, 12, 3))
        Image.fromarray(np.clip(level + noise, 0, 255).astype(np.uint8)).save(folder / f"{index:02d}.png")
    return folder


def in_two_processes(words: list[str], cache: Path) -> tuple[int, str, str]:
    environment = os.environ | {
        "PYTHONPATH": str(CHECKOUT),
        "I2I_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "i2i"]
    done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_figures_of_two_processes_are_those_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    save_lenet(LeNet(), tmp_path / "lenet.safetensors")
    model = write_generator(tmp_path / "model.safetensors", DCGAN, GREY)
    real = paint(tmp_path / "real", 75, 90)
    words = ["evaluate", "-m", str(model), "--data", str(real), "--metrics", "fid,kid,is,pr,dc,diversity,parzen",
             "--features", f"lenet:{tmp_path / 'lenet.safetensors'}", "--samples", "70", "--device", "cpu"]  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main([*words, "-o", str(tmp_path / "one.json")]) == 0
    finally:
        torch.set_num_threads(threads)
    table = capsys.readouterr().out
    code, out, errors = in_two_processes([*words, "-o", str(tmp_path / "two.json")], tmp_path / "other cache")
    assert code == 0, errors
    assert out == table, "the first one speaks for all, once"
    one, two = (FigureSheet.read(tmp_path / f"{name}.json") for name in ("one", "two"))
    assert len(one.figures) == 10
    for mine, other in zip(one.figures, two.figures, strict=True):
        assert mine.passport == other.passport
        assert other.value == pytest.approx(mine.value, rel=1e-9, abs=1e-12)


@pytest.mark.slow
def test_paired_scores_of_two_processes_are_those_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    levels = {"AtoB": (104, 104, 104), "BtoA": (33, 33, 33)}
    model = write_constant_model(tmp_path / "model.safetensors", levels)
    paint(tmp_path / "set" / "testA", 40, 30)
    paint(tmp_path / "set" / "testB", 40, 100)
    words = ["evaluate", "-m", str(model), "--data", str(tmp_path / "set"), "--device", "cpu", "--json"]
    assert main(words) == 0
    alone = json.loads(capsys.readouterr().out)
    code, out, errors = in_two_processes(words, tmp_path / "cache")
    assert code == 0, errors
    shared = json.loads(out)
    assert shared["directions"] == alone["directions"] and shared["figures"] == alone["figures"]
