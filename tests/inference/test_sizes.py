"""Padding that the graph of an exported network does itself is that of the runner."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from i2i.core.generators import ResNetGeneratorSettings, RRDBSettings, SRResNetSettings, UNetGeneratorSettings
from i2i.inference.sizes import AnySize, MirroredSides, pad_mirrored, padded_side
from i2i.pipelines.protocol import PictureEntryPoint


class Looking(nn.Module):
    """Keeps what it sees, and enlarges by repeating pixels."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.seen = torch.zeros(0)

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return images.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        (ResNetGeneratorSettings(base_channels=1), 1),
        (UNetGeneratorSettings(base_channels=1, levels=5), 1),
        (RRDBSettings(scale=2, base_channels=1), 2),
        (SRResNetSettings(scale=3, normalization="instance"), 3),
        (SRResNetSettings(scale=3), 3),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_the_recorded_form_sees_and_gives_what_the_plain_one_does(
    settings: ResNetGeneratorSettings | UNetGeneratorSettings | RRDBSettings | SRResNetSettings, scale: int
) -> None:
    network = Looking(scale)
    entry = PictureEntryPoint("generator", settings, None, scale)
    plain, recorded = AnySize(network, entry), MirroredSides(network, entry)
    for height, width in [*((side, 3) for side in range(1, 71)), *((2, side) for side in range(1, 71)), (64, 32)]:
        images = torch.rand(2, 3, height, width)
        expected, seen = plain(images), network.seen
        got = recorded(images)
        assert torch.equal(network.seen, seen), (height, width)
        assert torch.equal(got, expected) and got.shape[-2:] == (height * scale, width * scale)


def test_mirroring_reflects_where_it_can() -> None:
    row = torch.arange(4.0).reshape(1, 1, 1, 4)
    assert pad_mirrored(row, 1, 7).flatten().tolist() == [0, 1, 2, 3, 2, 1, 0]
    assert pad_mirrored(row, 1, 9).flatten().tolist() == [0, 1, 2, 3, 3, 2, 1, 0, 0]
    assert (padded_side(1, 4, 8), padded_side(9, 4, 8), padded_side(32, 32, 32)) == (8, 12, 32)
