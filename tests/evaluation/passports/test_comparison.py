"""Figures side by side, and the passports that forbid it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from i2i.errors import UsageError
from i2i.evaluation.passports.comparison import compare_sheets, passport_differences
from i2i.evaluation.passports.figures import Figure, FigureSheet, Interval, Passport, Setting, Subject, sheet_of
from i2i.evaluation.passports.tables import comparison_table, figure_table

BASE = Passport(
    metric="fid", extractor="inception", weights_sha256="a" * 64, preprocessing="resize", split="train",
    real_count=100, fake_count=50, seed=0, data_sha256="d" * 64, parameters={"splits": 10},
)  # fmt: skip
OTHERS: Mapping[str, Any] = {
    "metric": "kid", "extractor": "vgg16", "weights_sha256": "b" * 64, "preprocessing": "crop", "quantisation": None,
    "split": "test", "real_count": 101, "fake_count": 51, "seed": 1, "data_sha256": "e" * 64, "source_sha256": "c" * 64,
    "parameters": {"splits": 5}, "code_version": "i2i 9",
}  # fmt: skip


def sheet(*figures: Figure, **settings: Setting) -> FigureSheet:
    return sheet_of(Subject(description="test", settings=settings), figures)


def fid(value: float, half_width: float | None = None, **changes: Any) -> Figure:
    interval = None if half_width is None else Interval(half_width=half_width, kind="deviation")
    return Figure(
        name=changes.pop("name", "fid"), label="FID", value=value, interval=interval,
        higher_is_better=changes.pop("higher", False), passport=replace(BASE, **changes),
    )  # fmt: skip


def test_every_field_of_a_passport_is_held_against_the_other() -> None:
    assert set(OTHERS) == set(Passport.__dataclass_fields__)
    for field, other in OTHERS.items():
        changed = replace(BASE, **{field: other})
        name = "parameters.splits" if field == "parameters" else field
        assert list(passport_differences(BASE, changed)) == [name]
        with pytest.raises(UsageError, match=rf"different passports do not compare: {name} is ") as caught:
            compare_sheets(sheet(fid(1)), sheet(fid(2, **{field: other})))
        assert "\n" not in str(caught.value)
        compared = compare_sheets(sheet(fid(1)), sheet(fid(2, **{field: other})), ignore=[name])
        assert list(compared.ignored) == [name] and compared.figures[0].difference == 1
    assert passport_differences(BASE, BASE) == {}


def test_a_refusal_names_all_fields_with_both_values_and_their_figures() -> None:
    first = sheet(fid(1, name="fid"), fid(1, name="kid"))
    second = sheet(fid(1, name="fid", seed=4, weights_sha256="b" * 64), fid(1, name="kid", seed=4, fake_count=9))
    with pytest.raises(UsageError) as caught:
        compare_sheets(first, second)
    assert str(caught.value) == (
        "figures with different passports do not compare: weights_sha256 is aaaaaaaa... and bbbbbbbb... (fid);"
        " seed is 0 and 4; fake_count is 50 and 9 (kid)"
        " - evaluate both alike, or say what may differ (--ignore weights_sha256)"
    )
    with pytest.raises(UsageError, match="seed is 0 and 4"):
        compare_sheets(first, second, ignore=["fake_count", "weights_sha256"])


def test_a_parameter_that_only_one_has() -> None:
    with pytest.raises(UsageError, match=r"parameters\.pairs is nothing and 5"):
        compare_sheets(sheet(fid(1)), sheet(fid(1, parameters={"splits": 10, "pairs": 5})))
    compare_sheets(sheet(fid(1)), sheet(fid(1, parameters={"pairs": 5})), ignore=["parameters"])


@pytest.mark.parametrize(
    ("first", "second", "better"),
    [
        (fid(10), fid(9), "second"),
        (fid(9), fid(10), "first"),
        (fid(9, higher=True), fid(10, higher=True), "second"),
        (fid(9, higher=None), fid(10, higher=None), None),
        (fid(9), fid(9), None),
        (fid(9, 0.6), fid(10, 0.6), None),
        (fid(9, 0.4), fid(10, 0.4), "first"),
    ],
)
def test_which_is_better(first: Figure, second: Figure, better: str | None) -> None:
    (one,) = compare_sheets(sheet(first), sheet(second)).figures
    assert one.better == better


def test_tables() -> None:
    comparison = compare_sheets(sheet(fid(9, 0.4), fid(1, name="kid")), sheet(fid(10.5, 0.4)), ignore=["seed"])
    lines = comparison_table(comparison, ("runs/x/a.json", "runs/x/b.json")).splitlines()
    assert lines[0].split() == ["a.json", "b.json", "difference"]
    assert lines[1].split() == ["FID", "9.000", "+-", "0.400", "10.500", "+-", "0.400", "+1.500",
                                "a.json", "is", "better"]  # fmt: skip
    assert lines[2:] == ["+- deviation", "only in runs/x/a.json: kid"]
    table = figure_table([fid(9, 0.4)]).splitlines()
    assert table[0].split() == ["FID", "9.000", "+-", "0.400", "lower", "is", "better"]
    assert table[1:] == ["+- deviation", "inception (aaaaaaaa), resize"]


def test_a_difference_too_small_to_show_makes_nothing_better() -> None:
    comparison = compare_sheets(sheet(fid(1.0)), sheet(fid(1.0000001)))
    assert comparison_table(comparison, ("a", "b")).splitlines()[1].split() == ["FID", "1.000", "1.000", "+0.000"]


def test_models_that_were_run_differently_are_said_to_be() -> None:
    first = sheet(fid(1), precision="fp32", strength=1.0, data="x")
    second = sheet(fid(2), precision="fp32", strength=0.5, consistent=True, data="x")
    comparison = compare_sheets(first, second)
    assert comparison_table(comparison, ("a", "b")).splitlines()[2:] == [
        "note: strength is 1.0 and 0.5",
        "note: consistent is nothing and True",
    ]
    assert list(comparison.to_json()["run_differently"]) == ["strength", "consistent"]
    assert not compare_sheets(first, first).run_differently


def test_what_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="no figure in common: one has fid, the other kid"):
        compare_sheets(sheet(fid(1)), sheet(fid(1, name="kid")))
    with pytest.raises(UsageError, match="--ignore fakecount: no field of a passport, did you mean 'fake_count'"):
        compare_sheets(sheet(fid(1)), sheet(fid(1)), ignore=["fakecount"])
