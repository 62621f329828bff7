"""Small networks of every family that makes pictures of pictures, with statistics as a training might leave them."""

from __future__ import annotations

import torch
from torch import nn

from i2i.core.generators import (
    CompactSettings,
    MSRResNetSettings,
    PictureGeneratorSettings,
    ResNetGeneratorSettings,
    RRDBSettings,
    SRResNetSettings,
    UNetGeneratorSettings,
)
from i2i.pipelines.protocol import PictureEntryPoint

NORMALIZING: dict[str, PictureGeneratorSettings] = {
    "resnet": ResNetGeneratorSettings(base_channels=4, blocks=2),
    "resnet_antialiased": ResNetGeneratorSettings(base_channels=4, blocks=1, sampling="antialiased"),
    "unet": UNetGeneratorSettings(base_channels=4, levels=5, normalization="instance"),
    "srresnet": SRResNetSettings(base_channels=4, blocks=2, normalization="instance"),
    "srresnet_prelu": SRResNetSettings(
        scale=3, base_channels=4, blocks=1, normalization="instance", trunk_end="prelu", output="tanh"
    ),
}
"""Those with statistics over the whole picture."""
PLAIN: dict[str, PictureGeneratorSettings] = {
    "resnet": ResNetGeneratorSettings(base_channels=4, blocks=1, normalization="batch"),
    "resnet_antialiased": ResNetGeneratorSettings(
        base_channels=4, blocks=1, normalization="none", sampling="antialiased"
    ),
    "unet": UNetGeneratorSettings(base_channels=4, levels=5),
    "srresnet": SRResNetSettings(base_channels=4, blocks=1),
    "srresnet_2": SRResNetSettings(scale=2, base_channels=4, blocks=1, normalization="none", input_range="symmetric"),
    "msrresnet": MSRResNetSettings(base_channels=4, blocks=1),
    "msrresnet_direct": MSRResNetSettings(scale=2, base_channels=4, blocks=1, upsampling="direct"),
    "rrdb": RRDBSettings(base_channels=4, growth_channels=2, blocks=1),
    "rrdb_2": RRDBSettings(scale=2, base_channels=4, growth_channels=2, blocks=1),
    "compact": CompactSettings(scale=2, base_channels=4, convs=2),
}
"""Those without."""


def network_of(settings: PictureGeneratorSettings, seed: int = 0) -> nn.Module:
    """Untrained, of known weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = settings.build()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_(0.0, 0.1)
                module.running_var.uniform_(0.5, 2.0)
    return network.eval()


def entry_point_of(settings: PictureGeneratorSettings) -> PictureEntryPoint:
    return PictureEntryPoint("generator", settings, None, getattr(settings, "scale", 1))
