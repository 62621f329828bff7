"""Parts of networks without normalization: initial scales, blocks that begin as nothing, resampling, stages."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from i2i.core.initialization import InitializationSettings, initialize
from i2i.core.norm_free import NormFreeBlock, ScaledConv2d, ScaledLinear, SmoothResample, plan_stages


def test_scaled_layers_start_by_their_fan_in() -> None:
    convolution, linear = ScaledConv2d(64, 128, 3, gain=1.5, groups=4, bias=True), ScaledLinear(300, 200)
    for layer, fan_in, gain in ((convolution, 16 * 9, 1.5), (linear, 300, 1.0)):
        initialize(layer, InitializationSettings(standard_deviation=9.0), torch.Generator().manual_seed(0))
        expected = gain / math.sqrt(fan_in)
        assert abs(layer.weight.std() - expected) < 4 * expected / math.sqrt(layer.weight.numel())
        assert not layer.get_parameter("bias").any()


@pytest.mark.parametrize("blocks", [1, 16])
def test_a_block_starts_as_its_skip_and_shrinks_with_their_number(blocks: int) -> None:
    block = NormFreeBlock(32, cardinality=8, expansion=2, blocks=blocks)
    initialize(block, InitializationSettings(), torch.Generator().manual_seed(0))
    features = torch.randn(2, 32, 4, 4)
    assert torch.equal(block(features), features)
    for name, fan_in in (("branch.0.weight", 32), ("branch.2.weight", 8 * 9)):
        # std sqrt(2 / 1.04) L^(-1/4) / sqrt(fan_in)
        expected = math.sqrt(2 / 1.04) * blocks**-0.25 / math.sqrt(fan_in)
        weight = block.get_parameter(name)
        assert abs(weight.std() - expected) < 4 * expected / math.sqrt(weight.numel())
    assert not block.get_parameter("branch.4.weight").any()


def by_definition(features: Tensor, up: bool) -> Tensor:
    """Pixels repeated or averaged two by two, and the filter [1, 2, 1] / 4 at the larger size."""
    filter_ = torch.outer(*[torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)] * 2)[None, None]
    filter_ = filter_.expand(features.shape[1], 1, 3, 3)
    if up:
        features = features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    features = torch.nn.functional.conv2d(features, filter_, padding=1, groups=features.shape[1])
    return features if up else torch.nn.functional.avg_pool2d(features, 2)


@pytest.mark.parametrize("up", [True, False])
def test_resampling_is_the_filter_of_the_paper(up: bool) -> None:
    features = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    resample = SmoothResample(1 if up else -1).double()
    torch.testing.assert_close(resample(features), by_definition(features, up), rtol=0, atol=1e-12)
    assert torch.autograd.gradgradcheck(resample, (features,))
    assert not resample.state_dict()


@pytest.mark.parametrize("direction", [1, -1])
def test_resampling_keeps_a_narrow_format(direction: int) -> None:
    features = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        result = SmoothResample(direction)(features.bfloat16())
    assert result.dtype == torch.bfloat16 and result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result.float(), SmoothResample(direction)(features), rtol=0.02, atol=0.02)


def test_default_stages_halve_beyond_32_pixels() -> None:
    stages = plan_stages([4, 8, 16, 32, 64, 128, 256], (), (), (), 2)
    assert [stage.width for stage in stages] == [768, 768, 768, 768, 384, 192, 96]
    assert [stage.cardinality for stage in stages] == [96, 96, 96, 96, 48, 24, 12]


def test_default_groups_divide_odd_widths() -> None:
    (stage,) = plan_stages([4], (100,), (), (1,), 1)
    assert stage.cardinality == 10  # at most an eighth of 100, and a divisor of it
    assert plan_stages([4], (3,), (), (1,), 1)[0].cardinality == 1
