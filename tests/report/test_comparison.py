"""Several runs on one page: what differs is said, and nothing is ranked that was not measured alike."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i.commands.report import run
from i2i.errors import UsageError
from i2i.evaluation.passports.figures import Figure, Passport, Subject, sheet_of
from i2i.report.comparison import write_comparison
from i2i.report.recipe_difference import recipe_difference
from i2i.training.tracking import Row, Tracker


def make_run(folder: Path, *, rate: float, fid: float, psnr: float, samples: int = 100, root: str = "same") -> Path:
    tracker = Tracker(folder)
    for step in range(1, 6):
        tracker.log(Row(step=step, images=step * 4, epoch=1.0, values={"loss/generator/total": fid / step}))
    tracker.log(Row(step=5, images=20, epoch=1.0, values={"validation/psnr_AtoB": psnr}))
    tracker.sheet(5, "AtoB", [("input", torch.zeros(1, 3, 32, 32)), ("translated", torch.ones(1, 3, 32, 32))])
    tracker.finish()
    recipe = f"name: trial\npipeline: {{kind: cyclegan}}\ndata: {{root: {root}}}\ntraining: {{learning_rate: {rate}}}\n"
    (folder / "recipe.yaml").write_text(recipe)
    passport = Passport(metric="fid", fake_count=samples, seed=7)
    figure = Figure(name="fid", label="FID", value=fid, higher_is_better=False, passport=passport)
    sheet_of(Subject(description="made", step=5), [figure]).write(folder / "evaluations" / "one.json")
    return folder


def page_of(folders: list[Path], path: Path) -> tuple[str, dict[str, Any]]:
    text = write_comparison(folders, path).read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return text, json.loads(found[1])


def row_of(text: str, head: str) -> list[str]:
    """The cells of the table row that begins with `head`."""
    row = re.search(rf'<tr><th scope="row">{re.escape(head)}(.*?)</tr>', text, re.DOTALL)
    assert row is not None
    return row[1].split("<td")


def test_figures_made_alike_are_ranked(tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", rate=0.1, fid=30.0, psnr=20.0)
    second = make_run(tmp_path / "second", rate=0.2, fid=20.0, psnr=19.0)
    text, data = page_of([first, second], tmp_path / "page.html")
    assert ["best" in cell for cell in row_of(text, "FID")] == [False, False, True]
    assert ["best" in cell for cell in row_of(text, "PSNR, A → B")] == [False, True, False]
    assert "not comparable" not in text and "not ranked" not in text
    assert row_of(text, "training.<wbr>learning_<wbr>rate")[1:] == [">0.1</td>", ">0.2</td>"]
    panel = next(panel for panel in data["panels"] if panel["section"] == "loss")
    assert [(series["name"], series["run"]) for series in panel["series"]] == [("first", 0), ("second", 1)]
    assert panel["series"][1]["values"][0] == 20.0
    assert [group["run"] for group in data["sheets"]] == [0, 1]
    assert data["compare"][0]["columns"] == ["first, step 5", "second, step 5"]


def test_a_weakened_model_is_not_ranked(tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", rate=0.1, fid=30.0, psnr=20.0)
    second = make_run(tmp_path / "second", rate=0.2, fid=20.0, psnr=19.0)
    content = json.loads((first / "evaluations" / "one.json").read_text())
    content["subject"]["settings"] = {"consistent": True}
    content["figures"][0]["value"] = 1.0
    content["created"] = "2999-01-01"
    (first / "evaluations" / "two.json").write_text(json.dumps(content))
    text, _ = page_of([first, second], tmp_path / "page.html")
    cells = row_of(text, "FID")
    assert "30.0" in cells[1] and "best" in cells[2]


def test_figures_made_otherwise_are_marked_and_not_ranked(tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", rate=0.1, fid=30.0, psnr=20.0)
    second = make_run(tmp_path / "second", rate=0.1, fid=20.0, psnr=19.0, samples=50, root="other")
    text, _ = page_of([first, second], tmp_path / "page.html")
    cells = row_of(text, "FID")
    assert "not comparable" in cells[0] and "Made pictures (100, 50)" in cells[0]
    assert not any("best" in cell for cell in cells)
    assert "not ranked" in text and not any("best" in cell for cell in row_of(text, "PSNR, A → B"))


def test_the_command_writes_a_page_for_each_and_one_for_all(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / name, rate=0.1, fid=1.0, psnr=1.0) for name in ("a", "b")]
    pages = run(folders)
    assert pages == [folders[0] / "report.html", folders[1] / "report.html", tmp_path / "comparison.html"]
    assert run(folders, tmp_path / "elsewhere" / "page.html")[-1] == tmp_path / "elsewhere" / "page.html"
    # A run that is named twice is one run.
    assert run([folders[0], folders[0]]) == [folders[0] / "report.html"]
    assert run(folders[:1], tmp_path / "alone.html") == [tmp_path / "alone.html"]
    assert all(page.stat().st_size > 10_000 for page in pages)
    with pytest.raises(UsageError, match="a folder - name the page's file"):
        run(folders, tmp_path)


def test_the_page_for_all_is_named_as_the_runs_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / name, rate=0.1, fid=1.0, psnr=1.0)
    monkeypatch.chdir(tmp_path)
    assert run([Path("a"), Path("b")])[-1] == Path("comparison.html")
    monkeypatch.chdir(tmp_path / "a")
    assert run([Path(), Path("../b")])[-1] == tmp_path / "comparison.html"


def test_runs_of_one_name_are_told_apart_and_empty_ones_are_no_trouble(tmp_path: Path) -> None:
    folders = [tmp_path / name / "run" for name in ("<img src=x>", "b")]
    for folder in folders:
        folder.mkdir(parents=True)
    text, data = page_of(folders, tmp_path / "page.html")
    assert "<img src=x>" not in text and str(folders[1]) in text
    assert data["panels"] == [] and data["compare"] == []
    assert "settings of the recipes are the same" in text


def test_recipes_are_compared_setting_by_setting() -> None:
    first = {"name": "a", "seed": 1, "data": {"size": [2, 3], "fast": True}, "pieces": [{"length": 1}]}
    second = {"name": "b", "seed": 1, "data": {"size": [2, 4], "fast": None}, "pieces": [{"length": 1}, {"length": 2}]}
    difference = recipe_difference([first, second])
    assert difference.differing == {
        "data.size": ["2, 3", "2, 4"],
        "data.fast": ["yes", "none"],
        "pieces.1.length": ["-", "2"],
    }
    assert difference.same == 2
