"""The report is one file that needs nothing else and says what the run folder says."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2i.commands.report import run
from i2i.errors import UsageError
from i2i.evaluation.passports.figures import Figure, Interval, Passport, Subject, sheet_of
from i2i.report.page import write_report
from i2i.report.run_files import run_end
from i2i.training.checkpoint import TrainingState, save_checkpoint
from i2i.training.tracking import Row, Tracker, read_metrics
from i2i.training.watchdog import Verdict

VOID = {"meta", "link", "img", "input", "br", "wbr"}


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
    environment = {
        "device": "cpu",
        "cpu": {"name": "Some(R) Maker(TM) 9 Processor @ 2.50GHz", "cores": 4},
        "git": {"i2i": {"commit": "abc123"}},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


def test_the_report_is_self_contained(run_folder: Path) -> None:
    path = write_report(run_folder)
    assert path == run_folder / "report.html"
    text = path.read_text()
    page = Page(text)
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    assert not re.search(r"@import|url\(\s*['\"]?(?!#|\$|data:)", page.text["style"])
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|WebSocket|sendBeacon", text)
    assert "{{" not in text


def test_the_report_says_what_the_run_was(run_folder: Path) -> None:
    text = write_report(run_folder).read_text()
    page = Page(text)
    assert page.text["h1"] == "horse_to_zebra"
    assert "kind: cyclegan" in page.text["pre"]
    assert "21.00" in page.text["dd"]
    assert "Some Maker 9 2.50GHz, 4 cores" in page.text["small"]
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
    assert set(re.findall(r'(?:getElementById|reveal)\("([\w-]+)"\)', text)) <= set(ids)
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert len(links) >= 5 and {str(link).removeprefix("#") for link in links} <= set(ids)


def test_an_empty_run_has_a_report_too(tmp_path: Path) -> None:
    text = write_report(tmp_path).read_text()
    assert "Nothing has been measured" in text
    empty: list[float] = []
    axes = [{"steps": empty, "images": empty, "hours": empty}]
    assert data_of(text) == {
        "axes": axes, "panels": [], "sheets": [], "overTime": {}, "compare": [], "alarms": []
    }  # fmt: skip
    assert "Alarms" not in text
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
    assert any("onerror" in series["name"] for panel in data_of(text)["panels"] for series in panel["series"])


def test_only_the_scripts_of_the_page_may_run(run_folder: Path) -> None:
    text = write_report(run_folder).read_text()
    policy = next(str(attributes["content"]) for _, attributes in Page(text).tags if "http-equiv" in attributes)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;") and policy.count("sha256-") == 2
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_the_page_of_a_long_run_stays_small(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)
    for step in range(0, 24):
        coarse = torch.randn(16, 3, 12, 12, generator=generator)
        made = torch.nn.functional.interpolate(coarse, size=(96, 96), mode="bicubic")
        tracker.grid(step * 1000, "generate", made.clamp(-1, 1), 4)
    for step in range(2500):
        values = {f"loss/generator/term_{index}": float(value) for index, value in enumerate(rng.normal(size=40))}
        tracker.log(Row(step=step * 10, images=step * 640, epoch=step / 10, values=values))
    tracker.finish()
    data = data_of(write_report(tmp_path).read_text())
    assert (tmp_path / "report.html").stat().st_size < 2_000_000
    assert data["panels"] and data["sheets"] and data["overTime"]["generate"].keys() == {"animation", "film"}


def test_the_command_writes_a_page_for_each_run_and_refuses_other_folders(run_folder: Path, tmp_path: Path) -> None:
    assert run([run_folder]) == [run_folder / "report.html"]
    (tmp_path / "other").mkdir()
    for wrong in (tmp_path / "missing", tmp_path / "other"):
        with pytest.raises(UsageError, match=wrong.name):
            run([run_folder, wrong])
    with pytest.raises(UsageError):
        run([])
    assert not (tmp_path / "other" / "report.html").exists()


def test_alarms_come_first_with_reason_and_advice(run_folder: Path) -> None:
    tracker = Tracker(run_folder, attempt=1)
    verdict = Verdict(
        kind="growing",
        action="rollback",
        step=25,
        images=25,
        began_step=20,
        title="Divergence",
        reason="loss/generator/total is <b>",
        advice="lower it",
    )
    tracker.alarm(verdict)
    tracker.finish()
    text = write_report(run_folder).read_text()
    page = Page(text)
    assert "loss/generator/total is <b>." in page.text["p"]
    assert "What helps: lower it." in page.text["p"]
    assert "went back to an earlier checkpoint" in page.text["span"]
    assert text.index("Divergence") < text.index("Before and after")
    assert data_of(text)["alarms"] == [{"step": 25, "title": "Divergence"}]


def test_the_headline_is_the_true_end_of_the_run(run_folder: Path) -> None:
    rows = read_metrics(run_folder)
    assert run_end(run_folder, rows) == {**rows[-1]}
    counters = {"step": 44, "images": 44, "best_step": None, "wall_seconds": 7200.0, "epoch": 4.4}
    save_checkpoint(run_folder, 44, TrainingState({}, counters))
    end = run_end(run_folder, rows)
    assert end == {"step": 44, "images": 44, "epoch": 4.4, "wall_seconds": 7200.0}
    facts = Page(write_report(run_folder).read_text()).text
    assert "44" in facts["dd"] and "2 h" in facts["dd"] and "epoch 4.4" in facts["small"]


def test_a_checkpoint_that_says_little_or_is_damaged_is_no_trouble(run_folder: Path) -> None:
    rows = read_metrics(run_folder)
    save_checkpoint(run_folder, 44, TrainingState({}, {"step": 44, "images": 88}))
    end = run_end(run_folder, rows)
    assert end is not None
    assert (end["step"], end["epoch"]) == (44, pytest.approx(8.8))
    assert end["wall_seconds"] == rows[-1]["wall_seconds"]
    assert run_end(run_folder, []) == {"step": 44, "images": 88, "epoch": 0.0, "wall_seconds": 0.0}
    save_checkpoint(run_folder, 45, TrainingState({}, {"step": None}))
    assert (run_end(run_folder, rows) or {})["step"] == 44
    save_checkpoint(run_folder, 12, TrainingState({}, {"step": 12, "images": 12}))
    (run_folder / "checkpoints" / "step_44" / "state.json").write_text("{cut")
    assert (run_end(run_folder, rows) or {})["step"] == 30


def test_a_generator_is_offered_pictures_not_translation(run_folder: Path) -> None:
    assert "i2i translate --model" in write_report(run_folder).read_text()
    (run_folder / "recipe.yaml").write_text("name: dcgan\npipeline: {kind: unconditional, adversarial: hinge}\n")
    text = write_report(run_folder).read_text()
    assert "i2i generate --model" in text and "i2i translate" not in text


def test_an_enlarger_is_scored_beside_bicubic(run_folder: Path) -> None:
    (run_folder / "recipe.yaml").write_text("name: sr\npipeline: {kind: srgan, generator: {scale: 4}}\n")
    tracker = Tracker(run_folder, attempt=1)
    values = {"validation/psnr_y_upscale": 28.456, "baseline/psnr_y_upscale/bicubic": 26.001}
    tracker.log(Row(step=40, images=40, epoch=4, values=values))
    tracker.finish()
    text = write_report(run_folder).read_text()
    page = Page(text)
    assert "PSNR-Y, x4" in page.text["th"] and "bicubic 26.00" in page.text["small"]
    panel = next(panel for panel in data_of(text)["panels"] if panel["title"] == "PSNR-Y")
    assert panel["lines"] == [{"value": 26.001, "label": "bicubic"}] and panel["unit"] == "dB"
    assert not any(panel["section"] == "baseline" for panel in data_of(text)["panels"])
    assert "Enlarge pictures with its model" in text


def test_figures_are_shown_with_their_passports(run_folder: Path) -> None:
    for step, value in ((10, 60.0), (20, 40.0), (30, 50.0)):
        sheet_of(
            Subject(description="pictures of <b>", step=step),
            [
                Figure(
                    name="fid_AtoB",
                    label="FID, A → B",
                    value=value,
                    higher_is_better=False,
                    interval=Interval(half_width=1.5, kind="standard deviation over 100 subsets"),
                    passport=Passport(metric="fid", extractor="inception", real_count=120, parameters={"degree": 3}),
                )
            ],
        ).write(run_folder / "evaluations" / f"step_{step}.json")
    (run_folder / "evaluations" / "damaged.json").write_text("{")
    page = Page(write_report(run_folder).read_text())
    assert "50.000" in page.text["b"] and "± 1.500" in page.text["b"] and "40.000" in page.text["b"]
    for value in ("inception", "120", "± 1.5: standard deviation over 100 subsets", "pictures of <b>, step 30"):
        assert value in page.text["dd"]
    assert "FID, A → B" in page.text["th"] and "Passport" in page.text["summary"]
