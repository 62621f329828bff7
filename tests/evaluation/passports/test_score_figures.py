"""Scores of translators and upscalers as figures."""

from __future__ import annotations

import numpy as np
import pytest

from i2i.evaluation.measures import kind_of
from i2i.evaluation.paired import paired_scores
from i2i.evaluation.passports.score_figures import paired_figures, upscaling_figures
from i2i.evaluation.upscaling import PROTOCOLS, PictureScores, UpscalingScores


def test_paired_scores_with_their_baselines() -> None:
    a, b = (np.full((8, 8, 3), level, np.uint8) for level in (10, 20))
    scores = paired_scores(lambda _, pictures: pictures + np.uint8(5), [a], [b], mean_pictures={"b": b * 1.0})
    hashes, swapped = {"AtoB": "b" * 64, "BtoA": "a" * 64}, {"AtoB": "a" * 64, "BtoA": "b" * 64}
    found = paired_figures(scores, hashes, source_sha256=swapped, mean_pictures={"b": b * 1.0})
    figures = {figure.name: figure for figure in found}
    assert set(figures) == {
        "psnr_AtoB", "l1_AtoB", "psnr_untranslated_AtoB", "l1_untranslated_AtoB", "psnr_mean_picture_AtoB",
        "l1_mean_picture_AtoB", "psnr_BtoA", "l1_BtoA", "psnr_untranslated_BtoA", "l1_untranslated_BtoA",
    }  # fmt: skip
    assert (figures["l1_AtoB"].value, figures["l1_BtoA"].value, figures["l1_mean_picture_AtoB"].value) == (5, 15, 0)
    assert figures["psnr_mean_picture_AtoB"].value == np.inf
    passport = figures["psnr_BtoA"].passport
    assert (passport.split, passport.data_sha256, passport.real_count) == ("test a", "a" * 64, 1)
    assert passport.source_sha256 == figures["l1_untranslated_BtoA"].passport.source_sha256 == "b" * 64
    of_mean = figures["l1_mean_picture_AtoB"].passport
    assert of_mean.source_sha256 is None and len(str(of_mean.parameters["mean_picture_sha256"])) == 64
    other = paired_figures(scores, hashes, source_sha256=swapped, mean_pictures={"b": b * 1.5})
    changed = [one.name for one, two in zip(found, other, strict=True) if one.passport != two.passport]
    assert changed == ["psnr_mean_picture_AtoB", "l1_mean_picture_AtoB"]
    assert kind_of("psnr_BtoA") is kind_of("psnr") and figures["psnr_BtoA"].higher_is_better


def test_every_protocol_of_upscaling_and_the_bicubic_baseline() -> None:
    numbers = {name: float(index) for index, name in enumerate(PROTOCOLS)}
    one = PictureScores(name="x", model=numbers, bicubic={name: value + 10 for name, value in numbers.items()})
    figures = upscaling_figures(UpscalingScores(scale=4, pictures=[one]), "t" * 64, low_sha256="l" * 64)
    assert [figure.name for figure in figures] == [*PROTOCOLS, *(f"{name}_bicubic" for name in PROTOCOLS)]
    assert [figure.value for figure in figures[:5]] == [0, 1, 2, 3, 4]
    assert figures[5].value == pytest.approx(10)
    assert (figures[0].label, figures[5].label, figures[0].unit) == ("PSNR-Y, x4", "PSNR-Y, x4, bicubic", "dB")
    assert figures[0].passport.parameters["scale"] == figures[0].passport.parameters["border_pixels"] == 4
    assert {figure.passport.source_sha256 for figure in figures} == {"l" * 64}
