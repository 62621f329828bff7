"""The metrics of sets of pictures equal torch-fidelity's: stored figures, and the package where it is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from i2i.evaluation.metrics.frechet import FeatureStatistics, RunningStatistics, frechet_distance
from i2i.evaluation.metrics.inception_score import inception_score
from i2i.evaluation.metrics.kernel_distance import PolynomialKernel, kernel_distance, squared_discrepancy
from i2i.evaluation.metrics.neighbours import precision_recall
from tests.parity.cases import Case, folders

FIGURE = 1e-6
"""Relative, of every figure that the reference computes in float64."""
FRECHET = "frechet_inception_distance"
KERNEL = "kernel_inception_distance"
SCORE = "inception_score"


@pytest.fixture(scope="module")
def case() -> Case:
    (folder,) = folders("09_generative_metrics")
    return Case(folder)


@pytest.fixture(scope="module")
def values(case: Case) -> dict[str, Any]:
    return case.about["values"]


def features(case: Case, number: int) -> np.ndarray:
    return case.tensors[f"out/features{number}"].numpy()


def logits(case: Case, number: int) -> np.ndarray:
    return case.tensors[f"out/logits{number}"].numpy()


def statistics(case: Case, number: int) -> FeatureStatistics:
    tensors = case.tensors
    return FeatureStatistics(
        len(features(case, number)), tensors[f"out/mu{number}"].numpy(), tensors[f"out/sigma{number}"].numpy()
    )


class TestFrechet:
    def test_mean_and_covariance(self, case: Case) -> None:
        for number in (1, 2):
            expected = statistics(case, number)
            running = RunningStatistics()
            for batch in np.array_split(features(case, number), 7):
                running.add(batch)
            result = running.result()
            assert result.count == expected.count
            # The reference sums the means in float32.
            np.testing.assert_allclose(result.mean, expected.mean, rtol=1e-6)
            np.testing.assert_allclose(result.covariance, expected.covariance, rtol=1e-6, atol=1e-9)

    def test_distance(self, case: Case, values: dict[str, Any]) -> None:
        expected = values["default"][FRECHET]
        assert frechet_distance(statistics(case, 1), statistics(case, 2)) == pytest.approx(expected, rel=FIGURE)
        ours = frechet_distance(features(case, 1), features(case, 2))
        assert ours == pytest.approx(expected, rel=FIGURE)
        # Twice as strict where the means, too, were summed in float64.
        assert ours == pytest.approx(values["float64"]["fid"], rel=1e-10)

    def test_fewer_vectors_than_they_are_wide(self, case: Case, values: dict[str, Any]) -> None:
        few = case.about["hyper_parameters"]["rank_deficient"]
        ours = frechet_distance(features(case, 1)[:few], features(case, 2)[:few])
        assert ours == pytest.approx(values["float64"]["fid_rank_deficient"], rel=1e-8)
        assert ours == pytest.approx(values["fid_rank_deficient"][FRECHET], rel=FIGURE)

    def test_of_a_set_with_itself(self, case: Case) -> None:
        assert frechet_distance(features(case, 2), features(case, 2)) < 1e-12


class TestKernelDistance:
    def test_subsets(self, case: Case, values: dict[str, Any]) -> None:
        drawn = [case.tensors[f"in/kid_indices{number}"].numpy() for number in (1, 2)]
        expected = case.tensors["out/kid_subset_values"].numpy()
        ours = [
            squared_discrepancy(features(case, 1)[first], features(case, 2)[second])
            for first, second in zip(*drawn, strict=True)
        ]
        np.testing.assert_allclose(ours, expected, rtol=1e-8)

    def test_figure(self, case: Case, values: dict[str, Any]) -> None:
        numbers = case.about["hyper_parameters"]
        # Set 1 is the made one. The draw itself is tested here too: the stored subsets were drawn by the reference.
        ours = kernel_distance(
            features(case, 2),
            features(case, 1),
            subsets=numbers["kid_subsets"],
            subset_size=numbers["kid_subset_size"],
            seed=numbers["rng_seed"],
        )
        assert ours.value == pytest.approx(values["float64"]["kid_subset_values_mean"], rel=1e-8)
        assert ours.deviation == pytest.approx(values["float64"]["kid_subset_values_std"], rel=1e-8)
        # The reference's own figure comes from float32 products and differs from its float64 value in the sixth digit:
        # a small difference of sums, each of which is rounded to seven.
        assert ours.value == pytest.approx(values["default"][f"{KERNEL}_mean"], rel=2e-6)
        assert ours.deviation == pytest.approx(values["default"][f"{KERNEL}_std"], rel=1e-5)

    def test_whole_sets(self, case: Case, values: dict[str, Any]) -> None:
        full = case.about["hyper_parameters"]["kid_full"]
        first, second = features(case, 1)[:full], features(case, 2)[:full]
        whole = squared_discrepancy(first, second)
        assert whole == pytest.approx(values["float64"]["kid_whole_set"], rel=1e-8)
        assert whole == pytest.approx(values["kid_whole_set"][f"{KERNEL}_mean"], rel=2e-6)
        unequal = squared_discrepancy(features(case, 1), features(case, 2))
        assert unequal == pytest.approx(values["float64"]["kid_all_samples_unequal_sizes"], rel=1e-8)
        other = squared_discrepancy(first, second, PolynomialKernel(degree=2, scale=0.01, offset=0.5))
        expected = values["kid_whole_set_degree2_gamma0.01_coef0.5"][f"{KERNEL}_mean"]
        assert other == pytest.approx(expected, rel=1e-4)


class TestInceptionScore:
    def test_shuffled(self, case: Case, values: dict[str, Any]) -> None:
        for number, setting in ((1, "default"), (2, "swapped_inputs_prc_neighborhood_5")):
            ours = inception_score(logits(case, number))
            assert ours.value == pytest.approx(values[setting][f"{SCORE}_mean"], rel=1e-12)
            assert ours.deviation == pytest.approx(values[setting][f"{SCORE}_std"], rel=1e-10)

    def test_in_order_and_in_one_split(self, case: Case, values: dict[str, Any]) -> None:
        unshuffled = inception_score(logits(case, 1), seed=None)
        assert unshuffled.value == pytest.approx(values["isc_unshuffled"][f"{SCORE}_mean"], rel=1e-12)
        assert unshuffled.deviation == pytest.approx(values["isc_unshuffled"][f"{SCORE}_std"], rel=1e-10)
        single = inception_score(logits(case, 1), splits=1)
        assert single.value == pytest.approx(values["isc_one_split"][f"{SCORE}_mean"], rel=1e-12)
        assert single.deviation == 0


class TestPrecisionRecall:
    def test_figures(self, case: Case, values: dict[str, Any]) -> None:
        # Set 1 is the made one; the figures are counts, hence equal.
        ours = precision_recall(features(case, 2), features(case, 1))
        assert ours.precision == values["float64"]["precision_k3"]
        assert ours.recall == values["float64"]["recall_k3"]
        five = precision_recall(features(case, 1), features(case, 2), neighbours=5)
        swapped = values["swapped_inputs_prc_neighborhood_5"]
        assert five.precision == pytest.approx(swapped["precision"], abs=1e-7)
        assert five.recall == pytest.approx(swapped["recall"], abs=1e-7)


def test_the_package_itself() -> None:
    """New features, more of them than a subset, with the package's own defaults."""
    pytest.importorskip("torch_fidelity")
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    random = np.random.default_rng(5)
    # Values that float32 holds with room for products: the reference's rounding stays out of it.
    made, real = (random.integers(-8, 9, (count, 16)) / 8 + shift for count, shift in ((1100, 0.25), (1050, 0)))
    made_tensor, real_tensor = torch.from_numpy(made), torch.from_numpy(real)
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(made_tensor), fid_features_to_statistics(real_tensor), False
    )
    assert frechet_distance(real, made) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)
    theirs = kid_features_to_metric(made_tensor, real_tensor, verbose=False)
    ours = kernel_distance(real, made)
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert ours.deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-9)
    theirs = isc_features_to_metric(made_tensor)
    assert inception_score(made).value == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert inception_score(made).deviation == pytest.approx(theirs["inception_score_std"], rel=1e-10)
    theirs = prc_features_to_metric(made_tensor, real_tensor, verbose=False)
    ours = precision_recall(real, made)
    assert ours.precision == pytest.approx(theirs["precision"], abs=2e-3)
    assert ours.recall == pytest.approx(theirs["recall"], abs=2e-3)
