from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from i2i.cli.verbs import app
from i2i.commands.card import run
from i2i.errors import ModelError, UsageError
from tests.inference.models import write_constant_model


def model(folder: Path) -> Path:
    return write_constant_model(folder / "model.safetensors", {"AtoB": (200, 40, 40)})


def test_a_folder_and_a_file(tmp_path: Path) -> None:
    file = model(tmp_path / "run")
    done = CliRunner().invoke(app, ["card", str(file.parent), str(file), "--licence", "MIT", "--json"])
    assert done.exit_code == 0, done.output
    expected = [file.parent / "card.md", file.parent / "model.safetensors.card.md"]
    assert json.loads(done.output) == [str(path) for path in expected]
    assert all('license: "MIT"' in path.read_text() for path in expected)


def test_nothing_is_written_where_one_is_no_model(tmp_path: Path) -> None:
    file = model(tmp_path / "run")
    with pytest.raises(ModelError, match="no such file"):
        run([file, tmp_path / "missing"])
    assert [path.name for path in file.parent.iterdir()] == ["model.safetensors"]


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model given"):
        run([])
    with pytest.raises(UsageError, match="--licence: is empty"):
        run([model(tmp_path)], licence=" ")
