"""One side of the game: its networks, its optimizer, its loss scaler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2i.core.step import Progress
from i2i.training.distributed import Processes
from i2i.training.precision import Precision
from i2i.training.settings import AdamSettings, OptimizerSettings


@dataclass(frozen=True)
class Move:
    """What became of one optimizer step: scalars on the device, which the host need not read to go on."""

    gradient_norm: Tensor
    """L2 norm over all gradients before clipping."""
    moved: Tensor
    """Bool; weights are left alone where losses or gradients are not finite."""
    overflowed: Tensor
    """Bool: not moved only because of the loss scale, by which fp16 feels its way down; all is well."""


class Player:
    """Owns the parameters of some networks and moves them by their accumulated gradients."""

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        settings: OptimizerSettings,
        precision: Precision,
        *,
        fused: bool = False,
    ) -> None:
        """`fused` moves all weights in one kernel, where the device has one."""
        self.parameters: dict[str, nn.Parameter] = {
            f"{name}.{key}": parameter
            for name, network in networks.items()
            for key, parameter in network.named_parameters()
        }
        self.settings = settings
        self.optimizer = _build_optimizer(list(self.parameters.values()), settings, fused=fused)
        # Fused descent with momentum does not: it would leave its first buffers without content.
        self._looks_itself = fused and isinstance(settings, AdamSettings)
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
        # Of no gradients it is a zero on the CPU.
        norm = torch.nn.utils.get_total_norm(gradients).to(losses_finite.device)
        bad_losses, bad_gradients = processes.any(torch.stack([~losses_finite, ~torch.isfinite(norm)])).unbind()
        bad = bad_losses | bad_gradients
        if clip_gradient_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, clip_gradient_norm, norm)
        self._step_unless(bad)
        if self.scaler.is_enabled():
            # An overflow halves this player's scale and no other's.
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return Move(norm, ~bad, bad & ~bad_losses & self._scale_is_high(bad.device))

    def _step_unless(self, bad: Tensor) -> None:
        if self._looks_itself:
            # As a gradient scaler tells it: the kernels on the device look, so that the host need not wait for them.
            self.optimizer.found_inf = bad.to(torch.float32)  # type: ignore[attr-defined]
            self.optimizer.step()
        elif not bool(bad):
            self.optimizer.step()

    def _scale_is_high(self, device: torch.device) -> Tensor:
        """Whether the loss scale can still fall; never without one."""
        if not self.scaler.is_enabled():
            return torch.zeros((), dtype=torch.bool, device=device)
        return self.scaler.scale(torch.ones((), device=device)) >= 1.0

    def state(self) -> dict[str, Tensor]:
        """Optimizer state as tensors by parameter and slot."""
        return {
            f"{name}/{slot}": value
            for name, parameter in self.parameters.items()
            for slot, value in self.optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` gave; slots of weights take the weights' memory layout, which fused kernels assume.

        Raises:
            KeyError, ValueError: it is of other weights, of another type, not whole, or not finite.
        """
        _check_slots(state, self.parameters)
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


def _check_slots(state: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    slots: dict[str, set[str]] = {}
    for key, value in state.items():
        name, _, slot = key.rpartition("/")
        slots.setdefault(name, set()).add(slot)
        if value.dim() and value.shape != parameters[name].shape:
            raise ValueError(f"{key} has the shape {[*value.shape]}, its weight {[*parameters[name].shape]}")
        # Counts of steps are float32 whatever the weights are.
        if value.dtype not in ((parameters[name].dtype,) if value.dim() else (torch.float32, parameters[name].dtype)):
            raise ValueError(f"{key} is {value.dtype}, its weight {parameters[name].dtype}")
        if not bool(value.isfinite().all()):
            raise ValueError(f"{key} holds something else than finite numbers")
    kinds = set().union(*slots.values())
    for name, found in slots.items():
        if found != kinds:
            raise ValueError(f"{name}/{min(kinds - found)} is missing")
