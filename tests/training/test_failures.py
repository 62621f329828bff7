"""What goes wrong in practice: one line, the documented exit code, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2i.cli import main
from tests.training.runs import hash_of_state, make_pictures, make_recipe

SHORT = ["--set", "training.length.steps=3", "--quiet"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return make_recipe(tmp_path, make_pictures(tmp_path / "pictures"))


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed on standard error: one line, no traceback."""
    text = capsys.readouterr().err.strip()
    assert text.startswith("i2i: error: ")
    assert "\n" not in text
    assert "Traceback" not in text
    return text


def test_bad_recipe(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text(recipe.read_text().replace("pool_size", "pool_sise"))
    assert main(["train", str(recipe), "--out", str(tmp_path / "run")]) == 3
    assert "tiny.yaml:9: pipeline.pool_sise" in complaint(capsys)
    assert not (tmp_path / "run").exists()


def test_missing_folder(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", str(recipe), "--set", f"data.root={tmp_path / 'nowhere'}", "--out", str(tmp_path / "run")]
    assert main(arguments) == 4
    assert "nowhere" in complaint(capsys)
    assert not (tmp_path / "run").exists()


def test_missing_published_set_names_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "datasets" / "horse2zebra"
    arguments = ["train", "cyclegan_horse2zebra", "--set", f"data.root={root}", "--out", str(tmp_path / "run")]
    assert main(arguments) == 4
    assert "i2i data fetch horse2zebra" in complaint(capsys)


def test_empty_folder(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for picture in (tmp_path / "pictures" / "trainB").iterdir():
        picture.unlink()
    assert main(["train", str(recipe), "--out", str(tmp_path / "run")]) == 4
    assert "trainB" in complaint(capsys)


def test_one_corrupt_picture_is_reported_and_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_pictures(tmp_path / "pictures", {"trainA": 1000, "trainB": 5, "testA": 2, "testB": 2}, pixels=16)
    victim = root / "trainA" / "trainA_500.png"
    victim.write_bytes(victim.read_bytes()[:60])
    recipe = make_recipe(tmp_path, root)
    assert main(["train", str(recipe), "--out", str(tmp_path / "run"), "--set", "training.length.steps=2"]) == 0
    assert "trainA_500.png" in capsys.readouterr().err
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_truncated_checkpoint_falls_back_to_the_one_before(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "run"
    assert main(["train", str(recipe), "--out", str(out), "--set", "training.length.steps=6", "--quiet"]) == 0
    expected = hash_of_state(out, 6)
    newest = out / "checkpoints" / "step_6" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    capsys.readouterr()
    assert main(["train", "--resume", str(out)]) == 0
    assert any("step_6" in record.getMessage() for record in caplog.records)
    errors = capsys.readouterr().err
    # The best one, at step 4, is kept beside the newest two.
    assert "resumed at step 4" in errors
    assert hash_of_state(out, 6) == expected


def test_no_whole_checkpoint_left(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["train", str(recipe), "--out", str(out), *SHORT]) == 0
    (out / "checkpoints" / "step_3" / "manifest.json").write_text("{}")
    capsys.readouterr()
    assert main(["train", "--resume", str(out), "--set", "training.length.steps=6", "--quiet"]) == 5
    assert "all its checkpoints are damaged" in capsys.readouterr().err


def test_checkpoint_of_other_networks(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["train", str(recipe), "--out", str(out), *SHORT]) == 0
    capsys.readouterr()
    arguments = ["--set", f"initialize_from={out}", "--set", "pipeline.generator.blocks=2"]
    assert main(["train", str(recipe), "--out", str(tmp_path / "other"), *arguments, *SHORT]) == 5
    assert "does not fit" in complaint(capsys)


def test_diverging_training_stops_with_its_code(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--set",
        "training.optimizers.discriminator.learning_rate=1e30",
        "--set",
        "training.nonfinite.tolerated_steps=2",
    ]
    assert main(["train", str(recipe), "--out", str(tmp_path / "run"), *arguments, "--quiet"]) == 8
    assert "not finite" in complaint(capsys)
