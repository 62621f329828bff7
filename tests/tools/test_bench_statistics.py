"""The bench of the metrics' mathematics runs, and both ways to a Frechet distance agree."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHES = Path(__file__).parents[2] / "tools" / "benches"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHES)
    monkeypatch.setenv("PYTHONPATH", str(BENCHES.parents[1]))
    return importlib.import_module("bench_statistics")


def options(bench: Any, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(words)


def test_rows(bench: Any) -> None:
    words = ("--vectors", "1100", "--width", "24", "--neighbour-vectors", "300", "--rows", "fid,plain-fid,pr")
    result = bench.run(options(bench, *words))
    fid, plain, shares = result["rows"]
    assert fid["value"] == pytest.approx(plain["value"], rel=1e-4) and fid["value"] > 0.01
    assert (fid["vectors"], shares["vectors"]) == (1100, 300)
    assert 0 < shares["value"] <= 1
    assert all(0 < row["peak_gib"] < 2 and row["seconds"] > 0 for row in result["rows"])
    assert [line.split()[0] for line in bench.table(result)[1:]] == ["fid", "plain-fid", "pr"]


def test_other_measures(bench: Any) -> None:
    # In this process: a new one takes a second to start.
    assert bench._ROWS["is"](600, 0)[0] > 1
    assert bench._ROWS["kid"](1000, 8)[0] != 0
    assert 0 < bench._ROWS["dc"](60, 8)[0] < 2


def test_unknown_row(bench: Any) -> None:
    with pytest.raises(SystemExit, match="--rows fjd: unknown - use fid, plain-fid"):
        bench.run(options(bench, "--rows", "fjd"))
