"""Several processes share the pictures, and change no byte of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.generating import contents, generate, the_error
from tests.inference.models import COLOUR, DCGAN, write_generator

CHECKOUT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


class TestProcesses:
    def test_batch_processes_and_threads_change_no_byte(self, classed: Path, tmp_path: Path) -> None:
        models = {"classed": classed, "plain": write_generator(tmp_path / "plain.safetensors", DCGAN, COLOUR)}
        for name, model in models.items():
            words = ["--model", str(model), "--n", "70", "--seed", "9"]
            for batch in (1, 64):
                assert generate(*words, "-o", f"{name}-{batch}", "--batch", batch) == 0
            expected = contents(Path(f"{name}-1"))
            assert len(expected) == 70
            assert contents(Path(f"{name}-64")) == expected
            started = [
                start([*words, "-o", f"{name}-2", "--grid", f"{name}.png"], rank, threads=rank + 1) for rank in range(2)
            ]
            lines = [finished(process) for process in started]
            assert contents(Path(f"{name}-2")) == expected
            assert "38 written" in lines[0] and "the other 32 are for the other processes" in lines[0]
            assert lines[1] == "", "the first one speaks for all"
            assert generate(*words, "-o", f"{name}-3", "--grid", f"{name}-alone.png") == 0
            assert Path(f"{name}.png").read_bytes() == Path(f"{name}-alone.png").read_bytes()

    def test_the_second_one_leaves_films_to_the_first(
        self, plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert generate("-m", plain, "--interpolate", 2, "--json") == 0
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "")
        assert not Path("generated").exists()

    @pytest.mark.parametrize(("rank", "count"), [("2", "2"), ("-1", "2"), ("one", "2"), ("0", "none")])
    def test_an_environment_without_sense_is_a_usage_error(
        self, plain: Path, rank: str, count: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", count)
        assert generate("-m", plain) == 2
        assert f"RANK={rank} and WORLD_SIZE={count}" in the_error(capsys)


def start(words: list[str], rank: int, threads: int) -> subprocess.Popen[str]:
    environment = os.environ | {
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(CHECKOUT),
    }
    command = [sys.executable, "-m", "i2i", "generate", *words, "--device", "cpu"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return errors
