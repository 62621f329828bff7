"""Settings refuse what cannot be, by the name of the field."""

from __future__ import annotations

import typing
from dataclasses import replace
from typing import Any

import pytest

from i2i.data.fetch import CATALOGUE
from i2i.data.settings import DrawnAnimalsSettings, PublishedSetName, UnpairedFoldersSettings


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
