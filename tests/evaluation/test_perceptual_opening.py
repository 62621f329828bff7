"""LPIPS from files of weights, as the command line names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from i2i.errors import ModelError, UsageError
from i2i.evaluation.metrics.perceptual_distance import PerceptualDistance
from i2i.evaluation.perceptual_opening import open_perceptual
from i2i.files import sha256_of_file
from tests.evaluation.looking_glass import noise


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Random weights in the published layouts."""
    folder = tmp_path_factory.mktemp("weights")
    generator = torch.Generator().manual_seed(0)
    network = PerceptualDistance("alexnet")
    backbone = {
        name: torch.randn(weight.shape, generator=generator) * 0.05
        for name, weight in network.state_dict().items()
        if name.startswith("features.")
    }
    heads = {
        f"lin{index}.model.1.weight": torch.rand(1, len(head), 1, 1, generator=generator)
        for index, head in enumerate(network.heads)
    }
    save_file(backbone, folder / "backbone.safetensors")
    torch.save(heads, folder / "heads.pth")
    return folder / "backbone.safetensors", folder / "heads.pth"


def test_given_files_are_loaded_and_named_by_their_hashes(files: tuple[Path, Path]) -> None:
    measure = open_perceptual(f"alexnet:{files[0]},{files[1]}")
    assert (measure.name, measure.weights_sha256) == ("lpips-0.1-alexnet", "+".join(map(sha256_of_file, files)))
    first, second = noise(1, 1, side=40).images[0], noise(1, 2, side=40).images[0]
    network = PerceptualDistance("alexnet")
    network.load(load_file(files[0]), torch.load(files[1], weights_only=True))
    assert measure.between(first, second) == network.between(first, second) > 0
    assert measure.between(first, first) == 0
    assert measure.between(first, np.clip(first.astype(int) + 2, 0, 255).astype(np.uint8)) < measure.between(
        first, second
    )


def test_what_does_not_fit_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--lpips squeeze: no such network - known: alexnet"):
        open_perceptual("squeeze")
    with pytest.raises(ModelError, match="LPIPS heads for alexnet"):
        open_perceptual(f"alexnet:{files[0]},{files[0]}")
    with pytest.raises(ModelError, match="no such file"):
        open_perceptual(f"alexnet:{files[0]},{tmp_path / 'gone.pth'}")
