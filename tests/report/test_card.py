"""What a card says of a model, and what it keeps of its author's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from i2i.core.image_shape import ImageShape
from i2i.errors import ModelError, StorageError
from i2i.evaluation.passports.figures import EVALUATIONS_FOLDER, Figure, Interval, Passport, Subject, sheet_of
from i2i.export.exporting import export_model
from i2i.files import sha256_of_file
from i2i.report.card import write_card, write_model_card
from tests.inference.models import MLP, write_constant_model, write_generator, write_upscaler

STEP = 3  # of write_constant_model
RECIPE = {
    "name": "two<way>|demo",
    "description": "Turns *reds* into greens.",
    "precision": "fp32",
    "seed": 7,
    "initialize_from": "/home/someone/runs/first.safetensors",
    "pipeline": {"kind": "cyclegan"},
    "data": {"kind": "unpaired_folders", "root": "/home/someone/pictures/reds2greens", "crop_pixels": 64},
    "training": {"batch_size": 4, "ema_half_life_images": 1000.0},
}
ENVIRONMENT = {
    "command": "i2i train /home/someone/x.yaml",
    "python": "3.11.7",
    "versions": {"torch": "2.11.0"},
    "cpu": {"name": "Maker(r) 9 Processor", "usable_cores": 2},
    "gpus": [],
    "git": {"i2i": {"commit": "abc123", "dirty": True}},
    "device": "cpu",
}


def passport(metric: str, **others: Any) -> Passport:
    return Passport(metric=metric, extractor="inception", split="test b", real_count=100, fake_count=120, **others)


def figure(name: str, value: float, **others: Any) -> Figure:
    metric = name.partition("_")[0]
    return Figure(
        name=name, label=name.upper(), value=value, passport=passport(metric, parameters={"subset_size": 40}), **others
    )


def row(step: int, values: dict[str, float]) -> str:
    return json.dumps(
        {"attempt": 1, "step": step, "images": 4 * step, "epoch": step / 10, "wall_seconds": 60.0 * step,
         "time": "2026-01-01T00:00:00+00:00", "values": values}
    )  # fmt: skip


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run whose model was written at step 3, and which went on to step 9."""
    run = tmp_path / "run"
    write_constant_model(run / "best.safetensors", {"AtoB": (200, 40, 40), "BtoA": (40, 200, 40)})
    (run / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    (run / "environment.json").write_text(json.dumps(ENVIRONMENT))
    rows = [
        row(STEP, {"loss/generator/total": 2.0}),
        row(STEP, {"validation/psnr_AtoB": 21.254}),
        row(9, {"validation/psnr_AtoB": 19.0}),
    ]
    (run / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    (run / "samples").mkdir()
    for name in ("step_000003_AtoB.png", "step_000009_AtoB.png"):
        (run / "samples" / name).write_bytes(b"")
    return run


def measured(run: Path, name: str, subject: Subject, *figures: Figure) -> None:
    sheet_of(subject, figures).write(run / EVALUATIONS_FOLDER / f"{name}.json")


def section(text: str, heading: str) -> str:
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


class TestOfARun:
    def test_what_it_says(self, run_folder: Path) -> None:
        path = write_card(run_folder)
        assert path == run_folder / "card.md"
        text = path.read_text()
        matter, _, body = text.removeprefix("---\n").partition("\n---\n")
        assert yaml.safe_load(matter) == {
            "license": "unknown", "library_name": "i2i", "pipeline_tag": "image-to-image", "tags": ["gan", "cyclegan"],
        }  # fmt: skip
        assert "A CycleGAN ([Zhu et al. 2017]" in body and r"Turns \*reds\* into greens." in body
        # Of the model's step, not of the run's last one.
        assert "![Samples at step 3](samples/step_000003_AtoB.png)" in body and "step_000009_AtoB.png" not in body
        what = section(text, "What it is")
        assert sha256_of_file(run_folder / "best.safetensors") in what
        rows = [line.split(" | ") for line in what.splitlines() if line.startswith("| `")]
        assert [(cells[0], cells[3]) for cells in rows] == [("| `AtoB`", rows[0][3]), ("| `BtoA`", rows[0][3])]
        assert int(rows[0][3].replace(",", "")) > 100
        data = section(text, "Data")
        assert "two folders of pictures" in data.lower() and "`reds2greens`" in data and "64 pixels" in data
        training = section(text, "Training")
        assert "- 3 steps, 3 min" in training and "Batches of 4; weights averaged over 1,000" in training
        assert "Maker 9, 2 cores" in training and "`abc123`, with uncommitted changes" in training
        assert "Began from the weights of `first.safetensors`" in training
        use = section(text, "How to use it")
        assert "i2i translate --model best.safetensors PICTURES --direction BtoA" in use
        assert 'i2i.load("best.safetensors", direction="AtoB")  # or "BtoA"' in use and "recipe.yaml" in use

    def test_no_path_of_the_machine(self, run_folder: Path) -> None:
        text = write_card(run_folder).read_text()
        assert "/home/someone" not in text and str(run_folder) not in text

    def test_results_are_of_these_weights_only(self, run_folder: Path) -> None:
        sha256 = sha256_of_file(run_folder / "best.safetensors")
        interval = Interval(half_width=0.25, kind="standard deviation over 10 splits")
        ours = figure("is", 4.5, higher_is_better=True, interval=interval)
        measured(
            run_folder, "step_3", Subject(description="", step=STEP), figure("fid", 61.2345, higher_is_better=False)
        )
        measured(run_folder, "step_9", Subject(description="", step=9), figure("fid", 777.0))
        measured(run_folder, "later", Subject(description="", sha256=sha256), ours)
        measured(run_folder, "other", Subject(description="", sha256="0" * 64, step=STEP), figure("fid", 888.0))
        results = section(write_card(run_folder).read_text(), "Results")
        assert re.search(r"\| FID ↓ \(subset size 40\) \| 61\.23[45] \| none \| 1 \|", results)
        assert "| IS ↑ (subset size 40) | 4.500 | ± 0.250 (standard deviation over 10 splits) | 1 |" in results
        assert "777" not in results and "888" not in results
        assert (
            "1. extractor `inception`;" in results
            and "\n2. " not in results
            and "real count `100`; fake count `120`" in results
        )
        assert "| PSNR, A → B | 21.25 dB |" in results and "19.0" not in results

    def test_the_newest_of_two_like_figures(self, run_folder: Path) -> None:
        subject = Subject(description="", step=STEP)
        for created, value in (("2026-01-02", 5.0), ("2026-01-01", 6.0)):
            sheet = sheet_of(subject, [figure("fid", value)])
            content = json.dumps(sheet.to_json() | {"created": created})
            folder = run_folder / EVALUATIONS_FOLDER
            folder.mkdir(exist_ok=True)
            (folder / f"{created}.json").write_text(content)
        results = section(write_card(run_folder).read_text(), "Results")
        assert "| 5.000 |" in results and "| 6.000 |" not in results

    def test_only_of_the_model_as_it_was_trained_and_how_it_was_run(self, run_folder: Path) -> None:
        for name, value, settings in (
            ("a", 61.0, {"precision": "bf16", "data": "/home/someone/set", "strength": 1.0}),
            ("b", 62.0, {"precision": "fp32", "consistent": False}),
            ("c", 63.0, {"precision": "fp32", "strength": 0.5}),
            ("d", 64.0, {"precision": "fp32", "consistent": True}),
        ):
            measured(
                run_folder, name, Subject(description="", step=STEP, settings=settings),
                figure("fid", value, higher_is_better=False),
            )  # fmt: skip
        results = section(write_card(run_folder).read_text(), "Results")
        assert "61.000" in results and "62.000" in results and "63.000" not in results and "64.000" not in results
        assert "precision `bf16`" in results and "precision `fp32`" in results and "/home/someone" not in results

    def test_nothing_measured(self, run_folder: Path) -> None:
        (run_folder / "metrics.jsonl").write_text("")
        assert "Nothing was measured of exactly these weights" in section(write_card(run_folder).read_text(), "Results")

    def test_damaged_files_leave_gaps(self, run_folder: Path) -> None:
        for name in ("recipe.yaml", "environment.json", "metrics.jsonl"):
            (run_folder / name).write_text("{[")
        text = write_card(run_folder).read_text()
        assert "# test\n" in text and "Nothing is recorded of what it was trained on" in text

    def test_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"no best.safetensors or model.safetensors"):
            write_card(tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestWhatIsKept:
    def test_licence_and_notes_stay(self, run_folder: Path) -> None:
        path = write_card(run_folder, licence='CC-BY-4.0 "ours": # |')
        text = path.read_text()
        assert 'CC-BY-4.0 "ours": \\# \\|' in section(text, "Licence")
        before = text.partition("## Notes\n")[0]
        path.write_text(before.replace("A CycleGAN", "MINE") + "## Notes\n\nShown at *the* fair.\n\n## More\n\nÄ\n")
        again = write_card(run_folder).read_text()
        assert again == before + "## Notes\n\nShown at *the* fair.\n\n## More\n\nÄ\n"
        assert yaml.safe_load(write_card(run_folder, licence="MIT").read_text().split("---\n")[1])["license"] == "MIT"

    def test_a_card_that_cannot_be_read_is_not_replaced(self, run_folder: Path) -> None:
        (run_folder / "card.md").write_bytes(b"\xff\xfe notes")
        with pytest.raises(StorageError, match="its notes would be lost"):
            write_card(run_folder)
        assert (run_folder / "card.md").read_bytes() == b"\xff\xfe notes"


class TestOfAFile:
    def test_of_a_run(self, run_folder: Path) -> None:
        path = write_model_card(run_folder / "best.safetensors")
        assert path == run_folder / "best.safetensors.card.md"
        assert "PSNR, A → B" in path.read_text()

    def test_alone(self, tmp_path: Path) -> None:
        labels = {"recipe": "digits", "class_names": ["zero", "on_e"], "data": "f" * 64,
                  "pictures": {"train": {"real": 1000}, "test": {}}}  # fmt: skip
        model = write_generator(tmp_path / "model.safetensors", MLP, ImageShape(1, 28), 2, labels)
        text = write_model_card(model).read_text()
        assert 'pipeline_tag: "unconditional-image-generation"' in text and "# digits" in text
        assert "5 normal random numbers and one of 2 labels to a picture" in text
        assert r"Labels: zero, on\_e" in text and "train 1,000 of real" in text and "f" * 64 in text
        assert "i2i generate --model model.safetensors --n 100" in text and "model.latents(range(9))" in text
        assert "may repeat training pictures" in text and "Instance norm" not in text

    @pytest.mark.parametrize("form", ["torchscript"])
    def test_exported_from_a_run(self, run_folder: Path, tmp_path: Path, form: Any) -> None:
        out = tmp_path / "given" / "m.pt"
        report = export_model(run_folder, form, out, direction="BtoA", version="1")
        measured(run_folder, "step_3", Subject(description="", step=STEP), figure("fid", 61.25))
        write_card(run_folder, licence="CC0-1.0")
        text = write_model_card(out, source=run_folder).read_text()
        assert report.sha256 in text and report.source_sha256 in text and f"{report.levels:.2g} of 255 levels" in text
        assert "`BtoA`" in text and "`AtoB`" not in text and "61.250" in text
        assert "CC0-1.0" in section(text, "Licence")
        assert "trust=True" in text and "samples/" not in text and "recipe.yaml" not in text
        # Without the run it says less; of another file's report nothing.
        report_file = Path(f"{out}.json")
        report_file.write_text(report_file.read_text().replace(report.sha256, "0" * 64))
        alone = write_model_card(out).read_text()
        assert "61.250" not in alone and "of 255 levels" not in alone and "3 steps" in alone

    def test_an_upscaler(self, tmp_path: Path) -> None:
        text = write_model_card(write_upscaler(tmp_path / "model.safetensors")).read_text()
        assert "enlarges 2 times; with a strength from 0 to 1" in text and "is invented" in text

    def test_no_model_file(self, tmp_path: Path) -> None:
        (tmp_path / "x.safetensors").write_bytes(b"nothing")
        with pytest.raises(ModelError, match="damaged"):
            write_model_card(tmp_path / "x.safetensors")
        assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
