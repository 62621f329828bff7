"""Several processes share a folder, and change no byte of what comes out."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.commands import translate as command
from i2i.errors import ModelError, PartialFailureError, UsageError
from i2i.inference.tiling.tiles import TileSettings
from i2i.inference.translation import workers
from i2i.inference.translation.ledger import LEDGER_NAME, Maker, read_results
from i2i.inference.translation.planning import Job, Outcome, plan_translation
from i2i.inference.translation.workers import Work, translate_in_processes
from tests.inference.models import paint, write_upscaler


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_upscaler(tmp_path / "up" / "model.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven pictures, one of which is none."""
    random = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(6):
        pixels = random.integers(0, 256, (9, 11, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"in/{number}.png")
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    return tmp_path / "in"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LEDGER_NAME}


def part_of(model: Path, jobs: tuple[Job, ...]) -> Work:
    return Work(
        model=model, device="cpu", direction="upscale", precision="fp32", strength=1.0, consistent=False,
        runner="torch", runner_is_chosen=False, trust=False, threads=1, jobs=jobs, skip_existing=False, batch=1,
        quality=95, max_pixels=10**6, tiles=TileSettings(), alpha="copy",
        maker=Maker(model_sha256="", direction="upscale", precision="fp32"), facts={},
    )  # fmt: skip


def test_jobs_and_torchrun_change_no_byte(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PartialFailureError):
        command.run(model, [folder], tmp_path / "alone", device="cpu", runner="torch")
    expected = contents(tmp_path / "alone")
    assert len(expected) == 6
    capsys.readouterr()
    with pytest.raises(PartialFailureError, match="1 of 7 inputs failed"):
        command.run(model, [folder], tmp_path / "jobs", device="cpu", runner="torch", jobs=2, json=True)
    captured = capsys.readouterr()
    assert contents(tmp_path / "jobs") == expected
    assert captured.err.count("failed: ") == 1 and "broken.png" in captured.err
    assert (json.loads(captured.out)["written"], json.loads(captured.out)["failed"]) == (6, 1)
    assert sorted(read_results(tmp_path / "jobs")) == sorted(expected)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        with contextlib.suppress(PartialFailureError):
            command.run(model, [folder], tmp_path / "ranks", device="cpu", runner="torch", json=True)
        captured = capsys.readouterr()
        if rank == 0:
            assert "3 written" in captured.err and "the other 3 are for the other processes" in captured.err
            assert "broken.png" in captured.err
        else:
            assert (captured.out, captured.err) == ("", ""), "the first one speaks for all"
    assert contents(tmp_path / "ranks") == expected
    with pytest.raises(UsageError, match="torchrun has started 2 processes - leave --jobs out"):
        command.run(model, [folder], tmp_path / "both", device="cpu", jobs=2)


def test_an_error_that_stops_everything_stops_all_processes(model: Path, tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    jobs = plan_translation([tmp_path / "in"], tmp_path / "out").jobs
    with pytest.raises(ModelError, match=r"gone\.safetensors"):
        translate_in_processes([part_of(tmp_path / "gone.safetensors", jobs)], lambda outcome: None)


def test_pictures_of_a_process_that_dies_are_reported(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that kills itself stands in for one that the system ends for want of memory."""
    for name in ("a", "b"):
        paint(tmp_path / f"in/{name}.png")
    jobs = plan_translation([tmp_path / "in"], tmp_path / "out").jobs
    monkeypatch.setattr(workers, "_work", _die)
    outcomes: list[Outcome] = []
    translate_in_processes([part_of(model, jobs)], outcomes.append)
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert all("was ended by signal 9 - use fewer --jobs" in outcome.message for outcome in outcomes)


def test_an_interruption_ends_all_processes(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(tmp_path / "in/a.png")
    jobs = plan_translation([tmp_path / "in"], tmp_path / "out").jobs
    monkeypatch.setattr(workers, "_work", _say_who_and_wait)

    def interrupt(outcome: Outcome) -> None:
        raise KeyboardInterrupt(outcome.message)

    with pytest.raises(KeyboardInterrupt) as caught:
        translate_in_processes([part_of(model, jobs)], interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(caught.value)), 0)


def _die(rank: int, work: Work, messages: workers._Messages) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _say_who_and_wait(rank: int, work: Work, messages: workers._Messages) -> None:
    messages.put((rank, Outcome(Path("a"), None, "skipped", str(os.getpid()))))
    time.sleep(600)
