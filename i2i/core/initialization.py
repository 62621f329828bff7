"""Initial weights of the adversarial networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from i2i.core.virtual_batch_norm import VirtualBatchNorm


@dataclass(frozen=True, kw_only=True)
class InitializationSettings:
    """How convolutions start; biases start at 0 and batch-norm scales at N(1, standard_deviation).

    Source: the released CycleGAN code (N(0, 0.02)); Glorot & Bengio 2010 (xavier), He et al. 2015 (kaiming), Saxe et
    al. 2014 (orthogonal). `standard_deviation` is the gain of xavier and orthogonal; kaiming takes none.
    """

    kind: Literal["normal", "xavier", "kaiming", "orthogonal"] = "normal"
    standard_deviation: float = 0.02
    factor: float = 1.0
    """Multiplies what the law gave, of any kind. 0.1 with kaiming: deep residual networks without normalization (Wang
    et al. 2018, https://arxiv.org/abs/1809.00219, section 3.1, "smaller initialization")."""

    def __post_init__(self) -> None:
        for name in ("standard_deviation", "factor"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; must be above 0")


def initialize(network: nn.Module, settings: InitializationSettings, generator: torch.Generator) -> None:
    """Fill the weights of `network` in place, module by module in the order of definition.

    A module with a method ``initialize_weights(generator)`` fills itself, with all that is inside it, and `settings`
    do not reach it. Of spectrally normalized layers the raw weights are filled, and the power iteration starts anew.
    """
    _initialize(network, settings, generator, set())


def _initialize(
    module: nn.Module, settings: InitializationSettings, generator: torch.Generator, done: set[nn.Module]
) -> None:
    if module in done:
        return
    done.add(module)
    itself = getattr(module, "initialize_weights", None)
    if itself is not None:
        itself(generator)
        return
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        _initialize_weight(_raw_weight(module), settings, generator)
        _restart_spectral_norm(module, generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d | VirtualBatchNorm) and module.weight is not None:
        nn.init.normal_(module.weight, 1.0, settings.standard_deviation, generator=generator)
        nn.init.zeros_(module.bias)
    for child in module.children():
        _initialize(child, settings, generator, done)


def _raw_weight(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> Tensor:
    """The parameter itself: the `weight` of a spectrally normalized layer is computed from it at every look."""
    if parametrize.is_parametrized(module, "weight"):
        return module.get_parameter("parametrizations.weight.original")
    return module.weight


@torch.no_grad()
def _restart_spectral_norm(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, generator: torch.Generator) -> None:
    """Singular vectors of the new weight, from a keyed start: torch drew them from the global generator."""
    if not parametrize.is_parametrized(module, "weight"):
        return
    weight = _raw_weight(module)
    rows = weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else weight
    matrix = rows.flatten(1)
    left, right = (module.get_buffer(f"parametrizations.weight.0._{name}") for name in "uv")
    nn.init.normal_(left, generator=generator)
    # As many steps as torch takes at its own start.
    for _ in range(15):
        right.copy_(functional.normalize(matrix.T @ left, dim=0))
        left.copy_(functional.normalize(matrix @ right, dim=0))


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
    if settings.factor != 1.0:
        with torch.no_grad():
            weight.mul_(settings.factor)
