"""Metrics of made pictures against real ones: one pass over each set, every figure with its passport."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from i2i.errors import DataError, UsageError
from i2i.evaluation.features.blocks import Share
from i2i.evaluation.features.protocol import FeatureExtractor
from i2i.evaluation.features.store import FeatureStore
from i2i.evaluation.looking import Seen, Wanted, key_of, look
from i2i.evaluation.measures import METRICS, FigureKind, parse_metrics
from i2i.evaluation.metrics.frechet import frechet_distance
from i2i.evaluation.metrics.inception_score import SPLITS
from i2i.evaluation.metrics.kernel_distance import SUBSET_SIZE, SUBSETS, kernel_distance
from i2i.evaluation.metrics.neighbours import (
    DENSITY_COVERAGE_NEIGHBOURS,
    PRECISION_RECALL_NEIGHBOURS,
    density_coverage,
    precision_recall,
    squared_reach,
)
from i2i.evaluation.metrics.pairwise_diversity import PAIRS, vector_diversity
from i2i.evaluation.metrics.parzen import SIGMAS
from i2i.evaluation.passports.figures import Figure, Interval, Passport
from i2i.evaluation.pictures.sources import PictureSource, given_to
from i2i.evaluation.pixel_measures import PerceptualMeasure, PixelLikelihood, counterpart_means, parzen_of_pictures
from i2i.evaluation.team import Collect, Team, alone

SEED = 2020
"""That of torch-fidelity."""

_ALL = Share()
_OF_VECTORS = frozenset({"kid", "pr", "dc", "diversity"})


def assess(
    metrics: Sequence[str],
    real: PictureSource,
    fake: PictureSource,
    *,
    extractor: FeatureExtractor | None,
    split: str,
    seed: int = SEED,
    latent_seed: int | None = None,
    suffix: str = "",
    share: Share = _ALL,
    collect: Collect | None = None,
    store: Path | None = None,
    perceptual: PerceptualMeasure | None = None,
) -> list[Figure]:
    """Measure `fake` against `real`.

    Args:
        metrics: names from the table `METRICS`.
        real: what the pictures should be like; for metrics between counterparts, the truth of each picture of `fake`.
        fake: the pictures to judge.
        extractor: for metrics of features and logits; None where there are none of those.
        split: which real pictures they are, for the passports: "test", "train", "folder".
        seed: of what metrics draw: subsets, splits, pairs and halves.
        latent_seed: of pictures that were made out of nothing, for the passports.
        suffix: of the figures' names, such as ``_AtoB``.
        share: this process's part of the work.
        collect: passes values between the processes; None where there is one. Every process calls it equally often; a
            failure of one is for the caller to carry to the others.
        store: folder for feature vectors and statistics; None keeps them in memory and for this call only.
        perceptual: for LPIPS.

    Returns:
        The figures in the order of `metrics`, on every process the same, for any number of them.

    Raises:
        DataError: too few pictures, pictures that do not fit each other, or features that are not finite.
        UsageError: an unknown metric, or one for which the network is missing.
        StorageError: `store` cannot be written to.
    """
    names = parse_metrics(metrics)
    check(names, extractor, perceptual)
    if "is" in names and fake.count < SPLITS:
        raise DataError(f"Inception Score: {fake.count} pictures are fewer than its {SPLITS} splits - make more")
    team = Team(share=share, gather=collect or alone)
    counterparts = [name for name in names if METRICS[name].needs == "counterparts"]
    if counterparts and real.count != fake.count:
        raise DataError(
            f"metric {counterparts[0]}: compares pictures with their counterparts, but there are {fake.count} made and"
            f" {real.count} real ones - give equally many"
        )
    seen = {"real": Seen(), "fake": Seen()}
    keep = None if store is None else FeatureStore(store)
    if extractor is not None:
        for which, source in (("real", real), ("fake", fake)):
            if wanted := _wanted(names, which, seed):
                seen[which] = look(source, extractor, wanted, team, keep)
    evidence = _Evidence(
        real=real,
        fake=fake,
        seed=seed,
        latent_seed=latent_seed,
        split=split,
        extractor=extractor,
        store=keep,
        perceptual=perceptual,
        seen_real=seen["real"],
        seen_fake=seen["fake"],
        means=counterpart_means(counterparts, real, fake, perceptual, team) if counterparts else {},
        parzen=parzen_of_pictures(real, fake, seed, team) if "parzen" in names else None,
    )
    figures = _figures(names, evidence, suffix) if team.leads else []
    return team.gather(figures)[0]


def check(
    names: Sequence[str], extractor: FeatureExtractor | None, perceptual: PerceptualMeasure | None = None
) -> None:
    """Refuse metrics for which a network is missing, before anything is made.

    Raises:
        UsageError: one is.
    """
    for name in names:
        needs = METRICS[name].needs
        if needs in ("features", "logits") and extractor is None:
            raise UsageError(f"metric {name}: needs a network that looks at the pictures - name one with --features")
        if needs == "logits" and extractor is not None and extractor.classes is None:
            raise UsageError(
                f"metric {name}: {extractor.name} tells no classes apart - use --features inception or lenet:FILE"
            )
        if name == "lpips" and perceptual is None:
            raise UsageError("metric lpips: needs the weights of its network - name one of --lpips alexnet and vgg16")


def cautions(names: Sequence[str], real: int, fake: int, extractor: FeatureExtractor | None) -> list[str]:
    """A line for each metric that so few pictures say little of."""
    fewest = min(real, fake)
    if "fid" not in names or extractor is None or fewest > extractor.width:
        return []
    return [
        f"FID of {fewest} pictures: fewer than the {extractor.width} numbers of a feature vector plus one, their"
        " covariance is singular - compare it with figures of as many pictures only, or look at KID"
    ]


def _wanted(names: Sequence[str], which: str, seed: int) -> Wanted:
    return Wanted(
        statistics="fid" in names,
        vectors=not _OF_VECTORS.isdisjoint(names),
        score="is" in names and which == "fake",
        seed=seed,
    )


# From what was seen to figures


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """All that the figures are made of."""

    real: PictureSource
    fake: PictureSource
    seed: int
    latent_seed: int | None
    split: str
    extractor: FeatureExtractor | None
    store: FeatureStore | None
    perceptual: PerceptualMeasure | None
    seen_real: Seen
    seen_fake: Seen
    means: Mapping[str, float]
    parzen: PixelLikelihood | None

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of the real and of the made pictures."""
        real, fake = self.seen_real.vectors, self.seen_fake.vectors
        assert real is not None and fake is not None, "the networks were asked for them"
        return real, fake

    def real_reach(self, neighbours: int) -> np.ndarray | None:
        """`squared_reach` of the real pictures out of the store; None where nothing can be kept of them."""
        key = None if self.extractor is None else key_of(self.real, self.extractor)
        if self.store is None or key is None:
            return None
        real, _ = self.vectors()
        reach = self.store.reach(key, neighbours, lambda: squared_reach(real, neighbours))
        return reach if len(reach) == len(real) else None


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """A value, before it has its passport."""

    value: float
    interval: Interval | None = None
    parameters: Mapping[str, str | int | float] = field(default_factory=dict)
    looks_at: tuple[str, ...] = ("real", "fake")
    draws: bool = False
    """Whether the metric itself draws lots."""


def _fid(evidence: _Evidence) -> list[_Finding]:
    real, fake = evidence.seen_real.statistics, evidence.seen_fake.statistics
    assert real is not None and fake is not None
    return [_Finding(value=frechet_distance(real, fake), parameters={"covariance": "N - 1"})]


def _kid(evidence: _Evidence) -> list[_Finding]:
    real, fake = evidence.vectors()
    size = min(SUBSET_SIZE, len(real), len(fake))
    if size < 2:
        raise DataError(f"KID: {size} picture has no distance from others - give more")
    # All subsets of the size of both sets are the same one: their distance needs no lots.
    draws = size < max(len(real), len(fake))
    found = kernel_distance(real, fake, subsets=SUBSETS if draws else 1, subset_size=size, seed=evidence.seed)
    interval = None
    if size < min(len(real), len(fake)):
        # Where one set is in every subset whole, the subsets do not tell how far that set strays.
        kind = f"standard deviation over {found.subsets} subsets of {size}"
        interval = Interval(half_width=found.deviation, kind=kind)
    how = {"kernel": "(x.y / width + 1)^3", "subsets": found.subsets, "subset_size": size}
    return [_Finding(value=found.value, interval=interval, parameters=how, draws=draws)]


def _inception_score(evidence: _Evidence) -> list[_Finding]:
    found = evidence.seen_fake.score
    assert found is not None
    interval = Interval(half_width=found.deviation, kind=f"standard deviation over {found.splits} splits")
    return [
        _Finding(value=found.value, interval=interval, parameters={"splits": SPLITS}, looks_at=("fake",), draws=True)
    ]


def _precision_recall(evidence: _Evidence) -> list[_Finding]:
    found = precision_recall(*evidence.vectors(), real_reach=evidence.real_reach(PRECISION_RECALL_NEIGHBOURS))
    return _of_neighbours(PRECISION_RECALL_NEIGHBOURS, found.precision, found.recall)


def _density_coverage(evidence: _Evidence) -> list[_Finding]:
    found = density_coverage(*evidence.vectors(), real_reach=evidence.real_reach(DENSITY_COVERAGE_NEIGHBOURS))
    return _of_neighbours(DENSITY_COVERAGE_NEIGHBOURS, found.density, found.coverage)


def _of_neighbours(neighbours: int, *values: float) -> list[_Finding]:
    return [_Finding(value=value, parameters={"neighbours": neighbours}) for value in values]


def _diversity(evidence: _Evidence) -> list[_Finding]:
    findings: list[_Finding] = []
    for which, seen in (("fake", evidence.seen_fake), ("real", evidence.seen_real)):
        assert seen.vectors is not None
        found = vector_diversity(seen.vectors, pairs=PAIRS, seed=evidence.seed)
        how = {"distance": "Euclidean", "pairs": found.pairs}
        findings.append(_Finding(value=found.value, parameters=how, looks_at=(which,), draws=True))
    return findings


def _parzen(evidence: _Evidence) -> list[_Finding]:
    assert evidence.parzen is not None
    found = evidence.parzen.likelihood
    interval = Interval(
        half_width=found.standard_error,
        kind=f"standard error over {found.test} real pictures, sigma {found.sigma:.3g}"
        + (" (at the end of those tried)" if found.sigma_is_at_an_end else ""),
    )
    sigmas = f"{len(SIGMAS)} from {min(SIGMAS):.3g} to {max(SIGMAS):.3g}"
    how = {"pixels": "0 to 1", "width": evidence.parzen.width, "sigmas": sigmas}
    return [_Finding(value=found.value, interval=interval, parameters=how, draws=True)]


def _mean_of(metric: str) -> Callable[[_Evidence], list[_Finding]]:
    return lambda evidence: [_Finding(value=evidence.means[metric])]


_FINDINGS: Mapping[str, Callable[[_Evidence], list[_Finding]]] = {
    "fid": _fid,
    "kid": _kid,
    "is": _inception_score,
    "pr": _precision_recall,
    "dc": _density_coverage,
    "diversity": _diversity,
    "lpips": _mean_of("lpips"),
    "psnr": _mean_of("psnr"),
    "l1": _mean_of("l1"),
    "ssim": _mean_of("ssim"),
    "parzen": _parzen,
}
assert _FINDINGS.keys() == METRICS.keys()


def _figures(names: Sequence[str], evidence: _Evidence, suffix: str) -> list[Figure]:
    return [
        _figure(name, kind, finding, evidence, suffix)
        for name in names
        for kind, finding in zip(METRICS[name].figures, _FINDINGS[name](evidence), strict=True)
    ]


def _figure(metric: str, kind: FigureKind, finding: _Finding, evidence: _Evidence, suffix: str) -> Figure:
    network = {"features": evidence.extractor, "logits": evidence.extractor}.get(METRICS[metric].needs)
    looks_at_network = evidence.perceptual if metric == "lpips" else network
    of_real, of_fake = "real" in finding.looks_at, "fake" in finding.looks_at
    given = given_to(evidence.fake) if of_fake else None
    own = dict(finding.parameters) | ({"seed": evidence.seed} if finding.draws else {})
    own |= {"scale": given.scale} if given is not None and given.scale > 1 else {}
    return Figure(
        name=f"{kind.name}{suffix}",
        label=kind.label + (f", {suffix.removeprefix('_')}" if suffix else ""),
        value=finding.value,
        unit=kind.unit,
        higher_is_better=kind.higher_is_better,
        interval=finding.interval,
        passport=Passport(
            metric=kind.name,
            extractor=None if looks_at_network is None else looks_at_network.name,
            weights_sha256=None if looks_at_network is None else looks_at_network.weights_sha256,
            preprocessing=None if looks_at_network is None else looks_at_network.preprocessing,
            split=evidence.split if of_real else None,
            real_count=evidence.real.count if of_real else None,
            fake_count=evidence.fake.count if of_fake else None,
            seed=evidence.latent_seed if of_fake else None,
            data_sha256=evidence.real.sha256 if of_real else None,
            source_sha256=None if given is None else given.source.sha256,
            parameters=own,
        ),
    )
