"""What TensorBoard shows is what happened: its events are read back with its own reader."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.evaluation.passports.figures import Figure, Interval, Passport
from i2i.training.tracking import Row, Tracker, read_metrics
from i2i.training.tracking.tensorboard_sink import TensorboardSink
from i2i.training.watchdog import Verdict
from tests.training.tensorboard_events import read_events, scalars, texts

pytest.importorskip("tensorboard")

CONFIG = {"name": "tiny", "training": {"batch_size": 4, "betas": [0.5, 0.9], "scale": None}, "deterministic": True}
FID = Figure(
    name="fid",
    label="FID",
    value=12.5,
    interval=Interval(half_width=0.5, kind="by chance"),
    passport=Passport(metric="fid", extractor="lenet5", fake_count=50, seed=7, parameters={"kernel": "none"}),
)


def row(step: int, **values: float) -> Row:
    return Row(step=step, images=2 * step, epoch=step / 10, values=values)


def test_a_run_reads_back_as_it_happened(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, [TensorboardSink(tmp_path)])
    tracker.start(CONFIG, "run", environment={"python": "3.12"})
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    tracker.images(0, "generate", picture)
    for step in (1, 2, 3):
        tracker.log(row(step, loss=1 / step, **{"evaluation/fid": 10.0 - step}))
    tracker.log(row(4, loss=math.nan))
    tracker.figures(3, [FID])
    tracker.alarm(
        Verdict(
            **{"kind": "collapsed", "action": "warn", "step": 4, "images": 8, "began_step": 1},  # pyright: ignore[reportArgumentType]
            title="Mode collapse",
            reason="all pictures are alike",
            advice="lower the learning rate",
        )
    )
    tracker.finish({"note": "done"})
    events = read_events(tmp_path)
    assert scalars(events, "loss")[:3] == [(step, pytest.approx(1 / step)) for step in (1, 2, 3)]
    assert math.isnan(scalars(events, "loss")[3][1])
    assert scalars(events, "best/evaluation/fid") == [(4, 7.0)]
    assert scalars(events, "best_step/evaluation/fid") == [(4, 3.0)]
    (image,) = events.Images("samples/generate")
    assert image.step == 0
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.encoded_image_string))), picture)
    ((step, alarm),) = texts(events, "alarms")
    assert step == 4 and "all pictures are alike" in alarm
    ((step, figures),) = texts(events, "figures")
    assert step == 3
    assert "| FID | 12.5 | ± 0.5 (by chance) | metric fid, extractor lenet5" in figures
    assert "fake_count 50, seed 7" in figures and "kernel none" in figures
    ((_, recipe),) = texts(events, "recipe")
    assert "batch_size: 4" in recipe
    ((_, environment),) = texts(events, "environment")
    assert '"python": "3.12"' in environment


def test_the_settings_are_hyperparameters_and_the_scalars_their_results(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams.backend_context import Context

    tracker = Tracker(tmp_path, [TensorboardSink(tmp_path)])
    tracker.start(CONFIG, "run")
    tracker.log(row(1, loss=0.5))
    tracker.finish()
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    board = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(tmp_path))))
    request = RequestContext()
    found = board.experiment_from_metadata(
        request,
        experiment_id="",
        include_metrics=True,
        hparams_run_to_tag_to_content=board.hparams_metadata(request, ""),
        data_provider_hparams=board.hparams_from_data_provider(request, "", 100),
    )
    assert {info.name for info in found.hparam_infos} >= {"name", "training.batch_size", "training.betas"}
    assert "loss" in {info.name.tag for info in found.metric_infos}


def test_what_was_done_anew_is_forgotten(tmp_path: Path) -> None:
    first = Tracker(tmp_path, [TensorboardSink(tmp_path)])
    first.start(CONFIG, "run")
    for step in (10, 20, 30, 40):
        first.log(row(step, loss=1.0))
    first.finish()
    second = Tracker(tmp_path, [TensorboardSink(tmp_path)], attempt=2)
    second.start(CONFIG, "run", resumed=True)
    for step, loss in ((30, 2.0), (40, 2.0), (50, math.nan), (40, 3.0), (50, 3.0)):
        second.log(row(step, loss=loss))
    second.finish()
    recorded = [(row["step"], row["values"]["loss"]) for row in read_metrics(tmp_path)]
    assert recorded == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 3.0), (50, 3.0)]
    assert scalars(read_events(tmp_path), "loss") == recorded
