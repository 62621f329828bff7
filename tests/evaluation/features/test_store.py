"""Features on the disk: never half, never another set's."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i2i.errors import StorageError
from i2i.evaluation.features.blocks import PICTURES_PER_BLOCK
from i2i.evaluation.features.callable import callable_extractor
from i2i.evaluation.features.store import FeatureStore, default_features_folder, features_key
from i2i.evaluation.metrics.frechet import FeatureStatistics

KEY = "a" * 64


def vectors(count: int, width: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, width), np.float32)


def write(store: FeatureStore, key: str | None, content: np.ndarray) -> np.ndarray:
    with store.writer(key, count=len(content), width=content.shape[1]) as writer:
        for first in range(0, len(content), PICTURES_PER_BLOCK):
            writer.add(first, content[first : first + PICTURES_PER_BLOCK])
        return writer.finish()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("count", [1, 32, 33, 150])
def test_what_is_kept_is_found_again(tmp_path: Path, count: int) -> None:
    store, content = FeatureStore(tmp_path), vectors(count)
    assert store.vectors(KEY, count=count, width=3) is None
    for found in (write(store, KEY, content), store.vectors(KEY, count=count, width=3)):
        assert isinstance(found, np.memmap) and found.dtype == np.float32 and not found.flags.writeable
        np.testing.assert_array_equal(found, content)
    assert names(tmp_path) == [f"{KEY}.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / f"{KEY}.npy"), content)


def test_pictures_made_anew_leave_nothing_behind(tmp_path: Path) -> None:
    content = vectors(70)
    found = write(FeatureStore(tmp_path), None, content)
    assert names(tmp_path) == []
    np.testing.assert_array_equal(found, content)


def test_two_evaluations_write_the_same_set_at_once(tmp_path: Path) -> None:
    store, content = FeatureStore(tmp_path), vectors(64)
    with (
        store.writer(KEY, count=64, width=3) as first,
        store.writer(KEY, count=64, width=3) as second,
    ):
        for writer in (first, second, first, second):
            start = 0 if writer._rows == 0 else 32
            writer.add(start, content[start : start + 32])
        for writer in (first, second):
            np.testing.assert_array_equal(writer.finish(), content)
    assert names(tmp_path) == [f"{KEY}.npy"]


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    with pytest.raises(KeyboardInterrupt), store.writer(KEY, count=100, width=3) as writer:
        writer.add(0, vectors(32))
        raise KeyboardInterrupt
    assert names(tmp_path) == []
    assert store.vectors(KEY, count=100, width=3) is None


def test_what_killed_processes_left_goes_after_a_day(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    write(store, KEY, vectors(2))
    store.keep_statistics(KEY, FeatureStatistics.of(vectors(5)))
    left = [f".{KEY}.0f.part", "made-0f.npy", f".{KEY}-x1.npy", f".{KEY}.statistics-x1.npz"]
    for name in left:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "made-young.npy").write_bytes(b"x")
    for name in [*left, f"{KEY}.npy", f"{KEY}.statistics.npz"]:
        os.utime(tmp_path / name, (0, time.time() - 90_000))
    with store.writer(None, count=1, width=1):
        assert {f"{KEY}.npy", f"{KEY}.statistics.npz", "made-young.npy"} < set(names(tmp_path))
        assert not set(left) & set(names(tmp_path))


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_damaged_files_are_made_anew(tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    store, content = FeatureStore(tmp_path), vectors(40)
    write(store, KEY, content)
    store.keep_statistics(KEY, FeatureStatistics.of(content))
    for file in (tmp_path / f"{KEY}.npy", tmp_path / f"{KEY}.statistics.npz"):
        file.write_bytes(file.read_bytes()[:-50] if damage is None else damage)
    assert store.vectors(KEY, count=40, width=3) is None
    assert store.statistics(KEY) is None
    assert caplog.text.count("made anew") == 2
    np.testing.assert_array_equal(write(store, KEY, content), content)


def test_vectors_of_another_shape_are_not_taken(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    write(store, KEY, vectors(40))
    assert store.vectors(KEY, count=41, width=3) is None
    assert store.vectors(KEY, count=40, width=4) is None


def test_vectors_must_come_in_turn_and_all(tmp_path: Path) -> None:
    with FeatureStore(tmp_path).writer(KEY, count=100, width=3) as writer:
        writer.add(0, vectors(32))
        for first in (0, 64):
            with pytest.raises(AssertionError, match="but 32 are here"):
                writer.add(first, vectors(32))
        with pytest.raises(AssertionError, match=r"\(32, 4\)"):
            writer.add(32, vectors(32, 4))
        with pytest.raises(AssertionError, match="32 vectors of 100"):
            writer.finish()
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FeatureStore(tmp_path).writer(KEY, count=64, width=3) as writer:
        with Path("/dev/full").open("wb", buffering=0) as full, monkeypatch.context() as patch:
            patch.setattr(writer, "_output", full)
            with pytest.raises(StorageError, match=r"features cannot be written: No space.*I2I_CACHE") as error:
                writer.add(0, vectors(32))
        assert "\n" not in str(error.value)
    assert names(tmp_path) == []


def test_statistics_come_back_to_the_last_bit(tmp_path: Path) -> None:
    store, statistics = FeatureStore(tmp_path), FeatureStatistics.of(vectors(50, 7))
    assert store.statistics(KEY) is None
    store.keep_statistics(KEY, statistics)
    found = store.statistics(KEY)
    assert found is not None and found.count == 50
    assert found.mean.tobytes() == statistics.mean.tobytes()
    assert found.covariance.tobytes() == statistics.covariance.tobytes()


def test_reaches_come_back_to_the_last_bit_or_are_made_anew(tmp_path: Path) -> None:
    store, reach = FeatureStore(tmp_path), np.random.default_rng(0).random(7)
    assert store.reach(KEY, 3, lambda: reach) is reach
    again = store.reach(KEY, 3, lambda: reach * 2)
    assert again.tobytes() == reach.tobytes()
    assert store.reach(KEY, 5, lambda: reach * 2).tolist() == (reach * 2).tolist(), "of other neighbours"
    for damage in (b"", b"nonsense"):
        for file in tmp_path.glob("*.reach-3.npy"):
            file.write_bytes(damage)
        assert store.reach(KEY, 3, lambda: reach * 4).tolist() == (reach * 4).tolist()


def test_a_folder_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    store = FeatureStore(tmp_path / "file" / "features")
    store.keep_statistics(KEY, FeatureStatistics.of(vectors(5)))
    assert "not kept" in caplog.text
    with pytest.raises(StorageError, match=r"cannot be written.*I2I_CACHE"):
        store.writer(KEY, count=1, width=1)


def test_the_key_tells_everything_apart() -> None:
    extractor = callable_extractor(lambda images: images.float().mean((2, 3)), name="mean")
    others = [
        replace(extractor, name="other"),
        replace(extractor, weights_sha256="f" * 64),
        replace(extractor, preprocessing="another filter"),
    ]
    keys = {features_key("0" * 64, one) for one in (extractor, *others)} | {features_key("1" * 64, extractor)}
    assert len(keys) == 5 and all(len(key) == 64 for key in keys)
    assert features_key("0" * 64, extractor) == features_key("0" * 64, replace(extractor))


def test_the_folder_is_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path))
    assert default_features_folder() == tmp_path / "features"
