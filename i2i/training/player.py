"""One side of the game: its networks, its optimizer, its loss scaler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from i2i.core.step import Progress
from i2i.training.distributed import Processes
from i2i.training.precision import Precision
from i2i.training.settings import AdamSettings, OptimizerSettings


@dataclass(frozen=True)
class Move:
    """What became of one optimizer step."""

    gradient_norm: Tensor
    """L2 norm over all gradients before clipping, a scalar."""
    outcome: Literal["moved", "overflow", "nonfinite"]
    """Weights are left alone after an "overflow" of the loss scale (fp16 feels its way down, all is well) and after
    losses or gradients that are "nonfinite" (something is wrong)."""


class Player:
    """Owns the parameters of some networks and moves them by their accumulated gradients."""

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        settings: OptimizerSettings,
        precision: Precision,
        *,
        fused: bool,
    ) -> None:
        self.parameters: dict[str, nn.Parameter] = {
            f"{name}.{key}": parameter
            for name, network in networks.items()
            for key, parameter in network.named_parameters()
        }
        self.settings = settings
        self.optimizer = _build_optimizer(list(self.parameters.values()), settings, fused=fused)
        self.scaler = precision.new_scaler()

    def set_trainable(self, trainable: bool) -> None:
        """Frozen weights take part in a forward pass, but no gradients are computed for them."""
        for parameter in self.parameters.values():
            parameter.requires_grad_(trainable)

    def adjust(self, progress: Progress, factor: float) -> None:
        """Set what changes while training goes on: the learning rate (`factor` of its base) and, for Adam, beta 2."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * factor
            if isinstance(self.settings, AdamSettings) and self.settings.second_beta is not None:
                group["betas"] = (self.settings.betas[0], self.settings.second_beta.value(progress))

    @property
    def learning_rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def move(self, processes: Processes, clip_gradient_norm: float | None, *, losses_finite: Tensor) -> Move:
        """Average the gradients over the processes, clip, step; afterwards no gradients remain."""
        parameters = list(self.parameters.values())
        processes.average_gradients(parameters)
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        worst = [not bool(losses_finite), not bool(torch.isfinite(norm))]
        bad_losses, bad_gradients = processes.largest([int(bad) for bad in worst], norm.device)
        finite = not (bad_losses or bad_gradients)
        if clip_gradient_norm is not None and finite:
            torch.nn.utils.clip_grads_with_norm_(parameters, clip_gradient_norm, norm)
        if finite:
            self.optimizer.step()
        if self.scaler.is_enabled():
            # An overflow halves this player's scale and no other's.
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if finite:
            return Move(norm, "moved")
        only_overflow = not bad_losses and self.scaler.is_enabled() and self.scaler.get_scale() >= 1.0
        return Move(norm, "overflow" if only_overflow else "nonfinite")

    def state(self) -> dict[str, Tensor]:
        """Optimizer state as tensors by parameter and slot."""
        return {
            f"{name}/{slot}": value
            for name, parameter in self.parameters.items()
            for slot, value in self.optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` gave; slots of weights take the weights' memory layout, which fused kernels assume."""
        self.optimizer.state.clear()
        for key, value in state.items():
            name, _, slot = key.rpartition("/")
            parameter = self.parameters[name]
            target = torch.empty_like(parameter, dtype=value.dtype) if value.dim() else torch.empty_like(value)
            if value.dim() == 0 and parameter.device.type != "cpu" and self._keeps_steps_on_device():
                target = target.to(parameter.device)
            self.optimizer.state[parameter][slot] = target.copy_(value)

    def _keeps_steps_on_device(self) -> bool:
        return bool(self.optimizer.defaults.get("fused") or self.optimizer.defaults.get("capturable"))


def _build_optimizer(
    parameters: list[nn.Parameter], settings: OptimizerSettings, *, fused: bool
) -> torch.optim.Optimizer:
    if isinstance(settings, AdamSettings):
        return torch.optim.Adam(
            parameters, lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon, fused=fused
        )
    return torch.optim.SGD(parameters, lr=settings.learning_rate, momentum=settings.momentum, fused=fused)
