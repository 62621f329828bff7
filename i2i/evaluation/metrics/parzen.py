"""The log-likelihood of real pictures under a Parzen window of made ones, as the first papers on GANs report it.

It is a poor judge in many dimensions (Theis et al. 2016, https://arxiv.org/abs/1511.01844, section 3.2) and here so
that those tables can be set beside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from i2i.evaluation.metrics.vectors import blocks, checked_pair

SIGMAS = tuple(float(sigma) for sigma in np.logspace(-1, 0, 10))
"""Widths that are tried, in the unit of the vectors: those of the paper's program, for pixels in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class ParzenLikelihood:
    """Mean log-likelihood of the test vectors, in nats."""

    value: float
    standard_error: float
    """Of the mean over the test vectors, for these samples."""
    sigma: float
    """The width under which the validation vectors are likeliest."""
    sigma_is_at_an_end: bool
    """The best width is the smallest or largest that was tried: a better one may lie beyond."""
    samples: int
    validation: int
    test: int


def parzen_likelihood(
    real: np.ndarray, fake: np.ndarray, *, sigmas: Sequence[float] = SIGMAS, seed: int = 2020
) -> ParzenLikelihood:
    """Score made vectors by real ones, of which a random half chooses the width and the other half is the test.

    Args:
        real: vectors (N, D), float; pixels in [0, 1], flattened, for the papers' numbers.
        fake: vectors (M, D) drawn from the model.
        sigmas: standard deviations to choose from, above 0.
        seed: of the halves.

    Raises:
        DataError: fewer than four real vectors, no made one, or one that is not finite.
        ValueError: arrays of the wrong shape or of different width, or a width that is not above 0.
    """
    real, fake = checked_pair(real, fake)
    order = np.random.RandomState(seed).permutation(len(real))
    validation, test = (np.sort(half) for half in np.array_split(order, 2))
    return parzen_log_likelihood(fake, validation=real[validation], test=real[test], sigmas=sigmas)


def parzen_log_likelihood(
    samples: np.ndarray, *, validation: np.ndarray, test: np.ndarray, sigmas: Sequence[float] = SIGMAS
) -> ParzenLikelihood:
    """Mean log-likelihood of `test` under Gaussian windows around `samples`, whose width `validation` chooses.

        log p(x) = log (1/M) sum_j N(x; s_j, sigma^2 I)

    Args:
        samples: vectors (M, D), float, drawn from the model.
        validation: vectors (N, D); the width under which they are likeliest is taken.
        test: vectors (T, D), T at least 2.
        sigmas: standard deviations to choose from, above 0.

    Raises:
        DataError: no sample, fewer than two vectors to score, or one that is not finite.
        ValueError: arrays of the wrong shape or of different width, or a width that is not above 0.

    Source: Breuleux et al. 2011, section 2 (https://doi.org/10.1162/NECO_a_00114); Goodfellow et al. 2014,
    https://arxiv.org/abs/1406.2661, section 5.
    """
    if not sigmas or min(sigmas) <= 0:
        raise ValueError("sigmas: needs at least one number above 0")
    widths = np.array(sorted(sigmas), np.float64)
    validation, samples = checked_pair(validation, samples)
    test, _ = checked_pair(test, samples)
    checked_pair(validation, test, at_least=2)
    best = int(np.argmax(_log_likelihoods(validation, samples, widths).mean(axis=0)))
    likelihoods = _log_likelihoods(test, samples, widths[best : best + 1])[:, 0]
    return ParzenLikelihood(
        value=float(likelihoods.mean()),
        standard_error=float(likelihoods.std(ddof=1) / math.sqrt(len(likelihoods))),
        sigma=float(widths[best]),
        sigma_is_at_an_end=best in (0, len(widths) - 1),
        samples=len(samples),
        validation=len(validation),
        test=len(test),
    )


def _log_likelihoods(points: np.ndarray, samples: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Of every point under every width, (points, sigmas); bounded memory."""
    rows: list[np.ndarray] = []
    for _, x in blocks(points):
        # A running log-sum-exp over blocks of samples.
        total = np.full((len(x), len(sigmas)), -np.inf)
        for _, y in blocks(samples):
            distances = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)[None] - 2 * (x @ y.T)
            for column, sigma in enumerate(sigmas):
                total[:, column] = np.logaddexp(total[:, column], _log_sum_exp(distances / (-2 * sigma**2)))
        rows.append(total)
    normalizer = math.log(len(samples)) + points.shape[1] * (np.log(sigmas) + 0.5 * math.log(2 * math.pi))
    return np.concatenate(rows) - normalizer


def _log_sum_exp(exponents: np.ndarray) -> np.ndarray:
    """Along the rows, (N, M) to (N,), without overflow."""
    largest = exponents.max(axis=1)
    return largest + np.log(np.exp(exponents - largest[:, None]).sum(axis=1))
