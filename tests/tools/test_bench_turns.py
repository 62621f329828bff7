"""Two sides that take turns, each in a process of its own."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch

TOOLS = Path(__file__).parents[2] / "tools" / "benches"


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("bench_turns")


def writer(file: Path, limit: int) -> Any:
    """An action that leaves its process id, `limit` times."""

    def write() -> None:
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) == limit:
            raise ValueError("enough")
        file.write_text("\n".join([*lines, str(os.getpid())]))

    return write


def test_actions_take_turns(turns: Any) -> None:
    taken: list[str] = []
    seconds = turns.alternate(lambda: taken.append("a"), lambda: taken.append("b"), 2, 1, torch.device("cpu"))
    assert taken == ["a", "b"] * 3
    assert [len(side) for side in seconds] == [2, 2]


def test_medians_and_ratios(turns: Any) -> None:
    row = turns.compare("a step", [3.0, 8.0, 4.0], [1.0, 2.0, 2.0], "bf16")
    assert row["plain_fp32_seconds"] == 4.0
    assert row["ours_seconds"] == 2.0
    assert [row[f"times_faster{which}"] for which in ("", "_lowest", "_highest")] == [3.0, 2.0, 4.0]
    heading, line = turns.comparison_lines([row])
    assert len(heading) == len(line)
    assert "a step" in line
    assert "(2.00 - 4.00)" in line


def test_a_process_of_its_own(turns: Any, tmp_path: Path) -> None:
    file = tmp_path / "ids"
    with turns.in_own_process(writer, file, 2) as act:
        act()
        act()
        with pytest.raises(RuntimeError, match="ValueError: enough"):
            act()
    first, second = file.read_text().splitlines()
    assert first == second != str(os.getpid())


def test_a_process_that_does_not_start(turns: Any) -> None:
    with (
        turns.in_own_process(os.path.join, 1, 2) as act,
        pytest.raises(RuntimeError, match="the process that does it has ended; was memory short"),
    ):
        act()
