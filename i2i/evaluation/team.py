"""Several processes that evaluate together: this one's part of the work, and how they speak with each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from i2i.evaluation.features.blocks import Share

Collect = Callable[[Any], list[Any]]
"""One value of each process to the values of all, in order of rank, on every process."""


def alone(value: Any) -> list[Any]:
    """`Collect` for a single process."""
    return [value]


@dataclass(frozen=True, kw_only=True)
class Team:
    """This process among those that work together: all of them call `gather` equally often."""

    share: Share = field(default_factory=Share)
    gather: Collect = alone

    @property
    def leads(self) -> bool:
        """Whether this is the process that computes what is not shared, and speaks for all."""
        return self.share.index == 0
