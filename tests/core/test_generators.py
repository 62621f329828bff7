"""Generators of every family: shapes, range, what their settings say about sizes and windows, gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from i2i.core.generators import GeneratorSettings, ResNetGeneratorSettings, UNetGeneratorSettings
from i2i.core.generators.resnet import Sampling
from i2i.core.layers import Normalization

RESNET = ResNetGeneratorSettings(base_channels=2, blocks=1)
BLURRED = ResNetGeneratorSettings(base_channels=2, blocks=1, sampling="antialiased")
UNET = UNetGeneratorSettings(base_channels=2, levels=5, dropout=0.0)


@pytest.mark.parametrize("settings", [RESNET, BLURRED, UNET], ids=["resnet", "antialiased", "unet"])
def test_pictures_keep_their_size_and_range(settings: GeneratorSettings) -> None:
    images = 2 * torch.rand(2, 3, settings.size_multiple * 2, settings.size_multiple * 3) - 1
    result = settings.build()(images)
    assert result.shape == images.shape
    assert result.abs().max() <= 1
    assert result.std() > 0


@pytest.mark.parametrize("settings", [RESNET, BLURRED, UNET], ids=["resnet", "antialiased", "unet"])
def test_other_numbers_of_channels(settings: GeneratorSettings) -> None:
    assert settings.build(1, 4)(torch.randn(2, 1, 32, 32)).shape == (2, 4, 32, 32)


@pytest.mark.parametrize("settings", [RESNET, BLURRED], ids=["strided", "antialiased"])
def test_resnet_rounds_other_sides_up(settings: ResNetGeneratorSettings) -> None:
    assert settings.build()(torch.randn(1, 3, 17, 22)).shape == (1, 3, 20, 24)


@pytest.mark.parametrize("normalization", ["instance", "batch", "none"])
@pytest.mark.parametrize("family", [RESNET, BLURRED, UNET], ids=["resnet", "antialiased", "unet"])
def test_smallest_picture_works(family: GeneratorSettings, normalization: Normalization) -> None:
    settings = replace(family, normalization=normalization)
    least = settings.minimum_pixels
    assert least % settings.size_multiple == 0
    # Two pictures: with batch norm the innermost single pixel needs company.
    assert settings.build()(torch.randn(2, 3, least, least)).shape == (2, 3, least, least)
    smaller = least - settings.size_multiple or least // 2
    with pytest.raises((RuntimeError, ValueError)):
        settings.build()(torch.randn(1, 3, smaller, smaller))


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("sampling", ["strided", "antialiased"])
def test_receptive_field_is_the_widest_window_of_any_output_pixel(blocks: int, sampling: Sampling) -> None:
    settings = ResNetGeneratorSettings(base_channels=1, blocks=blocks, normalization="none", sampling=sampling)
    network = settings.build(1, 1).double()
    with torch.no_grad():
        for weight in network.parameters():
            weight.abs_()  # no ReLU closes, no two ways cancel
    images = torch.rand(1, 1, 96, 96, dtype=torch.float64, requires_grad=True)
    before_tanh = network.tail[1](network.tail[0](network.up(network.blocks(network.down(network.head(images))))))
    spans = []
    for position in range(46, 50):
        (gradient,) = torch.autograd.grad(before_tanh[0, 0, position, position], images, retain_graph=True)
        seen = gradient[0, 0].sum(dim=1).nonzero().flatten()
        spans.append(int(seen.max() - seen.min()) + 1)
    assert max(spans) == settings.receptive_field


def test_every_weight_learns() -> None:
    for settings in (RESNET, BLURRED, UNetGeneratorSettings(base_channels=2, levels=5)):
        network = settings.build()
        network(torch.randn(2, 3, 64, 64)).square().mean().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_biases_only_where_no_normalization_takes_them_away() -> None:
    with_norm = [name for name, _ in RESNET.build().named_parameters() if name.endswith("bias")]
    assert with_norm == ["tail.1.bias"]
    assert [name for name, _ in BLURRED.build().named_parameters() if name.endswith("bias")] == with_norm
    bare = ResNetGeneratorSettings(base_channels=2, blocks=1, normalization="none").build()
    assert all(module.bias is not None for module in bare.modules() if isinstance(module, torch.nn.Conv2d))


def test_dropout_stands_where_the_paper_puts_it() -> None:
    unet = UNetGeneratorSettings(base_channels=1, levels=8).build()
    probabilities = [level[3].probability for level in unet.up]  # type: ignore[index]
    assert probabilities == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0]
    images = torch.randn(1, 3, 32, 32)
    resnet = ResNetGeneratorSettings(base_channels=2, blocks=1, dropout=0.5).build()
    assert not torch.equal(resnet(images), resnet(images))
    assert torch.equal(resnet.eval()(images), resnet.eval()(images))


def test_unet_with_too_few_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 5"):
        UNetGeneratorSettings(levels=4)
