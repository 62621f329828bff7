from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i2i.errors import StorageError
from i2i.inference import load_model
from i2i.inference.pictures.image_files import read_picture
from i2i.inference.translation.conveyor import UNKNOWN_MAKER, translate_files
from i2i.inference.translation.ledger import LEDGER_NAME, Ledger, Maker, check_lists, read_results
from i2i.inference.translation.planning import Job, plan_translation
from tests.inference.models import paint, write_constant_model

MAKER = Maker(model_sha256="ab" * 32, direction="AtoB", precision="fp32", quality=95)
FACTS = {"runner": "torch", "runner_seconds": {"torch": 0.25}}


def made(ledger: Ledger, job: Job) -> None:
    ledger.note_source(job)
    ledger.record(job)


@pytest.fixture
def jobs(tmp_path: Path) -> tuple[Job, ...]:
    """Results in a folder and in one below it, which are there."""
    for name in ("a.png", "sub/b.jpg"):
        paint(tmp_path / "in" / name)
        paint(tmp_path / "out" / name, 9)
    return plan_translation([tmp_path / "in"], tmp_path / "out").jobs


def test_what_was_recorded_is_known_and_nothing_else(jobs: tuple[Job, ...], tmp_path: Path) -> None:
    first, second = jobs
    assert Ledger(MAKER, FACTS).state(first) == "unknown"
    made(Ledger(MAKER, FACTS), first)
    ledger = Ledger(MAKER, FACTS)
    assert (ledger.state(first), ledger.state(second)) == ("same", "unknown")
    first.destination.unlink()
    assert ledger.state(first) == "missing"
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_file()] == [LEDGER_NAME]


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "cd" * 32}, {"direction": "BtoA"}, {"precision": "bf16"}, {"strength": 0.5},
        {"consistent": True}, {"alpha": "model"}, {"statistics": "thumbnail"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_another_model_or_other_settings_are_another_maker(jobs: tuple[Job, ...], change: dict[str, object]) -> None:
    made(Ledger(MAKER, FACTS), jobs[0])
    assert Ledger(replace(MAKER, **change), FACTS).state(jobs[0]) == "other maker"  # type: ignore[arg-type]


def test_quality_matters_to_formats_that_have_one_and_the_engine_to_none(jobs: tuple[Job, ...]) -> None:
    lossless, lossy = jobs
    for job in jobs:
        made(Ledger(MAKER, FACTS), job)
    other = Ledger(replace(MAKER, quality=50), {"runner": "onnxruntime"})
    assert (other.state(lossless), other.state(lossy)) == ("same", "other maker")


def test_a_picture_that_has_changed_is_told(jobs: tuple[Job, ...]) -> None:
    made(Ledger(MAKER, FACTS), jobs[0])
    paint(jobs[0].source, 7, (3, 3))
    assert Ledger(MAKER, FACTS).state(jobs[0]) == "other source"


def test_the_list_says_what_it_ran_on_once(jobs: tuple[Job, ...], tmp_path: Path) -> None:
    ledger = Ledger(MAKER, FACTS)
    for job in (*jobs, *jobs):
        ledger.record(job)
    lines = [json.loads(line) for line in (tmp_path / "out" / LEDGER_NAME).read_text().splitlines()]
    makers = [line for line in lines if "result" not in line]
    assert [maker["quality"] for maker in makers] == [None, 95], "one for each kind of format"
    assert all(maker["runner_seconds"] == {"torch": 0.25} and maker["model_sha256"] == "ab" * 32 for maker in makers)
    assert [line["result"] for line in lines if "result" in line] == ["a.png", "sub/b.jpg"] * 2


def test_torn_and_foreign_lines_are_passed_over(jobs: tuple[Job, ...], tmp_path: Path) -> None:
    path = tmp_path / "out" / LEDGER_NAME
    path.write_bytes(b'\xff\xfe\n[1]\n{"result": 3}\n{"result": "a.p')
    made(Ledger(MAKER, FACTS), jobs[0])
    with path.open("a") as file:
        file.write('{"result": "sub/b.jpg", "mak')
    ledger = Ledger(MAKER, FACTS)
    assert (ledger.state(jobs[0]), ledger.state(jobs[1])) == ("same", "unknown")


def test_many_writers_lose_no_line(tmp_path: Path) -> None:
    paint(tmp_path / "x.png")
    jobs = [Job(tmp_path / "x.png", tmp_path / f"{number:03}.png", "png") for number in range(200)]
    ledgers = [Ledger(MAKER, FACTS) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda part, ledger: [ledger.record(job) for job in part], args=(jobs[n::4], ledger))
        for n, ledger in enumerate(ledgers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_results(tmp_path)) == [f"{number:03}.png" for number in range(200)]


def test_a_picture_replaced_after_it_was_read_is_another_one(jobs: tuple[Job, ...]) -> None:
    ledger = Ledger(MAKER, FACTS)
    ledger.note_source(jobs[0])
    paint(jobs[0].source, 7, (3, 3))
    ledger.record(jobs[0])
    assert Ledger(MAKER, FACTS).state(jobs[0]) == "other source"


def test_a_list_that_cannot_be_written_is_found_before_and_harms_no_result_after(
    jobs: tuple[Job, ...], tmp_path: Path
) -> None:
    check_lists(jobs)
    assert not (tmp_path / "out" / LEDGER_NAME).exists()
    (tmp_path / "out" / LEDGER_NAME).mkdir()
    with pytest.raises(StorageError, match=r"i2i_results\.jsonl: cannot be written: .* - free space, make it writable"):
        check_lists(jobs)
    model = load_model(write_constant_model(tmp_path / "m.safetensors", {"AtoB": (200.0, 9.0, 9.0)}), "cpu")
    outcomes = translate_files(model, jobs, ledger=Ledger(MAKER, FACTS))
    assert [outcome.status for outcome in outcomes] == ["written", "written"]
    assert all(outcome.notes[-1].startswith("not in the list of results: ") for outcome in outcomes)


def test_a_full_disk_under_the_list_stops_everything(
    jobs: tuple[Job, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match="No space left"):
        Ledger(MAKER, FACTS).record(jobs[0])


def test_results_of_another_model_are_made_anew_and_that_is_said(tmp_path: Path) -> None:
    paths = [write_constant_model(tmp_path / f"{name}.safetensors", {"AtoB": (level, 9.0, 9.0)})
             for name, level in (("old", 40.0), ("new", 200.0))]  # fmt: skip
    for name in ("a", "b", "c", "d"):
        paint(tmp_path / f"in/{name}.png")
    jobs = plan_translation([tmp_path / "in"], tmp_path / "out").jobs
    old, new = (load_model(path, "cpu") for path in paths)
    ledgers = {model: Ledger(replace(MAKER, model_sha256=model.sha256 or ""), FACTS) for model in (old, new)}
    assert old.sha256 and new.sha256 and old.sha256 != new.sha256
    translate_files(old, jobs[:2], ledger=ledgers[old])
    translate_files(new, jobs[2:3], ledger=ledgers[new])
    paint(jobs[3].destination, 77)
    os.utime(jobs[3].source)
    outcomes = {
        outcome.source.stem: outcome
        for outcome in translate_files(new, jobs, skip_existing=True, ledger=Ledger(ledgers[new]._maker, FACTS))
    }
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "a": "written", "b": "written", "c": "skipped", "d": "skipped",
    }  # fmt: skip
    assert outcomes["a"].notes[0].startswith("made anew: the result that was there came from another model")
    assert (outcomes["c"].message, outcomes["d"].message) == ("", UNKNOWN_MAKER)
    assert [int(np.median(read_picture(job.destination).rgb[..., 0])) for job in jobs] == [200, 200, 200, 77]
    again = translate_files(new, jobs[:3], skip_existing=True, ledger=Ledger(ledgers[new]._maker, FACTS))
    assert {outcome.status for outcome in again} == {"skipped"}
