"""Pictures of models as sources: those that the commands write, in any stretches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.errors import DataError
from i2i.evaluation.pictures.made import GeneratedPictures, TranslatedPictures
from i2i.evaluation.pictures.sources import ArraySource
from i2i.inference import load_generator, load_model
from tests.commands.generating import generate
from tests.evaluation.looking_glass import noise
from tests.inference.models import COLOUR, MLP, write_constant_model, write_generator


def test_generated_pictures_are_those_that_generate_writes(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "model.safetensors", MLP, COLOUR, 4)
    assert generate("-m", path, "-n", 40, "--seed", 9, "-o", tmp_path / "out", "--quiet") == 0
    written = [np.asarray(Image.open(file)) for file in sorted((tmp_path / "out").glob("*.png"))]
    source = GeneratedPictures(model=load_generator(path, "cpu"), count=40, seed=9)
    assert len(written) == 40
    for first, last in ((0, 40), (0, 32), (32, 64), (19, 37)):
        made = source.pictures(first, last)
        assert len(made) == min(last, 40) - first
        assert all(np.array_equal(a, b) for a, b in zip(made, written[first:last], strict=True))
    assert source.sha256 is None and "seed 9" in source.description


def test_translations_are_made_one_by_one(tmp_path: Path) -> None:
    path = write_constant_model(tmp_path / "model.safetensors", {"AtoB": (104, 50, 20), "BtoA": (1, 2, 3)})
    model = load_model(path, "cpu", runner="torch")
    mixed = ArraySource(images=[*noise(2, 1, side=12).images, *noise(1, 1, side=16).images], description="mixed")
    source = TranslatedPictures(model=model, source=mixed)
    made = source.pictures(1, 9)
    assert [one.shape for one in made] == [(12, 12, 3), (16, 16, 3)]
    assert (made[0] == (104, 50, 20)).all()
    assert source.count == 3 and source.sha256 is None
    assert source.given.source is mixed and source.given.scale == 1
    with pytest.raises(DataError, match="picture 1 is grey"):
        TranslatedPictures(model=model, source=noise(2, 1, channels=1)).pictures(1, 2)
