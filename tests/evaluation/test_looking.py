"""Model and extractor compute in two threads: neither disturbs the other's arithmetic, nor the process's."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from i2i.evaluation.features.blocks import PICTURES_PER_BLOCK
from i2i.evaluation.features.protocol import Features
from i2i.evaluation.looking import Wanted, look
from i2i.evaluation.team import Team
from i2i.inference.runtime import exact_float32, numerics

CUDA = torch.device("cuda")  # whose settings can be set, if not used, on every machine
WAIT_SECONDS = 10


def arithmetic() -> tuple[object, ...]:
    names = ("enabled", "benchmark", "deterministic", "allow_tf32")
    return (*(getattr(torch.backends.cudnn, name) for name in names), torch.get_float32_matmul_precision())


class Interleaved:
    """A source, an extractor and a team whose brackets overlap: each is left while the other one is inside."""

    count, description, sha256 = 2 * PICTURES_PER_BLOCK, "pictures", None
    name, weights_sha256, preprocessing, width, classes = "extractor", "0" * 64, "none", 2, None

    def __init__(self) -> None:
        self.extracting, self.making, self.extracted = threading.Event(), threading.Event(), threading.Event()
        self.seen: set[tuple[object, ...]] = set()

    def pictures(self, first: int, last: int) -> Sequence[np.ndarray]:
        if first:
            assert self.extracting.wait(WAIT_SECONDS)
        with numerics(CUDA, "fp32"):
            self.seen.add(arithmetic())
            if first:
                self.making.set()
                assert self.extracted.wait(WAIT_SECONDS)
            self.seen.add(arithmetic())
        return [np.full((2, 2, 1), number, np.uint8) for number in range(first, last)]

    def __call__(self, pictures: Sequence[np.ndarray]) -> Features:
        with exact_float32(torch.device("cpu")):
            self.extracting.set()
            assert self.making.wait(WAIT_SECONDS)
            self.seen.add(arithmetic())
        return Features(np.array([[picture[0, 0, 0], 1] for picture in pictures], np.float32), None)

    def gather(self, value: Any) -> list[Any]:
        if isinstance(value, tuple):
            self.extracted.set()
        return [value]


@pytest.mark.parametrize("allowed", [True, False])
def test_what_both_set_is_afterwards_as_before(allowed: bool) -> None:
    cudnn, before, both = torch.backends.cudnn, torch.get_float32_matmul_precision(), Interleaved()
    with cudnn.flags(enabled=True, benchmark=allowed, deterministic=False, allow_tf32=allowed):
        try:
            torch.set_float32_matmul_precision("high" if allowed else "highest")
            expected = arithmetic()
            seen = look(both, both, Wanted(vectors=True), Team(gather=both.gather))
            assert arithmetic() == expected
        finally:
            torch.set_float32_matmul_precision(before)
    assert seen.vectors is not None and seen.vectors[:, 0].tolist() == list(range(both.count))
    assert both.seen == {(True, False, True, False, "highest")}


def test_whoever_fails_waits_for_the_thread_that_makes_pictures() -> None:
    inside = threading.Event()

    class Slow(Interleaved):
        def pictures(self, first: int, last: int) -> Sequence[np.ndarray]:
            with numerics(CUDA, "fp32", deterministic=True):
                if first:
                    inside.set()
                    threading.Event().wait(0.2)
                return [np.zeros((2, 2, 1), np.uint8)] * (last - first)

        def __call__(self, pictures: Sequence[np.ndarray]) -> Features:
            assert inside.wait(WAIT_SECONDS)
            return Features(np.zeros((len(pictures), 2), np.float32), None)

        def gather(self, value: Any) -> list[Any]:
            if isinstance(value, tuple):
                raise OSError("no space left on device")
            return [value]

    expected, slow = arithmetic(), Slow()
    with pytest.raises(OSError, match="no space") as caught:
        look(slow, slow, Wanted(vectors=True), Team(gather=slow.gather))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]
    assert arithmetic() == expected
    # Kept until here: with it would go the frames that hold the thread.
    assert caught.value.args
