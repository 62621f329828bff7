"""The fastest engine is found once and remembered for what it was found for."""

from __future__ import annotations

import functools
import json
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2i.data.cache import default_cache_folder
from i2i.errors import UsageError
from i2i.inference.runners import RUNNERS, Runner, RunnerChoice, candidates, choose_runner
from i2i.inference.runners import choice as module
from i2i.inference.runtime import Precision

CPU = torch.device("cpu")


class Engine:
    """A runner that says how long it takes."""

    device = CPU
    precision: Precision = "fp32"
    network = None

    def __init__(self, name: str, seconds: float, error: Exception | None = None) -> None:
        self.name, self.seconds, self.error = name, seconds, error

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        if self.error is not None:
            raise self.error
        return torch.zeros(1)


class Bench:
    """Engines of known speed, and a count of how often they were built and timed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float | Exception) -> None:
        self.seconds = seconds
        self.timed: list[str] = []
        self.built: list[str] = []

        def measure(runner: Engine, example: object) -> float:
            self.timed.append(runner.name)
            runner()
            return runner.seconds

        monkeypatch.setattr(module, "_seconds", measure)

    @property
    def builders(self) -> Mapping[str, Callable[[], Runner]]:
        def build(name: str) -> Runner:
            self.built.append(name)
            speed = self.seconds[name]
            return Engine(name, 0.0, speed) if isinstance(speed, Exception) else Engine(name, speed)

        return {name: lambda name=name: build(name) for name in self.seconds}

    def choose(self, sha256: str = "a", worthwhile: bool = True, variant: tuple[object, ...] = ()) -> RunnerChoice:
        choice, runner = choose_runner(
            self.builders,
            (torch.zeros(1, 3, 20, 30),),
            sha256=lambda: sha256,
            device=CPU,
            precision="fp32",
            variant=variant,
            worthwhile=worthwhile,
        )
        assert runner.name == choice.name
        return choice


def test_the_fastest_is_taken_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, torch=0.3, openvino=0.1, onnxruntime=0.2)
    first, second = bench.choose(), bench.choose()
    assert (first.name, first.seconds, first.pixels) == (
        "openvino", {"torch": 0.3, "openvino": 0.1, "onnxruntime": 0.2}, (20, 30),
    )  # fmt: skip
    assert not first.remembered
    assert (second.name, second.seconds, second.remembered) == (first.name, first.seconds, True)
    assert bench.timed == ["torch", "openvino", "onnxruntime"]
    assert bench.built == ["torch", "openvino", "onnxruntime", "openvino"]
    assert str(first) == "openvino (0.1 s for 30x20; torch 0.3 s; onnxruntime 0.2 s)"
    assert str(second).endswith("; remembered)")


def test_another_model_another_variant_and_other_threads_are_timed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, torch=0.3, openvino=0.1)
    assert not bench.choose("a").remembered
    assert not bench.choose("b").remembered
    assert not bench.choose("a", variant=("BtoA",)).remembered
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert not bench.choose("a").remembered
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(module, "_version", lambda package: "99")
    assert not bench.choose("a").remembered
    assert bench.choose("a").remembered


def test_little_work_and_a_single_engine_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, torch=0.3, openvino=0.1)
    assert bench.choose(worthwhile=False) == RunnerChoice("torch")
    assert Bench(monkeypatch, onnxruntime=0.3).choose() == RunnerChoice("onnxruntime")
    assert (bench.timed, bench.built) == ([], ["torch"])
    assert str(RunnerChoice("torch")) == "torch"
    assert not (default_cache_folder() / "runners").exists()


def test_an_engine_that_fails_is_passed_over_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = Bench(monkeypatch, torch=RuntimeError("no\nkernel"), openvino=0.1).choose()
    assert (choice.name, choice.failed) == ("openvino", {"torch": "no kernel"})
    assert "torch failed" in str(choice)
    with pytest.raises(RuntimeError, match="first"):
        Bench(monkeypatch, torch=RuntimeError("first"), openvino=RuntimeError("second")).choose("b")


def test_what_is_not_the_fastest_is_let_go_before_the_next_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: dict[str, weakref.ref[Engine]] = {}
    seen: list[set[str]] = []

    def build(name: str, speed: float | Exception) -> Runner:
        seen.append({other for other, runner in alive.items() if runner() is not None})
        failing = isinstance(speed, Exception)
        engine = Engine(name, 0.0 if failing else speed, speed if failing else None)
        alive[name] = weakref.ref(engine)
        return engine

    def measure(runner: Engine, example: object) -> float:
        runner()
        return runner.seconds

    monkeypatch.setattr(module, "_seconds", measure)
    speeds = {"a": 0.2, "b": 0.3, "c": RuntimeError("no"), "d": 0.1, "e": 0.4}
    builders = {name: functools.partial(build, name, speed) for name, speed in speeds.items()}
    choice, _ = module.time_runners(builders, (torch.zeros(1),))
    assert choice.name == "d"
    assert seen == [set(), {"a"}, {"a"}, {"a"}, {"d"}]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"name": "gone", "seconds": {"gone": 1}, "failed": {}, "pixels": null}',
     '{"name": "torch", "seconds": [], "failed": {}, "pixels": null}'],
)  # fmt: skip
def test_a_damaged_memory_is_made_anew(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    bench = Bench(monkeypatch, torch=0.3, openvino=0.1)
    bench.choose()
    (file,) = (default_cache_folder() / "runners").iterdir()
    assert json.loads(file.read_text())["name"] == "openvino"
    file.write_text(content)
    assert not bench.choose().remembered
    assert bench.choose().remembered


def test_a_cache_that_cannot_be_written_costs_the_memory_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "file"))
    bench = Bench(monkeypatch, torch=0.3, openvino=0.1)
    assert bench.choose().name == "openvino"
    assert not bench.choose().remembered


def test_a_timing_is_the_best_of_a_few() -> None:
    calls: list[int] = []

    class Counting(Engine):
        def __call__(self, *inputs: Tensor | None) -> Tensor:
            calls.append(len(inputs))
            return super().__call__(*inputs)

    assert 0 < module._seconds(Counting("torch", 0), (torch.zeros(1), None)) < 1
    assert calls == [2] * 4


class TestCandidates:
    def test_are_all_that_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        installed = [name for name, engine in RUNNERS.items() if engine.installed]
        assert {"torch", "onnxruntime"} <= set(installed)
        assert candidates("safetensors", CPU, "fp32") == installed
        assert candidates("safetensors", CPU, "fp16") == ["torch"]
        assert candidates("pt2", CPU, "bf16") == candidates("torchscript", CPU, "fp32") == ["torch"]
        assert candidates("onnx", CPU, "fp32")[0] == "onnxruntime"
        assert candidates("safetensors", CPU, "fp32", "onnxruntime") == ["onnxruntime"]

    def test_what_is_missing_says_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name != "torch" else object())
        assert candidates("safetensors", CPU, "fp32") == ["torch"]
        for form, wanted in (("safetensors", "openvino"), ("openvino", "auto"), ("onnx", "openvino")):
            with pytest.raises(UsageError, match=r"openvino is not installed .* pip install 'i2i\[openvino\]'"):
                candidates(form, CPU, "fp32", wanted)  # type: ignore[arg-type]

    def test_devices_and_precisions_of_an_engine(self) -> None:
        with pytest.raises(UsageError, match="onnxruntime computes in fp32 alone"):
            candidates("safetensors", CPU, "bf16", "onnxruntime")
        with pytest.raises(UsageError, match="torch runs no openvino files"):
            candidates("openvino", CPU, "fp32", "torch")
        if RUNNERS["openvino"].installed:
            with pytest.raises(UsageError, match="openvino does not compute on cuda"):
                candidates("safetensors", torch.device("cuda"), "fp32", "openvino")
