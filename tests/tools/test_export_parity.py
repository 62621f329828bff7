"""Every family of generators, exported to every format, gives the model's pictures."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i.core.generators import LatentGeneratorSettings, PictureGeneratorSettings
from i2i.export.parity import MOST_LEVELS, parity_pictures
from i2i.inference.runners import PyTorchRunner
from i2i.pipelines.protocol import PictureEntryPoint

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def parity() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield importlib.import_module("export_parity")


FAMILIES = (
    "resnet, instance norm", "resnet, batch norm", "resnet, no norm", "resnet, anti-aliased", "unet, instance norm",
    "unet, batch norm", "srresnet x3", "msrresnet x4", "rrdb x2", "compact x4", "dcgan", "mlp", "sngan",
    "sngan, 3 classes", "r3gan, 3 classes",
)  # fmt: skip


def test_every_kind_of_network_is_among_them(parity: Any) -> None:
    kinds = {entry.generator.kind for entry in parity.FAMILIES.values()}
    known = {settings.kind for union in (PictureGeneratorSettings, LatentGeneratorSettings) for settings in _of(union)}
    assert kinds == known
    assert sorted(parity.FAMILIES) == sorted(FAMILIES)


def _of(union: Any) -> tuple[Any, ...]:
    return union.__args__


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_format_gives_the_pictures_of_pytorch(parity: Any, family: str, tmp_path: Path) -> None:
    entry = parity.FAMILIES[family]
    measured = parity.measure(family, tmp_path)
    assert [row.form for row in measured] == parity.forms_here()
    assert len(measured) >= 3
    for row in measured:
        assert row.comparisons == 2 * (10 if isinstance(entry, PictureEntryPoint) else 5)
        assert row.levels <= MOST_LEVELS, row


@pytest.mark.parametrize("family", FAMILIES)
def test_the_networks_tell_inputs_apart(parity: Any, family: str) -> None:
    entry = parity.FAMILIES[family]
    runner = PyTorchRunner(parity.untrained(entry), entry)
    if isinstance(entry, PictureEntryPoint):
        result = runner(parity_pictures(2, 33, 41))
    else:
        labels = torch.tensor([0, 1]) if entry.classes else None
        result = runner(torch.randn(2, entry.generator.latent, generator=torch.Generator().manual_seed(0)), labels)
    assert result.std() * 127.5 > 10
    assert (result[0] - result[1]).abs().mean() * 127.5 > 10


def test_the_page_in_the_documentation_has_every_family_and_passes(parity: Any) -> None:
    rows = re.findall(r"^\| (\w[^|]*) \| (.+) \|$", parity.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [family for family, _ in rows] == list(parity.FAMILIES)
    for _, cells in rows:
        numbers = [cell.strip().removeprefix("below ") for cell in cells.split("|")]
        assert len(numbers) == 4
        assert all(float(number) <= MOST_LEVELS for number in numbers)
