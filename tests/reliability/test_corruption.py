"""Flipped bits and cut files: all files, damaged one way or the other; and the seals notice every bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from i2i.data.cache import content_digests
from i2i.errors import RecipeError
from i2i.recipe import check_seal, seal
from i2i.training.tracking import next_attempt, read_metrics
from tests.reliability.cases import Case, few
from tests.reliability.corruption import SCENARIOS
from tests.reliability.short_form import assert_well
from tests.warm import AVAILABLE

(SCENARIO,) = SCENARIOS

needs_processes = pytest.mark.skipif(not AVAILABLE, reason="processes are forked from a warm one")


@needs_processes
@pytest.mark.parametrize("case", few(SCENARIO)[::2] + few(SCENARIO)[3::4], ids=str)
def test_damaged_and_resumed(case: Case, place: Path) -> None:
    assert_well(SCENARIO, case, place)


def flip(content: bytes, bit: int) -> bytes:
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def test_a_recipe_that_is_not_as_the_run_wrote_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    text = "name: x\nseed: 3\n"
    sealed = seal(text).encode()
    path.write_bytes(sealed)
    check_seal(path)
    for bit in range(8, len(sealed) * 8, 7):  # the first byte makes it a line of a recipe, which then is none
        path.write_bytes(flip(sealed, bit))
        with pytest.raises(RecipeError, match=r"not as the run wrote it.* - put it back"):
            check_seal(path)
    path.write_text(text)  # of an older run, or on purpose
    check_seal(path)


def test_a_false_digest_in_the_index_is_never_believed(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_bytes(b"content")
    right = content_digests(tmp_path / "files", ["a"], tmp_path / "cache")
    (index,) = tmp_path.glob("cache/digests/*.json")
    whole = index.read_bytes()
    for bit in np.random.default_rng(0).choice(len(whole) * 8, 60, replace=False):
        index.write_bytes(flip(whole, int(bit)))
        assert content_digests(tmp_path / "files", ["a"], tmp_path / "cache") == right
        assert index.read_bytes() == whole
    index.write_bytes(b"[" * 100_000)
    assert content_digests(tmp_path / "files", ["a"], tmp_path / "cache") == right


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"[]", b"{}", b'"x"', b"[" * 100_000])
def test_absurd_numbers_in_the_record_are_skipped(tmp_path: Path, number: bytes) -> None:
    row = b'{"attempt":1,"step":%s,"images":2,"epoch":0.5,"wall_seconds":1.0,"time":"","values":{"a":1.0}}\n'
    (tmp_path / "metrics.jsonl").write_bytes(row % b"1" + row % number + row % b"3")
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 3]
    assert next_attempt(tmp_path) == 2
