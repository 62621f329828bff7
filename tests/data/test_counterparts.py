"""Names find their counterparts, or the one that does not is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2i.data.counterparts import common_names, pair_names, refuse_both_sides
from i2i.errors import DataError

_HIGH, _LOW = Path("high"), Path("low")


def _pair(high: list[str], low: list[str], low_place: Path = _LOW) -> dict[str, str]:
    return pair_names(high, low, 4, high_place=_HIGH, low_place=low_place, low_key="data.low")


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("0001.png", "0001.png"),
        ("0001.png", "0001.jpg"),
        ("0001.png", "0001x4.png"),
        ("0001.png", "0001_x4.png"),
        ("0001_HR.png", "0001_LR.png"),
        ("0001_GT.bmp", "0001_lr.png"),
        ("0001.png", "0001-LR.png"),
        ("img_001_SRF_4_HR.png", "img_001_SRF_4_LR.png"),
        ("a/b/0001.png", "a/b/0001x4.png"),
        ("boatx4.png", "boatx4.png"),
        ("boatx4.png", "boatx4x4.png"),
    ],
)
def test_usual_names(high: str, low: str) -> None:
    assert _pair([high], [low]) == {high: low}


def test_the_same_name_goes_before_a_similar_one() -> None:
    assert _pair(["a.png", "ax4.png"], ["a.png", "ax4.png"]) == {"a.png": "a.png", "ax4.png": "ax4.png"}


def test_one_place_for_both() -> None:
    names = [f"img_{number:03d}_SRF_4_{side}.png" for number in (1, 2) for side in ("HR", "LR")]
    assert _pair(names, names, _HIGH) == {names[0]: names[1], names[2]: names[3]}
    assert _pair(["a.png", "ax4.png"], ["a.png", "ax4.png"], _HIGH) == {"a.png": "ax4.png"}


@pytest.mark.parametrize(
    ("high", "low", "message"),
    [
        (["a.png", "b.png"], ["a.png"], "^high/b.png: has no low-resolution counterpart in low - add one"),
        (["a.png"], ["b.png"], "^high/a.png: has no .* or leave data.low out"),
        (["a.png"], ["ax2.png"], "^high/a.png: has no"),
        (["x/a.png"], ["y/a.png"], "^high/x/a.png: has no"),
        (["a.png"], ["a.png", "b.png", "c.png"], r"^low/b.png: has no high-resolution .* \(and 1 more\)"),
        (["a.png"], ["a.png", "a.jpg"], "^low/a.jpg: has the same name as a.png"),
        (["a.png"], ["a_LR.png", "ax4.png"], "^low/ax4.png: has the same name as a_LR.png"),
        (["a.png", "a.jpg"], ["a.png"], "^high/a.jpg: and a.png have one counterpart, low/a.png"),
    ],
)
def test_what_does_not_match_is_named(high: list[str], low: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        _pair(high, low)


def test_one_place_with_low_ones_only() -> None:
    with pytest.raises(DataError, match=r"^high/a_LR.png: has no high-resolution counterpart"):
        _pair(["a_LR.png"], ["a_LR.png"], _HIGH)
    with pytest.raises(DataError, match=r"^high/a.png: has no low-resolution counterpart"):
        _pair(["a.png"], ["a.png"], _HIGH)


def test_counterparts_among_high_resolution_pictures_are_not_trained_on_unnoticed() -> None:
    for names in (["a_HR.png", "a_LR.png"], ["HR/0001.png", "X4/0001x4.png"]):
        with pytest.raises(DataError, match=rf"/{names[1]}: looks like .* counterpart of {names[0]} - set data.low to"):
            refuse_both_sides(names, Path("set"), 4, "data.low")
    refuse_both_sides(["a_HR.png", "b_LR.png", "cx2.png", "c.png", "x4.png"], Path("set"), 4, "data.low")


def test_common_names_are_told_without_the_kind_of_file(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    both = common_names(["y.png", "in/x.jpg", "lonely.png"], ["in/x.bmp", "y.tif", "x.bmp"], first, second)
    assert both == [("in/x.jpg", "in/x.bmp"), ("y.png", "y.tif")]
    assert common_names(["a.png"], ["b.png"], first, second) == []
    with pytest.raises(DataError, match=r"b/x\.png: has the same name as x\.bmp"):
        common_names(["x.png"], ["x.bmp", "x.png"], first, second)
