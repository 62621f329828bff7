"""What the benches of translation rest on: equal networks, fair turns, and rows of a large TIFF read right."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2i.core.generators import ResNetGeneratorSettings, SRResNetSettings
from i2i.export.layouts import junyanz_resnet
from i2i.inference import load_model
from i2i.inference.pictures.strip_layout import StripLayout
from i2i.inference.pictures.tiff_strips import TiffStrips

TOOLS = Path(__file__).parents[2] / "tools" / "benches"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module


@torch.no_grad()
def test_the_plain_network_is_the_same_network(tool: Any) -> None:
    settings = ResNetGeneratorSettings(base_channels=4, blocks=2)
    ours, plain = settings.build().double(), tool("plain_resnet").plain_generator(4, 2).double()
    mine, theirs = ours.state_dict(), plain.state_dict()
    for our_key, their_key in junyanz_resnet(settings).items():
        name = their_key.removeprefix("model.").replace("conv_block", "branch")
        theirs[name].copy_(mine[our_key])
    images = torch.rand(1, 3, 16, 20, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(plain(images), ours(images))


def test_everyone_has_as_many_turns(tool: Any) -> None:
    order: list[str] = []
    actions = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = tool("bench_translate").in_turns(actions, counted=2, warmup=1)
    assert order == ["a", "b", "c"] * 3
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2, "c": 2}
    assert ("torch", "fp32") in tool("bench_translate").contenders(torch.device("cpu"))


def test_pictures_of_the_models_have_contrast(tool: Any, tmp_path: Path) -> None:
    models = tool("bench_models")
    picture = models.drawn(40, 30)
    assert picture.shape == (30, 40, 3) and picture.std() > 20
    assert np.array_equal(picture, models.drawn(40, 30)) and not np.array_equal(picture, models.drawn(40, 30, seed=1))
    translator = models.write_translator(tmp_path / "t.safetensors", ResNetGeneratorSettings(base_channels=4, blocks=1))
    upscaler = models.write_upscaler(tmp_path / "u.safetensors", SRResNetSettings(scale=2, base_channels=4, blocks=1))
    for path, scale in ((translator, 1), (upscaler, 2)):
        result = load_model(path, "cpu", runner="torch")(picture)
        assert result.shape == (30 * scale, 40 * scale, 3) and result.std() > 20


@pytest.mark.parametrize("width", [3, 50_000])
def test_rows_of_a_tiff_are_read_without_the_rest(tool: Any, width: int, tmp_path: Path) -> None:
    large = tool("bench_large")
    picture = np.random.default_rng(0).integers(0, 256, (60, width, 3), np.uint8)
    layout = StripLayout(width=width, height=60, channels=3, bits=8)
    with (tmp_path / "x.tiff").open("wb") as file:
        writer = TiffStrips(file, layout)
        writer.write(picture)
        writer.finish()
        writer.close()
    rows = large.TiffRows(tmp_path / "x.tiff")
    assert (rows.width, rows.height) == (width, 60)
    for top, bottom in ((0, 1), (5, 60), (59, 60), (0, 60)):
        assert np.array_equal(rows.rows(top, bottom), picture[top:bottom])


def test_windows_are_compared_where_they_lie(tool: Any, tmp_path: Path) -> None:
    large, models = tool("bench_large"), tool("bench_models")
    settings = SRResNetSettings(scale=2, base_channels=4, blocks=1, end_kernel=3)
    model = load_model(models.write_upscaler(tmp_path / "u.safetensors", settings), "cpu", runner="torch")
    picture = models.drawn(150, 130)
    large._write_picture(tmp_path / "x.png", picture)
    whole = model(picture)

    class Rows:
        height, width = whole.shape[:2]

        def rows(self, top: int, bottom: int) -> np.ndarray:
            return whole[top:bottom]

    assert large._window_differences(model, tmp_path / "x.png", Rows(), 5).max() <= 1
    whole = np.roll(whole, 1, axis=1)
    assert large._window_differences(model, tmp_path / "x.png", Rows(), 5).max() > 1
