from __future__ import annotations

import math
from collections.abc import Mapping
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from i2i.errors import DataError, ModelError
from i2i.evaluation.metrics.perceptual_distance import BackboneName, LPIPSVersion, PerceptualDistance

BACKBONES: tuple[BackboneName, ...] = get_args(BackboneName)
PACKAGE_NAMES = {"alexnet": "alex", "vgg16": "vgg"}


def weights(distance: PerceptualDistance, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random ones in the public layouts: of the backbone, of the heads."""
    generator = torch.Generator().manual_seed(seed)
    backbone = {
        name: torch.randn(weight.shape, generator=generator) * math.sqrt(2 / max(weight[0].numel(), 1))
        for name, weight in distance.state_dict().items()
        if name.startswith("features.")
    }
    heads = {
        f"lin{index}.model.1.weight": torch.rand(1, len(head), 1, 1, generator=generator)
        for index, head in enumerate(distance.heads)
    }
    return backbone, heads


def loaded(name: BackboneName, version: LPIPSVersion = "0.1") -> PerceptualDistance:
    distance = PerceptualDistance(name, version)
    distance.load(*weights(distance))
    return distance


def pictures(seed: int, height: int = 40, width: int = 37) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("version", get_args(LPIPSVersion))
@pytest.mark.parametrize("name", BACKBONES)
def test_equals_the_authors_package(name: BackboneName, version: LPIPSVersion) -> None:
    lpips = pytest.importorskip("lpips")
    # The heads are the published ones, which the package brings with it; its backbones would have to be downloaded.
    theirs = lpips.LPIPS(net=PACKAGE_NAMES[name], version=version, pnet_rand=True, verbose=False)
    ours = PerceptualDistance(name, version)
    backbone, _ = weights(ours, seed=1)
    layers = [layer for part in range(1, 6) for layer in getattr(theirs.net, f"slice{part}").named_children()]
    for index, layer in layers:
        if isinstance(layer, torch.nn.Conv2d):
            layer.load_state_dict({key: backbone[f"features.{index}.{key}"] for key in ("weight", "bias")})
    heads = {key: weight for key, weight in theirs.state_dict().items() if key.startswith("lin") and "lins" not in key}
    ours.load(backbone, heads)
    first, second = pictures(2), pictures(3)
    expected = theirs(first, second).flatten()
    torch.testing.assert_close(ours(first, second), expected, rtol=1e-6, atol=1e-7)
    assert float(expected.detach().min()) > 1e-2
    with torch.no_grad():
        doubles = theirs.double()(first.double(), second.double()).flatten()
        # The package's constants were rounded to float32 in another way.
        torch.testing.assert_close(ours.double()(first.double(), second.double()), doubles, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", BACKBONES)
class TestDistance:
    def test_of_equal_pictures_is_zero_and_symmetric(self, name: BackboneName) -> None:
        distance = loaded(name)
        first, second = pictures(4), pictures(5)
        assert distance(first, first).tolist() == [0, 0]
        torch.testing.assert_close(distance(first, second), distance(second, first), rtol=1e-6, atol=0)

    def test_of_pictures_as_levels(self, name: BackboneName) -> None:
        distance = loaded(name)
        first, second = np.random.default_rng(0).integers(0, 256, (2, 40, 37, 3), dtype=np.uint8)
        tensors = [torch.from_numpy(levels).permute(2, 0, 1)[None] / 127.5 - 1 for levels in (first, second)]
        assert distance.between(first, second) == pytest.approx(float(distance(*tensors)), rel=1e-5)
        assert distance.between(first, first.copy()) == 0

    def test_is_that_of_float32_whatever_the_process_allows_itself(self, name: BackboneName) -> None:
        distance = loaded(name)
        first, second = np.random.default_rng(0).integers(0, 256, (2, 40, 37, 3), dtype=np.uint8)
        expected, before = distance.between(first, second), torch.get_float32_matmul_precision()
        try:
            torch.set_float32_matmul_precision("medium")
            with torch.autocast("cpu", torch.bfloat16):
                assert distance.between(first, second) == expected
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision(before)

    def test_least_size(self, name: BackboneName) -> None:
        distance = loaded(name)
        least = distance.minimum_pixels
        assert torch.isfinite(distance(pictures(6, least, least), pictures(7, least, least))).all()
        with pytest.raises(DataError, match=f"40x{least - 1} pixels are too small for {name} - give at least {least}"):
            distance(pictures(6, least - 1, 40), pictures(7, least - 1, 40))

    def test_never_trains(self, name: BackboneName) -> None:
        distance = loaded(name).train()
        assert not distance.training
        first = pictures(8).requires_grad_()
        distance(first, pictures(9)).sum().backward()
        assert first.grad is not None and float(first.grad.abs().sum()) > 0
        assert all(parameter.grad is None for parameter in distance.parameters())


def replaced(entries: Mapping[str, Tensor], **others: Tensor) -> dict[str, Tensor]:
    return {**entries, **{name.replace("__", "."): weight for name, weight in others.items()}}


class TestLoading:
    def test_a_classifier_is_left_out(self) -> None:
        distance = PerceptualDistance()
        backbone, heads = weights(distance)
        distance.load(replaced(backbone, classifier__6__weight=torch.zeros(10, 9)), heads)
        assert float(distance(pictures(0), pictures(1)).min()) > 0

    def test_a_file_of_another_network(self) -> None:
        distance, other = PerceptualDistance("alexnet"), PerceptualDistance("vgg16")
        backbone, heads = weights(distance)
        other_backbone, other_heads = weights(other)
        with pytest.raises(ModelError, match=r"alexnet weights: has \(64, 3, 3, 3\) in features.0.weight"):
            distance.load(other_backbone, heads)
        with pytest.raises(ModelError, match=r"heads for alexnet: has \(1, 128, 1, 1\) in lin1"):
            distance.load(backbone, other_heads)
        with pytest.raises(ModelError, match=r"has no features.8.bias, which needs \(256,\)"):
            distance.load({name: weight for name, weight in backbone.items() if name != "features.8.bias"}, heads)
        with pytest.raises(ModelError, match="6 tensors, not 5"):
            distance.load(backbone, replaced(heads, lin5__model__1__weight=torch.zeros(1, 64, 1, 1)))
        with pytest.raises(ValueError, match="needs one"):
            distance(pictures(0), pictures(1, height=41))
