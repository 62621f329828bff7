"""Watches the numbers of a training and says when it has failed, why, and what to do.

Adversarial training fails in few ways, and each shows in the numbers long before anybody looks at the pictures: values
that are not finite, losses or gradients that grow without bound, a generator that makes one picture only, a
generator whose pictures change so much that it cannot be converging, a discriminator that is certain of everything
while the generator's gradient is gone, and one that does worse than if it always gave the same answer. A single odd row
is never an alarm: what looks like failure must last, and the first phase, in which a generator has learned nothing yet,
does not count.

A discriminator that wins for a while is no failure (the first thousand steps of a DCGAN look like that), nor is one
whose loss or gradient grows from next to nothing: that is the generator catching up.
"""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Action = Literal["off", "warn", "stop", "rollback"]
Kind = Literal[
    "not_finite", "growing", "constant", "collapsed", "repeating", "unstable", "discriminator_won", "discriminator_lost"
]

# 32-bit floats cannot tell a probability from 1 that is nearer to it than this.
_CERTAIN = 1.2e-7
# Below this all pictures are the same; by less than this factor it may rise by chance.
_NO_DIVERSITY, _RISE_FACTOR = 0.02, 1.25
_LOOKS_TO_FORGET_FACTOR = 5
_BASELINE_LOOKS = 50
_LEAST_BASELINE_LOOKS = 10
_LOSS_LOOKS, _DIVERSITY_LOOKS = 30, 15


@dataclass(frozen=True, kw_only=True)
class WatchdogSettings:
    """What counts as a failed training, and what happens then."""

    action: Action = "warn"
    """Say so and go on, stop, go back to the last good checkpoint and on with fresh data, or do not watch at all."""
    grace_images: int = 20_000
    """So many images from the start nothing is said about the game: an untrained generator makes pictures that are all
    alike. It ends early when they have once been as different as twice `least_diversity`; before that, it counts double
    for pictures that are alike, and as long as their diversity rises it does not end for them."""
    grace_steps: int = 500
    """The same in steps, and both must be over: a large batch uses up images before the generator has moved far."""
    looks: int = 3
    """So many looks in a row must show the failure: a single one may be a spike."""
    lasting_images: int = 2_000
    """So long it must have lasted besides: looks may follow each other closely."""
    least_diversity: float = 0.3
    """Distance between made pictures over that between real ones. With k equally frequent pictures it is 1 - 1/k: 0.5
    for two, and below that one picture prevails."""
    most_repeated_share: float = 0.9
    """Share of the made pictures with a near twin among the others; of independent real ones hardly any has."""
    most_diversity_change: float = 0.07
    """Median change of the diversity from look to look over 15 of them, less a steady rise or fall. The latents are
    fixed, so only the weights can be the cause. Two independent sets of 64 real pictures differ by 0.03 at most; DCGANs
    stayed below 0.02, and ran at 0.07 to 0.2 with fifty times their learning rate."""
    least_midtones: float = 0.02
    """Share of pixel values between black and white over that of real pictures; the gradient of a saturated tanh is
    next to nothing, so a generator does not come back from there."""
    most_growth_factor: float = 100.0
    """A loss or gradient norm over the largest of its first 50 looks, or over 1 if that is more. Cross entropies and
    least squares are of the order of 1, and at the equilibrium no larger than at the start."""
    certain_probability: float = 0.99
    """The discriminator is certain when D(real) is above this, and D(fake) below 1 minus this."""
    certain_images: int = 20_000
    """So long it must be certain: for a while that is normal."""
    most_loss_factor: float = 1.25
    """Median of the discriminator's loss over 30 looks, over what the best constant answer would cost (log 4 for cross
    entropies). No generator can make that answer cost more, so a discriminator above it knows less than nothing: the
    players move too fast for each other."""
    vanished_gradient_factor: float = 0.01
    """The generator's gradient norm over the largest of its first 50 looks, below which it learns nothing. It also
    counts as gone when D(fake) cannot be told from 0 in 32 bits."""

    def __post_init__(self) -> None:
        for name in ("grace_images", "grace_steps", "lasting_images", "certain_images"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; needs at least 0")
        if self.looks < 1:
            raise ValueError(f"looks is {self.looks}; needs at least 1")
        for name in ("most_growth_factor", "most_loss_factor"):
            if getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name):g}; needs more than 1")
        if not 0.5 < self.certain_probability < 1:
            raise ValueError(f"certain_probability is {self.certain_probability:g}; needs to lie between 0.5 and 1")
        shares = ("least_diversity", "most_repeated_share", "most_diversity_change", "least_midtones")
        for name in (*shares, "vanished_gradient_factor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name):g}; needs to lie between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A training has failed, as far as its numbers tell."""

    kind: Kind
    action: Action
    """What the settings ask for."""
    step: int
    images: int
    """Where training stood when it was certain."""
    began_step: int
    """The first look that showed it: checkpoints of earlier steps are good."""
    title: str
    """Two or three words."""
    reason: str
    """What the numbers say, one phrase."""
    advice: str
    """What helps, one phrase."""

    @property
    def line(self) -> str:
        """Reason and advice in one line."""
        return f"{self.title}: {self.reason} - {self.advice}"


@dataclass
class _Streak:
    """How long one failure has been showing."""

    looks: int = 0
    began_step: int = 0
    began_images: int = 0
    clear: int = 0
    """Looks in a row that did not show it."""
    said: bool = False

    def add(self, step: int, images: int, shows: bool, looks_to_forget: int) -> None:
        if not shows:
            self.looks, self.clear = 0, self.clear + 1
            # Only after it was gone for a while, the same failure is news again.
            self.said &= self.clear < looks_to_forget
            return
        if self.looks == 0:
            self.began_step, self.began_images = step, images
        self.looks, self.clear = self.looks + 1, 0


@dataclass
class Watchdog:
    """Looks at every row of numbers that a training records.

    It remembers little, and nothing that the rows themselves don't tell: after a resume `replay` brings it back to
    where it was.
    """

    settings: WatchdogSettings = field(default_factory=WatchdogSettings)
    doubt_loss: float | None = None
    """Sum of a discriminator's terms for real and made pictures when it gives the best constant answer; None when the
    loss has no such bound. See `discriminator` of `i2i.core.losses.adversarial.equilibrium`."""
    _streaks: dict[Kind, _Streak] = field(default_factory=dict)
    _baselines: dict[str, list[float]] = field(default_factory=dict)
    _sums: dict[str, deque[float]] = field(default_factory=dict)
    _diversities: deque[float] = field(default_factory=lambda: deque(maxlen=_DIVERSITY_LOOKS + 1))
    _was_diverse: bool = False
    _diversity_after_grace: float | None = None

    def look(self, step: int, images: int, values: Mapping[str, float]) -> Verdict | None:
        """Judge one row; returns the gravest failure that has now lasted long enough, once each time that it comes.

        Args:
            step: optimizer steps done.
            images: pictures seen since the run began.
            values: numbers by the names under which a run records them; those that it does not know are passed over.
        """
        if self.settings.action == "off":
            return None
        findings: dict[Kind, str | None] = {
            "not_finite": self._not_finite(values),
            "growing": self._growing(values),
            "constant": self._constant(values),
            "collapsed": self._collapsed(step, images, values),
            "repeating": self._repeating(step, images, values),
            "unstable": self._unstable(step, images, values),
            "discriminator_won": self._discriminator_won(values),
            "discriminator_lost": self._discriminator_lost(step, images, values),
        }
        if findings["collapsed"]:
            findings["repeating"] = None  # pictures that are all alike need no second name
        verdict = None
        for kind, finding in findings.items():
            if finding is None:
                continue  # this row does not hold the numbers
            streak = self._streaks.setdefault(kind, _Streak())
            streak.add(step, images, bool(finding), _LOOKS_TO_FORGET_FACTOR * self.settings.looks)
            lasting = self.settings.certain_images if kind == "discriminator_won" else self.settings.lasting_images
            lasted = images - streak.began_images
            is_certain = streak.looks >= self.settings.looks and lasted >= lasting
            if verdict is None and finding and is_certain and not streak.said:
                streak.said = True
                verdict = self._verdict(kind, step, images, streak.began_step, f"{finding} for {lasted:,} images")
        return verdict

    def replay(self, rows: Iterable[Mapping[str, Any]], *, to_step: int) -> None:
        """Look once more at the rows of `read_metrics` up to a step, where a resumed training goes on."""
        for row in rows:
            if row["step"] <= to_step:
                self.look(row["step"], row["images"], row["values"])
        if self.settings.action != "warn":
            # Who resumes a stopped training wants to see it go on; if nothing has changed it will stop again.
            self.go_back()

    def go_back(self) -> None:
        """Training went back to a checkpoint: what has been showing since then has not happened."""
        self._streaks.clear()
        self._sums.clear()
        self._diversities.clear()

    # Each of these gives None when the row does not hold its numbers, "" when they are in order, else what they show.

    def _not_finite(self, values: Mapping[str, float]) -> str | None:
        watched = [name for name in values if name.startswith(("loss/", "gradient_norm/", "sample/"))]
        broken = [name for name in watched if not math.isfinite(values[name])]
        if not broken:
            return "" if watched else None
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        return f"{broken[0]}{more} {'are' if more else 'is'} not finite"

    def _growing(self, values: Mapping[str, float]) -> str | None:
        finding = None
        for name, value in values.items():
            if not (name.startswith("gradient_norm/") or (name.startswith("loss/") and name.endswith("/total"))):
                continue
            baseline = self._baseline(name, value)
            if baseline is None or not math.isfinite(value):
                continue
            finding = finding or ""
            factor = abs(value) / max(1.0, baseline)
            if factor > self.settings.most_growth_factor and not finding:
                finding = f"{name} is {value:,.4g}, {factor:,.0f} times what it was at first,"
        return finding

    def _constant(self, values: Mapping[str, float]) -> str | None:
        share = _least(values, "midtones")
        if share is None:
            return None
        shows = share < self.settings.least_midtones
        return f"pictures of pure black and white, {share:.1%} of the midtones of real ones," if shows else ""

    def _collapsed(self, step: int, images: int, values: Mapping[str, float]) -> str | None:
        diversity = _least(values, "diversity")
        if diversity is None:
            return None
        self._was_diverse |= diversity >= 2 * self.settings.least_diversity
        if self._diversity_after_grace is None and self._grace_is_over(step, images):
            self._diversity_after_grace = diversity
        alike = diversity < self.settings.least_diversity
        still = "" if self._was_diverse else "still "
        finding = f"the made pictures are {still}nearly all alike (diversity {diversity:.2f}, real ones 1)"
        if self._was_diverse:
            return finding if alike else ""
        # A slow start is no collapse: what counts is that nothing comes of it.
        rises = diversity > _RISE_FACTOR * (self._diversity_after_grace or 0.0) and diversity > _NO_DIVERSITY
        return finding if alike and not rises and self._grace_is_over(step, images, times=2) else ""

    def _repeating(self, step: int, images: int, values: Mapping[str, float]) -> str | None:
        repeated = [value for name, value in values.items() if name.startswith("sample/") and name.endswith("repeated")]
        if not repeated:
            return None
        is_judged = self._was_diverse or self._grace_is_over(step, images, times=2)
        if not is_judged or not max(repeated) > self.settings.most_repeated_share:
            return ""
        return f"{max(repeated):.0%} of the made pictures have a near twin among the others"

    def _unstable(self, step: int, images: int, values: Mapping[str, float]) -> str | None:
        diversity = _least(values, "diversity")
        if diversity is None or not math.isfinite(diversity):
            return None
        if not (self._was_diverse or self._grace_is_over(step, images)):
            return ""
        recent = self._diversities
        recent.append(diversity)
        if len(recent) <= _DIVERSITY_LOOKS:
            return ""
        changes = [after - before for before, after in itertools.pairwise(recent)]
        # Neither a steady rise nor a single jump counts.
        steady = statistics.median(changes)
        if not statistics.median(abs(change - steady) for change in changes) > self.settings.most_diversity_change:
            return ""
        return f"the diversity of fixed latents jumps about ({min(recent):.2f} to {max(recent):.2f} in 15 looks)"

    def _discriminator_won(self, values: Mapping[str, float]) -> str | None:
        pairs = []
        for name in values:
            sibling = name.removesuffix("real_probability") + "fake_probability"
            if name.endswith("real_probability") and sibling in values:
                pairs.append((values[name], values[sibling]))
        # A discriminator's loss below 0 is no cross entropy: that of a critic, whose outputs are no log-odds.
        losses = [value for name, value in values.items() if name.startswith("loss/") and name.endswith("/fake")]
        if not pairs or min(losses, default=0.0) < 0:
            return None
        real, fake = min(pair[0] for pair in pairs), max(pair[1] for pair in pairs)
        gradient = self._generator_gradient(values)
        certain = self.settings.certain_probability
        if math.isnan(gradient) or not (real > certain and fake < 1 - certain):
            return ""
        if fake >= _CERTAIN and gradient >= self.settings.vanished_gradient_factor:
            return ""
        return (
            f"it has had no doubt (D(real) {real:.4f}, D(fake) {fake:.2g}; the generator's gradient norm is"
            f" {gradient:.1%} of what it was at first)"
        )

    def _discriminator_lost(self, step: int, images: int, values: Mapping[str, float]) -> str | None:
        if self.doubt_loss is None or self.doubt_loss <= 0:
            return None  # a critic's loss has no bound
        finding = None
        for name, total in _discriminator_sums(values).items():
            if not math.isfinite(total):
                continue
            recent = self._sums.setdefault(name, deque(maxlen=_LOSS_LOOKS))
            recent.append(total)
            finding = finding or ""
            typical = statistics.median(recent)
            is_judged = self._was_diverse or self._grace_is_over(step, images)
            if is_judged and len(recent) == _LOSS_LOOKS and typical > self.settings.most_loss_factor * self.doubt_loss:
                finding = f"its loss ({typical:.3g}) is above the {self.doubt_loss:.3g} of always giving one answer,"
        return finding

    def _grace_is_over(self, step: int, images: int, times: int = 1) -> bool:
        return images >= times * self.settings.grace_images and step >= times * self.settings.grace_steps

    def _generator_gradient(self, values: Mapping[str, float]) -> float:
        """The generators' gradient norm over what it was at first, the largest of several; NaN when unknown."""
        parts = []
        for name, value in values.items():
            if name.startswith("gradient_norm/generator") and (baseline := self._baseline(name)):
                parts.append(value / baseline)
        return max(parts, default=math.nan)

    def _baseline(self, name: str, value: float | None = None) -> float | None:
        """The largest of the first looks' values, single spikes left out; None until there are enough of them."""
        first = self._baselines.setdefault(name, [])
        if value is not None and math.isfinite(value) and len(first) < _BASELINE_LOOKS:
            first.append(abs(value))
        if len(first) < _LEAST_BASELINE_LOOKS:
            return None
        return max(statistics.median(first[index : index + 3]) for index in range(len(first) - 2))

    def _verdict(self, kind: Kind, step: int, images: int, began_step: int, reason: str) -> Verdict:
        title, advice = _WORDS[kind]
        return Verdict(
            kind=kind,
            action=self.settings.action,
            step=step,
            images=images,
            began_step=began_step,
            title=title,
            reason=reason,
            advice=advice,
        )


_WORDS: Mapping[Kind, tuple[str, str]] = {
    "not_finite": ("Not finite", "lower the learning rate, or train with precision fp32"),
    "growing": ("Divergence", "lower the learning rate of that player, or set training.clip_gradient_norm"),
    "constant": ("Saturated pictures", "lower the generator's learning rate and go back to an earlier checkpoint"),
    "collapsed": ("Mode collapse", "lower the learning rate, or regularise the discriminator (R1, spectral norm)"),
    "repeating": ("Few modes", "regularise the discriminator (R1, spectral norm), or give it a larger batch"),
    "unstable": ("No convergence", "lower both learning rates: the players outrun each other"),
    "discriminator_won": (
        "Discriminator wins",
        "lower its learning rate, smooth its labels, add instance noise or R1, or take the non-saturating loss",
    ),
    "discriminator_lost": (
        "Discriminator fails",
        "lower both learning rates: the players outrun each other",
    ),
}


def _discriminator_sums(values: Mapping[str, float]) -> dict[str, float]:
    """The terms for real and made pictures of every discriminator together: `real` + `fake`, or `pair`."""
    sums = {}
    for name, value in values.items():
        if match := re.fullmatch(r"(loss/[^/]+)/(real|pair)(_[^/]+)?", name):
            update, term, suffix = match[1], match[2], match[3] or ""
            fake = 0.0 if term == "pair" else values.get(f"{update}/fake{suffix}", math.nan)
            sums[update + suffix] = value + fake
    return sums


def _least(values: Mapping[str, float], measure: str) -> float | None:
    found = [value for name, value in values.items() if name.startswith("sample/") and name.endswith(measure)]
    return min(found, default=None)
