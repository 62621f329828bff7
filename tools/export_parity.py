"""Every family of generators in every export format against PyTorch, as a table; see `tools/export_parity --help`."""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from i2i import __version__
from i2i.core.generators import (
    CompactSettings,
    DCGANGeneratorSettings,
    MLPGeneratorSettings,
    MSRResNetSettings,
    R3GANGeneratorSettings,
    ResNetGeneratorSettings,
    RRDBSettings,
    SNGANGeneratorSettings,
    SRResNetSettings,
    UNetGeneratorSettings,
)
from i2i.core.image_shape import ImageShape
from i2i.export.formats import FORMATS, Recording
from i2i.export.parity import MOST_LEVELS, compare, parity_pictures
from i2i.inference import load_any_model
from i2i.inference.graphs import recordable
from i2i.inference.model_files.exported_metadata import ExportFacts, ExportForm, sealed_metadata
from i2i.inference.model_files.model_file import read_metadata, write_model_file
from i2i.inference.runners import PyTorchRunner
from i2i.pipelines.protocol import EntryPoint, LatentEntryPoint, PictureEntryPoint

PAGE = Path(__file__).parents[1] / "docs" / "export_parity.md"
SIZES = ((2, 3), (5, 9), (7, 50), (17, 23), (31, 33), (33, 64), (41, 1), (64, 31), (65, 41), (97, 71))
"""Ten odd heights and widths, below, between and above the multiples that networks need."""
SHAPE = ImageShape(3, 32)


def _pictures(settings: ResNetGeneratorSettings | UNetGeneratorSettings) -> PictureEntryPoint:
    return PictureEntryPoint("generator", settings, ("a", "b"))


def _enlarging(
    settings: SRResNetSettings | MSRResNetSettings | RRDBSettings | CompactSettings,
) -> PictureEntryPoint:
    return PictureEntryPoint("generator", settings, ("low", "high"), settings.scale)


_DCGAN = DCGANGeneratorSettings(latent=12, base_channels=8)
_SNGAN = SNGANGeneratorSettings(latent=12, widths=(8, 8, 8, 8))
_R3GAN = R3GANGeneratorSettings(latent=12, widths=(8,) * 4, cardinalities=(2,) * 4, blocks=(1,) * 4)

FAMILIES: Mapping[str, EntryPoint] = {
    "resnet, instance norm": _pictures(ResNetGeneratorSettings(base_channels=8, blocks=1)),
    "resnet, batch norm": _pictures(ResNetGeneratorSettings(base_channels=8, blocks=1, normalization="batch")),
    "resnet, anti-aliased": _pictures(ResNetGeneratorSettings(base_channels=8, blocks=1, sampling="antialiased")),
    "resnet, no norm": _pictures(ResNetGeneratorSettings(base_channels=8, blocks=1, normalization="none")),
    "unet, instance norm": _pictures(UNetGeneratorSettings(base_channels=4, levels=5, normalization="instance")),
    "unet, batch norm": _pictures(UNetGeneratorSettings(base_channels=4, levels=5)),
    "srresnet x3": _enlarging(SRResNetSettings(scale=3, base_channels=8, blocks=1)),
    "msrresnet x4": _enlarging(MSRResNetSettings(base_channels=8, blocks=1)),
    "rrdb x2": _enlarging(RRDBSettings(scale=2, base_channels=8, growth_channels=4, blocks=1)),
    "compact x4": _enlarging(CompactSettings(base_channels=8, convs=1)),
    "dcgan": LatentEntryPoint("generator", _DCGAN, SHAPE),
    "mlp": LatentEntryPoint("generator", MLPGeneratorSettings(latent=12, hidden=(32,)), SHAPE),
    "sngan": LatentEntryPoint("generator", _SNGAN, SHAPE),
    "sngan, 3 classes": LatentEntryPoint("generator", _SNGAN, SHAPE, 3),
    "r3gan, 3 classes": LatentEntryPoint("generator", _R3GAN, SHAPE, 3),
}
"""Small networks, each of a way of its own through the exporters."""


@dataclass(frozen=True)
class Measured:
    """One family in one format."""

    family: str
    form: ExportForm
    comparisons: int
    levels: float
    """The largest difference, of 255 grey levels."""


def forms_here() -> list[ExportForm]:
    """The formats that this machine can write and run."""
    return [form for form in FORMATS if form != "openvino" or importlib.util.find_spec("openvino") is not None]


def measure(family: str, folder: Path) -> list[Measured]:
    """Export an untrained network of the family to every format and compare it at ten sizes in two batches.

    Latents have one size: there it is five draws in two batches.
    """
    entry = FAMILIES[family]
    model = folder / "model.safetensors"
    write_model_file(model, {"generator": untrained(entry)}, {"main": entry}, {"family": family})
    # Built from the file, so that both start from the same bits.
    reference = load_any_model(model, "cpu", runner="torch").runner
    assert isinstance(reference, PyTorchRunner)
    recording = Recording(recordable(untrained(entry), entry))
    measured = []
    for form in forms_here():
        file = folder / f"exported{FORMATS[form].suffixes[0]}"
        facts = ExportFacts(form, False, 1.0, "", __version__, torch.__version__)
        FORMATS[form].write(recording, sealed_metadata(read_metadata(model), "main", facts), file)
        exported = load_any_model(file, "cpu", runner=FORMATS[form].runner, trust=True)
        rows = compare(reference, exported.runner, entry, sizes=SIZES)
        measured.append(Measured(family, form, len(rows), max(row.levels for row in rows)))
    return measured


def untrained(entry: EntryPoint) -> nn.Module:
    """A network of known weights whose results differ visibly from each other and vary over the picture."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        if isinstance(entry, LatentEntryPoint):
            network = entry.generator.build(entry.shape, entry.classes)
        else:
            network = entry.generator.build()
        for values in network.parameters():
            if values.ndim > 1:
                # As large as signals need to get through; layers that start at zero would hide what lies behind them.
                nn.init.kaiming_normal_(values)
        _take_statistics(network, entry)
    return network.eval()


def _take_statistics(network: nn.Module, entry: EntryPoint) -> None:
    """Let batch norm know what it normalizes, as after a training."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()
    if isinstance(entry, PictureEntryPoint):
        network(parity_pictures(4, 64, 64))
    else:
        labels = torch.arange(64) % entry.classes if entry.classes else None
        network(torch.randn(64, entry.generator.latent), labels)


def page(measured: list[Measured]) -> str:
    """The page of the documentation."""
    forms = list(dict.fromkeys(row.form for row in measured))
    levels = {(row.family, row.form): row.levels for row in measured}
    lines = [
        "# Exported files against PyTorch",
        "",
        "The largest difference between what an exported file and the model itself compute, in grey levels of 255, in",
        f"fp32 on a CPU. More than {MOST_LEVELS:g} fails. `i2i export` compares every file that it writes so, at",
        "fewer sizes, keeps the numbers beside it, and keeps no file that fails.",
        "",
        "Networks are small, of random weights. Those for pictures ran on ten sizes, width x height in pixels:",
        f"{', '.join(f'{width} x {height}' for height, width in SIZES)};",
        "those for latents on five draws; each in batches of 1 and 3.",
        "",
        f"| | {' | '.join(forms)} |",
        f"|---|{'---|' * len(forms)}",
    ]
    for family in dict.fromkeys(row.family for row in measured):
        cells = (_shown(levels[family, form]) for form in forms)
        lines.append(f"| {family} | {' | '.join(cells)} |")
    lines += ["", f"Made by `tools/export_parity --write` with torch {torch.__version__.partition('+')[0]}."]
    return "\n".join(lines) + "\n"


def _shown(levels: float) -> str:
    return "0" if levels == 0 else f"{levels:.1g}" if levels >= 1e-4 else "below 0.0001"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write the page {PAGE.name}; else it is printed")
    write = parser.parse_args().write
    measured = []
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            measured += measure(family, Path(folder))
    text = page(measured)
    if write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
