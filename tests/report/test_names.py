"""Recorded names read like what they mean."""

from __future__ import annotations

import math

import pytest

from i2i.report.names import processor_name, score_name, sheet_title, words


@pytest.mark.parametrize(
    ("name", "scale", "label", "higher"),
    [
        ("psnr_y_upscale", 4, "PSNR-Y, x4", True),
        ("psnr_y_bicubic", 4, "PSNR-Y, bicubic", True),
        ("psnr_AtoB", None, "PSNR, A → B", True),
        ("l1_BtoA", None, "L1, B → A", False),
        ("fid", None, "FID", False),
        ("kid_AtoB", None, "KID, A → B", False),
        ("is", None, "Inception Score", True),
        ("diversity_real", None, "Diversity, real", None),
        ("consistency", None, "Cycle error", False),
        ("my_own_error", None, "MY, own error", False),
        ("sharpness_AtoB", None, "Sharpness, A → B", True),
    ],
)
def test_scores_are_called_as_people_call_them(name: str, scale: int | None, label: str, higher: bool | None) -> None:
    known = score_name(name, scale)
    assert (known.label, known.higher_is_better) == (label, higher)


def test_values_have_the_digits_of_their_metric() -> None:
    assert score_name("psnr_y_upscale").write(28.4) == "28.40"
    assert score_name("kid").write(0.01) == "0.010000"
    assert score_name("kid").write(116.369985) == "116.37" and score_name("fid").write(63.97) == "63.970"
    assert score_name("kid").write(15.583682, beside=116.369985) == "15.58"
    assert score_name("sharpness").write(1234.5) == "1,234.50"
    assert score_name("fid").write(math.nan) == "nan"


def test_words_keep_what_is_no_name_of_ours() -> None:
    assert words("cycle_a") == "cycle A"
    assert words("adversarial_ab") == "adversarial A → B" and words("adversarial_ba") == "adversarial B → A"
    assert words("photoToSketch") == "photoToSketch"
    assert words("memory_gib") == "memory GiB"
    assert (sheet_title("AtoB"), sheet_title("upscale"), sheet_title("my_sheet")) == ("A → B", "Enlarged", "My sheet")


@pytest.mark.parametrize(
    ("recorded", "name"),
    [
        ("Intel(R) Xeon(R) Processor @ 2.50GHz", "Intel Xeon 2.50GHz"),
        ("AMD Ryzen(tm) 7 CPU", "AMD Ryzen 7"),
        ("Neoverse-N1", "Neoverse-N1"),
        (None, "CPU"),
        ("", "CPU"),
    ],
)
def test_processors_are_called_by_what_tells_them_apart(recorded: object, name: str) -> None:
    assert processor_name(recorded) == name
