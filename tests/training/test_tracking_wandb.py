"""What Weights & Biases gets is what happened: an offline run is read back from wandb's own files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i.evaluation.passports.figures import Figure, Interval, Passport
from i2i.training.tracking import BackgroundSink, Row, Tracker
from i2i.training.tracking.wandb_sink import FIGURES_TABLE, SHEETS_TABLE, WandbSink
from i2i.training.watchdog import Verdict
from tests.inference.models import write_constant_model

pytest.importorskip("wandb")

from tests.training.wandb_records import WandbRun, read_finished, read_records  # needs wandb

CONFIG = {"seed": 1, "name": "test run", "pipeline": {"kind": "cyclegan", "generator": {"blocks": 2}}}
ENVIRONMENT = {"python": "3.12", "git": {"i2i": {"commit": "c0ffee", "dirty": True}, "current_folder": None}}
FID = Figure(
    name="fid_AtoB",
    label="FID, A to B",
    value=12.5,
    higher_is_better=False,
    passport=Passport(
        metric="fid", extractor="lenet5", weights_sha256="ab" * 32, real_count=100, fake_count=50, seed=7
    ),
)
KID = Figure(
    name="kid",
    label="KID",
    value=0.25,
    unit="units",
    interval=Interval(half_width=0.5, kind="standard deviation over 100 subsets"),
    passport=Passport(metric="kid", parameters={"subsets": 100, "degree": 3}),
)
ROWS = [
    {"loss/generator/total": 0.1 + 0.2, "speed/images_per_second": 1e-7},
    {"loss/generator/total": math.nan, "loss/discriminator/total": math.inf, "whole": 3.0},
    {"evaluation/fid_AtoB": 12.5, "evaluation/kid": -0.25},
    {"loss/generator/total": 1 / 3, "evaluation/fid_AtoB": 13.5, "evaluation/kid": 2.0**-40},
]
ALARM = Verdict(
    kind="collapsed",
    action="warn",
    step=2,
    images=4,
    began_step=1,
    title="Mode collapse",
    reason="all pictures are alike",
    advice="lower the learning rate",
)
FRAMES = [np.full((8, 12, 3), 20 * step, np.uint8) for step in range(12)]


def write_log(tracker: Tracker) -> None:
    """Everything that can happen in an attempt."""
    for step, values in enumerate(ROWS, start=1):
        tracker.log(Row(step=step, images=8 * step, epoch=step / 4, values=values))
    for step, picture in enumerate(FRAMES):
        tracker.images(step, "AtoB", picture)
    tracker.alarm(ALARM)
    tracker.figures(3, [FID, KID])
    tracker.figures(4, [KID])


def write_model(path: Path, level: int) -> None:
    """A model that makes pictures of one grey."""
    write_constant_model(path, {"AtoB": (level, level, level)})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, WandbRun, WandbRun]]:
    """The folder of a run, its first attempt, and a second that went on from the first's checkpoint."""
    folder = tmp_path_factory.mktemp("runs") / "my run"
    for attempt in (1, 2):
        sink = BackgroundSink(WandbSink(folder, "i2i-test", "offline"), finish_timeout_seconds=120)
        tracker = Tracker(folder, [sink], attempt=attempt)
        tracker.start(CONFIG, "my run", resumed=attempt == 2, environment=ENVIRONMENT)
        write_log(tracker)
        for name, alias in (("best.safetensors", "best"), ("model.safetensors", "latest")):
            write_model(folder / name, 10 * attempt)
            tracker.model(folder / name, [alias])
        write_model(folder / "model.safetensors", 10 * attempt + 1)
        tracker.model(folder / "model.safetensors", ["latest"])
        tracker.finish({"note": "done"}, failed=attempt == 2)
    first, second = read_finished(folder, count=2)
    yield folder, first, second


def test_history_equals_the_record_value_by_value(recorded: tuple[Path, WandbRun, WandbRun]) -> None:
    _, first, _ = recorded
    wanted = [
        {**values, "train/step": step, "train/images": 8 * step, "train/epoch": step / 4}
        for step, values in enumerate(ROWS, start=1)
    ]
    # As text, so that NaN is equal to itself; both sides write the shortest text that reads back to the same number.
    assert [plain(row) for row in first.scalars] == [plain(row) for row in wanted]


def plain(row: dict[str, Any]) -> dict[str, str]:
    return {name: repr(float(value)) for name, value in sorted(row.items())}


def test_everything_is_drawn_over_steps_and_images_and_epochs_are_there_too(
    recorded: tuple[Path, WandbRun, WandbRun],
) -> None:
    _, first, _ = recorded
    assert first.step_axes == {"train/step": "", "train/images": "", "train/epoch": "", "*": "train/step"}
    assert all("train/step" in row for row in first.history)


def test_the_run_says_what_it_is(recorded: tuple[Path, WandbRun, WandbRun]) -> None:
    _, first, second = recorded
    config = {name: value for name, value in first.config.items() if name != "_wandb"}
    assert config == {**CONFIG, "environment": ENVIRONMENT}
    assert first.info.git.commit == "c0ffee"
    assert not first.info.git.remote_url
    assert (first.info.display_name, first.info.run_group, first.info.job_type) == ("my run", "my run", "train")
    assert (first.info.project, list(first.info.tags), first.exit_code) == ("i2i-test", [], 0)
    # A resume is another run of the same group: under the old id, syncing would overwrite the history.
    assert second.info.run_id != first.info.run_id
    assert (second.info.display_name, second.info.run_group) == ("my run (attempt 2)", "my run")
    assert (second.info.job_type, list(second.info.tags), second.exit_code) == ("resume", ["resumed"], 1)


def test_the_summary_has_the_best_values_each_the_right_way(recorded: tuple[Path, WandbRun, WandbRun]) -> None:
    _, first, _ = recorded
    assert {name: value for name, value in first.summary.items() if name.startswith(("best", "note"))} == {
        **{"best/evaluation/fid_AtoB": 12.5, "best_step/evaluation/fid_AtoB": 3},
        **{"best/evaluation/kid": -0.25, "best_step/evaluation/kid": 3},
        "note": "done",
    }
    assert first.summary["evaluation/fid_AtoB"] == 13.5, "the newest value stays beside the best"


def test_sheets_are_there_as_pictures_and_in_a_table(recorded: tuple[Path, WandbRun, WandbRun]) -> None:
    _, first, _ = recorded
    pictures = first.pictures("samples/AtoB")
    assert [step for step, _ in pictures] == list(range(12))
    for (_, path), picture in zip(pictures, FRAMES, strict=True):
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), picture)
    columns, rows = first.table(SHEETS_TABLE)
    assert columns == ["step", "name", "picture"]
    assert rows == [[step, "AtoB", "Image"] for step in range(12)]
    parts = [artifact for artifact in first.artifacts if "sheets" in artifact.name]
    held = [entry for artifact in parts for entry in artifact.manifest.contents if entry.path.endswith(".png")]
    assert len({entry.path for entry in held}) == len(FRAMES)
    assert all(Path(entry.local_path).is_file() for entry in held)


def test_figures_are_in_a_table_with_how_they_were_made(recorded: tuple[Path, WandbRun, WandbRun]) -> None:
    _, first, _ = recorded
    columns, rows = first.table(FIGURES_TABLE)
    fid, kid, later = (dict(zip(columns, row, strict=True)) for row in rows)
    assert (fid["step"], fid["name"], fid["label"], fid["value"]) == (3, "fid_AtoB", "FID, A to B", 12.5)
    assert (fid["unit"], fid["interval"]) == (None, None)
    assert (fid["extractor"], fid["weights_sha256"], fid["real_count"]) == ("lenet5", "ab" * 32, 100)
    assert (fid["fake_count"], fid["seed"], fid["metric"]) == (50, 7, "fid")
    assert (kid["unit"], kid["interval"], kid["interval_kind"]) == ("units", 0.5, "standard deviation over 100 subsets")
    assert json.loads(kid["parameters"]) == {"subsets": 100, "degree": 3}
    assert (later["step"], later["name"]) == (4, "kid")


def test_the_model_is_an_artifact_with_its_metadata(recorded: tuple[Path, WandbRun, WandbRun]) -> None:
    folder, first, second = recorded
    for run in (first, second):
        best, latest = run.of_kind("model")
        # wandb calls every version the latest as it comes; the one that comes last keeps the name.
        assert [sorted(best.aliases), sorted(latest.aliases)] == [["best", "latest"], ["latest"]]
        assert best.name == latest.name == "my-run-model"
        assert best.digest != latest.digest
        metadata = json.loads(latest.metadata)
        assert (metadata["recipe"], metadata["step"], metadata["pipeline"]) == ("test", 3, "cyclegan")
        assert metadata["entry_points"]["AtoB"]["generator"]["kind"] == "resnet"
        (entry,) = latest.manifest.contents
        assert entry.path == "model.safetensors"
        # It will be read when the run is synced, and must still be that model.
        assert Path(entry.local_path).is_relative_to(folder)
        assert Path(entry.local_path).stat().st_size == entry.size
    latest_now = second.of_kind("model")[-1].manifest.contents[0].local_path
    assert Path(latest_now).read_bytes() == (folder / "model.safetensors").read_bytes()
    latest_then = first.of_kind("model")[-1].manifest.contents[0].local_path
    assert Path(latest_then).read_bytes() != (folder / "model.safetensors").read_bytes()


def test_alarms_of_the_watchdog_are_alerts(recorded: tuple[Path, WandbRun, WandbRun]) -> None:
    _, first, _ = recorded
    ((title, text),) = [(alert.title, alert.text) for alert in first.alerts]
    assert title == "Mode collapse"
    assert text.startswith("Step 2: ") and "all pictures are alike" in text


@pytest.mark.parametrize(
    ("upload", "versions"), [("checkpoint", [["latest"], ["best", "latest"], ["latest"]]), ("never", [])]
)
def test_the_model_goes_up_as_often_as_asked(tmp_path: Path, upload: Any, versions: list[list[str]]) -> None:
    tracker = Tracker(tmp_path, [WandbSink(tmp_path, "i2i-test", "offline", upload)])
    tracker.start(CONFIG, "run")
    for level, alias in enumerate(("latest", "best", "latest"), start=1):
        write_model(tmp_path / "model.safetensors", level)
        tracker.model(tmp_path / "model.safetensors", [alias])
    tracker.finish()
    (run,) = read_finished(tmp_path)
    models = run.of_kind("model")
    assert [sorted(model.aliases) for model in models] == versions
    assert len({model.digest for model in models}) == len(versions)


def test_damage_in_a_record_is_seen_by_the_reader(recorded: tuple[Path, WandbRun, WandbRun], tmp_path: Path) -> None:
    folder, _, _ = recorded
    path = next(folder.glob("wandb/offline-run-*/run-*.wandb"))
    content = bytearray(path.read_bytes())
    assert len(list(read_records(path))) > 50
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.wandb").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        list(read_records(tmp_path / "damaged.wandb"))


def test_two_runs_in_one_process_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    import wandb

    theirs = wandb.init(project="theirs", dir=str(tmp_path), mode="offline")
    tracker = Tracker(tmp_path / "ours", [BackgroundSink(WandbSink(tmp_path / "ours", "i2i-test", "offline"))])
    tracker.start(CONFIG, "run")
    tracker.log(Row(step=1, images=1, epoch=1, values={"loss": 0.5}))
    tracker.finish()
    theirs.log({"their_loss": 1.0})
    theirs.finish()
    (ours,) = read_finished(tmp_path / "ours")
    (other,) = read_finished(tmp_path)
    assert ours.info.project == "i2i-test" and [row["loss"] for row in ours.history] == [0.5]
    assert other.info.project == "theirs" and other.history == [{"their_loss": 1.0}]
