"""`i2i evaluate` on a small set with true counterparts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.commands import evaluate
from i2i.core.generators import ResNetGeneratorSettings
from i2i.errors import DataError, UsageError
from i2i.inference.image_model import ImageModel
from i2i.pipelines.protocol import EntryPoint

SETTINGS = ResNetGeneratorSettings(base_channels=2, blocks=1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Paints everything of level 104 (AtoB) or 33 (BtoA)."""

    def constant(level: float) -> torch.nn.Module:
        network = SETTINGS.build()
        last = network.tail[1]
        assert isinstance(last, torch.nn.Conv2d) and last.bias is not None
        with torch.no_grad():
            last.weight.zero_()
            last.bias.fill_(float(torch.atanh(torch.tensor(level / 127.5 - 1))))
        return network

    entry_points = {"AtoB": EntryPoint("ab", SETTINGS, ("a", "b")), "BtoA": EntryPoint("ba", SETTINGS, ("b", "a"))}
    path = tmp_path / "model.safetensors"
    ImageModel.save(path, {"ab": constant(104), "ba": constant(33)}, entry_points, {})
    return path


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


def test_table(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.run(model, data, device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["AtoB", "model", "36.09", "4.00"]
    assert "mean picture" in lines[3]


def test_what_cannot_be_evaluated(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no direction 'CtoD'"):
        evaluate.run(model, data, direction="CtoD", device="cpu")
    with pytest.raises(DataError, match="no such folder"):
        evaluate.run(model, tmp_path / "nowhere", device="cpu")
    paint(tmp_path / "other/testA", {"x.png": 1})
    paint(tmp_path / "other/testB", {"y.png": 1})
    with pytest.raises(DataError, match="no names in common"):
        evaluate.run(model, tmp_path / "other", device="cpu")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(data / "testA" / "x.jpg")
    with pytest.raises(DataError, match="have one name"):
        evaluate.run(model, data, device="cpu")


def test_counterparts_of_other_sizes_are_a_data_error(model: Path, tmp_path: Path) -> None:
    paint(tmp_path / "set/testA", {"x.png": 1}, (8, 8))
    paint(tmp_path / "set/testB", {"x.png": 1}, (8, 12))
    with pytest.raises(DataError, match="one size"):
        evaluate.run(model, tmp_path / "set", device="cpu")
