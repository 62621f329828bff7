"""Metrics of one set against another: values, passports, caches, and processes that share the work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i.errors import DataError, UsageError
from i2i.evaluation.assessment import assess, cautions
from i2i.evaluation.features.blocks import Share
from i2i.evaluation.features.callable import callable_extractor
from i2i.evaluation.measures import METRICS, figure_names
from i2i.evaluation.metrics.frechet import frechet_distance
from i2i.evaluation.metrics.inception_score import inception_score
from i2i.evaluation.metrics.kernel_distance import kernel_distance
from i2i.evaluation.metrics.neighbours import density_coverage, precision_recall, squared_reach
from i2i.evaluation.metrics.psnr import l1, psnr
from i2i.evaluation.passports.comparison import passport_differences
from i2i.evaluation.passports.figures import Figure, Passport
from i2i.evaluation.pictures.sources import ArraySource, CallableSource, Given, at_most
from i2i.evaluation.pixel_measures import PerceptualMeasure
from tests.evaluation.looking_glass import Watched, noise, tiny_extractor

OF_NETWORKS = ("fid", "kid", "is", "pr", "dc", "diversity")
OF_PIXELS = ("psnr", "l1", "ssim", "parzen")
EXTRACTOR = tiny_extractor()


def features(source: ArraySource) -> tuple[np.ndarray, np.ndarray]:
    found = EXTRACTOR(source.pictures(0, source.count))
    assert found.logits is not None
    return found.vectors, found.logits


def values(figures: Sequence[Figure]) -> dict[str, float]:
    return {figure.name: figure.value for figure in figures}


def test_every_figure_is_what_its_metric_gives_for_the_features() -> None:
    real, fake = noise(75, 1), noise(75, 2, most=200)
    figures = assess([*OF_NETWORKS, *OF_PIXELS], real, fake, extractor=EXTRACTOR, split="test")
    found = values(figures)
    assert tuple(found) == figure_names([*OF_NETWORKS, *OF_PIXELS])
    (of_real, _), (of_fake, logits) = features(real), features(fake)
    neighbours, density = precision_recall(of_real, of_fake), density_coverage(of_real, of_fake)
    kernel, score = kernel_distance(of_real, of_fake, subset_size=75), inception_score(logits)
    likelihood = next(figure for figure in figures if figure.name == "parzen").passport
    assert likelihood.parameters["width"] == 16 * 16 * 3
    expected = {
        "fid": frechet_distance(of_real, of_fake),
        "kid": kernel.value,
        "is": score.value,
        "precision": neighbours.precision,
        "recall": neighbours.recall,
        "density": density.density,
        "coverage": density.coverage,
        "psnr": np.mean([psnr(a, b) for a, b in zip(fake.images, real.images, strict=True)]),
        "l1": np.mean([l1(a, b) for a, b in zip(fake.images, real.images, strict=True)]),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert found["diversity"] < found["diversity_real"], "darker pictures lie closer together"
    intervals = {figure.name: figure.interval for figure in figures if figure.interval is not None}
    assert set(intervals) == {"is", "parzen"}, "a bootstrap of the FID would be biased, the KID's subset is the set"
    assert intervals["is"].half_width == pytest.approx(score.deviation)


@pytest.mark.parametrize(("reals", "fakes", "subsets"), [(40, 40, 1), (60, 40, 100), (40, 60, 100), (60, 60, 100)])
def test_kid_has_an_interval_only_where_both_sets_are_larger_than_a_subset(
    reals: int, fakes: int, subsets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2i.evaluation.assessment.SUBSET_SIZE", 50)
    real, fake = noise(reals, 1), noise(fakes, 2, most=200)
    (figure,) = assess(["kid"], real, fake, extractor=EXTRACTOR, split="test")
    size = min(reals, fakes, 50)
    expected = kernel_distance(features(real)[0], features(fake)[0], subset_size=size)
    assert figure.value == pytest.approx(expected.value, rel=1e-12)
    assert (figure.passport.parameters["subsets"], figure.passport.parameters["subset_size"]) == (subsets, size)
    assert ("seed" in figure.passport.parameters) is (subsets > 1)
    if size < min(reals, fakes):
        assert figure.interval is not None and figure.interval.half_width == pytest.approx(expected.deviation)
        assert figure.interval.kind == "standard deviation over 100 subsets of 50"
    else:
        assert figure.interval is None


class _Translated:
    """Pictures that a model would make of others."""

    def __init__(self, pictures: ArraySource, given: Given) -> None:
        self.count, self.description, self.sha256, self.given = pictures.count, "translated", None, given
        self.pictures = pictures.pictures


def test_passports_name_what_the_pictures_were_made_of() -> None:
    real, made, source, other = (noise(20, seed) for seed in (1, 2, 3, 4))

    def passports(given: Given, count: int = 20) -> dict[str, Passport]:
        fake = at_most(_Translated(made, given), count)
        figures = assess(["fid", "diversity"], real, fake, extractor=EXTRACTOR, split="test")
        return {figure.name: figure.passport for figure in figures}

    found = passports(Given(source=source, scale=2))
    assert found["fid"].source_sha256 == source.sha256 and found["fid"].parameters["scale"] == 2
    assert found["diversity_real"].source_sha256 is None and "scale" not in found["diversity_real"].parameters
    again = passports(Given(source=other))
    assert list(passport_differences(found["fid"], again["fid"])) == ["source_sha256", "parameters.scale"]
    assert passports(Given(source=source), 10)["fid"].source_sha256 == at_most(source, 10).sha256


def test_a_set_is_at_no_distance_from_itself() -> None:
    real = noise(64, 3)
    found = values(assess(["fid", "psnr", "l1", "ssim", "pr"], real, real, extractor=EXTRACTOR, split="test"))
    assert found["fid"] == pytest.approx(0, abs=1e-9)
    assert (found["psnr"], found["l1"], found["precision"], found["recall"]) == (np.inf, 0, 1, 1)
    assert found["ssim"] == pytest.approx(1)


def test_passports_say_what_each_metric_looked_at() -> None:
    real, fake = noise(40, 1), noise(36, 2)
    made = CallableSource(count=36, description="made", picture=lambda number: fake.images[number])
    figures = assess(
        ["fid", "is", "diversity", "kid"], real, made,
        extractor=EXTRACTOR, split="train", suffix="_AtoB", latent_seed=7, seed=5,
    )  # fmt: skip
    passports = {figure.name: figure.passport for figure in figures}
    fid, score = passports["fid_AtoB"], passports["is_AtoB"]
    assert (fid.metric, fid.extractor, fid.weights_sha256) == ("fid", "tiny", EXTRACTOR.weights_sha256)
    assert (fid.split, fid.real_count, fid.fake_count, fid.data_sha256) == ("train", 40, 36, real.sha256)
    assert fid.preprocessing == EXTRACTOR.preprocessing and fid.seed == 7
    assert (score.split, score.real_count, score.fake_count, score.data_sha256) == (None, None, 36, None)
    assert score.parameters == {"splits": 10, "seed": 5}
    of_real = passports["diversity_real_AtoB"]
    assert (of_real.fake_count, of_real.seed, of_real.real_count) == (None, None, 40)
    assert passports["kid_AtoB"].parameters["subset_size"] == 36
    assert figures[0].label == "FID, AtoB"


def test_lpips_goes_through_the_measure_that_is_given() -> None:
    real, fake = noise(5, 1), noise(5, 2)
    measure = PerceptualMeasure(
        name="lpips-test", weights_sha256="ab", preprocessing="none", between=lambda a, b: float(a[0, 0, 0]) + b.size
    )
    (figure,) = assess(["lpips"], real, fake, extractor=None, split="test", perceptual=measure)
    assert figure.value == pytest.approx(np.mean([int(one[0, 0, 0]) for one in fake.images]) + 16 * 16 * 3)
    assert (figure.passport.extractor, figure.passport.weights_sha256) == ("lpips-test", "ab")


class TestProcesses:
    @staticmethod
    def together(work: Callable[[Share, Callable[[Any], list[Any]]], Any], count: int) -> list[Any]:
        """Run `work` as `count` processes would, one a thread, with messages that all wait for."""
        barrier = threading.Barrier(count, timeout=60)
        box: list[Any] = [None] * count

        def collect_of(rank: int) -> Callable[[Any], list[Any]]:
            def collect(value: Any) -> list[Any]:
                box[rank] = value
                barrier.wait()
                values = list(box)
                barrier.wait()
                return values

            return collect

        def one(rank: int) -> Any:
            try:
                return work(Share(rank, count), collect_of(rank))
            except BaseException:
                barrier.abort()
                raise

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))

    @pytest.mark.parametrize("count", [2, 3])
    @pytest.mark.parametrize("stored", [False, True])
    def test_figures_do_not_depend_on_their_number(self, count: int, stored: bool, tmp_path: Path) -> None:
        real, fake = noise(70, 1), noise(70, 2, most=220)
        metrics = [*OF_NETWORKS, *OF_PIXELS]
        alone = assess(metrics, real, fake, extractor=EXTRACTOR, split="test")
        watched = Watched(fake)

        def work(share: Share, collect: Callable[[Any], list[Any]]) -> list[Figure]:
            return assess(
                metrics, real, watched, extractor=EXTRACTOR, split="test", share=share, collect=collect,
                store=tmp_path / "store" if stored else None,
            )  # fmt: skip

        for figures in self.together(work, count):
            assert figures == alone, "to the last bit"
        # Once for the features, once for the pairs, once for the likelihood: by one process each.
        assert (watched.asked == 3).all()


class TestStore:
    def test_what_was_seen_of_known_pictures_is_not_looked_at_again(self, tmp_path: Path) -> None:
        real, fake = noise(40, 1), noise(40, 2)

        def figures(source: Watched, metrics: Sequence[str] = ("fid", "kid")) -> list[Figure]:
            return assess(metrics, source, fake, extractor=EXTRACTOR, split="test", store=tmp_path)

        first, second, third = Watched(real), Watched(real), Watched(real)
        found = figures(first)
        assert (first.asked == 1).all()
        assert figures(second) == found == assess(("fid", "kid"), real, fake, extractor=EXTRACTOR, split="test")
        assert not second.asked.any()
        other = replace(EXTRACTOR, weights_sha256="f" * 64)
        assess(["fid"], third, fake, extractor=other, split="test", store=tmp_path)
        assert (third.asked == 1).all(), "another network saw something else"

    def test_neighbours_of_known_pictures_are_looked_for_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, fake = noise(60, 1), noise(30, 2, most=220)
        looked: list[int] = []

        def watched(vectors: np.ndarray, neighbours: int) -> np.ndarray:
            looked.append(neighbours)
            return squared_reach(vectors, neighbours)

        monkeypatch.setattr("i2i.evaluation.assessment.squared_reach", watched)
        alone = assess(["pr", "dc"], real, fake, extractor=EXTRACTOR, split="test")
        for _ in range(2):
            found = assess(["pr", "dc"], real, fake, extractor=EXTRACTOR, split="test", store=tmp_path)
            assert found == alone, "to the last bit"
        assert looked == [3, 5]

    def test_pictures_made_anew_are_always_looked_at(self, tmp_path: Path) -> None:
        real, fake = noise(40, 1), noise(40, 2)
        asked: list[int] = []

        def picture(number: int) -> np.ndarray:
            asked.append(number)
            return fake.images[number]

        made = CallableSource(count=40, description="made", picture=picture)
        for _ in range(2):
            assess(["kid"], real, made, extractor=EXTRACTOR, split="test", store=tmp_path)
        assert len(asked) == 80
        assert len(list(tmp_path.glob("*.npy"))) == 1, "the features of the real ones alone are kept"

    def test_a_function_without_weights_is_never_taken_for_another(self, tmp_path: Path) -> None:
        real, fake = noise(40, 1), noise(40, 2)
        found = [
            values(
                assess(
                    ["fid"], real, fake, split="test", store=tmp_path,
                    extractor=callable_extractor(lambda x, k=k: x.float().mean((2, 3)) * k, name="function"),
                )
            )["fid"]
            for k in (1, 3)
        ]  # fmt: skip
        assert found[1] == pytest.approx(9 * found[0])


class TestRefusals:
    @pytest.mark.parametrize(
        ("metrics", "message"),
        [
            (["fdi"], "metric 'fdi' is unknown, did you mean 'fid'"),
            (["precision"], "did you mean 'pr'"),
            (["fid"], "metric fid: needs a network"),
            (["lpips"], "metric lpips: needs the weights"),
        ],
    )
    def test_what_cannot_be_measured(self, metrics: list[str], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            assess(metrics, noise(4, 1), noise(4, 2), extractor=None, split="test")

    def test_a_network_without_classes_gives_no_score(self) -> None:
        plain = callable_extractor(lambda x: x.float().mean((2, 3)), name="plain")
        with pytest.raises(UsageError, match="plain tells no classes apart"):
            assess(["is"], noise(20, 1), noise(20, 2), extractor=plain, split="test")

    def test_counterparts_must_fit(self) -> None:
        with pytest.raises(DataError, match="5 made and 4 real ones"):
            assess(["psnr"], noise(4, 1), noise(5, 2), extractor=None, split="test")
        with pytest.raises(DataError, match="picture 0: made it is 8x8, its counterpart 16x16"):
            assess(["psnr"], noise(4, 1), noise(4, 2, side=8), extractor=None, split="test")
        with pytest.raises(DataError, match="leave it out or give larger pictures"):
            assess(["ssim"], noise(4, 1, side=8), noise(4, 2, side=8), extractor=None, split="test")

    def test_a_likelihood_needs_pictures_of_one_size(self) -> None:
        mixed = ArraySource(images=[*noise(4, 1).images, *noise(4, 1, side=8).images])
        for real, fake in ((mixed, noise(8, 2)), (noise(8, 1), noise(8, 2, side=8))):
            with pytest.raises(DataError, match="of one size"):
                assess(["parzen"], real, fake, extractor=None, split="test")

    def test_too_few_pictures(self) -> None:
        for metric in ("fid", "kid", "is", "pr"):
            with pytest.raises(DataError):
                assess([metric], noise(40, 1), noise(1, 2), extractor=EXTRACTOR, split="test")

    def test_too_few_pictures_for_the_splits_are_refused_before_one_is_looked_at(self) -> None:
        real, few = Watched(noise(40, 1)), Watched(noise(9, 2))
        with pytest.raises(DataError, match="9 pictures are fewer than its 10 splits - make more"):
            assess(["fid", "is"], real, few, extractor=EXTRACTOR, split="test")
        assert not real.asked.any() and not few.asked.any()

    def test_few_pictures_for_the_width_are_said_in_one_line(self) -> None:
        (line,) = cautions(["fid", "kid"], 1000, 6, EXTRACTOR)
        assert "FID of 6 pictures" in line and "\n" not in line
        assert cautions(["fid"], 7, 7, EXTRACTOR) == []
        assert cautions(["kid"], 2, 2, EXTRACTOR) == []


def test_grey_pictures_count_as_grey_whether_in_one_channel_or_three() -> None:
    grey, fake = noise(24, 1, side=4, channels=1), noise(24, 2, side=4, channels=1)
    in_colour = ArraySource(images=np.repeat(np.asarray(grey.images), 3, axis=-1))
    found = [values(assess(["parzen", "l1"], real, fake, extractor=None, split="test")) for real in (grey, in_colour)]
    assert found[0] == found[1]
    assert grey.sha256 == in_colour.sha256


def test_grey_files_on_both_sides_count_as_grey_and_one_in_colour_makes_both_coloured() -> None:
    grey, fake = noise(24, 1, side=4, channels=1), noise(24, 2, side=4, channels=1)
    files, made, coloured = (
        *(ArraySource(images=np.repeat(np.asarray(one.images), 3, axis=-1)) for one in (grey, fake)),
        noise(24, 3, side=4),
    )
    found = {}
    for name, sides in {"grey": (grey, fake), "files": (files, made), "one": (grey, coloured)}.items():
        (found[name],) = assess(["parzen"], *sides, extractor=None, split="test")
    assert found["files"] == replace(found["grey"], passport=found["files"].passport)
    assert [figure.passport.parameters["width"] for figure in found.values()] == [16, 16, 48]
    (of_files,) = assess(["parzen"], files, coloured, extractor=None, split="test")
    assert of_files == found["one"]


def test_a_likelihood_of_more_than_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i.evaluation.pixel_measures._MOST_BYTES", 4 * (40 + 30) * 16 * 16 * 3)
    assess(["parzen"], noise(40, 1), noise(30, 2), extractor=None, split="test")
    with pytest.raises(DataError, match="31 pictures of 16x16 pixels take more than") as caught:
        assess(["parzen"], noise(40, 1), noise(31, 2), extractor=None, split="test")
    assert "\n" not in str(caught.value)


def test_every_metric_of_the_table_is_measured_here() -> None:
    assert set(METRICS) == {*OF_NETWORKS, *OF_PIXELS, "lpips"}
