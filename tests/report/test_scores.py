"""Newest and best scores, and which figures belong together."""

from __future__ import annotations

import math
from dataclasses import replace

from i2i.evaluation.passports.figures import Figure, FigureSheet, Passport, Subject
from i2i.report.score_tables import figures_html
from i2i.report.scores import differing_fields, figure_histories, recorded_scores


def test_the_best_score_knows_its_direction() -> None:
    rows = [
        {"step": step, "values": {"validation/psnr": value, "validation/fid": value, "loss/x/y": 0.0}}
        for step, value in [(10, 3.0), (20, 5.0), (30, 4.0), (40, math.nan)]
    ]
    psnr, fid = recorded_scores(rows, "validation")
    assert (psnr.best, psnr.best_step, fid.best, fid.best_step) == (5.0, 20, 3.0, 10)
    assert math.isnan(psnr.newest)
    assert recorded_scores(rows, "evaluation") == []


def test_a_baseline_stands_beside_the_score_it_belongs_to() -> None:
    values = {
        "validation/psnr_y_upscale": 28.0,
        "validation/ssim_y_upscale": 0.8,
        "baseline/psnr_y_upscale/bicubic": 26.0,
    }
    psnr, ssim = recorded_scores([{"step": 1, "values": values}], "validation", 4)
    assert psnr.baselines == {"bicubic": 26.0} and ssim.baselines == {}


def sheet(step: int, value: float, samples: int) -> FigureSheet:
    passport = Passport(metric="fid", fake_count=samples, parameters={"kernel": "none"})
    figure = Figure(name="fid", label="FID", value=value, higher_is_better=False, passport=passport)
    return FigureSheet(subject=Subject(description="made", step=step), created=f"2026-01-{step:02d}", figures=[figure])


def test_a_model_that_was_not_run_as_it_was_trained_is_never_the_best() -> None:
    weak = sheet(3, 1.0, 100)
    weak = replace(weak, subject=replace(weak.subject, settings={"strength": 0.5, "precision": "fp32"}))
    sheets = [sheet(1, 30.0, 100), sheet(2, 20.0, 100), weak, replace(weak, created="2026-01-04")]
    weakened, whole = figure_histories(sheets)
    assert whole.newest.value == 20.0 and whole.best is not None and whole.best.value == 20.0
    assert weakened.newest.value == 1.0 and weakened.best is None
    text = figures_html([weakened, whole])
    assert ">Best</th>" in text and 'colspan="3"' in text
    alone = figures_html([weakened])
    assert "Best" not in alone and alone.count("<td>") == 1 and 'colspan="2"' in alone, "a column without a value"
    assert text.count("<small>strength 0.5, precision fp32</small>") == 1 and text.count("<dt>Run with</dt>") == 1


def test_only_figures_with_one_passport_share_a_history() -> None:
    sheets = [
        sheet(1, 30.0, 100),
        sheet(2, 10.0, 50),
        sheet(3, 20.0, 100),
        sheet(4, 25.0, 100),
        sheet(5, math.nan, 100),
    ]
    hundred, fifty = figure_histories(sheets)
    assert math.isnan(hundred.newest.value) and hundred.subject.step == 5
    assert hundred.best is not None and hundred.best.value == 20.0
    assert hundred.best_subject is not None and hundred.best_subject.step == 3
    assert fifty.newest.value == 10.0 and fifty.best is None
    assert differing_fields([hundred.passport, fifty.passport]) == ["fake_count"]
    assert differing_fields([hundred.passport, hundred.passport]) == []
    assert differing_fields([{"a": 1}, {"a": 1, "parameters.degree": 3}]) == ["parameters.degree"]
