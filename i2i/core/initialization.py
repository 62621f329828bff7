"""Initial weights of the adversarial networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class InitializationSettings:
    """How convolutions start; biases start at 0 and batch-norm scales at N(1, standard_deviation).

    Source: the released CycleGAN code (N(0, 0.02)); Glorot & Bengio 2010 (xavier), He et al. 2015 (kaiming), Saxe et
    al. 2014 (orthogonal). `standard_deviation` is the gain of xavier and orthogonal; kaiming takes none.
    """

    kind: Literal["normal", "xavier", "kaiming", "orthogonal"] = "normal"
    standard_deviation: float = 0.02

    def __post_init__(self) -> None:
        if self.standard_deviation <= 0:
            raise ValueError(f"standard_deviation is {self.standard_deviation}; must be above 0")


def initialize(network: nn.Module, settings: InitializationSettings, generator: torch.Generator) -> None:
    """Fill the weights of `network` in place, module by module in the order of definition."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            _initialize_weight(module.weight, settings, generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, settings.standard_deviation, generator=generator)
            nn.init.zeros_(module.bias)


def _initialize_weight(weight: torch.Tensor, settings: InitializationSettings, generator: torch.Generator) -> None:
    match settings.kind:
        case "normal":
            nn.init.normal_(weight, 0.0, settings.standard_deviation, generator=generator)
        case "xavier":
            nn.init.xavier_normal_(weight, settings.standard_deviation, generator=generator)
        case "kaiming":
            nn.init.kaiming_normal_(weight, a=0, mode="fan_in", generator=generator)
        case "orthogonal":
            nn.init.orthogonal_(weight, settings.standard_deviation, generator=generator)
