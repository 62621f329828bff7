"""Several processes share a folder, and change no byte of what comes out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
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
        model=model, model_sha256=None, device="cpu", direction="upscale", precision="fp32", strength=1.0,
        consistent=False, runner="torch", runner_is_chosen=False, trust=False, threads=1, processes=1, jobs=jobs,
        skip_existing=False, batch=1, quality=95, max_pixels=10**6, tiles=TileSettings(), alpha="copy",
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


def test_a_process_refuses_a_model_that_was_replaced_meanwhile(model: Path, tmp_path: Path) -> None:
    paint(tmp_path / "in/a.png")
    jobs = plan_translation([tmp_path / "in"], tmp_path / "out").jobs
    work = replace(part_of(model, jobs), model_sha256="0" * 64)
    with pytest.raises(ModelError, match=r"model\.safetensors: changed since it was first read - run again"):
        translate_in_processes([work], lambda outcome: None)


def test_processes_are_told_what_they_share_and_which_model_it_is(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Work] = []
    monkeypatch.setattr(workers, "translate_in_processes", lambda works, on_outcome: told.extend(works))
    command.run(model, [folder], tmp_path / "out", device="cpu", jobs=3, quiet=True)
    assert [(work.processes, work.model_sha256, work.runner_is_chosen) for work in told] == [
        (3, hashlib.sha256(model.read_bytes()).hexdigest(), True)
    ] * 3


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
    assert all("was ended by signal 9 - memory is short, use fewer --jobs" in outcome.message for outcome in outcomes)


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


def test_every_result_of_a_picture_that_goes_to_two_places_is_settled_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(tmp_path / "in/sub/a.png")
    jobs = plan_translation([tmp_path / "in", tmp_path / "in/sub"], tmp_path / "out").jobs
    assert len(jobs) == 2 and jobs[0].source == jobs[1].source
    monkeypatch.setattr(workers, "_work", _do_one_and_end)
    outcomes: list[Outcome] = []
    translate_in_processes([part_of(model, jobs)], outcomes.append)
    assert [(outcome.destination, outcome.status) for outcome in outcomes] == [
        (jobs[0].destination, "written"), (jobs[1].destination, "failed"),
    ]  # fmt: skip
    assert outcomes[1].message.endswith("ended with code 3 - run again with --jobs 1 to see why"), "no word of memory"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux who belongs to whom")
@pytest.mark.parametrize(
    ("jobs", "sent"), [(1, signal.SIGTERM), (2, signal.SIGTERM), (2, signal.SIGKILL)], ids=["alone", "two", "killed"]
)
def test_whatever_ends_the_command_ends_its_processes_and_leaves_no_part_of_a_file(
    model: Path, tmp_path: Path, jobs: int, sent: signal.Signals
) -> None:
    large = paint(tmp_path / "in/00.png", size=(900, 900)).read_bytes()
    for number in range(1, 40):
        (tmp_path / f"in/{number:02}.png").write_bytes(large)
    (tmp_path / "out").mkdir()
    words = ["translate", "-m", str(model), str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--jobs", str(jobs)]
    command_line = [sys.executable, "-m", "i2i", *words, "--device", "cpu", "--runner", "torch"]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    errors = tmp_path / "errors.txt"
    with errors.open("w") as file:
        process = subprocess.Popen(command_line, stdout=subprocess.DEVNULL, stderr=file, env=environment)
        _wait_until(lambda: _has_begun(tmp_path / "out") or process.poll() is not None)
        assert process.poll() is None, errors.read_text()
        helpers = _children(process.pid)
        assert len(helpers) >= (jobs if jobs > 1 else 0)
        process.send_signal(sent)
        code = process.wait(timeout=120)
    _wait_until(lambda: not any(map(_is_alive, helpers)))
    if sent == signal.SIGTERM:
        assert (code, errors.read_text().splitlines()[-1]) == (143, "i2i: interrupted")
    written = [path for path in (tmp_path / "out").iterdir() if path.name != LEDGER_NAME]
    assert len(written) < 40
    assert [path.name for path in written if path.name.startswith(".")] == []
    for path in written:
        with Image.open(path) as image:
            assert image.size == (1800, 1800)
            image.load()


def _has_begun(folder: Path) -> bool:
    return any(path.name != LEDGER_NAME for path in folder.iterdir())


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def _children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _is_alive(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    # Who was killed with nobody to ask how it ended is a zombie where nothing collects those.
    return "State:\tZ" not in status


def _do_one_and_end(rank: int, work: Work, messages: workers._Messages) -> None:
    job = work.jobs[0]
    messages.put((rank, Outcome(job.source, job.destination, "written")))
    sys.exit(3)


def _die(rank: int, work: Work, messages: workers._Messages) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _say_who_and_wait(rank: int, work: Work, messages: workers._Messages) -> None:
    messages.put((rank, Outcome(Path("a"), None, "skipped", str(os.getpid()))))
    time.sleep(600)
