"""The table of metrics."""

from __future__ import annotations

import pytest

from i2i.errors import UsageError
from i2i.evaluation.measures import FIGURES, METRICS, figure_names, kind_of, parse_metrics


def test_metrics_are_named_in_a_list() -> None:
    assert parse_metrics(" FID,kid, fid,") == ("fid", "kid")
    assert parse_metrics(["is", "pr"]) == ("is", "pr")
    assert parse_metrics(",".join(METRICS)) == tuple(METRICS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fid,kdi", "'kdi' is unknown, did you mean 'kid'.* there are fid, kid"),
        ("recall", "did you mean 'pr'"),
        (
            "d_probability",
            "only a training has - put it into a recipe's evaluate.metrics",
        ),
        ("", "no metric is named - there are fid"),
        ("zzzzzzz", "'zzzzzzz' is unknown - there are"),
    ],
)
def test_unknown_metrics_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_metrics(text)


def test_figures_of_directions_have_the_kind_of_the_metric() -> None:
    assert figure_names(["fid", "pr"], ["_AtoB", "_BtoA"]) == (
        "fid_AtoB", "precision_AtoB", "recall_AtoB", "fid_BtoA", "precision_BtoA", "recall_BtoA",
    )  # fmt: skip
    assert kind_of("fid_AtoB") is kind_of("fid") is FIGURES["fid"]
    assert kind_of("diversity_real") is FIGURES["diversity_real"]
    assert kind_of("diversity_real_BtoA") is FIGURES["diversity_real"]
    assert kind_of("psnr_untranslated_AtoB") is None and kind_of("nothing") is None


def test_names_of_figures_are_unlike() -> None:
    assert len(FIGURES) == sum(len(measure.figures) for measure in METRICS.values())
    better = {kind.name for kind in FIGURES.values() if kind.higher_is_better}
    worse = {kind.name for kind in FIGURES.values() if kind.higher_is_better is False}
    assert worse == {"fid", "kid", "lpips", "l1"}
    assert better == set(FIGURES) - worse - {"diversity", "diversity_real"}
