"""What `tools/speed_check` calls the same quality, and that its trainings give the figures that it reads."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def program() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS / "benches")
        yield importlib.import_module("speed_check")


@pytest.mark.parametrize(
    ("better", "plain", "fast", "same"),
    [
        ("more", [20.0, 21.0], [20.0], True),
        ("more", [20.0, 21.0], [19.4], False),
        ("more", [20.0, 21.0], [25.0], True),
        ("less", [0.2, 0.3], [0.34], True),
        ("less", [0.2, 0.3], [0.36], False),
        ("near", [0.2, 0.3], [0.16], True),
        ("near", [0.2, 0.3], [0.5], False),
        ("more", [20.0], [19.1], True),
        ("more", [20.0], [18.9], False),
    ],
)
def test_what_counts_as_the_same(program: Any, better: str, plain: list[float], fast: list[float], same: bool) -> None:
    assert program.Row("set", "figure", better, plain, fast).is_same is same


@pytest.mark.slow
def test_a_set_is_learnt_both_ways(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [
        "data={kind: drawn_digits, size_pixels: 28, pictures: 16, test_pictures: 8}",
        "training.batch_size=8",
        "training.log_every_steps=2",
        "evaluate=null",
    ]
    real = program.train

    def train(training: Any, steps: int, seed: int, changes: list[str], out: Path, device: str) -> Path:
        run = real(training, steps, seed, [*changes, *small], out, device)
        text = (run / "recipe.yaml").read_text()
        assert ("speed: plain" in text) == ("speed=plain" in changes)
        return run

    monkeypatch.setattr(program, "train", train)
    monkeypatch.setenv("PYTHONPATH", str(TOOLS.parent))
    arguments = ["dcgan", "--steps", "4", "--seeds", "0", "--device", "cpu", "--json", str(tmp_path / "found.json")]
    monkeypatch.setattr(sys, "argv", ["speed_check", *arguments])
    with pytest.raises(SystemExit):
        program.main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["figure"] for row in found["rows"]] == ["sample/diversity", "sample/midtones"]
    assert all(len(row["plain"]) == len(row["fast"]) == 1 for row in found["rows"])
    assert [ended["way"] for ended in found["trainings"]] == ["plain", "fast"]
    assert all(ended["images_per_second"] > 0 for ended in found["trainings"])
    assert "diversity" in capsys.readouterr().out

    monkeypatch.setattr(program, "train", None)
    with pytest.raises(SystemExit):
        program.main()
    again = json.loads((tmp_path / "found.json").read_text())
    assert all(again[part] == found[part] for part in ("trainings", "rows")), "what has ended is not trained again"
    assert again["bench"] == "quality" and again["environment"]["torch"]
    arguments[arguments.index("4")] = "5"
    monkeypatch.setattr(sys, "argv", ["speed_check", *arguments])
    with pytest.raises(TypeError):  # other trainings are
        program.main()


def test_the_difference_is_that_of_pairs(program: Any) -> None:
    pairs = program.Row("set", "figure", "more", [20.0, 21.0, 22.0], [19.0, 20.5, 21.0])
    assert pairs.difference == "-0.833 +- 0.167"
    assert program.Row("set", "figure", "more", [20.0], [20.5]).difference == "+0.500"
