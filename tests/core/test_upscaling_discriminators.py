"""Discriminators of enlarged pictures: sizes, what they normalize, the paper's power iteration, slopes."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i.core.discriminators import (
    DiscriminatorOutput,
    PatchDiscriminatorSettings,
    UNetDiscriminatorSettings,
    UpscalingDiscriminatorSettings,
    VGGDiscriminatorSettings,
)
from i2i.core.discriminators.vgg import halvings
from i2i.core.image_shape import ImageShape
from i2i.core.initialization import InitializationSettings, initialize
from i2i.core.layers import BatchNorm, Normalization, what_couples_batch
from i2i.core.spectral_norm import SpectralNorm, published_spectral_norm

VGG = VGGDiscriminatorSettings(base_channels=2, hidden_features=3)
UNET = UNetDiscriminatorSettings(base_channels=2)


def pictures(rows: int, pixels: int, channels: int = 3) -> Tensor:
    return 2 * torch.rand(rows, channels, pixels, pixels, generator=torch.Generator().manual_seed(0)) - 1


def logits(output: DiscriminatorOutput) -> Tensor:
    (only,) = output.logits
    return only


def test_union_holds_the_three() -> None:
    for settings in (VGG, UNET, PatchDiscriminatorSettings()):
        assert isinstance(settings, UpscalingDiscriminatorSettings)


@pytest.mark.parametrize(
    ("pixels", "stages", "smallest"),
    [(8, 1, 4), (15, 1, 7), (16, 2, 4), (96, 4, 6), (100, 4, 6), (128, 5, 4), (192, 5, 6), (256, 6, 4)],
)
def test_vgg_takes_any_crop(pixels: int, stages: int, smallest: int) -> None:
    assert halvings(pixels) == (smallest, stages)
    network = VGG.build(ImageShape(3, pixels))
    assert len(network.stages) == stages
    assert logits(network(pictures(2, pixels))).shape == (2, 1)


def test_vgg_sees_the_whole_picture_of_an_odd_size() -> None:
    network = VGGDiscriminatorSettings(base_channels=2, normalization="none").build(ImageShape(1, 25)).double()
    images = pictures(1, 25, 1).double().requires_grad_()
    (gradient,) = torch.autograd.grad(logits(network(images)).sum(), images)
    assert (gradient != 0).all()


def test_vgg_is_the_released_one_by_default() -> None:
    with torch.device("meta"):
        network = VGGDiscriminatorSettings().build(ImageShape(3, 128))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [module.out_channels for module in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512, 512, 512]
    assert [module.kernel_size[0] for module in convolutions] == [3, 4] * 5
    assert (network.hidden.in_features, network.hidden.out_features) == (512 * 16, 100)
    assert [module.bias is not None for module in convolutions] == [True] + [False] * 9


@pytest.mark.parametrize("normalization", ["batch", "instance", "none"])
def test_vgg_normalizes_all_but_the_first_layer(normalization: Normalization) -> None:
    network = VGGDiscriminatorSettings(base_channels=2, normalization=normalization).build(ImageShape(3, 16))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [module.bias is not None for module in convolutions] == [True] + [normalization == "none"] * 3
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(layers) == (3 if normalization == "batch" else 0)
    assert all(isinstance(layer, BatchNorm) for layer in layers)
    assert what_couples_batch(network) == ("batch norm" if normalization == "batch" else None)


def test_unfit_sizes_are_refused_with_the_nearest_fit() -> None:
    assert VGG.size_problem(ImageShape(3, 96)) is None
    assert VGG.size_problem(ImageShape(3, 7)) == "vgg networks have no size of 7 x 7 pixels; nearest: 8"
    with pytest.raises(ValueError, match="nearest: 8"):
        VGG.build(ImageShape(3, 7))
    assert UNET.size_problem(ImageShape(3, 96)) is None
    problem = "unet networks have no size of 100 x 100 pixels; nearest: 96 or 104"
    assert UNET.size_problem(ImageShape(3, 100)) == problem
    with pytest.raises(ValueError, match="nearest: 96 or 104"):
        UNET.build(ImageShape(3, 100))


def test_settings_refuse_what_makes_no_network() -> None:
    with pytest.raises(ValueError, match="base_channels is 0; needs at least 1"):
        VGGDiscriminatorSettings(base_channels=0)
    with pytest.raises(ValueError, match="hidden_features is 0; needs at least 1"):
        VGGDiscriminatorSettings(hidden_features=0)
    with pytest.raises(ValueError, match="base_channels is 0; needs at least 1"):
        UNetDiscriminatorSettings(base_channels=0)


def test_unet_judges_every_pixel() -> None:
    network = UNET.build(ImageShape(3, 16))
    assert logits(network(pictures(2, 16))).shape == (2, 1, 16, 16)
    assert logits(network(pictures(1, 24)[..., :16])).shape == (1, 1, 24, 16)
    assert logits(UNET.build(ImageShape(1, 8))(pictures(1, 8, 1))).shape == (1, 1, 8, 8)


def _silence(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
    return torch.zeros_like(output)


def test_unet_skips_can_be_cut() -> None:
    whole, cut = UNET.build(ImageShape(3, 16)), UNetDiscriminatorSettings(base_channels=2, skip_connections=False)
    other = cut.build(ImageShape(3, 16))
    other.load_state_dict(whole.state_dict())
    images = pictures(1, 16)
    assert not torch.allclose(logits(whole.eval()(images)), logits(other.eval()(images)))
    # Without them the layers at full size see the picture through the innermost maps alone.
    for network, reaches in ((whole, True), (other, False)):
        innermost = network.down[-1].register_forward_hook(_silence)
        one, two = (logits(network(batch)) for batch in (images, -images))
        innermost.remove()
        assert torch.equal(one, two) != reaches


def test_unet_normalizes_all_but_the_ends() -> None:
    network = UNET.build(ImageShape(3, 16))
    assert sum(isinstance(module, SpectralNorm) for module in network.modules()) == 8
    assert what_couples_batch(network) == "spectral norm"
    assert what_couples_batch(copy.deepcopy(network)) == "spectral norm"
    bare = UNetDiscriminatorSettings(base_channels=2, spectral_norm=False).build(ImageShape(3, 16))
    assert what_couples_batch(bare) is None


@pytest.mark.parametrize("settings", [VGG, UNET], ids=["vgg", "unet"])
def test_initialization_reaches_every_layer_and_the_seed_decides(
    settings: VGGDiscriminatorSettings | UNetDiscriminatorSettings,
) -> None:
    states = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        network = settings.build(ImageShape(3, 16))
        initialize(network, InitializationSettings(kind="kaiming"), torch.Generator().manual_seed(0))
        states.append(network.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("settings", [VGG, UNET], ids=["vgg", "unet"])
def test_every_weight_learns_and_penalties_on_slopes_reach_them(
    settings: VGGDiscriminatorSettings | UNetDiscriminatorSettings,
) -> None:
    torch.manual_seed(0)
    network = settings.build(ImageShape(3, 16)).double()
    images = pictures(4, 16).double().requires_grad_()
    result = logits(network(images))
    (result - 1).square().mean().backward(retain_graph=True)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    (slope,) = torch.autograd.grad(result.sum(), images, create_graph=True)
    network.zero_grad()
    slope.square().sum().backward()
    first = next(network.parameters())
    assert first.grad is not None and first.grad.abs().max() > 0


@pytest.mark.parametrize("settings", [VGG, UNET], ids=["vgg", "unet"])
def test_layouts_and_narrow_formats_agree(settings: VGGDiscriminatorSettings | UNetDiscriminatorSettings) -> None:
    torch.manual_seed(0)
    network = settings.build(ImageShape(3, 32)).eval()
    images = pictures(2, 32)
    plain = logits(network(images))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(
        logits(network(images.contiguous(memory_format=torch.channels_last))), plain, check_stride=False
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = logits(network(images))
    torch.testing.assert_close(narrow.float(), plain, rtol=0.05, atol=0.05, check_stride=False)


# --- spectral norm ---------------------------------------------------------------------------------------------------


def with_torch_hook(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is on its way out; the published weights are its
        return nn.utils.spectral_norm(layer)


@pytest.mark.parametrize(
    "make", [lambda: nn.Conv2d(3, 4, 3), lambda: nn.ConvTranspose2d(4, 3, 2), lambda: nn.Linear(6, 5)]
)
def test_power_iteration_equals_the_hook_that_published_weights_come_from(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    theirs = with_torch_hook(make().double())
    ours = published_spectral_norm(make().double())
    names = {"original": "weight_orig", "0._u": "weight_u", "0._v": "weight_v"}
    state = {f"parametrizations.weight.{name}": theirs.state_dict()[hook] for name, hook in names.items()}
    ours.load_state_dict(state | {"bias": theirs.state_dict()["bias"]})
    images = torch.randn(2, 6, dtype=torch.float64) if isinstance(theirs, nn.Linear) else None
    if images is None:
        images = torch.randn(2, theirs.in_channels, 5, 5, dtype=torch.float64)  # type: ignore[arg-type]
    for training in (True, True, False):
        torch.testing.assert_close(ours.train(training)(images), theirs.train(training)(images), rtol=0, atol=1e-12)
    (ours(images).square().sum() + ours(images).sum()).backward()
    (theirs(images).square().sum() + theirs(images).sum()).backward()
    torch.testing.assert_close(
        ours.get_parameter("parametrizations.weight.original").grad, theirs.get_parameter("weight_orig").grad
    )
    for name, hook in names.items():
        torch.testing.assert_close(ours.state_dict()[f"parametrizations.weight.{name}"], theirs.state_dict()[hook])


def test_one_derivative_outlives_the_next_call() -> None:
    layer = published_spectral_norm(nn.Conv2d(3, 4, 3))
    images = pictures(2, 6)
    (layer(images).mean() - layer(-images).mean()).backward()
    raw = layer.get_parameter("parametrizations.weight.original")
    assert raw.grad is not None and raw.grad.abs().max() > 0


def test_estimate_is_exact_under_autocast() -> None:
    layer = published_spectral_norm(nn.Linear(40, 30)).eval()
    exact = layer.weight
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.weight, exact)  # type: ignore[arg-type]
