"""torchvision's VGG19 with random weights, and what its layers say of pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn


def reference_vgg19(seed: int) -> nn.Module:
    """`torchvision.models.vgg19` without its fully connected part, nine tenths of all weights and of no use here."""
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        network = torchvision.models.vgg19(weights=None)
    network.classifier = nn.Identity()
    network = network.to_empty(device="cpu").eval()
    random = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        # Scaled so that deep features keep a size that can be compared.
        scale = (2 / weight[0].numel()) ** 0.5 if weight.ndim == 4 else 0.1
        nn.init.normal_(weight, std=scale, generator=random)
    return network


def reference_features(network: nn.Module, images: Tensor) -> dict[int, Tensor]:
    """By index in its `features`, of pictures in [-1, 1], normalised as torchvision's documentation asks."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    values = ((images + 1) / 2 - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
    found: dict[int, Tensor] = {}
    features: Any = network.features
    with torch.no_grad():
        for index, layer in enumerate(features):
            values = layer(values)
            found[index] = values.clone()  # their ReLUs work in place
    return found
