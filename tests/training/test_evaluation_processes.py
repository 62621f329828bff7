"""Evaluations by two processes: the figures of one, weights as without, and a failure of one ends it for both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from i2i.commands import train
from i2i.evaluation.passports.figures import read_sheets
from tests.training.evaluating import evaluating
from tests.training.runs import REPOSITORY, make_generation_recipe
from tests.warm import AVAILABLE, warm_program

# Next to no learning: both ways come to the same weights, whose sums would else differ in the last bit.
STILL = [
    "precision=fp64",
    "training.optimizers.generator.learning_rate=1e-30",
    "training.optimizers.discriminator.learning_rate=1e-30",
    "training.length.steps=2",
    "training.checkpoints.every_steps=null",
]


def two_processes(*arguments: str | Path) -> str:
    """What `torchrun --nproc-per-node 2 ...` prints."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def train_by_two(recipe: Path, overrides: list[str], out: Path) -> None:
    sets = [argument for override in overrides for argument in ("--set", override)]
    words = ["train", recipe, "--out", out, "--quiet", "--device", "cpu", *sets]
    group = warm_program().run_group(words, out.parent)
    assert [process.exit_code for process in group] == [0, 0], "".join(process.stderr for process in group)


@pytest.mark.skipif(not AVAILABLE, reason="processes are forked from a warm one")
def test_two_processes_find_what_one_finds_and_train_as_without(tmp_path: Path) -> None:
    recipe = make_generation_recipe(tmp_path)
    # Three blocks of made pictures, one of real ones: neither process has as much to do as the other.
    asked = evaluating(tmp_path, metrics="fid, kid, is, pr, dc, diversity, d_probability", samples=70, every_steps=1)
    train.start(str(recipe), [*STILL, *asked], out=tmp_path / "one", device="cpu", quiet=True)
    train_by_two(recipe, [*STILL, *asked], tmp_path / "two")
    sheets = {name: read_sheets(tmp_path / name) for name in ("one", "two")}
    for one, two in zip(sheets["one"], sheets["two"], strict=True):
        assert len(one.figures) == 11
        for expected, found in zip(one.figures, two.figures, strict=True):
            assert found.name == expected.name
            assert found.passport == expected.passport
            assert found.value == pytest.approx(expected.value, rel=1e-9, abs=1e-12), found.name
    learning = ["precision=fp32", "training.length.steps=3", "training.checkpoints.every_steps=null"]
    states = []
    for name, overrides in (("with", [*learning, *asked]), ("without", learning)):
        train_by_two(recipe, overrides, tmp_path / name)
        states.append((tmp_path / name / "checkpoints" / "step_3" / "state.safetensors").read_bytes())
    assert states[0] == states[1]
    assert [sheet.subject.step for sheet in read_sheets(tmp_path / "with")] == [1, 2, 3]


TOGETHER = """
import torch
from i2i.errors import I2IError
from i2i.training.distributed import Processes

processes = Processes.from_environment(torch.device("cpu"))
rank = processes.rank
assert processes.collect({"rank": rank, "text": "x" * rank}) == [{"rank": 0, "text": ""}, {"rank": 1, "text": "x"}]


def outcome(failing, before):
    def work(collect):
        for number in range(3):
            if rank == failing and number == before:
                raise ValueError(f"no {number}\\nat all")
            assert collect((rank, number)) == [(0, number), (1, number)]
        if rank == failing and before == 3:
            raise ValueError("at the end")
        return "done"

    try:
        return processes.together(work)
    except (I2IError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


assert outcome(failing=None, before=0) == "done"
for failing in (0, 1):
    for before in (0, 2, 3):
        reason = "at the end" if before == 3 else f"no {before} at all"
        found = outcome(failing, before)
        expected = "ValueError: " if rank == failing else f"I2IError: process {failing}: {reason}"
        assert found.startswith(expected), (found, expected)
# Nobody is left waiting for an answer, and the next work finds the group in step.
assert outcome(failing=None, before=0) == "done"
print(f"process {rank} is through")
processes.leave()
"""


def test_a_failure_of_one_is_a_failure_of_all_and_nobody_waits(tmp_path: Path) -> None:
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    printed = two_processes(script)
    assert all(f"process {rank} is through" in printed for rank in (0, 1))


FAILING = """
import os, sys
from i2i.cli import main
from i2i.training import evaluation

def failing(*arguments, **others):
    raise ValueError("no decomposition")

if os.environ["RANK"] == "1":
    evaluation.assess = failing
sys.exit(main(sys.argv[1:]))
"""


def test_where_one_fails_to_evaluate_both_train_on(tmp_path: Path) -> None:
    script, out = tmp_path / "failing.py", tmp_path / "run"
    script.write_text(FAILING)
    asked = ["training.length.steps=2", *evaluating(tmp_path, every_steps=1)]
    sets = [argument for override in asked for argument in ("--set", override)]
    two_processes(script, "train", make_generation_recipe(tmp_path), "--out", out, "--device", "cpu", *sets)
    assert read_sheets(out) == []
    assert (out / "checkpoints" / "step_2").is_dir() and (out / "model.safetensors").is_file()
