"""`i2i train` around the training itself: trial runs, finished runs, paths, folders that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from i2i.cli import main
from i2i.commands import dry_run
from i2i.data.settings import UnpairedFoldersSettings
from i2i.errors import DataError
from i2i.recipe import load_recipe
from i2i.training.engine import Draw, Engine, UpdateReport
from tests.training.evaluating import evaluating
from tests.training.runs import (
    hash_of_state,
    make_generation_recipe,
    make_pictures,
    make_recipe,
    make_upscaling_recipe,
)

SHORT = ["--set", "training.length.steps=3", "--device", "cpu"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return make_recipe(tmp_path, make_pictures(tmp_path / "pictures"))


def train(*words: object) -> int:
    return main(["train", *map(str, words)])


class TestPaths:
    def test_a_run_can_be_resumed_from_any_folder(
        self, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        folders = ["--set", "data.a=pictures/trainA", "--set", "data.b=pictures/trainB", "--set", "data.test_a=null"]
        assert train(recipe.name, *folders, *SHORT, "-o", "first", "--quiet") == 0
        start = ["--set", "initialize_from=first"]
        assert train(recipe.name, *folders, *start, *SHORT, "-o", "run", "--quiet") == 0
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        kept = load_recipe(tmp_path / "run" / "recipe.yaml")
        assert isinstance(kept.data, UnpairedFoldersSettings)
        assert (kept.data.a, kept.data.b) == (str(tmp_path / "pictures/trainA"), str(tmp_path / "pictures/trainB"))
        assert (kept.data.root, kept.data.test_a) == (None, None)
        assert kept.initialize_from == str(tmp_path / "first")
        assert train("--resume", "../run", "--set", "training.length.steps=5", "--quiet") == 0
        assert hash_of_state(tmp_path / "run", 5)

    def test_a_run_of_old_that_kept_relative_paths_is_the_same_run(
        self, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert train(recipe.name, *SHORT, "-o", "run", "--quiet") == 0
        kept = tmp_path / "run" / "recipe.yaml"
        # Nor did it say whether it was changed.
        _, _, text = kept.read_text().partition("\n")
        kept.write_text(text.replace(str(tmp_path / "pictures"), "pictures"))
        assert "root: pictures" in kept.read_text()
        # Said in another way, it is no change; another folder is one.
        same = f"data.root={tmp_path / 'pictures'}"
        assert train("--resume", "run", "--set", same, "--set", "training.length.steps=4", "--quiet") == 0
        assert load_recipe(kept).data.root == str(tmp_path / "pictures")  # type: ignore[union-attr]
        capsys.readouterr()
        assert train("--resume", "run", "--set", "data.root=others", "--quiet") == 3
        assert "data.root: was" in capsys.readouterr().err


class TestFinishedRuns:
    def test_says_so_and_how_to_go_on_and_touches_nothing(
        self, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "run"
        constant = ["--set", "training.schedule={kind: constant}"]
        (tmp_path / "pictures" / "trainA" / "broken.png").write_bytes(b"no picture")
        assert train(recipe, *constant, *SHORT, "-o", out) == 0
        assert "skipped: " in capsys.readouterr().err
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
        capsys.readouterr()
        assert train("--resume", out) == 0
        printed = capsys.readouterr()
        advice = f"i2i train --resume {out} --set training.length.steps=6"
        assert printed.err == f"{out}: finished already, at step 3; to train longer, e.g.: {advice}\n"
        assert printed.out == ""
        assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
        assert train("--resume", out, "--json", "--quiet") == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["step"], told["finished_before"]) == (3, True)
        assert main(advice.split()[1:]) == 0
        printed = capsys.readouterr()
        assert "resumed at step 3" in printed.err and "skipped: " in printed.err
        assert "done at step 6" in printed.out

    def test_a_schedule_that_has_ended_asks_for_a_new_run(
        self, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "run"
        schedule = ["--set", "training.schedule={kind: linear, constant: 1, decay: 1, unit: steps}"]
        assert train(recipe, *schedule, *SHORT, "-o", out, "--quiet") == 0
        capsys.readouterr()
        assert train("--resume", out) == 0
        assert f"i2i train {out / 'recipe.yaml'} --set initialize_from={out}" in capsys.readouterr().err


class TestDryRun:
    def test_says_steps_and_time(self, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = (recipe, "--dry-run", "--device", "cpu", "--set", "training.length.steps=2000000")
        assert train(*arguments) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "steps" in line]
        assert line.startswith("2,000,000 steps, ")
        assert " s each: about " in line

    def test_time_can_be_the_limit(self, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert train(recipe, "--dry-run", "--device", "cpu", "--set", "training.length={steps: null, minutes: 90}") == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "steps" in line]
        assert line.startswith("1 h 30 min: about ")

    def test_counts_only_what_a_resumed_run_has_left(
        self, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "run"
        assert train(recipe, *SHORT, "-o", out, "--quiet") == 0
        capsys.readouterr()
        longer = ("--set", "training.length.steps=1003")
        assert train("--resume", out, "--dry-run", "--device", "cpu", *longer) == 0
        assert "1,000 of 1,003 steps to go, " in capsys.readouterr().out
        assert train("--resume", out, "--dry-run", "--device", "cpu", "--json", *longer) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["total_steps"], told["done_steps"], told["remaining_steps"]) == (1003, 3, 1000)
        assert told["remaining_seconds"] == pytest.approx(1000 * told["seconds_per_step"])
        by_clock = ("--set", "training.length={steps: null, minutes: 100}")
        assert train("--resume", out, "--dry-run", "--device", "cpu", *by_clock) == 0
        assert " of 1 h 40 min to go: about " in capsys.readouterr().out
        assert train("--resume", out, "--dry-run", "--device", "cpu") == 0
        assert "finished already, at step 3" in capsys.readouterr().out
        assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["step_3"]

    def test_says_what_evaluations_there_will_be_and_what_they_take(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        recipe = make_generation_recipe(tmp_path)
        sets = [
            part for one in evaluating(tmp_path, metrics="fid, d_probability", every_steps=4) for part in ("--set", one)
        ]
        assert train(recipe, "--dry-run", "--device", "cpu", *sets) == 0
        printed = capsys.readouterr().out
        what = "fid, d_probability of 40 made pictures against 20 real ones (train)"
        assert f"evaluation 3 times: {what}: about " in printed
        assert "note: FID of 20 pictures: fewer than the 84 numbers of a feature vector" in printed
        assert train(recipe, "--dry-run", "--device", "cpu", "--json", *sets, "--set", "evaluate.every_steps=5") == 0
        told = json.loads(capsys.readouterr().out)["evaluation"]
        assert (told["what"], told["times"]) == (what, 3)
        assert told["total_seconds"] == pytest.approx(3 * told["seconds_each"] + told["seconds_once"])
        assert told["seconds_each"] > 0 < told["seconds_once"]
        assert train(recipe, "--dry-run", "--device", "cpu", *sets, "--set", "evaluate.every_steps=null") == 0
        assert f"evaluation once, at the end: {what}" in capsys.readouterr().out
        assert not (tmp_path / "runs").exists()

    def test_finds_missing_weights_of_an_evaluation(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        recipe = make_generation_recipe(tmp_path)
        missing = ("--set", f"evaluate.features=lenet:{tmp_path / 'nowhere.safetensors'}")
        assert train(recipe, "--dry-run", "--device", "cpu", *missing) == 5
        assert "nowhere.safetensors: no such file of LeNet weights" in capsys.readouterr().err

    def test_every_phase_is_tried(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        taken: list[tuple[str, ...]] = []
        whole = Engine.take_step

        def noting(engine: Engine, draw: Draw) -> dict[str, UpdateReport]:
            reports = whole(engine, draw)
            taken.append(tuple(reports))
            return reports

        monkeypatch.setattr(Engine, "take_step", noting)
        recipe, phase = make_upscaling_recipe(tmp_path), ("--set", "pipeline.pixel_images=40")
        assert train(recipe, "--dry-run", "--device", "cpu", *phase) == 0
        assert taken == 3 * [("pixels",)] + 3 * [("generator", "discriminator")]
        taken.clear()
        # The ten steps of the first phase are all there is.
        assert train(recipe, "--dry-run", "--device", "cpu", *phase, "--set", "training.length.steps=10") == 0
        assert taken == 3 * [("pixels",)]
        taken.clear()
        recipe, phase = make_generation_recipe(tmp_path), ("--set", "pipeline.discriminator_pretraining_steps=5")
        assert train(recipe, "--dry-run", "--device", "cpu", *phase) == 0
        assert taken == 3 * [("discriminator",)] + 3 * [("discriminator", "generator")]

    @pytest.mark.parametrize(
        ("length", "mean", "steps"),
        [
            ("{steps: 40}", (10 * 1 + 30 * 4) / 40, 40),
            ("{steps: 10}", 1.0, 10),
            # A minute: ten steps of a second, and what fits into the rest of it.
            ("{steps: null, minutes: 1}", 60 / 22.5, 22),
            ("{steps: null, minutes: 0.1}", 1.0, 6),
            ("{steps: 12, minutes: 1}", (10 * 1 + 2 * 4) / 12, 12),
        ],
    )
    def test_every_phase_counts_for_as_long_as_it_lasts(
        self,
        length: str,
        mean: float,
        steps: int,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The first ten steps, of the discriminator alone, take a second each, and all others four."""
        monkeypatch.setattr(dry_run, "_timed", lambda engine, draw: 1.0 if engine.step < 10 else 4.0)
        changes = ("pipeline.discriminator_pretraining_steps=10", f"training.length={length}")
        sets = [part for change in changes for part in ("--set", change)]
        assert train(make_generation_recipe(tmp_path), "--dry-run", "--device", "cpu", "--json", *sets) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["seconds_per_step"] == pytest.approx(mean)
        assert told["remaining_steps"] == steps


class TestFolders:
    def test_a_file_in_place_of_the_run_folder_is_a_usage_error(
        self, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "taken").write_text("mine")
        for out in (tmp_path / "taken", tmp_path / "taken" / "run"):
            assert train(recipe, *SHORT, "-o", out) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(f"i2i: error: --out {out}: {tmp_path / 'taken'} is a file")
            assert line.endswith("see i2i train --help")
        assert (tmp_path / "taken").read_text() == "mine"

    def test_the_set_of_a_built_in_recipe_is_explained(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("cyclegan_maps", "cyclegan_apple2orange"):
            assert train(name, "--set", "precision=fp32") == 4
            message = capsys.readouterr().err
            folder = Path("datasets", name.removeprefix("cyclegan_"))
            assert f"{folder}: no such folder - create it with trainA" in message
            assert f"`i2i recipes {name}` says what the set is and where it is from" in message
            assert main(["recipes", name]) == 0
            assert "https://" in capsys.readouterr().out.split("# Data:")[1]

    def test_folders_of_ones_own_are_not_in_the_built_in_recipes(self, recipe: Path, tmp_path: Path) -> None:
        from i2i.commands.planning import open_data

        with pytest.raises(DataError, match=r"nowhere: no such folder") as caught:
            open_data(load_recipe(recipe, [f"data.root={tmp_path / 'nowhere'}"]))
        assert "i2i recipes" not in str(caught.value)


def test_processes_are_mentioned_where_there_are_several(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(recipe, *SHORT, "-o", tmp_path / "run") == 0
    assert f"{tmp_path / 'run'}: fp32 on cpu\n" in capsys.readouterr().err


def test_what_is_worth_knowing_is_noted_at_the_start(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(recipe, *SHORT, "--set", "training.batch_size=8", "-o", tmp_path / "run") == 0
    assert "note: training.batch_size 8 is more than the 7 training pictures: " in capsys.readouterr().err
