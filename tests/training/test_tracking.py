"""The record of a run survives kills and resumes; sinks never stop training."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.errors import StorageError
from i2i.evaluation.passports.figures import Figure
from i2i.training.sheets import read_grid, to_uint8
from i2i.training.tracking import (
    Attempt,
    BackgroundSink,
    Row,
    Tracker,
    next_attempt,
    read_alarms,
    read_metrics,
)
from i2i.training.watchdog import Action, Verdict


def row(step: int, **values: float) -> Row:
    return Row(step=step, images=2 * step, epoch=step / 10, values=values or {"loss/generator/total": float(step)})


class RecordingSink:
    """Notes every call; raises in those named."""

    def __init__(self, failing: str = "") -> None:
        self.calls: list[str] = []
        self._failing = failing

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self._failing:
            raise RuntimeError("the service is down")

    def start(self, attempt: Attempt) -> None:
        self._note("start")
        self.attempt = attempt

    def scalars(self, row: Row) -> None:
        self._note("scalars")

    def images(self, step: int, name: str, picture: np.ndarray) -> None:
        self._note("images")

    def alarm(self, step: int, title: str, text: str) -> None:
        self._note("alarm")
        self.alarms = [*getattr(self, "alarms", []), (step, title, text)]

    def figures(self, step: int, figures: Sequence[Figure]) -> None:
        self._note("figures")

    def model(self, path: Path, aliases: Sequence[str]) -> None:
        self._note(f"model {' '.join(aliases)}")

    def finish(self, summary: Mapping[str, float | str], failed: bool) -> None:
        self._note("finish")
        self.summary, self.failed = dict(summary), failed

    def abandon(self) -> None:
        self.calls.append("abandon")


def test_rows_come_back_as_logged(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    tracker.log(row(1, **{"loss/generator/total": 0.5, "speed/images_per_second": 12.0}))
    tracker.finish()
    (read,) = read_metrics(tmp_path)
    assert read["values"] == {"loss/generator/total": 0.5, "speed/images_per_second": 12.0}
    assert (read["attempt"], read["step"], read["images"], read["epoch"]) == (1, 1, 2, 0.1)
    assert read["wall_seconds"] >= 0
    assert read["time"].endswith("+00:00")


def test_non_finite_values_are_valid_json_and_come_back(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    tracker.log(row(1, a=math.nan, b=math.inf, c=-math.inf))
    tracker.finish()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=refuse)["values"] == {"a": "nan", "b": "inf", "c": "-inf"}
    (read,) = read_metrics(tmp_path)
    assert math.isnan(read["values"]["a"])
    assert (read["values"]["b"], read["values"]["c"]) == (math.inf, -math.inf)


def test_latest_attempt_wins_after_a_resume(tmp_path: Path) -> None:
    for attempt, steps in ((1, (10, 20, 30, 40)), (2, (30, 40, 50)), (3, (20, 30))):
        assert next_attempt(tmp_path) == attempt
        tracker = Tracker(tmp_path, attempt=attempt)
        for step in steps:
            tracker.log(row(step))
        tracker.finish()
    merged = [(row["attempt"], row["step"]) for row in read_metrics(tmp_path)]
    # Attempt 3 went back to step 20: nothing that attempts 1 and 2 did from there on is part of the run.
    assert merged == [(1, 10), (3, 20), (3, 30)]


def test_rows_from_before_a_step_back_within_one_attempt_are_left_out(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    for step, loss in ((10, 1.0), (20, 1.0), (20, 1.5), (30, math.nan), (20, 2.0), (30, 2.0)):
        tracker.log(row(step, loss=loss))
    tracker.finish()
    assert [(row["step"], row["values"]["loss"]) for row in read_metrics(tmp_path)] == [(10, 1.0), (20, 2.0), (30, 2.0)]


def test_rows_of_one_step_stay_apart_and_in_order(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    tracker.log(row(10, loss=1.0))
    tracker.log(row(10, score=2.0))
    tracker.finish()
    assert [list(row["values"]) for row in read_metrics(tmp_path)] == [["loss"], ["score"]]


def test_wall_time_goes_on_over_attempts(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    tracker.log(row(1))
    tracker.finish()
    record = json.loads((tmp_path / "metrics.jsonl").read_text())
    (tmp_path / "metrics.jsonl").write_text(json.dumps({**record, "wall_seconds": 1000.0}) + "\n")
    again = Tracker(tmp_path, attempt=2)
    again.log(row(2))
    again.finish()
    assert [row["wall_seconds"] >= 1000.0 for row in read_metrics(tmp_path)] == [True, True]


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_by_a_kill_is_skipped_and_the_next_attempt_starts_afresh(tmp_path: Path, cut: int) -> None:
    tracker = Tracker(tmp_path)
    tracker.log(row(1))
    tracker.log(row(2))
    tracker.finish()
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    # Without its newline alone a row is whole.
    left = [1, 2] if cut == 1 else [1]
    assert [row["step"] for row in read_metrics(path)] == left
    again = Tracker(tmp_path, attempt=2)
    again.log(row(3))
    again.finish()
    assert [row["step"] for row in read_metrics(path)] == [*left, 3]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_damage_in_the_middle_costs_one_row_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker(tmp_path)
    for step in (1, 2, 3):
        tracker.log(row(step))
    tracker.finish()
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"attempt": \xff\n' + lines[2])
    assert [row["step"] for row in read_metrics(path)] == [1, 3]
    assert "metrics.jsonl:2" in caplog.text


def test_a_changed_digit_costs_the_row(tmp_path: Path) -> None:
    """Otherwise one flipped bit could make a run of an hour believe that it has lasted for a day."""
    tracker = Tracker(tmp_path)
    for step in (1, 2, 3):
        tracker.log(row(step))
    tracker.finish()
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    kept = {row["step"]: row for row in read_metrics(path)}
    for bit in range(8 * len(lines[0]), 8 * (len(lines[0]) + len(lines[1]) - 1)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        found = {row["step"]: row for row in read_metrics(path)}
        assert {1, 3} <= found.keys() <= {1, 2, 3}, bit
        # Where no more than the name of the checksum was hit, the row is there, and as it was.
        assert all(found[step].items() >= kept[step].items() for step in found), bit


def test_rows_without_a_checksum_are_of_older_runs(tmp_path: Path) -> None:
    row = '{"attempt":1,"step":7,"images":2,"epoch":0.5,"wall_seconds":1.0,"time":"","values":{"a":1.0}}\n'
    (tmp_path / "metrics.jsonl").write_text(row)
    (found,) = read_metrics(tmp_path)
    assert found["step"] == 7 and found["values"] == {"a": 1.0}


def test_an_end_nested_without_measure_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("[" * 100_000)
    tracker = Tracker(tmp_path)
    tracker.log(row(1))
    tracker.finish()
    assert [found["step"] for found in read_metrics(tmp_path)] == [1]


def test_no_file_gives_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []
    assert next_attempt(tmp_path) == 1


def test_a_record_that_cannot_be_written_stops_training(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"metrics\.jsonl"):
        Tracker(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_stops_training(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    tracker._file = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115 - the tracker closes it
    with pytest.raises(StorageError, match="free space"):
        tracker.log(row(1))
    tracker.finish()


def test_pictures_are_saved_and_passed_on(tmp_path: Path) -> None:
    sink = RecordingSink()
    tracker = Tracker(tmp_path, [sink])
    tracker.start({}, "run")
    path = tracker.images(7, "AtoB", np.zeros((4, 4, 3), np.uint8))
    tracker.finish({"best": 1.0})
    assert path == tmp_path / "samples" / "step_000007_AtoB.png"
    assert path.exists()
    assert sink.calls == ["start", "images", "finish"]


def test_figures_models_and_the_end_are_passed_on_with_the_best_values(tmp_path: Path) -> None:
    first, sink = RecordingSink(), RecordingSink()
    tracker = Tracker(tmp_path, [first])
    tracker.start({}, "run")
    tracker.log(row(10, **{"evaluation/fid": 5.0, "validation/psnr": 20.0}))
    tracker.log(row(20, **{"evaluation/fid": 4.0, "validation/psnr": 30.0}))
    tracker.finish(failed=True)
    assert first.failed and first.summary["best/evaluation/fid"] == 4.0
    again = Tracker(tmp_path, [sink], attempt=2)
    again.start({"seed": 1}, "run", resumed=True, environment={"git": {"i2i": {"commit": "abc", "dirty": False}}})
    again.log(row(20, **{"evaluation/fid": 6.0, "validation/psnr": 25.0}))
    again.figures(20, [])
    again.model(tmp_path / "model.safetensors", ["latest"])
    again.finish({"note": "done"})
    again.finish()
    assert sink.calls == ["start", "scalars", "figures", "model latest", "finish"]
    assert (sink.attempt.title, sink.attempt.group, sink.attempt.resumed) == ("run (attempt 2)", "run", True)
    assert (sink.attempt.commit, sink.attempt.config) == ("abc", {"seed": 1})
    # Step 20 was done anew, so what the first attempt found there is no part of the run.
    assert not sink.failed and sink.summary == {
        **{"best/evaluation/fid": 5.0, "best_step/evaluation/fid": 10},
        **{"best/validation/psnr": 25.0, "best_step/validation/psnr": 20},
        "note": "done",
    }


def test_a_grid_is_saved_so_that_it_can_be_taken_apart(tmp_path: Path) -> None:
    sink = RecordingSink()
    tracker = Tracker(tmp_path, [sink])
    made = torch.linspace(-1, 1, 6 * 28 * 28).reshape(6, 1, 28, 28)
    path = tracker.grid(7, "generate", made, 3)
    tracker.finish()
    assert path == tmp_path / "samples" / "step_000007_generate.png"
    with Image.open(path) as file:
        cells = read_grid(file)
    assert cells is not None and np.array_equal(cells[..., :1], to_uint8(made))
    assert sink.calls == ["images", "finish"]


def verdict(step: int, action: Action = "warn") -> Verdict:
    return Verdict(
        kind="collapsed",
        action=action,
        step=step,
        images=2 * step,
        began_step=step - 3,
        title="Mode collapse",
        reason="all pictures are alike",
        advice="lower the learning rate",
    )


def test_an_alarm_is_written_and_passed_on(tmp_path: Path) -> None:
    bad, good = RecordingSink("alarm"), RecordingSink()
    tracker = Tracker(tmp_path, [bad, good])
    tracker.alarm(verdict(7))
    tracker.alarm(verdict(9))
    tracker.finish()
    first, second = read_alarms(tmp_path)
    assert (first["step"], first["images"], first["began_step"], first["attempt"]) == (7, 14, 4, 1)
    assert (first["kind"], first["action"], first["title"]) == ("collapsed", "warn", "Mode collapse")
    assert second["step"] == 9
    assert good.alarms[0] == (7, "Mode collapse", verdict(7).line)
    assert bad.calls == ["alarm"]
    assert read_metrics(tmp_path) == []


def test_a_warning_about_what_was_done_anew_is_left_out(tmp_path: Path) -> None:
    first = Tracker(tmp_path, attempt=1)
    for step in (10, 20, 30):
        first.log(row(step))
    first.alarm(verdict(15))
    first.alarm(verdict(25))
    first.alarm(verdict(30, "stop"))
    first.finish()
    assert [alarm["step"] for alarm in read_alarms(tmp_path)] == [15, 25, 30]
    second = Tracker(tmp_path, attempt=2)
    second.log(row(20))
    second.alarm(verdict(28))
    second.finish()
    # The stop tells why there was a second attempt.
    assert [(alarm["attempt"], alarm["step"]) for alarm in read_alarms(tmp_path)] == [(1, 15), (1, 30), (2, 28)]


def test_a_warning_stays_where_the_next_attempt_begins_with_the_evaluation_owed(tmp_path: Path) -> None:
    first = Tracker(tmp_path, attempt=1)
    first.log(row(20))
    first.alarm(verdict(20))
    first.finish()
    second = Tracker(tmp_path, attempt=2)
    second.log(row(20, **{"evaluation/fid": 5.0}))
    second.log(row(21))
    second.finish()
    assert [alarm["step"] for alarm in read_alarms(tmp_path)] == [20]


def test_a_run_without_alarms_has_none_and_damage_costs_one(tmp_path: Path) -> None:
    assert read_alarms(tmp_path) == []
    tracker = Tracker(tmp_path)
    tracker.alarm(verdict(7))
    path = tmp_path / "alarms.jsonl"
    path.write_bytes(path.read_bytes() + b'{"attempt": 1, "st')
    tracker.alarm(verdict(9))
    tracker.finish()
    assert [alarm["step"] for alarm in read_alarms(tmp_path)] == [7, 9]


@pytest.mark.parametrize("failing", ["start", "scalars"])
def test_a_failing_sink_is_reported_once_and_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    bad, good = RecordingSink(failing), RecordingSink()
    tracker = Tracker(tmp_path, [bad, good])
    tracker.start({}, "run")
    for step in range(3):
        tracker.log(row(step))
    tracker.finish()
    assert bad.calls[-1] == failing
    assert bad.calls.count(failing) == 1
    assert good.calls == ["start", "scalars", "scalars", "scalars", "finish"]
    assert [record.message for record in caplog.records] == [
        "RecordingSink failed and is off for this attempt: the service is down"
    ]
    assert len(read_metrics(tmp_path)) == 3


def test_a_sink_failing_in_the_background_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = RecordingSink("scalars")
    tracker = Tracker(tmp_path, [BackgroundSink(bad)])
    tracker.start({}, "run")
    for step in range(20):
        tracker.log(row(step))
    tracker.finish()
    assert bad.calls == ["start", "scalars", "abandon"]
    assert [record.message for record in caplog.records] == [
        "RecordingSink failed and is off for this attempt: the service is down"
    ]
    assert len(read_metrics(tmp_path)) == 20


def test_a_hanging_sink_does_not_stop_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()

    class HangingSink(RecordingSink):
        def start(self, attempt: Attempt) -> None:
            release.wait(60)

    inner = HangingSink()
    sink = BackgroundSink(inner, capacity=4, finish_timeout_seconds=0.05)
    tracker = Tracker(tmp_path, [sink])
    tracker.start({}, "run")
    for step in range(50):
        tracker.log(row(step))
    tracker.finish()
    release.set()
    sink._thread.join(30)
    assert len(read_metrics(tmp_path)) == 50
    assert sink.dropped >= 50 - 5
    messages = [record.message for record in caplog.records]
    assert sum("too slow" in message for message in messages) == 1
    assert sum("did not finish in time" in message for message in messages) == 1
    assert len(messages) == 2
    assert inner.calls == ["abandon"], "given up, it does nothing more"


def test_a_background_sink_gets_everything_in_order(tmp_path: Path) -> None:
    inner = RecordingSink()
    tracker = Tracker(tmp_path, [BackgroundSink(inner)])
    tracker.start({}, "run")
    tracker.log(row(1))
    tracker.images(1, "x", np.zeros((4, 4, 3), np.uint8))
    tracker.finish()
    assert inner.calls == ["start", "scalars", "images", "finish"]


def test_a_slow_sink_is_waited_for_at_the_end(tmp_path: Path) -> None:
    class SlowSink(RecordingSink):
        def scalars(self, row: Row) -> None:
            time.sleep(0.02)
            super().scalars(row)

    inner = SlowSink()
    tracker = Tracker(tmp_path, [BackgroundSink(inner, finish_timeout_seconds=60)])
    tracker.start({}, "run")
    for step in range(5):
        tracker.log(row(step))
    tracker.finish()
    assert inner.calls == ["start", *["scalars"] * 5, "finish"]
