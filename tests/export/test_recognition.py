from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i.core.discriminators import (
    DCGANDiscriminatorSettings,
    PatchDiscriminatorSettings,
    PixelDiscriminatorSettings,
    UNetDiscriminatorSettings,
    VGGDiscriminatorSettings,
)
from i2i.core.generators import (
    CompactSettings,
    DCGANGeneratorSettings,
    MLPGeneratorSettings,
    MSRResNetSettings,
    PictureGeneratorSettings,
    ResNetGeneratorSettings,
    RRDBSettings,
    SRResNetSettings,
    UNetGeneratorSettings,
)
from i2i.core.image_shape import ImageShape
from i2i.export import layouts
from i2i.export.inferred_settings import LatentNetwork, Unlike
from i2i.export.other_networks import other_network
from i2i.export.recognition import LAYOUTS, nearest, recognize, unknown_names

LEFTTHOMAS = SRResNetSettings(
    scale=2, base_channels=4, blocks=2, convolution_bias=True, trunk_end="prelu", output="tanh"
)
HASNAINRAZ = SRResNetSettings(
    base_channels=4, blocks=3, normalization="instance", end_kernel=3, input_range="symmetric", output="tanh"
)
TINY = ResNetGeneratorSettings(base_channels=2, blocks=2)
CUT = ResNetGeneratorSettings(base_channels=2, blocks=2, sampling="antialiased")
DCGAN = DCGANGeneratorSettings(latent=5, base_channels=2)
CASES: list[tuple[str, PictureGeneratorSettings | LatentNetwork]] = [
    ("leftthomas_srresnet", LEFTTHOMAS),
    ("lornatang_srresnet", SRResNetSettings(base_channels=4, blocks=2)),
    ("lornatang_srresnet", SRResNetSettings(scale=8, base_channels=4, blocks=1, end_kernel=5)),
    ("lornatang_srresnet", SRResNetSettings(scale=3, base_channels=4, blocks=1)),
    ("hasnainraz_srresnet", HASNAINRAZ),
    *(("basicsr_msrresnet", MSRResNetSettings(scale=s, base_channels=4, blocks=3)) for s in (2, 3, 4)),
    *(("basicsr_rrdb", RRDBSettings(scale=s, base_channels=4, growth_channels=2, blocks=2)) for s in (1, 2, 4, 8)),
    ("esrgan_rrdb", RRDBSettings(base_channels=4, growth_channels=2, blocks=2, unshuffle=False)),
    *(
        ("old_esrgan_rrdb", RRDBSettings(scale=s, base_channels=4, growth_channels=2, blocks=2, unshuffle=False))
        for s in (1, 2, 4, 8)
    ),
    *(("basicsr_compact", CompactSettings(scale=s, base_channels=4, convs=3)) for s in (1, 2, 3, 4)),
    *(
        (name, replace(settings, normalization=n, dropout=d))
        for name, settings in (("junyanz_resnet", TINY), ("taesungp_resnet", CUT))
        for n in ("instance", "batch", "none")
        for d in (0.0, 0.5)
    ),
    *(
        ("junyanz_unet", UNetGeneratorSettings(base_channels=2, levels=levels, normalization=n))
        for n in ("instance", "batch", "none")
        for levels in (5, 7)
    ),
    *(
        ("pytorch_dcgan_generator", LatentNetwork(replace(DCGAN, normalization=n), shape))
        for n in ("batch", "none")
        for shape in (ImageShape(1, 28), ImageShape(3, 16), ImageShape(3, 64), ImageShape(1, 128))
    ),
    *(
        ("csinva_mlp", LatentNetwork(MLPGeneratorSettings(latent=5, hidden=hidden), shape))
        for hidden in ((6, 7), (9,), (3, 3, 3))
        for shape in (ImageShape(1, 28), ImageShape(3, 8))
    ),
]
BY_NAME = {layout.name: layout for layout in LAYOUTS}


def theirs(name: str, found: Any) -> dict[str, Tensor]:
    """The weights of a network of ours as the other project would have them."""
    state, keys = found.build().state_dict(), BY_NAME[name].keys(found)
    named = {theirs: state[ours] for ours, theirs in keys.items()}
    if name not in ("junyanz_resnet", "junyanz_unet", "taesungp_resnet"):
        return named
    if found.normalization == "instance":
        # Their convolutions have biases that instance norm takes away again.
        biases = {name.replace(".weight", ".bias"): torch.ones(1) for name in named if name.endswith(".weight")}
        named = biases | named
    if found.normalization == "none":
        last = list(named)[-1]
        named = {name: value for name, value in named.items() if name == last or not name.endswith(".bias")}
    constants = BY_NAME[name].constants
    return named if constants is None else {**named, **constants(found)}


@pytest.mark.parametrize(("name", "settings"), CASES, ids=[f"{name}-{index}" for index, (name, _) in enumerate(CASES)])
def test_every_layout_is_told_from_all_others(name: str, settings: Any) -> None:
    weights = theirs(name, settings)
    found = []
    for layout in LAYOUTS:
        try:
            found.append(recognize(weights, layout))
        except Unlike:
            continue
    (recognized,) = found
    assert recognized.layout.name == name
    assert (recognized.settings, recognized.shape) == (
        (settings.settings, settings.shape) if isinstance(settings, LatentNetwork) else (settings, None)
    )
    state = recognized.build().state_dict()
    keys = BY_NAME[name].keys(settings)
    for ours, key in keys.items():
        if key in weights:
            assert torch.equal(state[ours], weights[key])
    for ours in state.keys() - keys.keys():
        assert ours.endswith(".num_batches_tracked")
    assert set(recognized.left_out) == weights.keys() - set(keys.values())
    assert other_network(weights) is None


def test_all_layouts_are_tried_here() -> None:
    assert {name for name, _ in CASES} == set(BY_NAME)
    assert len(LAYOUTS) == len(BY_NAME)


def test_other_number_formats_become_ours() -> None:
    weights = {name: value.half() for name, value in theirs("junyanz_resnet", TINY).items()}
    layout = BY_NAME["junyanz_resnet"]
    state = recognize(weights, layout).state
    assert all(value.dtype == torch.float32 for value in state.values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda weights: weights.pop("conv_hr.weight"), r"lacks conv_hr\.weight"),
        (lambda weights: weights.pop("conv_first.weight"), r"lacks conv_first\.weight"),
        (lambda weights: weights.update(extra=torch.zeros(1)), "does not know extra"),
        (lambda weights: weights.update({"conv_hr.bias": torch.zeros(5)}), r"needs conv_hr\.bias as \(4,\).*\(5,\)"),
        (lambda weights: weights.update({"conv_first.weight": torch.zeros(4)}), "of four dimensions"),
        (lambda weights: weights.update({"conv_first.weight": torch.zeros(4, 1, 3, 3)}), r"\(4, 3, 3, 3\)"),
        (lambda weights: weights.update({"conv_first.weight": torch.zeros(0, 3, 3, 3)}), "of four dimensions"),
        (lambda weights: weights.pop("body.0.conv1.weight"), "blocks is 0; needs at least 1"),
        (
            lambda weights: weights.update({"upconv2.weight": torch.zeros(1), "upconv3.weight": torch.zeros(1)}),
            "upconv",
        ),
    ],
)
def test_what_does_not_fit_is_said(change: Callable[[dict], None], reason: str) -> None:
    weights = theirs("basicsr_msrresnet", MSRResNetSettings(base_channels=4, blocks=1))
    layout = BY_NAME["basicsr_msrresnet"]
    recognize(weights, layout)
    change(weights)
    with pytest.raises(Unlike, match=reason):
        recognize(weights, layout)


def test_the_nearest_layout_and_what_is_foreign_to_it() -> None:
    weights = theirs("junyanz_resnet", TINY) | {"model.4.kernel": torch.zeros(1), "model.8.kernel": torch.zeros(1)}
    first, *_ = nearest(weights)
    assert first.name == "junyanz_resnet"
    assert unknown_names(weights, first) == ["model.4.kernel", "model.8.kernel"]
    assert nearest({"features.0.kernel": torch.zeros(1)}) == []
    assert nearest(theirs("taesungp_resnet", CUT))[0].name == "taesungp_resnet"


def test_filters_that_were_changed_are_not_those_of_the_network() -> None:
    weights = theirs("taesungp_resnet", CUT)
    layout = BY_NAME["taesungp_resnet"]
    filters = [name for name in weights if name.endswith(".filt")]
    assert filters == ["model.7.filt", "model.11.filt", "model.14.filt", "model.18.filt"]
    recognize({name: value.half() for name, value in weights.items()}, layout)
    recognize({name: value for name, value in weights.items() if name not in filters}, layout)
    for changed in (weights["model.14.filt"] + 0.01, weights["model.14.filt"][:1]):
        with pytest.raises(Unlike, match=r"model\.14\.filt to be the filter"):
            recognize(weights | {"model.14.filt": changed}, layout)


def _state(network: torch.nn.Module, keys: dict[str, str]) -> dict[str, Tensor]:
    state = network.state_dict()
    return {theirs: state[ours] for ours, theirs in keys.items()}


_PATCH = PatchDiscriminatorSettings(base_channels=2)
_PIXEL = PixelDiscriminatorSettings(base_channels=2)
_JUDGE = DCGANDiscriminatorSettings(base_channels=2)
_VGG = VGGDiscriminatorSettings(base_channels=2)
_UNET = UNetDiscriminatorSettings(base_channels=2)
_SMALL = ImageShape(3, 32)


@pytest.mark.parametrize(
    ("weights", "what"),
    [
        (_state(_PATCH.build(), layouts.junyanz_patch(_PATCH)), "PatchGAN"),
        (_state(_PIXEL.build(), layouts.junyanz_pixel(_PIXEL)), "pixel discriminator"),
        (_state(_JUDGE.build(_SMALL), layouts.pytorch_dcgan_discriminator(_JUDGE, _SMALL)), "discriminator of a DCGAN"),
        (_state(_VGG.build(_SMALL), layouts.basicsr_vgg(_VGG, _SMALL)), "VGG-style discriminator"),
        (_state(_UNET.build(_SMALL), layouts.basicsr_unet(_UNET)), "U-Net discriminator"),
        ({"0.weight": torch.zeros(4, 9), "2.weight": torch.zeros(1, 4)}, "discriminator of a plain GAN"),
        ({f"lin{index}.model.1.weight": torch.zeros(1, 8, 1, 1) for index in range(5)}, "LPIPS"),
        ({"features.0.weight": torch.zeros(4, 3, 3, 3), "classifier.6.bias": torch.zeros(9)}, "VGG classifier"),
    ],
)
def test_what_makes_no_pictures_is_known(weights: dict[str, Tensor], what: str) -> None:
    assert what in (other_network(weights) or "")
    for layout in LAYOUTS:
        with pytest.raises(Unlike):
            recognize(weights, layout)


def test_numbers_in_names_claim_nothing() -> None:
    weights = theirs("basicsr_msrresnet", MSRResNetSettings(base_channels=4, blocks=1))
    weights["body.99999999.conv1.weight"] = weights["body.0.conv1.weight"]
    for layout in LAYOUTS:
        with pytest.raises(Unlike):
            recognize(weights, layout)
