"""Recorded names as people write them: "PSNR-Y, x4" for `psnr_y_upscale`, "FID, A → B" for `fid_AtoB`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from i2i.evaluation.measures import FIGURES, decimals
from i2i.evaluation.upscaling import PROTOCOLS

_LOWER_IS_BETTER = re.compile(r"(?i)fid|kid|lpips|loss|error|mae|mse|l1|l2|distance|consistency|seconds")
_AROUND_PROCESSORS = re.compile(r"(?i)\((r|tm)\)|\b(cpu|processor)\b|@")


def processor_name(recorded: object) -> str:
    """A CPU's name without what makers write around it: "Intel Xeon 2.50GHz"; "CPU" for one that is not known."""
    return " ".join(_AROUND_PROCESSORS.sub(" ", str(recorded or "")).split()) or "CPU"


@dataclass(frozen=True, kw_only=True)
class ScoreName:
    """What is known of a score from the name under which it is recorded."""

    measure: str
    """What is measured: "PSNR-Y", "FID"."""
    of: str = ""
    """Of what: "x4", "A → B"; "" where there is only one thing to measure."""
    unit: str = ""
    digits: int | None = None
    """Behind the point; None for as many as the value asks for."""
    higher_is_better: bool | None = True
    """None where neither is."""

    @property
    def label(self) -> str:
        return f"{self.measure}, {self.of}" if self.of else self.measure

    def write(self, value: float, beside: float | None = None) -> str:
        """The value as a table shows it, without its unit; with as many digits as the one it stands `beside`."""
        if self.digits is None or not math.isfinite(value):
            return format_number(value)
        return f"{value:,.{decimals(value if beside is None else beside, self.digits)}f}"


_KNOWN: Mapping[str, ScoreName] = {
    **{
        name: ScoreName(
            measure=kind.label, unit=kind.unit or "", digits=kind.digits, higher_is_better=kind.higher_is_better
        )
        for name, kind in FIGURES.items()
    },
    **{
        name: ScoreName(
            measure=protocol.label, unit="dB" if name.startswith("psnr") else "", digits=protocol.digits
        )
        for name, protocol in PROTOCOLS.items()
    },
    "consistency": ScoreName(measure="Cycle error", higher_is_better=False),
    "d_probability": ScoreName(measure="D probability", higher_is_better=None),
}  # fmt: skip


def score_name(name: str, scale: int | None = None) -> ScoreName:
    """What a score is called, by the name in `metrics.jsonl` after ``validation/`` or ``evaluation/``.

    Args:
        name: a metric, with the entry point that was measured at its end or without: ``psnr_y_upscale``, ``fid_AtoB``.
        scale: by which the run's model enlarges, where it does.
    """
    stems = [stem for stem in _KNOWN if name == stem or name.startswith(f"{stem}_")]
    if stems:
        stem = max(stems, key=len)
        known = _KNOWN[stem]
    else:
        stem = name.partition("_")[0]
        measure = stem.upper() if len(stem) <= 5 else stem.capitalize()
        known = ScoreName(measure=measure, higher_is_better=_LOWER_IS_BETTER.search(name) is None)
    rest = name.removeprefix(stem).removeprefix("_")
    of = f"x{scale}" if rest == "upscale" and scale else "" if rest in ("upscale", "generate") else words(rest)
    return ScoreName(
        measure=known.measure, of=of, unit=known.unit, digits=known.digits, higher_is_better=known.higher_is_better
    )


def words(name: str) -> str:
    """A recorded name as a person would write it."""
    plain = re.sub(r"(?<![a-z])(gib|id)(?![a-z])", lambda match: {"gib": "GiB", "id": "ID"}[match[1]], name)
    plain = re.sub(r"(?<![A-Za-z])([A-Za-z])to([A-Z])(?![A-Za-z])", r"\1 → \2", plain)
    plain = re.sub(r"_(a)(b)$|_(b)(a)$", lambda match: " A → B" if match[1] else " B → A", plain)
    plain = re.sub(r"_([ab])$", lambda match: " " + match[1].upper(), plain)
    return plain.replace("_", " ")


def sheet_title(name: str) -> str:
    """What the sample sheets saved under `name` show."""
    return {"generate": "Generated", "upscale": "Enlarged"}.get(name) or capital(words(name))


def capital(text: str) -> str:
    """With a capital at its beginning, the rest as it is."""
    return text[:1].upper() + text[1:]


def format_number(value: float) -> str:
    """Four significant digits, without an exponent where a person would not write one."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.2f}" if 10 <= abs(value) < 1e6 else f"{value:.4g}"
