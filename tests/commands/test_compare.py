"""`i2i compare` on files and runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from i2i.cli import main
from i2i.evaluation.passports.figures import (
    EVALUATIONS_FOLDER,
    Figure,
    FigureSheet,
    Interval,
    Passport,
    Subject,
    sheet_of,
)

KID = Figure(
    name="kid", label="KID", value=0.02, higher_is_better=False,
    interval=Interval(half_width=0.001, kind="standard deviation over 100 subsets of 1000"),
    passport=Passport(metric="kid", extractor="inception", weights_sha256="a" * 64, fake_count=1000, seed=0),
)  # fmt: skip


def written(path: Path, value: float, **changes: object) -> FigureSheet:
    figure = replace(KID, value=value, passport=replace(KID.passport, **changes))
    sheet = sheet_of(Subject(description=path.stem), [figure])
    sheet.write(path)
    return sheet


def test_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    written(first, 0.02)
    written(second, 0.03)
    assert main(["compare", str(first), str(second)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{first}: a, 20") and lines[1].startswith(f"{second}: b, 20")
    assert lines[3].split() == [
        "KID", "0.020000", "+-", "0.001000", "0.030000", "+-", "0.001000", "+0.010000", "a.json", "is", "better",
    ]  # fmt: skip
    assert main(["compare", str(first), str(second), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["first_subject"] == "a" and content["figures"][0]["better"] == "first"
    assert content["figures"][0]["difference"] == pytest.approx(0.01)
    assert content["figures"][0]["intervals"] == [0.001, 0.001]


def test_different_passports_are_refused_unless_the_field_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    written(first, 0.02)
    written(second, 0.03, fake_count=500, seed=1)
    assert main(["compare", str(first), str(second)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1
    assert "fake_count is 1000 and 500; seed is 0 and 1" in captured.err
    assert main(["compare", str(first), str(second), "--ignore", "seed"]) == 2
    assert "seed" not in capsys.readouterr().err
    assert main(["compare", str(first), str(second), "--ignore", "seed", "--ignore", "fake_count"]) == 0
    assert main(["compare", str(first), str(second), "--ignore", "seed, fake_count"]) == 0
    out = capsys.readouterr().out
    assert "ignored: fake_count is 1000 and 500\n" in out and "ignored: seed is 0 and 1\n" in out


def test_runs_stand_for_their_newest_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run, values in (("one", (0.5, 0.02)), ("two", (0.4,))):
        for day, value in enumerate(values, start=1):
            path = tmp_path / run / EVALUATIONS_FOLDER / f"{9 - day}.json"
            replace(written(path, value), created=f"2026-01-0{day}T00:00:00+00:00").write(path)
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "two"), "--json"]) == 0
    (figure,) = json.loads(capsys.readouterr().out)["figures"]
    assert (figure["first"], figure["second"]) == (0.02, 0.4)
    (tmp_path / "three").mkdir()
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "three")]) == 4
    assert "three: has no evaluation in evaluations - run: i2i evaluate --model" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "nothing.json")]) == 4


def test_of_runs_those_evaluations_are_taken_that_were_made_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"one": ((0.5, 1000), (0.3, 500)), "two": ((0.4, 1000), (0.6, 2000))}
    for run, values in made.items():
        for day, (value, count) in enumerate(values, start=1):
            sheet = written(tmp_path / run / EVALUATIONS_FOLDER / f"{day}.json", value, fake_count=count)
            replace(sheet, created=f"2026-01-0{day}T00:00:00+00:00").write(
                tmp_path / run / EVALUATIONS_FOLDER / f"{day}.json"
            )
    words = ["compare", str(tmp_path / "one"), str(tmp_path / "two")]
    assert main([*words, "--json"]) == 0
    (figure,) = json.loads(capsys.readouterr().out)["figures"]
    assert (figure["first"], figure["second"]) == (0.5, 0.4)
    # Where their number may differ, the newest do.
    assert main([*words, "--json", "--ignore", "fake_count"]) == 0
    (figure,) = json.loads(capsys.readouterr().out)["figures"]
    assert (figure["first"], figure["second"]) == (0.3, 0.6)
