"""Generators that enlarge: sizes, windows, ranges, number formats, memory layouts, gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core.generators import (
    CompactSettings,
    MSRResNetSettings,
    RRDBSettings,
    SRResNetSettings,
    UpscalerSettings,
)
from i2i.core.generators.upscaling import (
    PReLU,
    cells_touched,
    from_unit,
    stage_factors,
    to_unit,
)
from i2i.core.layers import BatchNorm, couples_batch

SRRESNET = SRResNetSettings(base_channels=4, blocks=2)
VARIANT = SRResNetSettings(
    base_channels=4,
    blocks=2,
    normalization="instance",
    end_kernel=3,
    convolution_bias=True,
    trunk_end="prelu",
    input_range="symmetric",
    output="tanh",
)
MSRRESNET = MSRResNetSettings(base_channels=4, blocks=2)
RRDB = RRDBSettings(base_channels=4, growth_channels=2, blocks=1)
COMPACT = CompactSettings(base_channels=4, convs=2)
FAMILIES: dict[str, UpscalerSettings] = {
    "srresnet": SRRESNET,
    "srresnet_variant": VARIANT,
    "msrresnet": MSRRESNET,
    "rrdb": RRDB,
    "compact": COMPACT,
}
EVERY = pytest.mark.parametrize("settings", FAMILIES.values(), ids=FAMILIES)


def pictures(rows: int, height: int, width: int, channels: int = 3) -> Tensor:
    return 2 * torch.rand(rows, channels, height, width, generator=torch.Generator().manual_seed(0)) - 1


def scales_of(settings: UpscalerSettings) -> tuple[int, ...]:
    return (1, 2, 3, 4, 8) if isinstance(settings, RRDBSettings | CompactSettings) else (2, 3, 4, 8)


@EVERY
def test_pictures_grow_by_the_scale(settings: UpscalerSettings) -> None:
    for scale in scales_of(settings):
        chosen = replace(settings, scale=scale)
        height, width = 2 * chosen.size_multiple, 3 * chosen.size_multiple
        result = chosen.build()(pictures(2, height, width))
        assert result.shape == (2, 3, height * scale, width * scale)
        assert result.std() > 0


@EVERY
def test_other_numbers_of_channels(settings: UpscalerSettings) -> None:
    assert settings.build(1, 1)(pictures(2, 5, 6, channels=1)).shape == (2, 1, 20, 24)
    if isinstance(settings, MSRResNetSettings | CompactSettings):
        with pytest.raises(ValueError, match="in_channels is 1 and out_channels is 4; must be equal"):
            settings.build(1, 4)
    else:
        assert settings.build(1, 4)(pictures(2, 5, 6, channels=1)).shape == (2, 4, 20, 24)


@pytest.mark.parametrize("settings", [*FAMILIES.values(), replace(RRDB, scale=2), replace(RRDB, scale=1)])
def test_smallest_picture_works(settings: UpscalerSettings) -> None:
    least = settings.minimum_pixels
    assert least % settings.size_multiple == 0 or settings.size_multiple == 1
    result = settings.build()(pictures(2, least, least))
    assert result.shape == (2, 3, least * settings.scale, least * settings.scale)


def test_small_scales_take_cells_of_pixels_or_fewer_stages() -> None:
    double, same = replace(RRDB, scale=2), replace(RRDB, scale=1)
    assert (double.size_multiple, same.size_multiple, RRDB.size_multiple) == (2, 4, 1)
    assert double.build().head.in_channels == 12 and same.build().head.in_channels == 48
    with pytest.raises(RuntimeError):
        double.build()(pictures(1, 4, 5))
    plain = replace(double, unshuffle=False)
    assert plain.size_multiple == 1 and plain.factors == (2,)
    assert plain.build()(pictures(1, 4, 5)).shape == (1, 3, 8, 10)
    assert replace(RRDB, unshuffle=False).factors == RRDB.factors


WINDOWS = {
    **{f"srresnet_{scale}": SRResNetSettings(scale=scale, base_channels=1, blocks=1) for scale in (2, 3, 4, 8)},
    "srresnet_kernel": SRResNetSettings(base_channels=1, blocks=2, end_kernel=5, trunk_end="prelu"),
    **{f"msrresnet_{scale}": MSRResNetSettings(scale=scale, base_channels=1, blocks=1) for scale in (2, 3, 4, 8)},
    **{
        f"rrdb_{scale}": RRDBSettings(scale=scale, base_channels=1, growth_channels=1, blocks=1)
        for scale in (1, 2, 3, 4)
    },
    "rrdb_fewer_stages": RRDBSettings(scale=2, base_channels=1, growth_channels=1, blocks=1, unshuffle=False),
    **{f"compact_{scale}": CompactSettings(scale=scale, base_channels=1, convs=2) for scale in (1, 2, 3)},
}


@pytest.mark.parametrize("settings", WINDOWS.values(), ids=WINDOWS)
def test_receptive_field_is_the_widest_window_of_any_output_pixel(settings: UpscalerSettings) -> None:
    if isinstance(settings, SRResNetSettings):
        settings = replace(settings, normalization="none")
    network = settings.build(1, 1).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()  # no rectifier closes, no two ways cancel
    cell = settings.size_multiple
    side = settings.receptive_field + 4
    side += -side % (2 * cell)
    images = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    result = network(images)
    spans = []
    # Every place in a cell: the windows differ by where the pixels of the stages lie.
    middle = side // 2 // cell * cell * settings.scale
    for position in range(middle, middle + cell * settings.scale):
        (gradient,) = torch.autograd.grad(result[0, 0, position, position], images, retain_graph=True)
        seen = gradient[0, 0].sum(dim=1).nonzero().flatten()
        spans.append(int(seen.max() - seen.min()) + 1)
    assert max(spans) == settings.receptive_field


def test_window_of_cells() -> None:
    assert [cells_touched(side, 2) for side in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]
    assert [cells_touched(side, 3) for side in (1, 2, 3, 4, 5)] == [1, 2, 2, 2, 3]
    assert [cells_touched(side, 1) for side in (1, 4)] == [1, 4]
    assert [stage_factors(scale) for scale in (1, 2, 3, 4, 8)] == [(), (2,), (3,), (2, 2), (2, 2, 2)]


@EVERY
def test_every_weight_learns(settings: UpscalerSettings) -> None:
    torch.manual_seed(0)
    network = settings.build()
    target = pictures(2, 32, 32)
    (network(functional.avg_pool2d(target, 4)) - target).square().mean().backward()
    without_effect = set()
    if settings.normalization == "instance":
        # Biases that instance norm takes away get no gradient but rounding.
        without_effect = {"blocks.0.branch.0.bias", "blocks.0.branch.3.bias"}
        without_effect |= {"blocks.1.branch.0.bias", "blocks.1.branch.3.bias"}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert name in without_effect or parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("settings", [MSRRESNET, COMPACT], ids=["msrresnet", "compact"])
@torch.no_grad()
def test_detail_is_added_to_the_picture_enlarged_simply(settings: UpscalerSettings) -> None:
    network = settings.build()
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    nn.init.constant_(last.bias, 0.25)
    images = pictures(2, 5, 7)
    mode = "bilinear" if isinstance(settings, MSRResNetSettings) else "nearest"
    # A quarter of [0, 1] is half of [-1, 1].
    torch.testing.assert_close(network(images), functional.interpolate(images, scale_factor=4, mode=mode) + 0.5)


@pytest.mark.parametrize("settings", [SRRESNET, RRDB], ids=["srresnet", "rrdb"])
@torch.no_grad()
def test_networks_without_such_a_picture_give_unit_range_inside(settings: UpscalerSettings) -> None:
    network = settings.build()
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    last.bias.copy_(torch.tensor([0.0, 0.5, 2.0]))
    result = network(pictures(1, 5, 7))
    for channel, value in enumerate((-1.0, 0.0, 3.0)):  # 3: not clamped
        assert (result[:, channel] == value).all()


@pytest.mark.parametrize("settings", [SRRESNET, MSRRESNET, RRDB, COMPACT])
@torch.no_grad()
def test_padding_means_black(settings: UpscalerSettings) -> None:
    """A black picture is the same to the network whether its border is there or made up."""
    head = next(module for module in settings.build().modules() if isinstance(module, nn.Conv2d))
    assert head.bias is not None
    seen = head(to_unit(torch.full((1, 3, 12, 12), -1.0)))
    torch.testing.assert_close(seen, head.bias[:, None, None].expand_as(seen))


def test_squeezed_output_stays_in_range_whatever_goes_in() -> None:
    network = VARIANT.build()
    nn.init.normal_(network.tail.weight, 0.0, 5.0)
    assert 0.9 < network(3 * pictures(1, 8, 8)).abs().max() <= 1


def test_symmetric_and_unit_inputs_differ_by_the_conversion() -> None:
    unit, symmetric = SRRESNET.build().eval(), replace(SRRESNET, input_range="symmetric").build().eval()
    symmetric.load_state_dict(unit.state_dict())
    images = pictures(1, 6, 6)
    torch.testing.assert_close(unit(images), symmetric(to_unit(images)))


def test_ranges_turn_into_each_other() -> None:
    images = pictures(1, 4, 4)
    kept = images.clone()
    unit = to_unit(images)
    assert torch.equal(images, kept)
    assert unit.min() >= 0 and unit.max() <= 1
    torch.testing.assert_close(from_unit(unit, images), images)
    assert from_unit(unit.bfloat16(), images).dtype == torch.float32


def test_normalization_is_the_cores_and_can_be_left_away() -> None:
    layers = [module for module in SRRESNET.build().modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(layers) == 5 and all(isinstance(layer, BatchNorm) for layer in layers)
    assert couples_batch(SRRESNET.build())
    for settings in (VARIANT, MSRRESNET, RRDB, COMPACT):
        assert not couples_batch(settings.build())
    bare = replace(SRRESNET, normalization="none").build()
    assert not couples_batch(bare)
    assert all(module.bias is not None for module in bare.modules() if isinstance(module, nn.Conv2d))
    # Biases in front of a normalization have no effect.
    biased = {name for name, _ in SRRESNET.build().named_parameters() if name.endswith("branch.0.bias")}
    assert not biased


@EVERY
@torch.no_grad()
def test_both_memory_layouts_give_the_same(settings: UpscalerSettings) -> None:
    network, images = settings.build().eval(), pictures(2, 6, 9)
    plain = network(images)
    fast = network.to(memory_format=torch.channels_last)(  # type: ignore[call-overload]
        images.contiguous(memory_format=torch.channels_last)
    )
    assert fast.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fast, plain, check_stride=False)


@EVERY
def test_narrow_formats_compute_but_do_not_quantize_the_result(settings: UpscalerSettings) -> None:
    torch.manual_seed(0)
    network, images = settings.build().to(memory_format=torch.channels_last), pictures(2, 8, 8)  # type: ignore[call-overload]
    exact = network(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = network(images)
    result.float().square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    torch.testing.assert_close(result.float(), exact, rtol=0.1, atol=0.1)
    assert result.dtype == torch.float32


def test_slope_follows_the_number_format() -> None:
    layer, reference = PReLU(3), nn.PReLU(3)
    values = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(layer(values), reference(values))
    assert layer(values.bfloat16()).dtype == torch.bfloat16
    layer(values.bfloat16()).float().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("slopes", [1, 3])
def test_derivatives_of_the_learnt_slope_equal_the_stock_ones(slopes: int) -> None:
    layer, reference = PReLU(slopes).double(), nn.PReLU(slopes).double()
    values = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[0, 0, 0, 0] = 0.0
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    weights = torch.randn_like(values)
    (layer(ours) * weights).sum().backward()
    (reference(theirs) * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-14)
    torch.testing.assert_close(layer.weight.grad, reference.weight.grad, rtol=0, atol=1e-12)
    assert torch.autograd.gradgradcheck(layer, (values[values.abs() > 0.1][:6].reshape(1, 3, 1, 2).requires_grad_(),))
    layer.eval()
    with torch.no_grad():
        assert torch.equal(layer(values), reference(values))


@EVERY
@pytest.mark.filterwarnings("ignore")  # recording is on its way out, and some layers look at sizes
@torch.no_grad()
def test_a_recorded_network_takes_other_sizes(settings: UpscalerSettings) -> None:
    network = settings.build().eval()
    recorded: Any = torch.jit.trace(network, pictures(1, 8, 8), check_trace=False)  # pyright: ignore[reportPrivateImportUsage]
    images = pictures(2, 10, 12)
    torch.testing.assert_close(recorded(images), network(images))


@pytest.mark.parametrize(
    ("settings", "tensors", "elements"),
    [
        (MSRResNetSettings(), 74, 1_517_571),
        (RRDBSettings(), 702, 16_697_987),
        (CompactSettings(), 53, 621_424),
    ],
    ids=["msrresnet", "rrdb", "compact"],
)
def test_default_networks_have_the_published_sizes(settings: UpscalerSettings, tensors: int, elements: int) -> None:
    with torch.device("meta"):
        parameters = list(settings.build().parameters())
    assert (len(parameters), sum(parameter.numel() for parameter in parameters)) == (tensors, elements)


@pytest.mark.parametrize("settings", [SRRESNET, MSRRESNET], ids=["srresnet", "msrresnet"])
def test_papers_without_a_scale_refuse_it(settings: UpscalerSettings) -> None:
    for scale in (0, 1, 5, 6, 16):
        with pytest.raises(ValueError, match=f"scale is {scale}; needs one of 2, 3, 4, 8"):
            replace(settings, scale=scale)


def test_refusals_name_value_and_need() -> None:
    for settings in (RRDB, COMPACT):
        with pytest.raises(ValueError, match="scale is 6; needs one of 1, 2, 3, 4, 8"):
            replace(settings, scale=6)
    for settings in FAMILIES.values():
        with pytest.raises(ValueError, match="base_channels is 0; needs at least 1"):
            replace(settings, base_channels=0)
    for settings in (SRRESNET, MSRRESNET, RRDB):
        with pytest.raises(ValueError, match="blocks is 0; needs at least 1"):
            replace(settings, blocks=0)
    with pytest.raises(ValueError, match="growth_channels is 0; needs at least 1"):
        RRDBSettings(growth_channels=0)
    with pytest.raises(ValueError, match="convs is -1; cannot be negative"):
        CompactSettings(convs=-1)
    with pytest.raises(ValueError, match="end_kernel is 4; needs an odd number"):
        SRResNetSettings(end_kernel=4)
