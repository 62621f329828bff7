"""Discriminators of every size: shapes, the patch that a logit sees, the smallest picture, and their output's type."""

from __future__ import annotations

import pytest
import torch

from i2i.core.discriminators import DiscriminatorOutput, PatchDiscriminatorSettings, PixelDiscriminatorSettings
from i2i.core.layers import Normalization


@pytest.mark.parametrize(("pixels", "side"), [(256, 30), (64, 6), (24, 1)])
def test_patch_discriminator_judges_patches(pixels: int, side: int) -> None:
    output = PatchDiscriminatorSettings(base_channels=2).build()(torch.randn(2, 3, pixels, pixels))
    assert [scale.shape for scale in output.logits] == [(2, 1, side, side)]


def test_pixel_discriminator_judges_every_pixel() -> None:
    output = PixelDiscriminatorSettings(base_channels=2).build()(torch.randn(2, 3, 5, 9))
    assert output.logits[0].shape == (2, 1, 5, 9)


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_a_patch_of_the_papers_size(layers: int, patch: int) -> None:
    network = PatchDiscriminatorSettings(base_channels=2, layers=layers, normalization="none").build().double()
    images = torch.randn(1, 3, 96, 96, dtype=torch.float64, requires_grad=True)
    logits = network(images).logits[0]
    middle = logits.shape[2] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], images)
    seen = gradient[0].abs().amax(dim=(0, 2)).nonzero().flatten()
    assert int(seen.max() - seen.min()) + 1 == patch


@pytest.mark.parametrize("normalization", ["instance", "batch", "none"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_smallest_picture_is_just_large_enough(layers: int, normalization: Normalization) -> None:
    settings = PatchDiscriminatorSettings(base_channels=2, layers=layers, normalization=normalization)
    least = settings.minimum_pixels
    assert settings.build()(torch.randn(2, 3, least, least)).logits[0].shape == (2, 1, 1, 1)
    with pytest.raises((RuntimeError, ValueError)):
        settings.build()(torch.randn(2, 3, least - 1, least - 1))


@pytest.mark.parametrize(
    "settings", [PatchDiscriminatorSettings(layers=2, base_channels=4), PixelDiscriminatorSettings()]
)
def test_judgement_of_a_picture_does_not_depend_on_its_neighbours(
    settings: PatchDiscriminatorSettings | PixelDiscriminatorSettings,
) -> None:
    network = settings.build().double()
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(network(images).logits[0][1:2], network(images[1:2]).logits[0], rtol=1e-10, atol=1e-12)


def test_channels_double_up_to_eightfold() -> None:
    network = PatchDiscriminatorSettings(base_channels=2, layers=5).build()
    widths = [module.out_channels for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert widths == [2, 4, 8, 16, 16, 16, 1]


def test_input_channels_can_be_more_than_three() -> None:
    assert PatchDiscriminatorSettings(base_channels=2).build(6)(torch.randn(1, 6, 24, 24)).logits[0].shape[0] == 1


def test_output_splits_into_the_batches_that_were_joined() -> None:
    joined = DiscriminatorOutput(
        logits=(torch.arange(5.0)[:, None], 10 + torch.arange(5.0)[:, None]),
        features=(torch.arange(5.0)[:, None, None],),
        class_logits=20 + torch.arange(5.0)[:, None],
    )
    first, second = joined.split(2, 3)
    assert [scale.flatten().tolist() for scale in first.logits] == [[0, 1], [10, 11]]
    assert [scale.flatten().tolist() for scale in second.logits] == [[2, 3, 4], [12, 13, 14]]
    assert second.features[0].flatten().tolist() == [2, 3, 4]
    assert second.class_logits is not None and second.class_logits.flatten().tolist() == [22, 23, 24]
    assert DiscriminatorOutput((torch.zeros(2, 1),)).split(1, 1)[0].class_logits is None


def test_mean_logit_weighs_scales_alike_and_carries_no_graph() -> None:
    weight = torch.ones((), requires_grad=True)
    output = DiscriminatorOutput((weight * torch.zeros(2, 1, 8, 8), weight * torch.full((2, 1, 2, 2), 3.0)))
    assert output.mean_logit().item() == 1.5
    assert not output.mean_logit().requires_grad
