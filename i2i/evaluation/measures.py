"""The table of metrics: what each is called, which figures it gives, what it needs, and which way is better."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from i2i.errors import UsageError

Needs = Literal["features", "logits", "pixels", "counterparts"]
"""What a metric looks at: feature vectors of both sets; class logits of the made pictures; the pixels of both sets; or
made pictures beside their true counterparts, number by number."""


D_PROBABILITY = "d_probability"
"""What the discriminator makes of real and of made pictures: a metric for which only a training has the networks."""

_DIGITS = 5


@dataclass(frozen=True, kw_only=True)
class FigureKind:
    """One number that a metric gives."""

    name: str
    label: str
    definition: str
    higher_is_better: bool | None
    unit: str | None = None
    digits: int = 2
    """Behind the point, in a table; of large values fewer, see `decimals`."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One metric of the command line and of recipes."""

    figures: Sequence[FigureKind]
    needs: Needs
    source: str


METRICS: Mapping[str, Measure] = {
    "fid": Measure(
        figures=(
            FigureKind(
                name="fid",
                label="FID",
                definition="Frechet distance of Gaussians fitted to the features",
                higher_is_better=False,
                digits=3,
            ),
        ),
        needs="features",
        source="Heusel et al. 2017, equation 6",
    ),
    "kid": Measure(
        figures=(
            FigureKind(
                name="kid",
                label="KID",
                definition="squared maximum mean discrepancy of the features, cubic kernel, unbiased",
                higher_is_better=False,
                digits=6,
            ),
        ),
        needs="features",
        source="Binkowski et al. 2018, section 4",
    ),
    "is": Measure(
        figures=(
            FigureKind(
                name="is",
                label="Inception Score",
                definition="exp of the mean KL divergence of a picture's classes from those of all",
                higher_is_better=True,
                digits=3,
            ),
        ),
        needs="logits",
        source="Salimans et al. 2016, section 4",
    ),
    "pr": Measure(
        figures=(
            FigureKind(
                name="precision",
                label="Precision",
                definition="share of made pictures within the real ones' neighbourhoods",
                higher_is_better=True,
                digits=4,
            ),
            FigureKind(
                name="recall",
                label="Recall",
                definition="share of real pictures within the made ones' neighbourhoods",
                higher_is_better=True,
                digits=4,
            ),
        ),
        needs="features",
        source="Kynkaanniemi et al. 2019, section 2",
    ),
    "dc": Measure(
        figures=(
            FigureKind(
                name="density",
                label="Density",
                definition="real neighbourhoods that a made picture lies in, over their number of neighbours",
                higher_is_better=True,
                digits=4,
            ),
            FigureKind(
                name="coverage",
                label="Coverage",
                definition="share of real neighbourhoods with a made picture in them",
                higher_is_better=True,
                digits=4,
            ),
        ),
        needs="features",
        source="Naeem et al. 2020, section 3",
    ),
    "diversity": Measure(
        figures=(
            FigureKind(
                name="diversity",
                label="Diversity",
                definition="mean distance of two made pictures' features",
                higher_is_better=None,
                digits=4,
            ),
            FigureKind(
                name="diversity_real",
                label="Diversity, real",
                definition="mean distance of two real pictures' features: what it should come to",
                higher_is_better=None,
                digits=4,
            ),
        ),
        needs="features",
        source="mean pairwise distance",
    ),
    "lpips": Measure(
        figures=(
            FigureKind(
                name="lpips",
                label="LPIPS",
                definition="perceptual distance to the true counterpart",
                higher_is_better=False,
                digits=4,
            ),
        ),
        needs="counterparts",
        source="Zhang et al. 2018, version 0.1",
    ),
    "psnr": Measure(
        figures=(
            FigureKind(
                name="psnr",
                label="PSNR",
                definition="peak signal-to-noise ratio on RGB, mean of the pictures'",
                higher_is_better=True,
                unit="dB",
            ),
        ),
        needs="counterparts",
        source="10 log10(255^2 / MSE)",
    ),
    "l1": Measure(
        figures=(
            FigureKind(
                name="l1",
                label="L1",
                definition="mean absolute difference on RGB",
                higher_is_better=False,
                unit="levels of 255",
            ),
        ),
        needs="counterparts",
        source="mean absolute difference",
    ),
    "ssim": Measure(
        figures=(
            FigureKind(
                name="ssim",
                label="SSIM",
                definition="structural similarity on RGB, 11x11 Gaussian window, mean of the channels",
                higher_is_better=True,
                digits=4,
            ),
        ),
        needs="counterparts",
        source="Wang et al. 2004",
    ),
    "parzen": Measure(
        figures=(
            FigureKind(
                name="parzen",
                label="Parzen log-likelihood",
                definition="mean log-likelihood of real pictures under Gaussians around the made ones",
                higher_is_better=True,
                unit="nats",
                digits=1,
            ),
        ),
        needs="pixels",
        source="Breuleux et al. 2011; Goodfellow et al. 2014, section 5",
    ),
}
"""By the name that `--metrics` and recipes give it."""

FIGURES: Mapping[str, FigureKind] = {kind.name: kind for measure in METRICS.values() for kind in measure.figures}
"""Every kind of figure by name."""


def parse_metrics(text: str | Sequence[str]) -> tuple[str, ...]:
    """The metrics that ``fid,kid`` (or a list of such names) means, each once, in the order given.

    Raises:
        UsageError: a name is unknown, or none is there.
    """
    words = text.split(",") if isinstance(text, str) else list(text)
    names = tuple(dict.fromkeys(word.strip().lower() for word in words if word.strip()))
    for name in names:
        if name == D_PROBABILITY:
            raise UsageError(
                f"metric {name!r} asks the discriminator, which only a training has - put it into a recipe's"
                " evaluate.metrics"
            )
        if name not in METRICS:
            near = next(
                (key for key, measure in METRICS.items() if name in {kind.name for kind in measure.figures}), None
            )
            near = near or next(iter(difflib.get_close_matches(name[:40], METRICS, n=1, cutoff=0.5)), None)
            guess = "" if near is None else f", did you mean {near!r}?"
            raise UsageError(f"metric {name[:40]!r} is unknown{guess} - there are {', '.join(METRICS)}")
    if not names:
        raise UsageError(f"no metric is named - there are {', '.join(METRICS)}")
    return names


def figure_names(metrics: Sequence[str], suffixes: Sequence[str] = ("",)) -> tuple[str, ...]:
    """Names of the figures that `metrics` give, for each of the `suffixes` that stand for directions ("_AtoB")."""
    return tuple(f"{kind.name}{suffix}" for suffix in suffixes for name in metrics for kind in METRICS[name].figures)


def decimals(value: float, most: int) -> int:
    """How many digits a table shows behind the point: `most`, or what is left of five digits in all."""
    if not math.isfinite(value) or abs(value) < 1:
        return most
    return max(0, min(most, _DIGITS - len(str(int(abs(value))))))


def kind_of(figure_name: str) -> FigureKind | None:
    """The kind of a figure by its name, with a direction at its end or without; None for one unknown here."""
    if figure_name in FIGURES:
        return FIGURES[figure_name]
    base, _, _ = figure_name.rpartition("_")
    return FIGURES.get(base)
