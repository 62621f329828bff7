"""Networks in bands beside the same networks as a whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from i2i.inference.tiling.streaming import StreamedPicture, layer_graph, streamed_rows
from i2i.inference.tiling.streaming.operations import Span
from i2i.inference.tiling.streaming.planning import Rates, plan_passes

FREE_DISK = Rates(multiplications_per_second=1.0, bytes_written_per_second=1e30, bytes_read_per_second=1e30)
"""Where everything is worth keeping."""
FREE_WORK = Rates(multiplications_per_second=1e30, bytes_written_per_second=1.0, bytes_read_per_second=1.0)
"""Where nothing is."""


def image(height: int, width: int, seed: int = 0) -> Tensor:
    """(1, 3, H, W) in [-1, 1]: soft shapes and some noise, brighter to the right, so that no two parts are alike."""
    generator = torch.Generator().manual_seed(seed)
    soft = torch.rand(1, 3, 5, 5, generator=generator) * 1.6 - 0.8
    large = nn.functional.interpolate(soft, size=(height, width), mode="bicubic")
    noise = torch.rand(1, 3, height, width, generator=generator) * 0.4 - 0.2
    slope = torch.linspace(-0.3, 0.3, width)
    return (large + noise + slope).clamp(-1, 1).contiguous(memory_format=torch.channels_last)


def streamed(
    network: nn.Module,
    images: Tensor,
    folder: Path,
    *,
    room_bytes: float = 1e12,
    rates: Rates = FREE_DISK,
    band_bytes: float = 4000.0,
) -> StreamedPicture:
    """All that it takes to run `network` on (1, 3, H, W) in bands."""
    graph = layer_graph(network)
    shapes = graph.shapes(*images.shape[2:])
    plan = plan_passes(graph, shapes, 4, room_bytes, rates)

    def rows(span: Span) -> Tensor:
        return images[:, :, span.first : span.end]

    return StreamedPicture(graph, shapes, rows, plan, folder, band_bytes, torch.device("cpu"))


@torch.inference_mode()
def run(stream: StreamedPicture, on_halved: Callable[[], None] | None = None) -> Tensor:
    """The whole result."""
    return torch.cat(list(streamed_rows(stream, on_halved)), dim=2)
