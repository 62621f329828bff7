"""Batches follow from their counter: no worker, rank, micro-batch, restart or accident changes a bit of them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from i2i.data import loader as loader_module
from i2i.data.dataset import Stream
from i2i.data.indexed import RowStream
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
        if counter == 13 and self.end == "stop" and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGSTOP)
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


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system has no SIGSTOP")
def test_a_stopped_worker_is_given_up_and_does_not_outlive_the_loader(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives no picture ever, and hears no signal but the last one: the program could neither go on nor end."""
    monkeypatch.setattr(loader_module, "_PATIENCE_SECONDS", 20.0)  # within which a slow machine starts a worker
    with caplog.at_level(logging.WARNING), StreamLoader({"x": CountingStream("stop")}, 2, workers=1) as loader:
        loader.draw(("x",), 0)
        (worker,) = multiprocessing.active_children()
        seen = [_counters(loader.draw(("x",), first)[0]["x"]) for first in range(2, 30, 2)]
        assert loader.workers == 0
    assert seen == [[first, first + 1] for first in range(2, 30, 2)]
    assert "loading processes failed" in caplog.text
    worker.join(20)
    assert not worker.is_alive()


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


class _OneByOne:
    """Hides that a stream can be indexed."""

    def __init__(self, stream: RowStream) -> None:
        self._stream = stream
        self.images_per_epoch = stream.images_per_epoch

    def __getitem__(self, counter: int) -> np.ndarray:
        return self._stream[counter]


class _OnlyAtOnce(RowStream):
    """Fails when it is asked for a single sample."""

    def __getitem__(self, counter: int) -> np.ndarray:
        raise AssertionError("samples were read one by one")


def _indexed(channels: int, count: int = 11) -> dict[str, RowStream]:
    rng = np.random.default_rng(channels)
    return {
        "real": RowStream(samples=rng.integers(0, 256, (count, 6, 6, channels), np.uint8), seed=4, flip=True),
        "label": RowStream(samples=rng.integers(0, 10, count), seed=4),
        "vector": RowStream(samples=rng.normal(size=(count, 5)).astype(np.float32), seed=4),
    }


_ALL = ("real", "label", "vector")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("ranks", "micro_batches"), [(1, 1), (2, 1), (2, 3)])
def test_indexed_streams_give_the_same_bits_as_read_one_by_one(channels: int, ranks: int, micro_batches: int) -> None:
    streams = _indexed(channels)
    hidden = {name: _OneByOne(stream) for name, stream in streams.items()}
    for rank in range(ranks):
        fast = StreamLoader(streams, 12, rank, ranks, micro_batches)
        slow = StreamLoader(hidden, 12, rank, ranks, micro_batches)
        for counter in (0, 12, 5, 1000):
            assert _equal(fast.draw(_ALL, counter), slow.draw(_ALL, counter))


def test_what_is_no_picture_passes_through_as_it_is() -> None:
    streams = _indexed(1)
    (batch,) = StreamLoader(streams, 4).draw(_ALL, 20)
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in batch.items()} == {
        "real": (torch.float32, (4, 1, 6, 6)),
        "label": (torch.int64, (4,)),
        "vector": (torch.float32, (4, 5)),
    }
    assert batch["label"].tolist() == [int(streams["label"][counter]) for counter in range(20, 24)]
    assert np.array_equal(batch["vector"][2].numpy(), streams["vector"][22])
    pixels = torch.from_numpy(streams["real"][21]).permute(2, 0, 1)
    assert torch.equal(batch["real"][1], pixels.float() / 127.5 - 1)
    assert batch["real"].is_contiguous(memory_format=torch.channels_last)


def test_indexed_streams_need_no_processes_and_mix_with_others() -> None:
    only = _OnlyAtOnce(samples=np.arange(5), seed=0)
    with StreamLoader({"label": only, "x": CountingStream()}, 2, workers=1) as loader:
        labels = [loader.draw(("label",), first)[0]["label"].tolist() for first in range(0, 10, 2)]
        assert loader._readers == {}
        for first in (0, 2, 4):
            (batch,) = loader.draw(("label", "x"), first)
            assert _counters(batch["x"]) == [first, first + 1]
            assert batch["label"].tolist() == labels[first // 2]
        assert list(loader._readers) == [("x",)]
    assert sorted([*labels[0], *labels[1], labels[2][0]]) == list(range(5))


def test_rows_kept_on_a_device_are_indexed_and_mirrored_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_module, "_COPY_BYTES", 300)  # several parts
    for stream in _indexed(3, count=23).values():
        kept = loader_module._copied(stream.rows, torch.device("cpu"))
        assert np.array_equal(kept.numpy(), stream.rows)
        counters = np.arange(40, 80)
        there = loader_module._Rows(stream, kept).take(counters)
        here = loader_module._Rows(stream, None).take(counters)
        assert there.dtype == here.dtype and torch.equal(there, here)


@pytest.mark.parametrize(("free", "workers", "kept"), [(4 * 1188, 0, "device"), (4700, 0, "memory"), (4700, 2, "read")])
def test_a_gpu_keeps_what_fits_into_a_share_of_its_memory(
    monkeypatch: pytest.MonkeyPatch, free: int, workers: int, kept: str
) -> None:
    stream = _indexed(3)["real"]
    assert stream.rows.nbytes == 1188
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))
    monkeypatch.setattr(loader_module, "_copied", lambda rows, device: torch.from_numpy(rows.copy()))
    rows = loader_module._Rows.of(stream, torch.device("cuda"), workers)
    if kept == "read":
        assert rows is None
    else:
        assert rows is not None and (rows._kept is not None) == (kept == "device")


@pytest.mark.gpu
@pytest.mark.parametrize("channels", [1, 3])
def test_on_a_gpu_indexed_streams_give_the_same_bits(channels: int) -> None:
    streams = _indexed(channels)
    here, there = StreamLoader(streams, 4), StreamLoader(streams, 4, device="cuda")
    for counter in range(0, 40, 4):
        (batch,) = there.draw(_ALL, counter)
        assert all(tensor.is_cuda for tensor in batch.values())
        assert _equal([{name: tensor.cpu() for name, tensor in batch.items()}], here.draw(_ALL, counter))
