"""What is no mistake and yet worth knowing is said in one line before training."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from i2i.cli import main
from i2i.commands.notes import notes_at_start
from i2i.commands.planning import open_data
from i2i.recipe import load_recipe
from tests.data.pictures import write_pictures
from tests.training.runs import make_generation_recipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of 24 pixels, two of 40, one that is too small for any training and one that is none."""
    root = tmp_path / "pictures"
    write_pictures(root, 3, side=24)
    write_pictures(root, 2, side=40, prefix="large", seed=1)
    write_pictures(root, 1, side=8, prefix="tiny")
    (root / "broken.png").write_bytes(b"rubbish")
    return root


def notes(recipe: Path, root: Path, *overrides: str) -> list[str]:
    data = f"data={{kind: image_folder, root: '{root}', size_pixels: 32, channels: 1}}"
    loaded = load_recipe(recipe, [data, *overrides])
    return notes_at_start(loaded, open_data(loaded))


def test_pictures_that_are_enlarged_are_counted(folder: Path, tmp_path: Path) -> None:
    recipe = make_generation_recipe(tmp_path)
    (line,) = notes(recipe, folder)
    assert line.startswith("3 of 5 pictures have a side under 32 pixels and are enlarged")
    assert notes(recipe, folder, "data.size_pixels=16") == []
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    assert notes(recipe, tmp_path / "pictures.zip") == [line]


def test_of_many_pictures_some_are_looked_at(tmp_path: Path) -> None:
    write_pictures(tmp_path / "many", 150, side=24)
    (line,) = notes(make_generation_recipe(tmp_path), tmp_path / "many")
    assert line.startswith("75 of 75 pictures looked at have a side under 32 pixels")


def test_a_batch_of_more_pictures_than_there_are_is_noted(folder: Path, tmp_path: Path) -> None:
    recipe = make_generation_recipe(tmp_path)
    assert notes(recipe, folder, "data.size_pixels=16", "training.batch_size=5") == []
    (line,) = notes(recipe, folder, "data.size_pixels=16", "training.batch_size=6")
    assert line.startswith("training.batch_size 6 is more than the 5 training pictures: every batch shows some of them")
    assert line.endswith("or --set training.batch_size=5 or less")


def test_a_trial_run_says_so_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(make_generation_recipe(tmp_path)), "--dry-run", "--device", "cpu"]
    assert main([*words, "--set", "training.batch_size=30"]) == 0
    assert capsys.readouterr().out.startswith("note: training.batch_size 30 is more than the 20 training pictures: ")
    assert main([*words, "--set", "training.batch_size=30", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["notes"]) == 1
    assert main(words) == 0
    assert "note" not in capsys.readouterr().out
