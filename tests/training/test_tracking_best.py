"""The best value of every score is found, the right way round."""

from __future__ import annotations

import math

import pytest

from i2i.training.tracking import best_values, higher_is_better


@pytest.mark.parametrize(
    ("name", "higher"),
    [
        ("evaluation/fid", False),
        ("evaluation/fid_AtoB", False),
        ("evaluation/kid", False),
        ("evaluation/is", True),
        ("evaluation/recall_BtoA", True),
        ("evaluation/diversity", None),
        ("validation/psnr_AtoB", True),
        ("validation/psnr_y_upscale", True),
        ("validation/l1_BtoA", False),
        ("validation/consistency", False),
        ("validation/unheard_of", None),
        ("loss/generator/l1", None),
        ("diversity/fid", None),
    ],
)
def test_each_score_has_its_better_side(name: str, higher: bool | None) -> None:
    assert higher_is_better(name) is higher


def test_the_best_of_each_score_counts_with_its_step() -> None:
    rows = [
        {"step": 10, "values": {"evaluation/fid": 9.0, "evaluation/is": 2.0, "loss/generator/total": 1.0}},
        {"step": 20, "values": {"evaluation/fid": 7.0, "evaluation/is": 3.0, "evaluation/diversity": 1.0}},
        {"step": 30, "values": {"evaluation/fid": 7.0, "evaluation/is": 1.0}},
        {"step": 40, "values": {"evaluation/fid": math.nan, "evaluation/is": math.inf}},
    ]
    assert best_values(rows) == {
        **{"best/evaluation/fid": 7.0, "best_step/evaluation/fid": 20},
        **{"best/evaluation/is": 3.0, "best_step/evaluation/is": 20},
    }


def test_a_run_without_scores_has_no_best() -> None:
    assert best_values([]) == {}
    assert best_values([{"step": 1, "values": {"loss/generator/total": 0.5}}]) == {}
