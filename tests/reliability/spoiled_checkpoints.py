"""Run folders to go on with, spoiled so that their own hashes fit: what resuming makes of them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file, save_file

from i2i.cli import main
from i2i.files import sha256_of_file
from tests.reliability.cases import Case, Outcome, Scenario, prepared_of
from tests.reliability.recipes_grammar import TREE_CHANGES, change_tree
from tests.reliability.spoiled_files import Bounds, Call, judged, reused_program, weighted
from tests.training.runs import ADAPTIVE, make_generation_recipe
from tests.warm import Hook

Random = np.random.Generator
_NAME = "checkpoints"
_STEP = 3
_ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    7,
    10**30,
    1e308,
    "x",
    "9" * 5000,
    [],
    [1],
    {},
    {"x": 1},
    math.nan,
    math.inf,
)


def _pick(rng: Random, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    inner = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [(tree, key) for key, _ in inner] + [place for _, value in inner for place in _leaves(value)]


def _change(tree: Any, rng: Random) -> None:
    owner, key = _pick(rng, _leaves(tree))
    if isinstance(owner, dict) and rng.random() < 0.3:
        owner.pop(key)
    else:
        owner[key] = _pick(rng, _ODD)


def _seal(folder: Path) -> None:
    """Make the manifest fit what lies there."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, told in manifest["files"].items():
        told |= {"bytes": (folder / name).stat().st_size, "sha256": sha256_of_file(folder / name)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def tensors(run: Path, rng: Random) -> None:
    """One of the training's tensors is of another shape, type or value, is missing or one too many."""
    folder = run / "checkpoints" / f"step_{_STEP}"
    held = load_file(folder / "state.safetensors")
    name = _pick(rng, sorted(held))
    tensor = held.pop(name)
    held |= _pick(
        rng,
        [
            {}, {name: tensor.reshape(-1)[:1]}, {name: tensor.unsqueeze(0)}, {name: tensor.to(torch.int64)},
            {name: tensor.double()}, {name: torch.zeros(0)}, {name: torch.full(tensor.shape, math.nan)},
            {name: torch.full(tensor.shape, 2**62)}, {name: tensor, f"{name}/x": tensor.clone()}, {f"x/{name}": tensor},
            {name: tensor.to(torch.complex64)}, {name: torch.zeros(3, 3, 3, 3, 3)}, {name: tensor.bool()},
        ],
    )  # fmt: skip
    save_file({key: value.contiguous() for key, value in held.items()}, folder / "state.safetensors")
    _seal(folder)


def counters(run: Path, rng: Random) -> None:
    """One to three of the counters are others, of another kind, or gone."""
    folder = run / "checkpoints" / f"step_{_STEP}"
    held = json.loads((folder / "state.json").read_text())
    for _ in range(1 + int(rng.integers(3))):
        _change(held, rng)
    text = json.dumps(held)
    (folder / "state.json").write_text(text if rng.random() < 0.9 else _pick(rng, ["[]", "null", "[" * 9000, "{", "3"]))
    _seal(folder)


def manifest(run: Path, rng: Random) -> None:
    """The manifest says something else, or is something else."""
    file = run / "checkpoints" / f"step_{_STEP}" / "manifest.json"
    held = json.loads(file.read_text())
    _change(held, rng)
    odd = ["[]", "null", "[" * 9000, "", "{}", '{"format_version": 1}', "\ud800", '{"format_version": 99}']
    text = json.dumps(held) if rng.random() < 0.7 else _pick(rng, odd)
    file.write_bytes(text.encode(errors="surrogatepass"))


def kept_recipe(run: Path, rng: Random) -> None:
    """The recipe that lies in the run is another one, or none."""
    file = run / "recipe.yaml"
    file.write_bytes(change_tree(file.read_text(), _pick(rng, list(TREE_CHANGES)), rng))


def metrics(run: Path, rng: Random) -> None:
    """The figures so far hold other things than figures."""
    file = run / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for _ in range(1 + int(rng.integers(3))):
        _change(rows, rng)
    lines = [json.dumps(row) for row in rows if isinstance(rows, list)]
    lines.insert(
        int(rng.integers(len(lines) + 1)), _pick(rng, ["", "[", "[" * 9000, "null", "3", '{"step": 1e400}', "\0"])
    )
    # A killed writer leaves the last line without its end.
    file.write_text("\n".join(lines) + _pick(rng, ["\n", ""]))


def strange_things(run: Path, rng: Random) -> None:
    """Files where folders should be, folders where files should be, links round in circles, pipes without an end."""
    folder = run / "checkpoints" / f"step_{_STEP}"
    place = _pick(
        rng, [folder, folder / "state.json", folder / "manifest.json", run / "metrics.jsonl", run / "recipe.yaml"]
    )
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    match int(rng.integers(5)):
        case 0:
            place.mkdir()
        case 1:
            place.symlink_to(place)
        case 2:
            place.write_bytes(b"")
        case 3:
            os.mkfifo(place)
        case 4:
            (run / "checkpoints" / "step_99999999999999999999").mkdir()


KINDS: dict[str, Callable[[Path, Random], None]] = {
    "tensors": tensors,
    "counters": counters,
    "manifest": manifest,
    "recipe": kept_recipe,
    "metrics": metrics,
    "strange things": strange_things,
}


def _cases(count: int) -> Sequence[Case]:
    return weighted(_NAME, dict.fromkeys(KINDS, 1), count)


def _run(case: Case, folder: Path) -> Outcome:
    run = folder / "run"
    shutil.copytree(prepared_of(folder) / "run", run)
    KINDS[case.kind](run, case.rng)
    answer = reused_program().run(_call(case, run))
    # Of a checkpoint or a row that is passed over, a line says so; a recipe is named as seen from here.
    notes = (f"{run}/checkpoints", f"{run}/metrics.jsonl")
    # 8: a number so large that the next step made infinity of it, which ended the training and was not kept.
    codes = {3, 4, 5, 8} if case.kind == "tensors" else {3, 4, 5}
    names = {str(run), "run/recipe.yaml", "not finite; the last checkpoint"}
    bounds = Bounds(exit_codes=codes, names=names, lines=52, remedy=False, notes=notes)
    return judged(answer, bounds)


def _call(case: Case, run: Path) -> Call:
    """Resumed up to the first step, or for one; another recipe's step may be as long as it likes."""
    words: list[str | Path] = ["train", "--resume", run, "--device", "cpu"]
    if case.kind == "recipe" or case.seed % 2 == 0:
        hook = Hook(module=__name__, name="until_it_goes_on")
        return Call(arguments=[*words, "--dry-run"], cwd=run.parent, around=hook)
    return Call(arguments=[*words, "--quiet", "--set", f"training.length.steps={_STEP + 1}"], cwd=run.parent)


@contextlib.contextmanager
def until_it_goes_on() -> Iterator[None]:
    """Ends the dry run where its steps would begin."""
    from i2i.commands import dry_run

    def stop(*arguments: Any) -> Any:
        raise typer.Exit(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dry_run, "_seconds_per_step", stop)
        yield


def _prepare(folder: Path) -> None:
    recipe = make_generation_recipe(folder)
    words = ["train", str(recipe), "--out", str(folder / "run"), "--device", "cpu", "--quiet", "--set", ADAPTIVE[0]]
    code = main([*words, "--set", f"training.length.steps={_STEP}"])
    assert code == 0, "the run that all cases begin with"


SCENARIOS = (
    Scenario(name=_NAME, title="Spoiled checkpoints", long_count=500, cases=_cases, run=_run, prepare=_prepare),
)
