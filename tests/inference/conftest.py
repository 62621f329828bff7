from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from i2i.core.generators import ResNetGeneratorSettings
from i2i.inference.image_model import ImageModel
from i2i.pipelines.protocol import EntryPoint

SETTINGS = ResNetGeneratorSettings(base_channels=2, blocks=1)


def write_constant_model(path: Path, levels: Mapping[str, Sequence[float]]) -> Path:
    """A model file whose directions give one known colour each, whatever goes in."""
    networks, entry_points = {}, {}
    for name, colour in levels.items():
        network = SETTINGS.build()
        last = network.tail[1]
        assert isinstance(last, torch.nn.Conv2d) and last.bias is not None
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.atanh(torch.tensor(colour) / 127.5 - 1))
        networks[f"net_{name}"] = network
        domains = (name[0].lower(), name[-1].lower())
        entry_points[name] = EntryPoint(f"net_{name}", SETTINGS, domains)
    ImageModel.save(path, networks, entry_points, {"recipe": "test", "step": 3}, pipeline="cyclegan")
    return path


@pytest.fixture
def two_way_model(tmp_path: Path) -> Path:
    """AtoB gives (200, 40, 40) and BtoA (40, 200, 40), after rounding."""
    colours = {"AtoB": (199.7, 40.3, 40.0), "BtoA": (40.0, 199.7, 40.3)}
    return write_constant_model(tmp_path / "run" / "model.safetensors", colours)
