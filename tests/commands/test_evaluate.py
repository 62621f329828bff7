"""`i2i evaluate` on a small set with true counterparts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.cli import main
from i2i.commands import evaluate
from i2i.errors import DataError, UsageError
from tests.inference.models import write_constant_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Paints everything of level 104 (AtoB) or 33 (BtoA)."""

    levels = {"AtoB": (104, 104, 104), "BtoA": (33, 33, 33)}
    return write_constant_model(tmp_path / "model.safetensors", levels)


def paint(folder: Path, levels: dict[str, int], size: tuple[int, int] = (9, 13)) -> None:
    folder.mkdir(parents=True)
    for name, level in levels.items():
        Image.fromarray(np.full((*size, 3), level, np.uint8)).save(folder / name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A is of level 30, B of level 100; the same names with other suffixes; one picture stands alone."""
    data = tmp_path / "set"
    paint(data / "testA", {"x.png": 30, "y.png": 30})
    paint(data / "testB", {"x.bmp": 100, "y.bmp": 100, "alone.png": 0})
    paint(data / "trainA", {"1.png": 20, "2.png": 50})
    paint(data / "trainB", {"1.png": 90, "2.png": 90})
    return data


def scores(captured: str) -> dict[str, Sequence[float]]:
    directions = json.loads(captured)["directions"]
    return {
        f"{direction} {kind}": score["l1_levels"]
        for direction, kinds in directions.items()
        for kind, score in kinds.items()
        if score is not None
    }


def test_json_of_both_directions(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.run(model, data, device="cpu", json=True)
    captured = capsys.readouterr()
    assert scores(captured.out) == {
        "AtoB model": 4, "AtoB untranslated": 70, "AtoB mean_picture": 10,
        "BtoA model": 3, "BtoA untranslated": 70, "BtoA mean_picture": 5,
    }  # fmt: skip
    assert json.loads(captured.out)["pictures"] == 2
    assert "1 test pictures have no counterpart" in captured.err


def test_one_direction_without_a_training_half(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("trainA", "trainB"):
        (data / name).rename(data / f"not_{name}")
    evaluate.run(model, data, direction="BtoA", device="cpu", json=True, quiet=True)
    captured = capsys.readouterr()
    assert scores(captured.out) == {"BtoA model": 3, "BtoA untranslated": 70}
    assert captured.err == ""


def test_damaged_pictures_are_named_and_the_others_scored(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, name in (("testA", "z.png"), ("testB", "z.png"), ("trainB", "3.png")):
        (data / folder / name).write_bytes((data / "testA" / "x.png").read_bytes()[:40])
    Image.fromarray(np.full((9, 13, 3), 99, np.uint8)).save(data / "testA" / "whole.png")
    (data / "testB" / "whole.png").write_bytes(b"no picture")
    assert main(["evaluate", "--model", str(model), "--data", str(data), "--device", "cpu", "--json"]) == 7
    captured = capsys.readouterr()
    assert scores(captured.out) == {
        "AtoB model": 4, "AtoB untranslated": 70, "AtoB mean_picture": 10,
        "BtoA model": 3, "BtoA untranslated": 70, "BtoA mean_picture": 5,
    }  # fmt: skip
    told = json.loads(captured.out)
    assert told["pictures"] == 2
    assert len(told["failed"]) == 3
    lines = captured.err.splitlines()
    for name in ("testA/z.png", "testB/z.png", "testB/whole.png"):
        assert sum(line.startswith("failed: ") and name in line for line in lines) == 1
    assert any(line.startswith("left out of the mean picture: ") and "trainB/3.png" in line for line in lines)
    assert lines[-1] == "i2i: error: 2 of 4 pairs could not be read, see above"


def test_without_one_whole_pair_there_is_nothing_to_score(model: Path, data: Path) -> None:
    for name in ("x.bmp", "y.bmp"):
        (data / "testB" / name).write_bytes(b"")
    with pytest.raises(DataError, match="none of 2 pairs can be read"):
        evaluate.run(model, data, device="cpu")


def test_table(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.run(model, data, device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["AtoB", "model", "36.09", "4.00"]
    assert "mean picture" in lines[3]


def test_what_cannot_be_evaluated(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no direction 'CtoD'"):
        evaluate.run(model, data, direction="ctod", device="cpu")
    with pytest.raises(DataError, match="no such folder"):
        evaluate.run(model, tmp_path / "nowhere", device="cpu")
    paint(tmp_path / "other/testA", {"x.png": 1})
    paint(tmp_path / "other/testB", {"y.png": 1})
    with pytest.raises(DataError, match="no names in common"):
        evaluate.run(model, tmp_path / "other", device="cpu")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(data / "testA" / "x.jpg")
    with pytest.raises(DataError, match="has the same name as"):
        evaluate.run(model, data, device="cpu")


def test_counterparts_of_other_sizes_are_a_data_error(model: Path, tmp_path: Path) -> None:
    paint(tmp_path / "set/testA", {"x.png": 1}, (8, 8))
    paint(tmp_path / "set/testB", {"x.png": 1}, (8, 12))
    with pytest.raises(DataError, match="one size"):
        evaluate.run(model, tmp_path / "set", device="cpu")
