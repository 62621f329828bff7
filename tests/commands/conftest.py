"""Small generators for the tests of `i2i generate`, and a folder of its own for what they write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inference.models import COLOUR, DCGAN, GREY, MLP, write_generator

NAMES = ["cat", "dog", "fox", "hen"]


@pytest.fixture
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A generator of grey pictures of 28 pixels, without classes."""
    return write_generator(tmp_path / "plain.safetensors", DCGAN, GREY)


@pytest.fixture
def classed(tmp_path: Path) -> Path:
    """A generator of colour pictures of four classes."""
    return write_generator(tmp_path / "classed.safetensors", MLP, COLOUR, 4, {"class_names": NAMES})
