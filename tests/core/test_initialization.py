"""Initial weights follow the law that was asked for, and the seed decides them."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from i2i.core.initialization import InitializationSettings, initialize
from i2i.core.layers import BatchNorm, spectral_norm
from i2i.core.virtual_batch_norm import VirtualBatchNorm


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(16, 64, 3), BatchNorm(64), nn.ConvTranspose2d(64, 16, 4), nn.Flatten(), nn.Linear(64, 128)
    )


def initialized(seed: int = 0, **settings: object) -> nn.Sequential:
    made = network()
    initialize(made, InitializationSettings(**settings), torch.Generator().manual_seed(seed))  # type: ignore[arg-type]
    return made


def weights(made: nn.Sequential) -> list[torch.Tensor]:
    return [made.get_parameter(f"{index}.weight").detach() for index in (0, 2, 4)]


@pytest.mark.parametrize("deviation", [0.02, 0.5])
def test_normal(deviation: float) -> None:
    for weight in weights(initialized(standard_deviation=deviation)):
        standard_error = deviation / weight.numel() ** 0.5
        assert abs(weight.mean()) < 4 * standard_error
        assert abs(weight.std() - deviation) < 4 * standard_error


def test_kaiming_keeps_the_variance_of_relu_networks() -> None:
    convolution = weights(initialized(kind="kaiming"))[0]
    expected = (2.0 / (16 * 9)) ** 0.5
    assert abs(convolution.std() - expected) < 4 * expected / convolution.numel() ** 0.5


def test_xavier_takes_the_deviation_as_gain() -> None:
    convolution = weights(initialized(kind="xavier", standard_deviation=0.5))[0]
    expected = 0.5 * (2.0 / ((16 + 64) * 9)) ** 0.5
    assert abs(convolution.std() - expected) < 4 * expected / convolution.numel() ** 0.5


def test_orthogonal() -> None:
    linear = weights(initialized(kind="orthogonal", standard_deviation=0.5))[2]
    torch.testing.assert_close(linear.T @ linear, 0.25 * torch.eye(64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["normal", "xavier", "kaiming", "orthogonal"])
def test_biases_start_at_zero_and_scales_near_one(kind: Literal["normal", "xavier", "kaiming", "orthogonal"]) -> None:
    made = initialized(kind=kind, standard_deviation=0.02)
    assert isinstance(made[1], nn.BatchNorm2d)
    for module in made:
        if not isinstance(module, nn.Flatten):
            assert not module.get_parameter("bias").any()
    scales = made.get_parameter("1.weight").detach()
    assert abs(scales.mean() - 1.0) < 4 * 0.02 / 8
    assert 0.01 < scales.std() < 0.03


def test_the_seed_decides_and_the_global_generator_does_not() -> None:
    torch.manual_seed(1)
    first = initialized(5).state_dict()
    torch.manual_seed(2)
    second = initialized(5).state_dict()
    other = initialized(6).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_networks_without_biases_are_fine() -> None:
    bare = nn.Conv2d(3, 4, 3, bias=False)
    before = bare.weight.detach().clone()
    initialize(bare, InitializationSettings(), torch.Generator().manual_seed(0))
    assert not torch.equal(bare.weight, before)


def test_modules_that_fill_themselves_are_asked_and_left_alone() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def initialize_weights(self, generator: torch.Generator) -> None:
            nn.init.constant_(self.inner.weight, 7.0)

    made = nn.Sequential(nn.Linear(3, 3), Own())
    inner = made.get_submodule("1.inner")
    assert isinstance(inner, nn.Linear)
    bias = inner.bias.detach().clone()
    initialize(made, InitializationSettings(), torch.Generator().manual_seed(0))
    assert bool((inner.weight == 7.0).all()) and torch.equal(inner.bias, bias)
    assert made.get_parameter("0.weight").abs().max() < 0.2


def test_shared_modules_are_filled_once() -> None:
    shared = nn.Linear(3, 3)
    twice, once = nn.Sequential(shared, shared), nn.Sequential(nn.Linear(3, 3))
    for made in (twice, once):
        initialize(made, InitializationSettings(), torch.Generator().manual_seed(0))
    assert torch.equal(twice.get_parameter("0.weight"), once.get_parameter("0.weight"))


@pytest.mark.parametrize(
    "make", [lambda: nn.Conv2d(8, 16, 3), lambda: nn.ConvTranspose2d(16, 8, 3)], ids=["down", "up"]
)
def test_spectrally_normalized_layers_get_raw_weights_and_a_fresh_start(make: type[nn.Module]) -> None:
    def initialized(deviation: float) -> nn.Module:
        layer = spectral_norm(make())
        initialize(layer, InitializationSettings(standard_deviation=deviation), torch.Generator().manual_seed(0))
        return layer.eval()

    torch.manual_seed(1)
    first = initialized(0.5)
    torch.manual_seed(2)
    second = initialized(0.5)
    raw = first.get_parameter("parametrizations.weight.original").detach()
    assert 0.45 < raw.std() < 0.55
    for key, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key
    # The estimate of the norm is a good one from the beginning: the same whatever the scale of the raw weights.
    matrix = (raw.transpose(0, 1) if isinstance(first, nn.ConvTranspose2d) else raw).flatten(1)
    weight = first.weight
    assert isinstance(weight, Tensor)
    torch.testing.assert_close(weight, raw / torch.linalg.matrix_norm(matrix, 2), rtol=0.05, atol=0)
    torch.testing.assert_close(weight, initialized(0.01).weight)


def test_virtual_batch_norm_starts_as_batch_norm_and_batch_norm_without_scales_is_fine() -> None:
    virtual = VirtualBatchNorm(500, reference_rows=2)
    initialize(virtual, InitializationSettings(), torch.Generator().manual_seed(0))
    assert abs(virtual.weight.mean() - 1.0) < 0.004 and 0.015 < virtual.weight.std() < 0.025
    assert not virtual.bias.any()
    initialize(BatchNorm(3, affine=False), InitializationSettings(), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["normal", "xavier", "kaiming", "orthogonal"])
def test_factor_multiplies_what_the_law_gave(kind: Literal["normal", "xavier", "kaiming", "orthogonal"]) -> None:
    whole, tenth = initialized(3, kind=kind), initialized(3, kind=kind, factor=0.1)
    for large, small in zip(weights(whole), weights(tenth), strict=True):
        torch.testing.assert_close(small, 0.1 * large)
    # Not the scales of batch norm: a tenth there would silence the layer.
    assert torch.equal(whole.get_parameter("1.weight"), tenth.get_parameter("1.weight"))


def test_factor_has_a_range() -> None:
    with pytest.raises(ValueError, match="factor is 0; must be above 0"):
        InitializationSettings(factor=0)
