"""The report is one file that needs nothing else and says what the run folder says."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.commands.report import run
from i2i.errors import UsageError
from i2i.training.checkpoint import TrainingState, save_checkpoint
from i2i.training.report import run_end, write_report
from i2i.training.report_curves import curve_panels, higher_is_better, theory_of, thin, validation_scores
from i2i.training.report_pictures import grids_over_time, sample_sheets
from i2i.training.sheets import save_sheet
from i2i.training.tracking import Row, Tracker, read_metrics
from i2i.training.watchdog import Verdict

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
    assert data_of(text) == {"panels": [], "sheets": [], "overTime": {}, "alarms": []}
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
    assert panel["lines"] == [] and panel["logarithmic"] is False


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


# ---- generators watched through fixed latents -------------------------------------------------------------------


def latents_over_time(folder: Path, steps: Sequence[int], *, channels: int = 3, size: int = 32) -> None:
    tracker = Tracker(folder)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(12, channels, 5, 5, generator=generator)
    made = torch.tanh(torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic"))
    for step in steps:
        tracker.grid(step, "generate", made * step / max(steps), 4)
    tracker.finish()


def opened(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))


@pytest.mark.parametrize("channels", [1, 3])
def test_fixed_latents_become_an_animation_and_a_film(tmp_path: Path, channels: int) -> None:
    steps = [0, 100, 200, 400, 1000]
    latents_over_time(tmp_path, steps, channels=channels)
    parts = grids_over_time(tmp_path / "samples")["generate"]
    assert parts["animation"]["steps"] == parts["film"]["steps"] == steps
    with opened(parts["animation"]["url"]) as animation:
        assert animation.format == "GIF"
        assert getattr(animation, "n_frames", 1) == len(steps)
        assert animation.info["loop"] == 0
        assert animation.size == (parts["animation"]["width"], parts["animation"]["height"])
        first = np.asarray(animation.convert("RGB")).astype(int)
        animation.seek(len(steps) - 1)
        last = np.asarray(animation.convert("RGB")).astype(int)
        assert animation.info["duration"] > 1000
    assert np.abs(first - last).max() > 50
    with opened(parts["film"]["url"]) as film:
        assert film.width == pytest.approx(film.height * 8 / 5, rel=0.1)  # five rows of eight, and their labels


def test_an_animation_is_bounded_in_frames_and_bytes(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    generator = torch.Generator().manual_seed(0)
    for step in range(60):
        tracker.grid(step, "noise", torch.rand(16, 3, 64, 64, generator=generator) * 2 - 1, 4)
    tracker.finish()
    parts = grids_over_time(tmp_path / "samples", animation_bytes=1_000_000, film_bytes=100_000)["noise"]
    steps = parts["animation"]["steps"]
    assert len(parts["animation"]["url"]) <= 1_000_000 and len(parts["film"]["url"]) <= 100_000
    assert 10 <= len(steps) <= 40
    assert (steps[0], steps[-1]) == (0, 59)
    assert len(parts["film"]["steps"]) == 8
    # Most happens at first: the film's steps grow like square numbers.
    assert parts["film"]["steps"] == [0, 1, 5, 11, 19, 30, 43, 59]
    assert grids_over_time(tmp_path / "samples", animation_bytes=1000, film_bytes=1000) == {}


def test_sheets_single_grids_and_damaged_ones_do_not_move(tmp_path: Path, run_folder: Path) -> None:
    assert grids_over_time(run_folder / "samples") == {}
    latents_over_time(tmp_path, [5])
    assert grids_over_time(tmp_path / "samples") == {}
    latents_over_time(tmp_path, [5, 6, 7])
    (tmp_path / "samples" / "step_000007_generate.png").write_bytes(b"cut off")
    assert grids_over_time(tmp_path / "samples")["generate"]["film"]["steps"] == [5, 6]
    latents_over_time(tmp_path, [8], size=48)
    # Beside a grid of another size there is nothing to compare.
    assert "film" not in grids_over_time(tmp_path / "samples")["generate"]


def gan_rows() -> list[dict[str, Any]]:
    values = {
        "loss/discriminator/real": 0.25,
        "loss/discriminator/fake": 0.75,
        "loss/discriminator/total": 1.0,
        "weighted/discriminator/real": 0.25,
        "loss/generator/adversarial": 0.9,
        "loss/generator/total": 0.9,
        "output/discriminator/real": 1.5,
        "output/discriminator/fake": -1.5,
        "output/discriminator/real_probability": 0.8,
        "output/discriminator/fake_probability": 0.3,
        "sample/diversity": 0.9,
        "sample/repeated": 0.1,
        "sample/midtones": 1.1,
    }
    norms = (100.0, 1.0, 0.1)
    return [
        {"step": step, "values": {**values, "gradient_norm/generator": norm, "gradient_norm/discriminator": 1.0}}
        for step, norm in enumerate(norms)
    ]


def panels_of(pipeline: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(panel["section"], panel["title"]): panel for panel in curve_panels(gan_rows(), theory_of(pipeline))}


def test_theory_says_where_the_curves_should_end() -> None:
    panels = panels_of({"kind": "unconditional", "adversarial": "nonsaturating", "real_label": 1.0})
    probabilities = panels["balance", "discriminator: D(real) and D(fake)"]
    assert [series["name"] for series in probabilities["series"]] == ["D(fake)", "D(real)"]
    assert probabilities["lines"] == [{"value": 0.5, "label": "equilibrium"}]
    value = panels["balance", "value function V(D, G)"]
    assert value["series"][0]["values"] == [-1.0, -1.0, -1.0]
    assert value["lines"] == [{"value": -1.3863, "label": "equilibrium -log 4 ="}]
    assert panels["loss", "generator"]["lines"] == [{"value": 0.69315, "label": "equilibrium"}]
    assert panels["sample", "diversity"]["lines"] == [{"value": 1.0, "label": "real pictures"}]
    assert {series["name"] for series in panels["sample", "diversity"]["series"]} == {"diversity", "repeated"}
    assert panels["output", "discriminator"]["lines"] == []


def test_smoothed_labels_move_the_equilibrium() -> None:
    panels = panels_of({"adversarial": "nonsaturating", "real_label": 0.9})
    assert panels["balance", "discriminator: D(real) and D(fake)"]["lines"][0]["value"] == 0.45
    assert panels["balance", "value function V(D, G)"]["lines"][0]["label"] == "equilibrium"


def test_of_other_losses_no_probability_is_shown() -> None:
    least_squares = panels_of({"adversarial": "lsgan"})
    assert least_squares["output", "discriminator"]["lines"] == [{"value": 0.5, "label": "equilibrium"}]
    assert least_squares["balance", "real + fake"]["lines"][0]["value"] == 0.5
    critic = panels_of({"adversarial": "wasserstein"})
    assert critic["balance", "Wasserstein distance, estimated"]["series"][0]["values"][0] == -1.0
    unknown = panels_of({"adversarial": "of my own", "real_label": "high"})
    for panels in (least_squares, critic, unknown):
        assert ("balance", "discriminator: D(real) and D(fake)") not in panels
    assert not [key for key in unknown if key[0] == "balance"]


def test_a_pair_loss_has_its_line() -> None:
    rows = [{"step": 1, "values": {"loss/discriminator/pair": 0.7, "loss/discriminator/r1": 0.1}}]
    (panel,) = curve_panels(rows, theory_of({"adversarial": "relativistic"}))
    assert panel["lines"] == [{"value": 0.69315, "label": "equilibrium"}]


def test_weighted_losses_that_repeat_the_losses_are_left_out_and_norms_are_logarithmic() -> None:
    panels = panels_of({})
    assert not [key for key in panels if key[0] == "weighted"]
    assert panels["gradient_norm", "gradient norm"]["logarithmic"] is True
    rows = [{"step": 1, "values": {"loss/g/cycle": 0.5, "weighted/g/cycle": 5.0}}]
    assert [panel["section"] for panel in curve_panels(rows)] == ["loss", "weighted"]


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
    assert text.index("Divergence") < text.index("Validation scores")
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
