from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i.core.generators import (
    CompactSettings,
    MSRResNetSettings,
    PictureGeneratorSettings,
    ResNetGeneratorSettings,
    RRDBSettings,
    SRResNetSettings,
    UNetGeneratorSettings,
)
from i2i.export import layouts
from i2i.export.recognition import LAYOUTS, Unlike, nearest, recognize, unknown_names

LEFTTHOMAS = SRResNetSettings(
    scale=2, base_channels=4, blocks=2, convolution_bias=True, trunk_end="prelu", output="tanh"
)
HASNAINRAZ = SRResNetSettings(
    base_channels=4, blocks=3, normalization="instance", end_kernel=3, input_range="symmetric", output="tanh"
)
TINY = ResNetGeneratorSettings(base_channels=2, blocks=2)
CASES: list[tuple[Callable[[Any], dict[str, str]], PictureGeneratorSettings]] = [
    (layouts.leftthomas_srresnet, LEFTTHOMAS),
    (layouts.lornatang_srresnet, SRResNetSettings(base_channels=4, blocks=2)),
    (layouts.lornatang_srresnet, SRResNetSettings(scale=8, base_channels=4, blocks=1, end_kernel=5)),
    (layouts.lornatang_srresnet, SRResNetSettings(scale=3, base_channels=4, blocks=1)),
    (layouts.hasnainraz_srresnet, HASNAINRAZ),
    *((layouts.basicsr_msrresnet, MSRResNetSettings(scale=s, base_channels=4, blocks=3)) for s in (2, 3, 4)),
    *(
        (layouts.basicsr_rrdb, RRDBSettings(scale=s, base_channels=4, growth_channels=2, blocks=2))
        for s in (1, 2, 4, 8)
    ),
    (layouts.esrgan_rrdb, RRDBSettings(base_channels=4, growth_channels=2, blocks=2, unshuffle=False)),
    *(
        (layouts.old_esrgan_rrdb, RRDBSettings(scale=s, base_channels=4, growth_channels=2, blocks=2, unshuffle=False))
        for s in (1, 2, 4, 8)
    ),
    *((layouts.basicsr_compact, CompactSettings(scale=s, base_channels=4, convs=3)) for s in (1, 2, 3, 4)),
    *(
        (layouts.junyanz_resnet, ResNetGeneratorSettings(base_channels=2, blocks=2, normalization=n, dropout=d))
        for n in ("instance", "batch", "none")
        for d in (0.0, 0.5)
    ),
    *(
        (layouts.junyanz_unet, UNetGeneratorSettings(base_channels=2, levels=levels, normalization=n))
        for n in ("instance", "batch", "none")
        for levels in (5, 7)
    ),
]


def theirs(keys: Callable[[Any], dict[str, str]], settings: PictureGeneratorSettings) -> dict[str, Tensor]:
    """The weights of a network of ours as the other project would have them."""
    state = settings.build().state_dict()
    named = {name: state[ours] for ours, name in keys(settings).items()}
    if "junyanz" in keys.__name__ and settings.normalization == "instance":
        # Their convolutions have biases that instance norm takes away again.
        biases = {name.replace(".weight", ".bias"): torch.ones(1) for name in named if name.endswith(".weight")}
        named = biases | named
    if "junyanz" in keys.__name__ and settings.normalization == "none":
        last = list(named)[-1]
        named = {name: value for name, value in named.items() if name == last or not name.endswith(".bias")}
    return named


@pytest.mark.parametrize(
    ("keys", "settings"), CASES, ids=[f"{keys.__name__}-{index}" for index, (keys, _) in enumerate(CASES)]
)
def test_every_layout_is_told_from_all_others(
    keys: Callable[[Any], dict[str, str]], settings: PictureGeneratorSettings
) -> None:
    weights = theirs(keys, settings)
    found = []
    for layout in LAYOUTS:
        try:
            found.append(recognize(weights, layout))
        except Unlike:
            continue
    (recognized,) = found
    assert (recognized.layout, recognized.settings) == (keys.__name__, settings)
    settings.build().load_state_dict(recognized.state)
    for ours, name in keys(settings).items():
        if name in weights:
            assert torch.equal(recognized.state[ours], weights[name])
    for ours in recognized.state.keys() - keys(settings).keys():
        assert ours.endswith(".num_batches_tracked")
    assert set(recognized.left_out) == weights.keys() - set(keys(settings).values())


def test_all_layouts_are_tried_here() -> None:
    assert {keys.__name__ for keys, _ in CASES} == {layout.name for layout in LAYOUTS}


def test_other_number_formats_become_ours() -> None:
    weights = {name: value.half() for name, value in theirs(layouts.junyanz_resnet, TINY).items()}
    (layout,) = (layout for layout in LAYOUTS if layout.name == "junyanz_resnet")
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
    weights = theirs(layouts.basicsr_msrresnet, MSRResNetSettings(base_channels=4, blocks=1))
    (layout,) = (layout for layout in LAYOUTS if layout.name == "basicsr_msrresnet")
    recognize(weights, layout)
    change(weights)
    with pytest.raises(Unlike, match=reason):
        recognize(weights, layout)


def test_the_nearest_layout_and_what_is_foreign_to_it() -> None:
    weights = theirs(layouts.junyanz_resnet, TINY) | {"model.4.filt": torch.zeros(1), "model.8.filt": torch.zeros(1)}
    first, *_ = nearest(weights)
    assert first.name == "junyanz_resnet"
    assert unknown_names(weights, first) == ["model.4.filt", "model.8.filt"]
    assert nearest({"features.0.kernel": torch.zeros(1)}) == []


def test_numbers_in_names_claim_nothing() -> None:
    weights = theirs(layouts.basicsr_msrresnet, MSRResNetSettings(base_channels=4, blocks=1))
    weights["body.99999999.conv1.weight"] = weights["body.0.conv1.weight"]
    for layout in LAYOUTS:
        with pytest.raises(Unlike):
            recognize(weights, layout)
