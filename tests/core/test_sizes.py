"""Numbers of parts that would fill the memory with a network nobody means are refused, in words of the setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from i2i.core.discriminators import PatchDiscriminatorSettings, R3GANDiscriminatorSettings
from i2i.core.generators import (
    CompactSettings,
    MSRResNetSettings,
    R3GANGeneratorSettings,
    ResNetGeneratorSettings,
    RRDBSettings,
    SRResNetSettings,
    UNetGeneratorSettings,
)
from i2i.core.sizes import MOST_REPEATS


@pytest.mark.parametrize(
    ("settings", "name", "most"),
    [
        (ResNetGeneratorSettings, "blocks", MOST_REPEATS),
        (MSRResNetSettings, "blocks", MOST_REPEATS),
        (RRDBSettings, "blocks", MOST_REPEATS),
        (SRResNetSettings, "blocks", MOST_REPEATS),
        (CompactSettings, "convs", MOST_REPEATS),
        (UNetGeneratorSettings, "levels", 16),
        (PatchDiscriminatorSettings, "layers", 16),
    ],
)
def test_of_networks(settings: Callable[..., Any], name: str, most: int) -> None:
    settings(**{name: most})
    for count in (most + 1, 10**12):
        with pytest.raises(ValueError, match=f"^{name} is {count}; needs at most {most}$"):
            settings(**{name: count})


@pytest.mark.parametrize("settings", [R3GANGeneratorSettings, R3GANDiscriminatorSettings])
@pytest.mark.parametrize("name", ["blocks", "widths", "expansion"])
def test_of_stages(settings: Callable[..., Any], name: str) -> None:
    huge = 10**12
    with pytest.raises(ValueError, match=f"^{name} is {huge}; needs at most"):
        settings(**{name: huge if name == "expansion" else (1, huge)})
