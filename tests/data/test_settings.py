"""Settings refuse what cannot be, by the name of the field."""

from __future__ import annotations

import typing
from dataclasses import replace
from typing import Any

import pytest

from i2i.core.image_shape import ImageShape
from i2i.data.fetch import CATALOGUE
from i2i.data.settings import (
    Cifar10Settings,
    DataSettings,
    DrawnAnimalsSettings,
    DrawnDigitsSettings,
    IdxSettings,
    ImageFolderSettings,
    PublishedSetName,
    UnpairedFoldersSettings,
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
