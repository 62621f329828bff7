"""Sweeps of Weights & Biases call `i2i train` as it wants to be called; its own agent builds the command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from i2i.recipe import load_recipe
from i2i.recipe.library import built_in_recipes, find_recipe
from i2i.training.tracking import higher_is_better
from tests.training.runs import REPOSITORY

pytest.importorskip("wandb")

from tests.training.wandb_records import read_finished  # needs wandb

SWEEPS = sorted((REPOSITORY / "recipes" / "sweeps").glob("*.yaml"))
DIRECTIONS = {"maximize": True, "minimize": False}

# In place of `i2i`: notes how it was called.
RECORDER = """#!{python}
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
"""
# In place of `i2i`: the real one, which takes two steps with a network of no size.
SMALL = """#!{python}
import os, sys
small = ["precision=fp32", "training.length={{steps: 2}}", "pipeline.generator.convs=1", "training.workers=0"]
small += ["data.pictures=4", "data.test_pictures=2", "data.crop_pixels=32", "data.size_pixels=48"]
wishes = [word for wish in small for word in ("--set", wish)]
os.execv(sys.executable, [sys.executable, "-m", "i2i", *sys.argv[1:], *wishes, "--out", os.environ["OUT"]])
"""


def load_sweep(path: Path) -> dict[str, Any]:
    # As `wandb sweep` reads it, which takes 2e-4 for text.
    sweep = yaml.safe_load(path.read_text())
    ends = [given[end] for given in sweep["parameters"].values() for end in ("min", "max") if end in given]
    assert all(isinstance(end, int | float) for end in ends)
    return sweep


def corners(parameters: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every value of each parameter at least once, and the ends of ranges."""
    choices = {name: given.get("values") or [given["min"], given["max"]] for name, given in parameters.items()}
    for index in range(max(map(len, choices.values()))):
        yield {name: values[min(index, len(values) - 1)] for name, values in choices.items()}


def run_agent(
    sweep: Mapping[str, Any], values: Mapping[str, Any], folder: Path, stand_in: str, patch: pytest.MonkeyPatch
) -> int:
    """Have wandb's agent start one training of a sweep, as if its server had asked for these values."""
    from wandb.wandb_agent import Agent

    program = folder / "bin" / "i2i"
    program.parent.mkdir(exist_ok=True)
    program.write_text(stand_in.format(python=sys.executable))
    program.chmod(0o755)
    patch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    patch.setenv("PYTHONPATH", str(REPOSITORY))
    # The agent writes into both, and into the folder that it is called in.
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        patch.setenv(name, "")
    patch.setenv("WANDB_SWEEP_ID", "sweep1")
    patch.setenv("WANDB_DIR", str(folder))
    patch.chdir(folder)
    agent = Agent(None, None, sweep_id="sweep1")
    agent._sweep_command = list(sweep["command"])
    arguments = {name: {"value": value} for name, value in values.items()}
    agent._command_run({"run_id": "run1", "program": "", "args": arguments})
    return agent._run_processes["run1"]._popen.wait(120)


@pytest.mark.skipif(os.name == "nt", reason="the command needs sh")
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_value_of_a_sweep_reaches_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    sweep = load_sweep(path)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    wanted = list(corners(sweep["parameters"]))
    assert len(wanted) > 1
    for values in wanted:
        assert run_agent(sweep, values, tmp_path, RECORDER, monkeypatch) == 0
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    for values, (verb, recipe, *rest) in zip(wanted, calls, strict=True):
        assert verb == "train"
        assert rest[::2] == ["--set"] * len(values)
        loaded = load_recipe(find_recipe(recipe), rest[1::2])
        for name, value in values.items():
            assert reach(loaded, name) == type(reach(loaded, name))(value), name


def reach(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = settings[part] if isinstance(settings, Mapping) else getattr(settings, part)
    return settings


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_looks_for_the_better_side_and_is_no_recipe(path: Path) -> None:
    metric = load_sweep(path)["metric"]
    best, _, name = metric["name"].partition("/")
    assert best == "best"
    assert higher_is_better(name) is DIRECTIONS[metric["goal"]]
    assert path not in {recipe.path for recipe in built_in_recipes()}


def test_there_is_a_sweep() -> None:
    assert SWEEPS


@pytest.mark.skipif(os.name == "nt", reason="the command needs sh")
def test_a_training_of_a_sweep_records_what_the_sweep_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = (path for path in SWEEPS if path.stem == "sr_demo")
    sweep = load_sweep(path)
    values = next(corners(sweep["parameters"]))
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    assert run_agent(sweep, values, tmp_path, SMALL, monkeypatch) == 0
    (run,) = read_finished(tmp_path / "out")
    assert (run.info.sweep_id, run.info.run_id) == ("sweep1", "run1")
    assert {name: run.config[name] for name in values} == values
    assert run.config["training"]["batch_size"] == values["training.batch_size"]
    assert run.summary[sweep["metric"]["name"]] > 0
