"""Scores of networks whose result is known beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from i2i.core.generators import RRDBSettings
from i2i.core.image_shape import ImageShape
from i2i.core.resize import resize_levels
from i2i.evaluation.upscaling import luma_psnr
from i2i.pipelines import SRGANSettings
from i2i.training.precision import Precision
from i2i.training.validation import Validation, spread, to_batch
from tests.inference.models import image_model
from tests.training.toys import tiny_cyclegan

FLOAT32 = Precision("fp32", torch.device("cpu"))
SAME = {"generator_ab": nn.Identity(), "generator_ba": nn.Identity()}


class Brighten(nn.Module):
    """Adds to every value of a picture in [-1, 1]."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return images + self.amount


def levels(count: int, seed: int, low: int = 0, high: int = 256) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(low, high, (8, 8, 3), dtype=np.uint8) for _ in range(count)]


def validation(test: Mapping[str, Sequence[np.ndarray]], *, aligned: bool, pictures: int = 50) -> Validation:
    return Validation(tiny_cyclegan(), test, aligned=aligned, pictures=pictures, precision=FLOAT32)


def test_identity_on_equal_pictures_is_perfect() -> None:
    same = levels(6, 0)
    scores = validation({"a": same, "b": same}, aligned=True).score(SAME)
    assert scores.values == {"psnr_AtoB": math.inf, "l1_AtoB": 0.0, "psnr_BtoA": math.inf, "l1_BtoA": 0.0}
    assert scores.deciding == math.inf


def test_a_known_difference_gives_the_known_score() -> None:
    a = levels(6, 0, high=200)
    b = [picture + np.uint8(10) for picture in a]
    scores = validation({"a": a, "b": b}, aligned=True).score(SAME)
    for name in ("AtoB", "BtoA"):
        assert scores.values[f"l1_{name}"] == 10.0
        assert scores.values[f"psnr_{name}"] == pytest.approx(20 * math.log10(25.5))
    assert scores.deciding == pytest.approx(20 * math.log10(25.5))


def test_each_way_is_scored_by_its_own_network_against_its_own_truth() -> None:
    a = levels(3, 0, high=200)
    b = [picture + np.uint8(10) for picture in a]
    networks = {"generator_ab": Brighten(10 / 127.5), "generator_ba": nn.Identity()}
    values = validation({"a": a, "b": b}, aligned=True).score(networks).values
    assert (values["l1_AtoB"], values["l1_BtoA"]) == (0.0, 10.0)
    assert values["psnr_AtoB"] == math.inf


def test_without_truth_the_round_trip_decides() -> None:
    test = {"a": levels(6, 0), "b": levels(6, 1)}
    scores = validation(test, aligned=False).score(SAME)
    assert scores.values == {"consistency": 0.0} and scores.deciding == 0.0
    networks = {"generator_ab": Brighten(0.25), "generator_ba": Brighten(0.125)}
    worse = validation(test, aligned=False).score(networks)
    assert worse.values["consistency"] == pytest.approx(0.375, abs=1e-6)
    assert worse.deciding == -worse.values["consistency"] < scores.deciding


def test_every_picture_weighs_the_same_however_they_are_batched() -> None:
    """Five pictures go as four and one: a mean of batch means would give the last one four times its weight."""
    a = [np.full((8, 8, 3), 100, np.uint8) for _ in range(5)]
    b = [picture.copy() for picture in a]
    b[4] = b[4] + np.uint8(50)
    values = validation({"a": a, "b": b}, aligned=True).score(SAME).values
    assert values["l1_AtoB"] == 10.0
    shift = Brighten(0.0)
    validation({"a": a, "b": b}, aligned=False).score({"generator_ab": shift, "generator_ba": nn.Identity()})
    assert sorted(set(shift.batches)) == [1, 4]


def test_pictures_are_spread_evenly_and_both_streams_take_the_same() -> None:
    a = [np.full((8, 8, 3), 20 * index, np.uint8) for index in range(10)]
    b = [picture.copy() for picture in a]
    for index in (0, 2, 5, 7):
        b[index] = b[index] + np.uint8(1)
    assert spread(10, 4) == [0, 2, 5, 7]
    assert validation({"a": a, "b": b}, aligned=True, pictures=4).score(SAME).values["l1_AtoB"] == 1.0


def test_the_shorter_stream_bounds_the_pictures() -> None:
    scores = validation({"a": levels(2, 0), "b": levels(9, 1)}, aligned=False).score(SAME)
    assert scores.values == {"consistency": 0.0}


@pytest.mark.parametrize(
    ("test", "pictures"),
    [
        ({}, 50),
        ({"a": levels(2, 0)}, 50),
        ({"a": levels(2, 0), "b": []}, 50),
        ({"a": levels(2, 0), "b": levels(2, 1)}, 0),
    ],
)
def test_without_pictures_there_is_nothing_to_score(test: Mapping[str, Sequence[np.ndarray]], pictures: int) -> None:
    assert not validation(test, aligned=True, pictures=pictures)


def test_with_pictures_there_is() -> None:
    assert validation({"a": levels(1, 0), "b": levels(1, 1)}, aligned=True)


@pytest.mark.parametrize(
    ("count", "wanted", "expected"), [(3, 5, [0, 1, 2]), (5, 5, [0, 1, 2, 3, 4]), (7, 1, [0]), (0, 4, []), (4, 0, [])]
)
def test_spread(count: int, wanted: int, expected: list[int]) -> None:
    assert spread(count, wanted) == expected


def test_batches_hold_the_pictures_in_range_and_layout() -> None:
    stack = np.stack(levels(2, 0))
    stack[0, 0, 0], stack[0, 0, 1] = 0, 255
    batch = to_batch(stack, FLOAT32)
    assert batch.shape == (2, 3, 8, 8) and batch.dtype == torch.float32
    assert batch[0, :, 0, 0].tolist() == [-1.0] * 3 and batch[0, :, 0, 1].tolist() == [1.0] * 3
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert to_batch(stack, Precision("fp64", torch.device("cpu"))).dtype == torch.float64
    assert to_batch(list(stack), FLOAT32).equal(batch)


def test_scoring_leaves_no_graph_and_no_gradient() -> None:
    network = nn.Conv2d(3, 3, 1)
    networks = {"generator_ab": network, "generator_ba": network}
    scores = validation({"a": levels(2, 0), "b": levels(2, 1)}, aligned=True).score(networks)
    assert all(math.isfinite(value) for value in scores.values.values())
    assert network.weight.grad is None and network.weight.requires_grad


def test_pictures_of_any_size_are_enlarged_as_the_model_file_does_it() -> None:
    generator = RRDBSettings(scale=2, base_channels=4, growth_channels=2, blocks=1)
    pipeline = SRGANSettings(generator=generator, discriminator=None).build(ImageShape(3, 16))
    pipeline.initialize(0)
    network = pipeline.generator.eval()
    random = np.random.default_rng(0)
    # Odd sides, of which the network by itself takes none.
    low, high = (random.integers(0, 256, (side * 7, side * 9, 3), dtype=np.uint8) for side in (1, 2))
    test = {"low": [low], "high": [high]}
    scores = Validation(pipeline, test, aligned=True, pictures=1, precision=FLOAT32).score({"generator": network})
    made = image_model(network, pipeline.entry_points["upscale"], name="upscale")(low)
    assert scores.values == {"psnr_y_upscale": pytest.approx(luma_psnr(made, high, border_pixels=2))}
    # Beside it stands what needs no network.
    bicubic = resize_levels(torch.from_numpy(low).permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0).numpy()
    expected = luma_psnr(bicubic, high, border_pixels=2)
    assert scores.baselines == {"psnr_y_upscale/bicubic": pytest.approx(expected)} and 5 < expected < 20
