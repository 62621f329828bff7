"""Settings refuse what cannot be, by the name of the field."""

from __future__ import annotations

import typing
from dataclasses import replace
from typing import Any

import pytest

from i2i.core.image_shape import ImageShape
from i2i.data.degradation_settings import (
    BicubicSettings,
    FirstRoundSettings,
    SecondOrderSettings,
    SecondRoundSettings,
)
from i2i.data.fetch import CATALOGUE
from i2i.data.settings import (
    Cifar10Settings,
    DataSettings,
    DrawnAnimalsSettings,
    DrawnDigitsSettings,
    DrawnScenesSettings,
    IdxSettings,
    ImageFolderSettings,
    PublishedSetName,
    UnpairedFoldersSettings,
    UpscalingFolderSettings,
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either root, or both a and b"),
        ({"a": "x"}, "either root, or both a and b"),
        ({"root": "r", "a": "x", "b": "y"}, "not both"),
        ({"root": "r", "resize_pixels": 200}, "^resize_pixels is 200, smaller than crop_pixels 256"),
        ({"root": "r", "crop_pixels": 0}, "^crop_pixels is 0"),
        ({"root": "r", "max_pixels": 0}, "^max_pixels is 0"),
    ],
)
def test_folders(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UnpairedFoldersSettings(**fields)


@pytest.mark.parametrize("field", ["size_pixels", "pictures", "test_pictures", "seed"])
def test_drawn_animals(field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} is -1"):
        replace(DrawnAnimalsSettings(), **{field: -1})


def test_defaults_are_the_reference_s() -> None:
    settings = UnpairedFoldersSettings(a="x", b="y")
    assert (settings.resize_pixels, settings.crop_pixels, settings.flip, settings.pairing) == (286, 256, True, "random")


def test_every_published_set_can_be_named() -> None:
    assert set(typing.get_args(PublishedSetName)) == set(CATALOGUE)


_EVERY_KIND: list[tuple[DataSettings, ImageShape]] = [
    (UnpairedFoldersSettings(root="x", crop_pixels=128), ImageShape(3, 128)),
    (DrawnAnimalsSettings(size_pixels=48), ImageShape(3, 48)),
    (ImageFolderSettings(root="x", size_pixels=32, channels=1), ImageShape(1, 32)),
    (IdxSettings(root="x", size_pixels=32), ImageShape(1, 32)),
    (Cifar10Settings(root="x", size_pixels=64), ImageShape(3, 64)),
    (DrawnDigitsSettings(size_pixels=32), ImageShape(1, 32)),
    (UpscalingFolderSettings(root="x", crop_pixels=128), ImageShape(3, 128)),
    (DrawnScenesSettings(crop_pixels=64), ImageShape(3, 64)),
]


def test_every_kind_is_among_these() -> None:
    assert {type(settings) for settings, _ in _EVERY_KIND} == set(typing.get_args(DataSettings))


@pytest.mark.parametrize(("settings", "shape"), _EVERY_KIND, ids=lambda value: getattr(value, "kind", ""))
def test_every_kind_says_the_shape_of_its_pictures_and_which_key_decides_it(
    settings: DataSettings, shape: ImageShape
) -> None:
    assert settings.shape == shape
    assert getattr(settings, settings.pixels_key) == shape.pixels


@pytest.mark.parametrize("settings", [ImageFolderSettings, IdxSettings, Cifar10Settings])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"root": " "}, "^root is empty"),
        ({"root": "x", "size_pixels": 3}, "^size_pixels is 3; needs 4 to 4096"),
        ({"root": "x", "size_pixels": 5000}, "^size_pixels is 5000"),
    ],
)
def test_one_set(settings: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**fields)


def test_image_folder() -> None:
    for fields, message in (({"channels": 2}, "^channels is 2; needs 1"), ({"max_pixels": 0}, "^max_pixels is 0")):
        with pytest.raises(ValueError, match=message):
            replace(ImageFolderSettings(root="x"), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [("size_pixels", 15), ("size_pixels", 129), ("pictures", 0), ("test_pictures", -1), ("seed", -1)],
)
def test_drawn_digits(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"^{field} is {value}; "):
        replace(DrawnDigitsSettings(), **{field: value})  # type: ignore[arg-type]


def test_only_super_resolution_has_pictures_of_two_sizes() -> None:
    scales = {settings.kind: settings.scale for settings, _ in _EVERY_KIND}
    assert {kind for kind, scale in scales.items() if scale != 1} == {"upscaling_folder", "drawn_scenes"}
    assert UpscalingFolderSettings(root="x", scale=2).scale == DrawnScenesSettings(scale=2).scale == 2
    assert UpscalingFolderSettings(root="x").streams == ("low", "high")


@pytest.mark.parametrize("settings", [UpscalingFolderSettings(root="x"), DrawnScenesSettings()])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scale": 0}, "^scale is 0; needs 1 to 16"),
        ({"scale": 17}, "^scale is 17"),
        ({"crop_pixels": 3}, "^crop_pixels is 3; needs 4 to 4096"),
        ({"crop_pixels": 4100}, "^crop_pixels is 4100"),
        ({"crop_pixels": 98}, "^crop_pixels is 98; needs a multiple of scale 4 - try 96 or 100"),
    ],
)
def test_pairs(settings: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(settings, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"root": ""}, "^root is empty"),
        ({"low": " "}, "^low is empty"),
        ({"low": "y", "degradation": SecondOrderSettings()}, "^low is given, so degradation second_order has nothing"),
        ({"test_low": "y"}, "^test_low is given without test"),
        ({"low": "y", "test": "z"}, "^test is given without test_low"),
        ({"held_out": -1}, "^held_out is -1"),
        ({"held_out": 1, "test": "y"}, "^held_out is 1, but test is given"),
        ({"max_pixels": 0}, "^max_pixels is 0"),
    ],
)
def test_upscaling_folder(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(UpscalingFolderSettings(root="x"), **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size_pixels": 47}, "^size_pixels is 47; needs 48 to 1024"),
        ({"size_pixels": 95}, "^crop_pixels is 96; size_pixels 95 allows 92"),
        ({"pictures": 0}, "^pictures is 0"),
        ({"test_pictures": -1}, "^test_pictures is -1"),
        ({"seed": -1}, "^seed is -1"),
    ],
)
def test_drawn_scenes(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(DrawnScenesSettings(), **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"blur_probability": 1.1}, "^blur_probability is 1.1; needs 0 to 1"),
        ({"grey_noise_probability": -0.1}, "^grey_noise_probability is -0.1"),
        ({"up_probability": 0.5}, r"^down_probability is 0\.7; with up_probability 0\.5 it needs at most 0\.5"),
        ({"blur_sigma": (3.0, 1.0)}, r"^blur_sigma is \[3, 1\]; needs two numbers of 0\.05 to 20, the smaller first"),
        ({"resize_factor": (0.2, 0.9)}, r"^resize_factor is \[0\.2, 0\.9\]; needs one number up to 1"),
        ({"gaussian_sigma": (-1.0, 1.0)}, "^gaussian_sigma is "),
        ({"jpeg_quality": (0, 50)}, "^jpeg_quality is "),
    ],
)
def test_rounds_of_degradation(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FirstRoundSettings(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kernel_pixels": (7, 33)}, r"^kernel_pixels is \[7, 33\]; needs two numbers of 3 to 31"),
        ({"kernel_pixels": (7, 20)}, r"^kernel_pixels is \[7, 20\]; needs odd numbers"),
        ({"final_sinc_probability": 2.0}, "^final_sinc_probability is 2"),
        ({"margin_pixels": -1}, "^margin_pixels is -1"),
    ],
)
def test_second_order(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SecondOrderSettings(**fields)


def test_degradation_defaults_are_the_reference_s() -> None:
    settings = SecondOrderSettings()
    assert UpscalingFolderSettings(root="x").degradation == BicubicSettings()
    assert settings.second == SecondRoundSettings() != settings.first == FirstRoundSettings()
    assert (settings.first.resize_factor, settings.second.resize_factor) == ((0.15, 1.5), (0.3, 1.2))
    assert (settings.first.blur_sigma, settings.second.blur_sigma) == ((0.2, 3.0), (0.2, 1.5))
