from __future__ import annotations

import torch
from torch import Tensor

from i2i.core.generators import UNetGeneratorSettings
from i2i.export.parity import BATCHES, compare, parity_pictures, parity_sizes
from i2i.inference.runtime import Precision
from i2i.pipelines.protocol import LatentEntryPoint, PictureEntryPoint
from tests.inference.models import COLOUR, CONSTANT, MLP


class Engine:
    """Adds a number to pictures, or makes pictures of latents and labels."""

    name = "test"
    device = torch.device("cpu")
    precision: Precision = "fp32"
    network = None

    def __init__(self, added: float = 0.0, crop: int = 0) -> None:
        self.added, self.crop = added, crop
        self.seen: list[tuple[Tensor | None, ...]] = []

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        self.seen.append(inputs)
        first = inputs[0]
        assert first is not None
        if first.ndim == 2:
            first = first.mean(1)[:, None, None, None].expand(-1, 3, 4, 4)
        return first[..., self.crop :] + self.added


PICTURES = PictureEntryPoint("generator", CONSTANT)


def test_five_odd_sizes_in_two_batches() -> None:
    engine = Engine()
    rows = compare(engine, Engine(), PICTURES)
    assert len(rows) == 10 and all(row.levels == 0 for row in rows)
    assert len({(row.height, row.width) for row in rows}) == 5
    assert {row.batch for row in rows} == set(BATCHES)
    assert all(row.height % 2 or row.width % 2 for row in rows)
    for (pictures,), row in zip(engine.seen, rows, strict=True):
        assert pictures is not None and pictures.shape == (row.batch, 3, row.height, row.width)


def test_one_size_needs_nearly_a_whole_multiple_more() -> None:
    multiple = UNetGeneratorSettings().size_multiple
    assert multiple == 256
    assert any(height % multiple == 1 and height > multiple for height, _ in parity_sizes(multiple))


def test_differences_are_counted_in_levels() -> None:
    rows = compare(Engine(), Engine(added=2.0 / 127.5), PICTURES)
    assert all(abs(row.levels - 2.0) < 1e-3 for row in rows)


def test_whole_levels_are_compared_where_the_file_gives_such() -> None:
    rows = compare(Engine(), Engine(added=0.4 / 127.5), PICTURES, uint8=True)
    assert [row.levels for row in rows] == [0.0] * 10
    rows = compare(Engine(), Engine(added=0.6 / 127.5), PICTURES, uint8=True)
    assert [row.levels for row in rows] == [1.0] * 10


def test_nothing_that_is_no_number_or_of_another_size_passes() -> None:
    for broken in (Engine(added=float("nan")), Engine(crop=1)):
        assert all(row.levels == float("inf") for row in compare(Engine(), broken, PICTURES))


def test_latents_are_drawn_anew_with_labels_where_there_are_classes() -> None:
    for classes in (0, 3):
        engine = Engine()
        rows = compare(engine, Engine(), LatentEntryPoint("generator", MLP, COLOUR, classes))
        assert len(rows) == 10 and {row.batch for row in rows} == set(BATCHES)
        latents = [inputs[0] for inputs in engine.seen]
        assert all(value is not None and value.shape[1] == MLP.latent for value in latents)
        assert len({tuple(value.flatten().tolist()) for value in latents if value is not None}) == 10
        labels = [inputs[1] for inputs in engine.seen]
        assert all((value is None) == (classes == 0) for value in labels)


def test_pictures_have_whole_levels_and_are_the_same_every_time() -> None:
    pictures = parity_pictures(2, 9, 5)
    levels = (pictures + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert levels.min() >= 0 and levels.max() <= 255.001 and levels.std() > 20
    assert torch.equal(pictures, parity_pictures(2, 9, 5))
