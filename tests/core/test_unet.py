from __future__ import annotations

import pytest
import torch
from torch import nn

from i2i.core.generators import UNetGeneratorSettings


@pytest.mark.parametrize("levels", [5, 6])
def test_receptive_field_is_the_widest_window_of_any_output_pixel(levels: int) -> None:
    settings = UNetGeneratorSettings(base_channels=1, levels=levels, normalization="none")
    network = settings.build(1, 1).double().eval()
    network.get_submodule("up.0")[2] = nn.Identity()  # type: ignore[index] - tanh is flat where it is full
    with torch.no_grad():
        for weight in network.parameters():
            weight.abs_().add_(0.01)  # no rectifier closes, no two ways cancel
    cell = settings.size_multiple
    images = torch.rand(1, 1, 8 * cell, 8 * cell, dtype=torch.float64, requires_grad=True)
    result = network(images)
    spans = []
    for position in range(4 * cell, 5 * cell):
        (gradient,) = torch.autograd.grad(result[0, 0, position, position], images, retain_graph=True)
        seen = gradient[0, 0].sum(dim=1).nonzero().flatten()
        spans.append(int(seen.max() - seen.min()) + 1)
    assert max(spans) == settings.receptive_field
