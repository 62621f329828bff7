"""What a campaign is made of: one case is one thing done to the program, and everything random follows from it.

The short form (`test_*.py` beside this file) and the long form (`tools/campaign`) run the same cases in the same way.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

_PREPARED = "prepared"
NOT_POSSIBLE_HERE = "not possible here"
"""What became of a case that this user or machine does not allow: nothing was shown, so it is not well either."""


@dataclass(frozen=True)
class Case:
    """One thing that is done to the program; everything random about it follows from the three."""

    scenario: str
    kind: str
    """What is done, in a few words: the row of the table that it counts in."""
    seed: int
    """Tells the cases of one kind apart, from 0."""

    @property
    def rng(self) -> np.random.Generator:
        """Fresh random numbers, the same at every call."""
        digest = hashlib.sha256(f"{self.scenario}\n{self.kind}\n{self.seed}".encode()).digest()
        return np.random.default_rng(list(digest))

    def __str__(self) -> str:
        return f"{re.sub('[^a-z0-9]+', '-', self.kind.lower())}-{self.seed}"


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    ok: bool
    what: str
    """In two words, to be counted: "resumed equal", "refused", "crashed", "hung"."""
    detail: str = ""
    """For whoever looks into it: what was said, or what differs."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What was measured, by name with its unit: "peak_megabytes"."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One sort of trouble."""

    name: str
    """On the command line of `tools/campaign`."""
    title: str
    """In the table."""
    long_count: int
    """Cases of the long form."""
    cases: Callable[[int], Sequence[Case]]
    """As many cases as asked for, spread over the kinds; a longer list begins with no other cases than a shorter one
    holds of each kind."""
    run: Callable[[Case, Path], Outcome]
    """Does it in a fresh folder. A defect of the program is an outcome and no exception; what raises is a defect here.
    What `prepare` made is found by `prepared_of(folder)`."""
    prepare: Callable[[Path], None] | None = None
    """Fills a folder with what all cases need, e.g. a run that nobody disturbed."""

    def make_ready(self, folder: Path) -> None:
        """Prepare everything below `folder`, unless that was done."""
        prepared, done = folder / _PREPARED, folder / f"{_PREPARED}-whole"
        if done.exists():
            return
        shutil.rmtree(prepared, ignore_errors=True)
        prepared.mkdir(parents=True)
        if self.prepare is not None:
            self.prepare(prepared)
        done.touch()

    def settle(self, case: Case, folder: Path) -> Outcome:
        """Run one case below the `folder` that was made ready; its own folder stays only if it went wrong."""
        own = folder / str(case)
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        outcome = self.run(case, own)
        if outcome.ok:
            shutil.rmtree(own, ignore_errors=True)
        return outcome


def prepared_of(folder: Path) -> Path:
    """What `Scenario.prepare` filled, as seen from the folder of a case."""
    return folder.parent / _PREPARED


def spread(scenario: str, kinds: Sequence[str], count: int) -> list[Case]:
    """`count` cases, as many of each kind as of any other (one more of the first ones)."""
    return [Case(scenario, kinds[index % len(kinds)], index // len(kinds)) for index in range(count)]


def few(scenario: Scenario, of_each: int = 1, kinds: Sequence[str] | None = None) -> list[Case]:
    """The first cases of each kind (or of these kinds), for the short form."""
    found = [case for case in scenario.cases(scenario.long_count) if case.seed < of_each]
    chosen = [case for case in found if kinds is None or case.kind in kinds]
    missing = set(kinds or ()) - {case.kind for case in chosen}
    assert chosen and not missing, f"{scenario.name} has no cases of {sorted(missing) or 'any kind'}"
    return chosen
