"""`tools/gpu_check` on the CPU: it is seldom run, and must work when there is a GPU at last."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from i2i.recipe import load_recipe

TOOLS = Path(__file__).parents[2] / "tools"


_SMALL = """
extends: cyclegan_demo
name: small
pipeline: {generator: {base_channels: 4, blocks: 1}, discriminator: {base_channels: 4}}
data: {size_pixels: 32}
"""


@pytest.fixture(scope="module")
def program() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS)
        yield importlib.import_module("gpu_check")


def test_every_method_can_be_begun(program: Any) -> None:
    for method in program.METHODS:
        recipe = load_recipe(method.recipe, [*program.COMMON, *method.overrides])
        assert recipe.training.length.steps == program.STEPS and recipe.deterministic
        load_recipe(method.full_size)


@pytest.mark.slow
def test_a_method_passes_on_the_cpu(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cyclegan = program.METHODS[0]
    recipe = tmp_path / "small.yaml"
    recipe.write_text(_SMALL)
    overrides = (*cyclegan.overrides, "data.size_pixels=32", "training.batch_size=1")
    small = dataclasses.replace(cyclegan, overrides=overrides, full_size=str(recipe))
    monkeypatch.setattr(program, "COMMON", [change.replace(str(program.STEPS), "20") for change in program.COMMON])
    monkeypatch.setattr(program, "STEPS", 20)
    row = program.check(small, "fp32", "cpu", tmp_path)
    assert row.passed, row
    assert 0 < row.auto_seconds < float("inf") and 0 < row.plain_seconds < float("inf")
    monkeypatch.setattr(program, "METHODS", (small,))
    monkeypatch.setattr(program, "check", lambda *arguments: row)
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--device", "cpu"])
    with pytest.raises(SystemExit, match="0"):
        program.main()
    printed = capsys.readouterr().out
    assert "cyclegan" in printed and "same bits" in printed


def test_what_does_not_learn_fails(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def judged(values: list[float], falls: str = "loss/x") -> str:
        monkeypatch.setattr(program, "read_metrics", lambda run: [{"values": {"loss/x": value}} for value in values])
        return program.judge_training(Path(), falls)

    assert judged([3.0, 2.0, 1.0, 0.5, 0.5, 0.5]).startswith("ok")
    assert judged([0.5, 0.5, 0.5, 1.0, 2.0, 3.0]).startswith("FAILED")
    assert judged([0.5, 0.5, 0.5, 1.0, 2.0, 3.0], "-loss/x").startswith("ok")
    assert judged([1.0, float("nan")]) == "FAILED: not finite"
