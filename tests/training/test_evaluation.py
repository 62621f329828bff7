"""Evaluations while training: what they find, what they decide, and that the training does not notice."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2i.commands import train
from i2i.commands.planning import open_data
from i2i.errors import DataError, InterruptedBySignal, ModelError, RecipeError
from i2i.evaluation.assessment import assess
from i2i.evaluation.features.opening import open_extractor
from i2i.evaluation.passports.figures import FigureSheet, read_sheets
from i2i.evaluation.pictures.made import GeneratedPictures
from i2i.evaluation.pictures.sources import data_source
from i2i.inference import load_generator
from i2i.inference.model_files.model_file import read_model_file
from i2i.recipe import load_recipe
from i2i.training import evaluation as evaluation_module
from i2i.training import looks, loop
from i2i.training.engine import Engine
from i2i.training.evaluation import Evaluation, remove_later_sheets
from i2i.training.run import Run
from i2i.training.signals import StopRequest
from i2i.training.tracking import read_metrics
from tests.training.evaluating import evaluating
from tests.training.runs import hash_of_state, make_generation_recipe, make_pictures, make_recipe, make_upscaling_recipe

STEPS = 12
SHORT = ["training.length.steps=4"]


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is drawn with every checkpoint, and takes longer than all else here."""
    monkeypatch.setattr(train, "write_report", lambda folder: None)


def rows_of(run: Path) -> list[tuple[int, dict[str, float]]]:
    """Steps and values of evaluations and validations."""
    kept = [(row["step"], row["values"]) for row in read_metrics(run)]
    found = [
        (step, {name: value for name, value in values.items() if name.startswith(("evaluation/", "validation/"))})
        for step, values in kept
    ]
    return [(step, values) for step, values in found if values]


def state_bytes(run: Path, step: int) -> bytes:
    return (run / "checkpoints" / f"step_{step}" / "state.safetensors").read_bytes()


def counters(run: Path, step: int) -> dict[str, Any]:
    return json.loads((run / "checkpoints" / f"step_{step}" / "state.json").read_text())


@pytest.fixture
def generation(tmp_path: Path) -> str:
    return str(make_generation_recipe(tmp_path))


def translation(folder: Path) -> str:
    return str(make_recipe(folder, make_pictures(folder / "pictures")))


class TestTheTrainingDoesNotNotice:
    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    @pytest.mark.parametrize(
        ("make", "metrics"),
        [
            pytest.param(
                lambda folder: str(make_generation_recipe(folder)), "fid, kid, is, pr, d_probability", id="gan"
            ),
            pytest.param(translation, "fid, kid", id="cyclegan"),
            pytest.param(lambda folder: str(make_upscaling_recipe(folder)), "fid, psnr, d_probability", id="srgan"),
        ],
    )
    def test_weights_are_bit_equal_with_and_without(
        self, tmp_path: Path, precision: str, make: Callable[[Path], str], metrics: str
    ) -> None:
        recipe, settings = make(tmp_path), [f"precision={precision}", "training.length.steps=6"]
        train.start(recipe, settings, out=tmp_path / "without", quiet=True)
        asked = evaluating(tmp_path, metrics=metrics, every_steps=2)
        train.start(recipe, [*settings, *asked], out=tmp_path / "with", quiet=True)
        assert [step for step, values in rows_of(tmp_path / "with") if "evaluation/fid" in str(values)] == [2, 4, 6]
        assert state_bytes(tmp_path / "with", 6) == state_bytes(tmp_path / "without", 6)

    def test_random_states_threads_and_networks_are_left_alone(
        self, generation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole, looked = looks.evaluate, []

        def watching(run: Run) -> None:
            networks = run.engine.pipeline.networks.values()
            modes = [module.training for network in networks for module in network.modules()]
            assert any(modes)
            before = _states()
            whole(run)
            assert _states() == before
            assert [module.training for network in networks for module in network.modules()] == modes
            looked.append(run.evaluated_step)

        def disturbing(*arguments: Any, **others: Any) -> list[Any]:
            random.random()
            np.random.rand()
            torch.rand(1)
            torch.set_num_threads(torch.get_num_threads() + 1)
            torch.set_float32_matmul_precision("medium")
            for name in ("enabled", "benchmark", "deterministic", "allow_tf32"):
                setattr(torch.backends.cudnn, name, not getattr(torch.backends.cudnn, name))
            return []

        monkeypatch.setattr(evaluation_module, "assess", disturbing)
        monkeypatch.setattr("i2i.training.loop._ACTS", {"evaluation": watching})
        asked = evaluating(tmp_path, metrics="fid, d_probability", every_steps=2)
        train.start(generation, [*SHORT, "training.checkpoints.every_steps=null", *asked],
                    out=tmp_path / "run", quiet=True)  # fmt: skip
        assert looked == [2, 4]

    def test_with_a_running_average_it_is_the_average_that_is_measured(self, generation: str, tmp_path: Path) -> None:
        """Exactly what the model file of that step makes: the figures of both are equal."""
        asked = evaluating(tmp_path, metrics="fid, kid, pr")
        train.start(generation, [*SHORT, *asked], out=tmp_path / "run", quiet=True)
        (sheet,) = read_sheets(tmp_path / "run")
        model = load_generator(tmp_path / "run" / "model.safetensors", device="cpu")
        recipe = load_recipe(tmp_path / "run" / "recipe.yaml")
        assert recipe.evaluate is not None
        figures = assess(
            ["fid", "kid", "pr"],
            data_source(open_data(recipe), "real", "train", "digits"),
            GeneratedPictures(model=model, count=40, seed=0),
            extractor=open_extractor(recipe.evaluate.features),
            split="train",
            latent_seed=0,
        )
        assert [figure.value for figure in figures] == [figure.value for figure in sheet.figures]
        assert [figure.passport for figure in figures] == [figure.passport for figure in sheet.figures]


def _states() -> tuple[object, ...]:
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    return (
        random.getstate(),
        str(numpy_state),
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.get_float32_matmul_precision(),
        *(getattr(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")),
    )


class TestWhatIsKept:
    def test_rows_and_sheets_with_passports(self, generation: str, tmp_path: Path) -> None:
        asked = evaluating(tmp_path, metrics="fid, is, d_probability", every_steps=3)
        train.start(generation, ["training.length.steps=7", *asked], out=tmp_path / "run", quiet=True)
        rows = dict(rows_of(tmp_path / "run"))
        assert sorted(rows) == [3, 6, 7]
        names = {"fid", "is", "d_probability_real", "d_probability_fake"}
        assert all(set(values) == {f"evaluation/{name}" for name in names} for values in rows.values())
        assert all(0 < rows[7][f"evaluation/d_probability_{side}"] < 1 for side in ("real", "fake"))
        sheets = {sheet.subject.step: sheet for sheet in read_sheets(tmp_path / "run")}
        assert sorted(step or 0 for step in sheets) == [3, 6, 7]
        for step, sheet in sheets.items():
            assert step is not None
            assert {f"evaluation/{one.name}": one.value for one in sheet.figures} == rows[step]
            assert sheet.subject.images == 4 * step
        passport = next(one.passport for one in sheets[7].figures if one.name == "fid")
        assert (passport.extractor, passport.split, passport.real_count, passport.fake_count) == (
            "lenet5",
            "train",
            20,
            40,
        )
        assert passport.data_sha256 and passport.weights_sha256

    def test_both_directions_of_a_translator(self, tmp_path: Path) -> None:
        asked = evaluating(tmp_path, metrics="fid", samples=2)
        train.start(translation(tmp_path), [*SHORT, *asked], out=tmp_path / "run", quiet=True)
        (sheet,) = read_sheets(tmp_path / "run")
        found = {one.name: (one.passport.real_count, one.passport.fake_count) for one in sheet.figures}
        assert found == {"fid_AtoB": (4, 2), "fid_BtoA": (3, 2)}
        sources = {one.passport.source_sha256 for one in sheet.figures}
        assert len(sources) == 2 and None not in sources, "of the pictures that were translated"

    def test_sheets_of_steps_that_a_training_went_back_from_are_removed(self, tmp_path: Path) -> None:
        folder = tmp_path / "evaluations"
        folder.mkdir()
        for name in ("step_00000003.json", "step_00000004.json", "step_00000012.json", "mine.json"):
            (folder / name).touch()
        remove_later_sheets(tmp_path, 4)
        assert sorted(path.name for path in folder.iterdir()) == [
            "mine.json",
            "step_00000003.json",
            "step_00000004.json",
        ]

    def test_classes_are_judged_by_their_labels(self, generation: str, tmp_path: Path) -> None:
        asked = evaluating(tmp_path, metrics="fid, d_probability")
        labelled = ["pipeline.classes=10", "data.labels=true"]
        train.start(generation, [*SHORT, *labelled, *asked], out=tmp_path / "run", quiet=True)
        assert 0 < rows_of(tmp_path / "run")[-1][1]["evaluation/d_probability_fake"] < 1


class TestTheBest:
    @pytest.fixture
    def scores(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
        """Let FID come out as told, evaluation by evaluation."""

        def tell(values: list[float]) -> None:
            told, whole = iter(values), evaluation_module.assess

            def measured(*arguments: Any, **others: Any) -> list[Any]:
                return [
                    replace(one, value=next(told)) if one.name.startswith("fid") else one
                    for one in whole(*arguments, **others)
                ]

            monkeypatch.setattr(evaluation_module, "assess", measured)

        return tell

    def test_the_named_figure_decides_and_its_checkpoint_is_kept(
        self, generation: str, tmp_path: Path, scores: Callable[[list[float]], None]
    ) -> None:
        scores([5.0, 3.0, 4.0, 3.0, float("nan"), 6.0])
        asked = evaluating(tmp_path, best="fid", every_steps=2)
        finished = train.start(generation, asked, out=tmp_path / "run", quiet=True)
        assert finished.best_score == 3.0
        assert read_model_file(tmp_path / "run" / "best.safetensors")[0].provenance["step"] == 4
        kept = sorted(int(path.name[5:]) for path in (tmp_path / "run" / "checkpoints").iterdir())
        assert kept == [4, 9, 12]
        assert (counters(tmp_path / "run", 12)["best_score"], counters(tmp_path / "run", 12)["best_step"]) == (3.0, 4)

    def test_a_resumed_run_remembers_it(
        self, generation: str, tmp_path: Path, scores: Callable[[list[float]], None]
    ) -> None:
        scores([5.0, 3.0, 2.5, 4.0, 3.0, 2.0])
        asked = evaluating(tmp_path, best="fid", every_steps=2)
        out = tmp_path / "run"
        # The evaluation at the end of the first part is one more than a whole run has at that step.
        train.start(generation, [*asked, "training.length.steps=5"], out=out, quiet=True)
        assert counters(out, 5)["best_step"] == 5
        finished = train.start(None, ["training.length.steps=9"], resume=out, quiet=True)
        assert (finished.best_score, counters(out, 9)["best_step"]) == (2.0, 9)
        assert (out / "checkpoints" / "step_9").is_dir()

    def test_in_place_of_validation_and_with_directions_their_mean(
        self, tmp_path: Path, scores: Callable[[list[float]], None]
    ) -> None:
        # A to B, then B to A: means 4, 3, 5.
        scores([5.0, 3.0, 2.0, 4.0, 1.0, 9.0])
        asked = evaluating(tmp_path, metrics="fid", best="fid", every_steps=2)
        finished = train.start(
            translation(tmp_path), [*asked, "training.length.steps=6", "training.validation.every_steps=1"],
            out=tmp_path / "run", quiet=True,
        )  # fmt: skip
        assert finished.best_score == 3.0
        assert counters(tmp_path / "run", 6)["best_step"] == 4
        assert len([1 for _, values in rows_of(tmp_path / "run") if "validation/consistency" in values]) == 6

    def test_one_direction_may_be_named(self, tmp_path: Path, scores: Callable[[list[float]], None]) -> None:
        scores([5.0, 3.0, 2.0, 4.0, 1.0, 9.0])
        asked = evaluating(tmp_path, metrics="fid", best="fid_AtoB", every_steps=2)
        finished = train.start(
            translation(tmp_path), [*asked, "training.length.steps=6"], out=tmp_path / "run", quiet=True
        )
        assert (finished.best_score, counters(tmp_path / "run", 6)["best_step"]) == (1.0, 6)

    def test_more_is_better_where_it_is(self, tmp_path: Path) -> None:
        asked = evaluating(tmp_path, metrics="psnr", best="psnr", every_steps=2)
        finished = train.start(
            str(make_upscaling_recipe(tmp_path)), [*asked, "training.length.steps=6"], out=tmp_path / "run", quiet=True
        )
        found = {
            step: values["evaluation/psnr"] for step, values in rows_of(tmp_path / "run") if "evaluation/psnr" in values
        }
        assert finished.best_score == max(found.values())
        assert found[counters(tmp_path / "run", 6)["best_step"]] == finished.best_score


class TestCutOff:
    @pytest.mark.parametrize("cut", [4, 5, 8])
    def test_resumed_equals_uninterrupted_rows_too(self, generation: str, tmp_path: Path, cut: int) -> None:
        asked = evaluating(tmp_path, metrics="fid, kid, d_probability", every_steps=4, best="kid")
        train.start(generation, asked, out=tmp_path / "whole", quiet=True)
        out = tmp_path / "cut"
        train.start(generation, [*asked, f"training.length.steps={cut}"], out=out, quiet=True)
        train.start(None, [f"training.length.steps={STEPS}"], resume=out, quiet=True)
        expected = rows_of(tmp_path / "whole")
        assert [step for step, _ in expected] == [4, 8, 12]
        # A run that ended early has looked once more there.
        assert [row for row in rows_of(out) if row[0] % 4 == 0] == expected
        if cut % 4 == 0:
            assert hash_of_state(out, STEPS) == hash_of_state(tmp_path / "whole", STEPS)
        assert state_bytes(out, STEPS) == state_bytes(tmp_path / "whole", STEPS)

    @pytest.mark.parametrize("step", [4, STEPS])
    def test_by_a_signal_it_is_owed_and_done_first_thing(
        self, generation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
    ) -> None:
        asked = evaluating(tmp_path, metrics="fid, kid", every_steps=4, best="kid")
        train.start(generation, asked, out=tmp_path / "whole", quiet=True)
        whole, out = GeneratedPictures.pictures, tmp_path / "cut"
        calls = 0

        def interrupted(self: GeneratedPictures, first: int, last: int) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2 * (step // 4) - 1:  # two blocks an evaluation: in the middle of this step's
                # To the thread that waits for this one: it is there that signals are handled.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                time.sleep(0.2)
            return whole(self, first, last)

        with monkeypatch.context() as patch:
            patch.setattr(GeneratedPictures, "pictures", interrupted)
            with pytest.raises(InterruptedBySignal, match=f"stopped at step {step}; resume with") as caught:
                train.start(generation, asked, out=out, quiet=True)
        assert caught.value.exit_code == 143
        assert counters(out, step)["owed"][0] == "evaluation"
        assert all(row[0] < step for row in rows_of(out))
        finished = train.start(None, [], resume=out, quiet=True)
        assert not finished.finished_before
        assert rows_of(out) == rows_of(tmp_path / "whole")
        losses = [row["step"] for row in read_metrics(out) if "loss/generator/total" in row["values"]]
        assert losses == list(range(1, STEPS + 1))
        assert hash_of_state(out, STEPS) == hash_of_state(tmp_path / "whole", STEPS)
        assert train.start(None, [], resume=out, quiet=True).finished_before

    def test_what_comes_after_it_is_left_for_later_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who stops a training waits for the evaluation alone, and nothing is recorded twice."""
        asked = [*evaluating(tmp_path, metrics="fid", samples=2, every_steps=3), "training.validation.every_steps=3"]
        recipe, out = translation(tmp_path), tmp_path / "cut"
        train.start(recipe, [*asked, "training.length.steps=4"], out=tmp_path / "whole", quiet=True)

        def interrupted(self: Evaluation, engine: Engine, stop: StopRequest) -> list[Any]:
            signal.raise_signal(signal.SIGTERM)
            raise InterruptedBySignal(stop.signal_number, "the evaluation was cut off")

        with monkeypatch.context() as patch:
            patch.setattr(Evaluation, "figures", interrupted)
            with pytest.raises(InterruptedBySignal, match="stopped at step 3"):
                train.start(recipe, [*asked, "training.length.steps=4"], out=out, quiet=True)
        assert counters(out, 3)["owed"] == ["evaluation", "validation", "checkpoint"]
        assert rows_of(out) == []
        train.start(None, [], resume=out, quiet=True)
        assert rows_of(out) == rows_of(tmp_path / "whole")
        recorded = [json.loads(line)["values"] for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert sum("validation/consistency" in values for values in recorded) == 2

    @pytest.mark.parametrize("resumed_without", [False, True])
    def test_due_at_the_step_of_a_signal_it_is_owed_too(
        self, generation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumed_without: bool
    ) -> None:
        def interrupt_at_four(run: Run, *rest: object) -> None:
            if run.engine.step == 4:
                signal.raise_signal(signal.SIGINT)

        asked = evaluating(tmp_path, metrics="fid", every_steps=4)
        out = tmp_path / "run"
        with monkeypatch.context() as patch:
            patch.setattr(loop, "_show_progress", interrupt_at_four)
            with pytest.raises(InterruptedBySignal):
                train.start(generation, asked, out=out, quiet=True)
        assert counters(out, 4)["owed"] == ["evaluation"]
        if resumed_without:
            # What nobody wants any longer is owed no more.
            train.start(None, ["training.length.steps=5", "evaluate=null"], resume=out, quiet=True)
            assert rows_of(out) == [] and counters(out, 5)["owed"] == []
            assert train.start(None, [], resume=out, quiet=True).finished_before
            return
        train.start(None, ["training.length.steps=5"], resume=out, quiet=True)
        assert [step for step, _ in rows_of(out)] == [4, 5]

    @pytest.mark.parametrize("kind", [DataError, torch.OutOfMemoryError, np.linalg.LinAlgError, OSError, ValueError])
    def test_a_failure_is_said_and_training_goes_on(
        self,
        generation: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        kind: type[Exception],
    ) -> None:
        def failing(*arguments: Any, **others: Any) -> list[Any]:
            raise kind("feature vectors: 1 of 32 hold NaN or infinity")

        monkeypatch.setattr(evaluation_module, "assess", failing)
        asked = evaluating(tmp_path, every_steps=2)
        train.start(generation, [*SHORT, *asked], out=tmp_path / "run")
        assert rows_of(tmp_path / "run") == []
        assert capsys.readouterr().err.count("evaluation failed, training goes on: feature vectors: 1 of 32") == 2
        assert counters(tmp_path / "run", 4)["owed"] == []


class TestAtTheStart:
    def test_missing_weights_are_told_before_anything_else(
        self, generation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def too_early(*arguments: object) -> None:
            raise AssertionError("the data were opened first")

        monkeypatch.setattr(train, "open_data", too_early)
        with pytest.raises(ModelError, match=r"nowhere\.safetensors: no such file of LeNet"):
            train.start(generation, ["evaluate.features=lenet:nowhere.safetensors"], out=tmp_path / "run", quiet=True)

    def test_a_script_is_run_only_if_it_is_the_one_named(self, generation: str, tmp_path: Path) -> None:
        path = tmp_path / "script.pt"
        path.write_bytes(b"anything")
        with pytest.raises(ModelError, match=r"the recipe allows abababab\.\.\. alone"):
            script = [f"evaluate.features={path}", f"evaluate.features_sha256={'ab' * 32}"]
            train.start(generation, script, out=tmp_path / "run", quiet=True)

    def test_metrics_of_counterparts_need_some(self, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match=r"evaluate\.metrics: psnr compares with true counterparts"):
            train.start(translation(tmp_path), evaluating(tmp_path, metrics="psnr"), out=tmp_path / "run", quiet=True)

    def test_translation_needs_test_pictures(self, tmp_path: Path) -> None:
        recipe = make_recipe(tmp_path, make_pictures(tmp_path / "pictures", {"trainA": 3, "trainB": 3}))
        with pytest.raises(RecipeError, match="no test pictures for AtoB"):
            train.start(str(recipe), evaluating(tmp_path), out=tmp_path / "run", quiet=True)

    def test_lpips_needs_its_weights(self, tmp_path: Path) -> None:
        recipe = str(make_upscaling_recipe(tmp_path))
        asked = ["evaluate.metrics=[lpips]", "evaluate.lpips=alexnet:nowhere.pth,heads.pth"]
        with pytest.raises(ModelError, match=r"nowhere\.pth"):
            train.start(recipe, asked, out=tmp_path / "run", quiet=True)
        with pytest.raises(RecipeError, match="evaluate: --lpips alexnett: no such network, did you mean"):
            train.start(recipe, [asked[0], "evaluate.lpips=alexnett"], out=tmp_path / "run", quiet=True)

    def test_paths_mean_the_same_from_everywhere(
        self, generation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        evaluating(tmp_path)
        monkeypatch.chdir(tmp_path)
        train.start(generation, [*SHORT, "evaluate.features=lenet:lenet.safetensors", "evaluate.samples=4",
                                "evaluate.lpips=alexnet:a.pth,b.pth"],
                    out=tmp_path / "run", quiet=True)  # fmt: skip
        kept = load_recipe(tmp_path / "run" / "recipe.yaml").evaluate
        assert kept is not None and kept.features == f"lenet:{tmp_path / 'lenet.safetensors'}"
        assert kept.lpips == f"alexnet:{tmp_path / 'a.pth'},{tmp_path / 'b.pth'}"


def test_sheets_can_be_read_back(generation: str, tmp_path: Path) -> None:
    train.start(generation, [*SHORT, *evaluating(tmp_path)], out=tmp_path / "run", quiet=True)
    sheet = FigureSheet.read(tmp_path / "run" / "evaluations" / "step_00000004.json")
    assert sheet.subject.description == "run at step 4"
