"""Batches follow from their counter: no worker, rank, micro-batch, restart or accident changes a bit of them."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from i2i.data.dataset import Stream
from i2i.data.loader import BatchLayout, StreamLoader
from i2i.data.settings import UnpairedFoldersSettings
from i2i.data.streams import open_streams
from i2i.errors import DataError, RecipeError
from tests.data.pictures import write_unpaired

_BOTH = ("a", "b")


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Stream]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("I2I_CACHE", str(tmp_path_factory.mktemp("cache")))
        root = write_unpaired(tmp_path_factory.mktemp("set"))
        settings = UnpairedFoldersSettings(root=str(root), resize_pixels=20, crop_pixels=16)
        yield open_streams(settings, seed=3).train


class CountingStream:
    """Pictures that tell their own counter; reading 13 ends as the test says."""

    images_per_epoch = 7

    def __init__(self, end: str = "none") -> None:
        self.end = end

    def __getitem__(self, counter: int) -> np.ndarray:
        if counter == 13 and self.end == "error":
            raise DataError("the pictures are gone")
        if counter == 13 and self.end == "kill" and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full((2, 2, 3), counter, np.uint8)


def _counters(images: Tensor) -> list[int]:
    return ((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def _equal(first: list[dict[str, Tensor]], second: list[dict[str, Tensor]]) -> bool:
    return len(first) == len(second) and all(
        x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)
        for x, y in zip(first, second, strict=True)
    )


def test_a_batch_is_what_the_streams_hold(streams: Mapping[str, Stream]) -> None:
    (batch,) = StreamLoader(streams, 3).draw(_BOTH, 40)
    assert set(batch) == {"a", "b"}
    for name in _BOTH:
        images = batch[name]
        assert (images.dtype, images.shape) == (torch.float32, (3, 3, 16, 16))
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert images.min() >= -1 and images.max() <= 1
        for index in range(3):
            pixels = torch.from_numpy(streams[name][40 + index]).permute(2, 0, 1)
            assert torch.equal(images[index], pixels.float() / 127.5 - 1)


def test_the_ends_of_the_range_are_exact() -> None:
    loader = StreamLoader({"x": CountingStream()}, 256)
    values = loader.draw(("x",), 0)[0]["x"][:, 0, 0, 0]
    assert values[0] == -1 and values[255] == 1
    assert torch.equal(((values + 1) * 127.5).round(), torch.arange(256.0))


@pytest.mark.parametrize(("ranks", "micro_batches"), [(1, 1), (2, 1), (1, 3), (2, 3), (3, 2), (6, 2)])
def test_ranks_and_micro_batches_put_together_are_the_joined_batch(
    streams: Mapping[str, Stream], ranks: int, micro_batches: int
) -> None:
    (joined,) = StreamLoader(streams, 12).draw(_BOTH, 24)
    shares = [StreamLoader(streams, 12, rank, ranks, micro_batches).draw(_BOTH, 24) for rank in range(ranks)]
    for name in _BOTH:
        blocks = [shares[rank][index][name] for index in range(micro_batches) for rank in range(ranks)]
        assert all(len(block) == 12 // (ranks * micro_batches) for block in blocks)
        assert torch.equal(torch.cat(blocks), joined[name])


def test_layout_gives_each_micro_batch_a_contiguous_block() -> None:
    layout = BatchLayout(batch_size=8, rank=1, world_size=2, micro_batches=2)
    assert layout.counters(100) == [102, 103, 106, 107]


@pytest.mark.parametrize(("batch", "ranks", "micro_batches"), [(4, 3, 1), (4, 2, 4), (1, 2, 1), (0, 1, 1)])
def test_a_batch_that_does_not_split_is_refused(batch: int, ranks: int, micro_batches: int) -> None:
    with pytest.raises(RecipeError, match=f"choose a multiple of {ranks * micro_batches}$"):
        StreamLoader({}, batch, 0, ranks, micro_batches)


def test_workers_change_nothing_wherever_reading_sets_in(streams: Mapping[str, Stream]) -> None:
    alone = StreamLoader(streams, 4, 1, 2, 2)
    before = torch.get_rng_state()
    with StreamLoader(streams, 4, 1, 2, 2, workers=2) as helped:
        # On, over an epoch's end; again from the start; on; far ahead; back.
        for counter in [0, 4, 8, 12, 0, 4, 8, 1000, 1004, 8, 12]:
            assert _equal(helped.draw(_BOTH, counter), alone.draw(_BOTH, counter)), counter
        # Another update draws one of the streams at another counter.
        for counter in [0, 4, 8]:
            assert _equal(helped.draw(("b",), counter + 50), alone.draw(("b",), counter + 50))
            assert _equal(helped.draw(_BOTH, counter + 16), alone.draw(_BOTH, counter + 16))
        assert helped.workers == 2, "the processes did it"
    assert torch.equal(torch.get_rng_state(), before), "loading leaves the global generator alone"


def test_streams_are_drawn_by_name(streams: Mapping[str, Stream]) -> None:
    loader = StreamLoader(streams, 2)
    (batch,) = loader.draw(("b",), 6)
    assert set(batch) == {"b"}
    assert torch.equal(batch["b"], loader.draw(_BOTH, 6)[0]["b"])
    with pytest.raises(DataError, match="no data stream 'c' - this data has: a, b"):
        loader.draw(("c",), 0)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_worker_costs_a_warning_and_no_picture(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), StreamLoader({"x": CountingStream("kill")}, 2, workers=1) as loader:
        seen = [_counters(loader.draw(("x",), first)[0]["x"]) for first in range(0, 30, 2)]
        assert loader.workers == 0
    assert seen == [[first, first + 1] for first in range(0, 30, 2)]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "loading goes on in this process with the same pictures" in caplog.text


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_data_is_the_data_s_own(workers: int) -> None:
    with StreamLoader({"x": CountingStream("error")}, 2, workers=workers) as loader:
        for first in range(0, 12, 2):
            loader.draw(("x",), first)
        with pytest.raises(DataError, match=r"^the pictures are gone$"):
            loader.draw(("x",), 12)


def test_a_closed_loader_draws_again(streams: Mapping[str, Stream], tmp_path: Path) -> None:
    loader = StreamLoader(streams, 2, workers=1)
    first = loader.draw(_BOTH, 0)
    loader.close()
    loader.close()
    assert _equal(loader.draw(_BOTH, 0), first)
    loader.close()


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_on_a_gpu_the_numbers_are_the_same(streams: Mapping[str, Stream], workers: int) -> None:
    alone = StreamLoader(streams, 4, micro_batches=2)
    with StreamLoader(streams, 4, micro_batches=2, workers=workers, device="cuda") as loader:
        for counter in range(0, 40, 4):
            batches = loader.draw(_BOTH, counter)
            assert all(images.is_cuda for batch in batches for images in batch.values())
            moved = [{name: images.cpu() for name, images in batch.items()} for batch in batches]
            assert _equal(moved, alone.draw(_BOTH, counter))
