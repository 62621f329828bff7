"""Does every loss term move the weights that it is there for?

A term that was rebuilt from constants, or computed without gradients, looks like any other in the logs: it has a value
and the value changes. Only its gradient tells. So the gradient of each term is measured by itself, at the first step
of its update and every so often, and a term that contributes exactly nothing ends the training by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2i.core.step import Losses, Update
from i2i.errors import DeadLossError
from i2i.training.distributed import Processes


@dataclass(frozen=True, kw_only=True)
class LossAuditSettings:
    """How often each loss term's gradient is measured, apart from the first step; null leaves all of it out.

    A measurement costs one more backward pass for every term.
    """

    every_steps: int | None = 1000

    def __post_init__(self) -> None:
        if self.every_steps is not None and self.every_steps < 1:
            raise ValueError(f"every_steps is {self.every_steps}; needs at least 1, or null")


class LossAudit:
    """Measures the terms of the updates that ask for it and remembers the newest numbers."""

    def __init__(self, settings: LossAuditSettings) -> None:
        self._every_steps = settings.every_steps
        self._seen: set[str] = set()
        self._unread: dict[str, float] = {}
        self._before: tuple[set[str], dict[str, float]] = set(), {}

    def begin(self) -> None:
        """Remember how things stand, for `roll_back`."""
        self._before = set(self._seen), dict(self._unread)

    def roll_back(self) -> None:
        """Forget what was measured since `begin`: the update did not come about, and is measured again."""
        self._seen, self._unread = set(self._before[0]), dict(self._before[1])

    @property
    def seen(self) -> list[str]:
        """Names of the updates whose first step has been measured, in a fixed order."""
        return sorted(self._seen)

    def load_seen(self, names: Iterable[str]) -> None:
        """Go on where `seen` was so: a first step is the first of the whole training, not the first after a resume."""
        self._seen = set(names)

    def due(self, update: Update, step: int) -> bool:
        """Whether to measure `update` in the step after `step` completed ones; the first time always."""
        if self._every_steps is None or not update.audited:
            return False
        first = update.name not in self._seen
        self._seen.add(update.name)
        return first or (step + 1) % self._every_steps == 0

    def read(self) -> Mapping[str, float]:
        """L2 norms of the terms' gradients by ``<update>/<term>`` that were measured since the last call."""
        unread, self._unread = self._unread, {}
        return unread

    def measure(
        self,
        update: Update,
        losses: Losses,
        parameters: Iterable[nn.Parameter],
        scaler: torch.amp.GradScaler,
        processes: Processes,
    ) -> None:
        """Measure every term of `losses`, whose graph stays whole.

        Raises:
            DeadLossError: a term's gradient, averaged over the processes, is exactly zero.
        """
        moved = [parameter for parameter in parameters if parameter.requires_grad]
        for name, term in losses.terms.items():
            gradient = processes.mean(_gradient(term.value * term.weight, moved, scaler))
            norm = float(torch.linalg.vector_norm(gradient))
            # Not a number is another trouble, which others look for; it is not nothing.
            if norm == 0:
                raise DeadLossError(
                    f"loss term {name} of update {update.name} has no effect: its gradient on the {update.player} is"
                    " exactly zero - leave it out of the recipe, mend what computes it or, after a good start,"
                    " look for a discriminator that has won (training.loss_audit.every_steps: null trains regardless)"
                )
            self._unread[f"{update.name}/{name}"] = norm


def _gradient(value: Tensor, parameters: list[nn.Parameter], scaler: torch.amp.GradScaler) -> Tensor:
    """Derivatives of `value`, which need not depend on anything, by all `parameters`, in one row."""
    if not value.requires_grad:
        return torch.zeros(1, device=value.device, dtype=value.dtype)
    # Scaled as in the step itself: in fp16 small gradients would vanish that do not vanish there.
    found = torch.autograd.grad(
        scaler.scale(value), parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([gradient.flatten() for gradient in found]) / scaler.get_scale()
