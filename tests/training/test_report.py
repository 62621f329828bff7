"""The report is one file that needs nothing else and says what the run folder says."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i.commands.report import run
from i2i.errors import UsageError
from i2i.training.report import curve_panels, higher_is_better, sample_sheets, thin, validation_scores, write_report
from i2i.training.sheets import save_sheet
from i2i.training.tracking import Row, Tracker

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text[self._open[-1]] = self.text.get(self._open[-1], "") + data


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "horse-1"
    tracker = Tracker(folder)
    for step in range(1, 31):
        losses = {"loss/generator/total": 3.0 / step, "loss/discriminator_a/total": 0.25, "weighted/x/y": math.nan}
        tracker.log(Row(step=step, images=step, epoch=step / 10, values=losses))
        if step % 10 == 0:
            scores = {"validation/psnr_AtoB": 20.0 + (step == 20), "validation/l1_AtoB": 1.0 / step}
            tracker.log(Row(step=step, images=step, epoch=step / 10, values=scores))
            tracker.images(step, "AtoB", np.full((40, 60, 3), step, np.uint8))
    tracker.finish()
    (folder / "recipe.yaml").write_text("name: horse_to_zebra\npipeline: {kind: cyclegan}\n")
    environment = {"device": "cpu", "cpu": {"name": "Some CPU", "cores": 4}, "git": {"i2i": {"commit": "abc123"}}}
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


def test_the_report_is_self_contained(run_folder: Path) -> None:
    path = write_report(run_folder)
    assert path == run_folder / "report.html"
    text = path.read_text()
    page = Page(text)
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"@import|url\(\s*['\"]?(?!#|\$|data:)", page.text["style"])
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|WebSocket|sendBeacon", text)
    assert "{{" not in text


def test_the_report_says_what_the_run_was(run_folder: Path) -> None:
    text = write_report(run_folder).read_text()
    page = Page(text)
    assert page.text["h1"] == "horse_to_zebra"
    assert "kind: cyclegan" in page.text["pre"]
    assert "21.00" in page.text["dd"]
    assert "Some CPU" in page.text["dd"]
    assert "git checkout abc123" in page.text["code"]
    assert "i2i train --resume" in page.text["code"]
    assert "weighted/x/y" in text  # the value that was not finite
    sheets = data_of(text)["sheets"]
    assert [(group["name"], [frame["step"] for frame in group["frames"]]) for group in sheets] == [
        ("AtoB", [10, 20, 30])
    ]


def test_every_control_has_a_name_and_every_id_is_there_once(run_folder: Path) -> None:
    text = write_report(run_folder).read_text()
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        if (label := attributes.get("aria-labelledby")) is not None:
            assert label in ids
    assert any(tag == "html" and attributes.get("lang") == "en" for tag, attributes in page.tags)
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    assert set(re.findall(r'getElementById\("([\w-]+)"\)', text)) <= set(ids)


def test_an_empty_run_has_a_report_too(tmp_path: Path) -> None:
    text = write_report(tmp_path).read_text()
    assert "Nothing has been measured" in text
    assert data_of(text) == {"panels": [], "sheets": []}
    assert Page(text).text["h1"] == tmp_path.name


def test_damaged_files_do_not_stop_the_report(run_folder: Path) -> None:
    (run_folder / "environment.json").write_text("{broken")
    (run_folder / "recipe.yaml").write_text("a: [broken\n")
    (run_folder / "samples" / "step_000040_AtoB.png").write_bytes(b"not a picture")
    text = write_report(run_folder).read_text()
    assert "a: [broken" in text
    assert [frame["step"] for frame in data_of(text)["sheets"][0]["frames"]] == [10, 20, 30]


def test_foreign_text_is_escaped(run_folder: Path) -> None:
    attack = "</script><img src=x onerror=alert(1)>"
    (run_folder / "recipe.yaml").write_text(f"name: '{attack}'\ndescription: '{attack} {{{{DATA}}}}'\n")
    (run_folder / "environment.json").write_text(json.dumps({attack: attack, "git": {"i2i": {"commit": attack}}}))
    tracker = Tracker(run_folder, attempt=2)
    tracker.log(Row(step=31, images=31, epoch=3.1, values={attack: 1.0, f"validation/{attack}": math.nan}))
    tracker.finish()
    text = write_report(run_folder).read_text()
    assert "<img src=x" not in text
    page = Page(text)
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert page.text["h1"] == attack
    assert any(
        attack.split("/")[-1] in series["name"] for panel in data_of(text)["panels"] for series in panel["series"]
    )


def test_curves_are_grouped_by_what_shares_an_axis() -> None:
    names = ["speed/images_per_second", "loss/discriminator_a/total", "loss/generator/cycle_a", "loss/generator/total"]
    names += ["validation/psnr_AtoB", "validation/psnr_BtoA", "validation/ssim_AtoB", "learning_rate/generator", "odd"]
    panels = curve_panels([{"step": 1, "values": dict.fromkeys(names, 1.0)}])
    assert [(panel["section"], panel["title"], [series["name"] for series in panel["series"]]) for panel in panels] == [
        ("validation", "psnr", ["AtoB", "BtoA"]),
        ("validation", "ssim", ["AtoB"]),
        ("loss", "generator", ["total", "cycle_a"]),
        ("loss", "discriminator a", ["total"]),
        ("learning_rate", "learning rate", ["generator"]),
        ("speed", "images per second", ["images per second"]),
        ("other", "odd", ["odd"]),
    ]


def test_values_that_are_not_finite_are_marked_not_drawn() -> None:
    rows = [{"step": step, "values": {"a/b": value}} for step, value in enumerate([1.0, math.nan, math.inf, 2.0])]
    (panel,) = curve_panels(rows)
    assert panel["series"] == [{"name": "b", "steps": [0, 3], "values": [1.0, 2.0], "broken": [1, 2]}]


def test_long_curves_are_thinned_without_losing_spikes() -> None:
    points = [(step, float(step % 7)) for step in range(100_000)]
    points[54_321] = (54_321, 1e6)
    points[65_432] = (65_432, -1e6)
    kept = thin(points, 1000)
    assert 500 < len(kept) <= 1000
    assert {points[54_321], points[65_432], points[0], points[-1]} <= set(kept)
    assert kept == sorted(kept)
    assert thin(points[:1000], 1000) == points[:1000]


def test_the_best_score_knows_its_direction() -> None:
    assert higher_is_better("psnr_AtoB")
    assert higher_is_better("ssim")
    assert not higher_is_better("fid_AtoB")
    assert not higher_is_better("l1_AtoB")
    assert not higher_is_better("consistency")
    rows = [
        {"step": step, "values": {"validation/psnr": value, "validation/fid": value, "loss/x/y": 0.0}}
        for step, value in [(10, 3.0), (20, 5.0), (30, 4.0), (40, math.nan)]
    ]
    psnr, fid = validation_scores(rows)
    assert (psnr.best, psnr.best_step, fid.best, fid.best_step) == (5.0, 20, 3.0, 10)
    assert math.isnan(psnr.newest)


def test_many_large_sheets_stay_within_the_budget(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 450, 3), dtype=np.uint8)
    path = save_sheet(tmp_path, 0, "AtoB", noise)
    for step in range(1, 40):
        (path.parent / f"step_{step:06d}_AtoB.png").write_bytes(path.read_bytes())
    (group,) = sample_sheets(tmp_path / "samples", total_bytes=1_200_000)
    assert sum(len(frame["url"]) for frame in group["frames"]) <= 1_200_000
    steps = [frame["step"] for frame in group["frames"]]
    assert (steps[0], steps[-1], len(steps)) == (0, 39, 24)
    with Image.open(io.BytesIO(base64.b64decode(group["frames"][0]["url"].split(",")[1]))) as picture:
        assert picture.format == "JPEG"


def test_the_command_writes_a_page_for_each_run_and_refuses_other_folders(run_folder: Path, tmp_path: Path) -> None:
    assert run([run_folder]) == [run_folder / "report.html"]
    (tmp_path / "other").mkdir()
    for wrong in (tmp_path / "missing", tmp_path / "other"):
        with pytest.raises(UsageError, match=wrong.name):
            run([run_folder, wrong])
    with pytest.raises(UsageError):
        run([])
    assert not (tmp_path / "other" / "report.html").exists()
