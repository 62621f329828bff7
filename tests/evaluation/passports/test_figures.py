"""Figures on sheets: written, read back, and refused where they are damaged."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from i2i.errors import DataError
from i2i.evaluation.passports.figures import (
    EVALUATIONS_FOLDER,
    Figure,
    FigureSheet,
    Interval,
    Passport,
    Subject,
    passport_fields,
    read_sheets,
    sheet_of,
)


def figure(name: str = "fid", value: float = 12.5, **passport: Any) -> Figure:
    return Figure(
        name=name,
        label=name.upper(),
        value=value,
        unit="dB",
        higher_is_better=False,
        interval=Interval(half_width=0.25, kind="standard deviation over 100 subsets of 50"),
        passport=Passport(
            metric=name, real_count=10, parameters={"splits": 10, "kernel": "x", "width": 0.5}, **passport
        ),
    )


SUBJECT = Subject(
    description="run, step 3", model="a.safetensors", sha256="ab", step=3, images=30,
    settings={"precision": "bf16", "strength": 0.5, "consistent": True},
)  # fmt: skip
SHEET = sheet_of(SUBJECT, [figure()])


def test_a_sheet_comes_back_as_it_was(tmp_path: Path) -> None:
    for value in (12.5, math.inf, -math.inf, 1e-300):
        sheet = replace(SHEET, figures=(figure(value=value), figure("psnr", value)))
        sheet.write(tmp_path / "deep" / "sheet.json")
        read = FigureSheet.read(tmp_path / "deep" / "sheet.json")
        assert (read.subject, read.created, list(read.figures)) == (sheet.subject, sheet.created, list(sheet.figures))
    replace(SHEET, figures=(figure(value=math.nan),)).write(tmp_path / "sheet.json")
    assert math.isnan(FigureSheet.read(tmp_path / "sheet.json").figures[0].value)


def test_settings_come_back_as_what_they_were(tmp_path: Path) -> None:
    SHEET.write(tmp_path / "sheet.json")
    settings = FigureSheet.read(tmp_path / "sheet.json").subject.settings
    assert [(name, type(value)) for name, value in settings.items()] == [
        ("precision", str), ("strength", float), ("consistent", bool),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "strength", "expected"),
    [
        ({}, 1.0, True),
        ({"precision": "bf16", "runner": "onnx"}, 1.0, True),
        ({"strength": 1, "consistent": False}, 1.0, True),
        ({"strength": 0.5}, 1.0, False),
        ({"strength": 0.5}, 0.5, True),
        ({"consistent": True}, 1.0, False),
    ],
)
def test_whether_a_model_was_run_as_it_was_trained(settings: Any, strength: float, expected: bool) -> None:
    assert Subject(description="", settings=settings).is_as_trained(strength) is expected


def test_a_sheet_is_plain_json(tmp_path: Path) -> None:
    replace(SHEET, figures=(figure(value=math.inf),)).write(tmp_path / "sheet.json")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads((tmp_path / "sheet.json").read_text(), parse_constant=refuse)
    assert content["figures"][0]["value"] == "inf"
    assert content["figures"][0]["passport"]["code_version"].startswith("i2i ")


def test_keys_of_later_versions_are_passed_over() -> None:
    content = SHEET.to_json()
    content["mood"] = "fine"
    content["figures"][0]["colour"] = "red"
    assert list(FigureSheet.from_json(content).figures) == list(SHEET.figures)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", "no sheet of figures"),
        ('{"format": 1}', "no sheet of figures"),
        ('{"format": 2, "figures": []}', "no sheet of figures"),
        ('{"format": 1, "figures": [{"name": "fid"}], "subject": {"description": "x"}, "created": "now"}', "damaged"),
        ('{"format": 1, "figures": 3, "subject": {"description": "x"}, "created": "now"}', "damaged"),
    ],
)
def test_what_is_no_sheet_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "sheet.json").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        FigureSheet.read(tmp_path / "sheet.json")
    assert str(caught.value).startswith(f"{tmp_path / 'sheet.json'}: ") and "\n" not in str(caught.value)
    (tmp_path / "model.safetensors").write_bytes(b"\x89\xff\x00")
    with pytest.raises(DataError, match=r"model\.safetensors: not a JSON file - give one that `i2i evaluate -o"):
        FigureSheet.read(tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"nothing\.json: cannot be read"):
        FigureSheet.read(tmp_path / "nothing.json")


def test_sheets_of_a_run_in_order_of_their_making(tmp_path: Path) -> None:
    folder = tmp_path / EVALUATIONS_FOLDER
    for name, created in (("z", "2026-01-01T00:00:00+00:00"), ("a", "2026-01-02T00:00:00+00:00")):
        replace(SHEET, created=created).write(folder / f"{name}.json")
    (folder / "b.json").write_text("spoiled")
    assert [sheet.created[:10] for sheet in read_sheets(tmp_path)] == ["2026-01-01", "2026-01-02"]
    assert read_sheets(tmp_path / "nowhere") == []


def test_fields_of_a_passport() -> None:
    found = passport_fields(figure(seed=3).passport)
    assert (found["metric"], found["seed"], found["parameters.splits"]) == ("fid", 3, 10)
    assert "parameters" not in found
