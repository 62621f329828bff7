"""The Frechet distance and the statistics it is made from equal torch-fidelity's."""

from __future__ import annotations

import numpy as np
import pytest

from i2i.evaluation.frechet import FeatureStatistics, RunningStatistics, frechet_distance
from tests.parity.cases import BUNDLED, FULL, Case

NAME = "09_generative_metrics"
# The bundled case holds only the beginning of set 1.
CASES = [Case(place / NAME) for place in (BUNDLED, FULL) if (place / NAME).is_dir()]


def features(case: Case, number: int) -> np.ndarray:
    return case.tensors[f"out/features{number}"].numpy()


def statistics(case: Case, number: int) -> FeatureStatistics:
    tensors = case.tensors
    count = case.about["hyper_parameters"][f"n{number}"]
    return FeatureStatistics(count, tensors[f"out/mu{number}"].numpy(), tensors[f"out/sigma{number}"].numpy())


def whole_sets(case: Case) -> list[int]:
    """Numbers of the sets whose feature vectors are all there."""
    return [number for number in (1, 2) if len(features(case, number)) == case.about["hyper_parameters"][f"n{number}"]]


@pytest.mark.parametrize("case", CASES, ids=("bundled", "full")[: len(CASES)])
class TestFrechet:
    def test_mean_and_covariance(self, case: Case) -> None:
        assert 2 in whole_sets(case)
        for number in whole_sets(case):
            expected = statistics(case, number)
            running = RunningStatistics()
            for batch in np.array_split(features(case, number), 7):
                running.add(batch)
            result = running.result()
            assert result.count == expected.count
            # The reference sums in float32 first.
            np.testing.assert_allclose(result.mean, expected.mean, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(result.covariance, expected.covariance, rtol=1e-5, atol=1e-5)

    def test_distance_of_the_statistics(self, case: Case) -> None:
        values, tolerances = case.about["values"], case.about["tolerances"]
        distance = frechet_distance(statistics(case, 1), statistics(case, 2))
        for expected in (values["default"], values["swapped_inputs_prc_neighborhood_5"]):
            assert distance == pytest.approx(
                expected["frechet_inception_distance"], rel=tolerances["fid"]["rtol"], abs=tolerances["fid"]["atol"]
            )

    def test_distance_of_the_features(self, case: Case) -> None:
        values, tolerances = case.about["values"]["float64"], case.about["tolerances"]
        few = case.about["hyper_parameters"]["rank_deficient"]
        rank_deficient = frechet_distance(features(case, 1)[:few], features(case, 2)[:few])
        assert rank_deficient == pytest.approx(values["fid_rank_deficient"], rel=1e-7)
        assert frechet_distance(features(case, 2), features(case, 2)) < tolerances["fid_self"]["atol"]
        if whole_sets(case) == [1, 2]:
            distance = frechet_distance(features(case, 1), features(case, 2))
            assert distance == pytest.approx(values["fid"], rel=tolerances["fid_float64"]["rtol"])


def test_something_is_compared() -> None:
    assert CASES
