"""What makes steps faster gives the numbers of the plain way, can be taken back, and never ends a training."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from i2i.core.discriminators import DiscriminatorOutput
from i2i.core.layers import couples_batch
from i2i.core.losses.penalties import gradient_penalty, zero_centred_penalty
from i2i.training import compiled_networks
from i2i.training.acceleration import TRICKS, Trick, accelerate, measured_tricks, unmeasured_tricks
from i2i.training.distributed import Processes
from i2i.training.engine import Engine
from i2i.training.precision import ChosenPrecision
from i2i.training.settings import TrickName
from tests.training.accelerated import STEPS, distance, engine_of, losses_of
from tests.training.toys import assert_same_bits, copies

COMPILES = compiled_networks.notices_thawed_weights()
"""Not with every torch; there the trick says so and is left out."""
needs_compiling = pytest.mark.skipif(not COMPILES, reason="this torch compiles wrongly")
EVERYTHING: tuple[TrickName, ...] = tuple(name for name in TRICKS if COMPILES or name != "compiled_networks")
ALTERS_ARITHMETIC = (
    "channels_last",
    "fused_optimizers",
    pytest.param("compiled_networks", marks=needs_compiling),
)
"""The others do not touch a number on a CPU."""
TAKEN_APART = {"fp32": ("dcgan", "srgan"), "bf16": ("dcgan",)}
"""Whose networks go through the compiler in other formats than float64 too: for others that takes up to ten seconds."""


@pytest.fixture(autouse=True)
def _without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks are taken apart and differentiated as for the compiler, but run by torch's own kernels."""
    monkeypatch.setattr(compiled_networks, "BACKEND", "aot_eager_decomp_partition")
    yield
    torch.compiler.reset()


def refuse(line: str) -> None:
    pytest.fail(line)


@cache
def plain(method: str, precision: ChosenPrecision) -> dict[str, list[float]]:
    return losses_of(method, precision, (), refuse, STEPS)


def trained(method: str, precision: ChosenPrecision, tricks: Collection[TrickName]) -> dict[str, list[float]]:
    return losses_of(method, precision, tricks, refuse, STEPS)


# --- the same numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trick", ALTERS_ARITHMETIC)
@pytest.mark.parametrize("method", ["cyclegan", "dcgan", "r3gan", "srgan"])
def test_in_float64_losses_are_those_of_the_plain_way(method: str, trick: TrickName) -> None:
    """Sums in another order round otherwise in the sixteenth digit, of which fifty steps make the fourteenth."""
    assert distance(trained(method, "fp64", (trick,)), plain(method, "fp64")) < 1e-9


def test_in_float64_all_together_change_nothing_either() -> None:
    assert distance(trained("srgan", "fp64", EVERYTHING), plain("srgan", "fp64")) < 1e-9


@needs_compiling
@pytest.mark.parametrize("method", ["wgan_gp", "r1_r2"])
def test_penalties_differentiate_compiled_networks_twice(method: str) -> None:
    assert distance(trained(method, "fp64", ("compiled_networks",)), plain(method, "fp64")) < 1e-9


class Judge(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Conv2d(4, 1, 3))

    def forward(self, input: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput((super().forward(input),))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler here")
@pytest.mark.parametrize("penalty", [gradient_penalty, zero_centred_penalty])
def test_penalties_differentiate_what_the_real_compiler_made_twice(penalty: Callable[..., Tensor]) -> None:
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    judge = Judge().double()

    def gradients() -> list[Tensor]:
        judge.zero_grad()
        (judge(images).logits[0].mean() + penalty(judge, images)).backward()
        return [weight.grad.clone() for weight in judge.parameters() if weight.grad is not None]

    expected = gradients()
    judge.compile(dynamic=False)
    found = gradients()
    assert len(found) == 4 and judge._compiled_call_impl is not None
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["cyclegan", "dcgan", "r3gan", "srgan"])
def test_in_float32_losses_stay_as_near_to_the_truth_as_in_the_plain_way(method: str) -> None:
    """The truth is float64. A few steps differ by float32's seventh digit.

    How far that leads in fifty steps is a matter of the method, which the plain way tells: to the sixth digit, except
    for CycleGAN, where instance norm makes much of channels that hardly vary, and it is the second.
    """
    tricks = EVERYTHING if method in TAKEN_APART["fp32"] else ("channels_last", "fused_optimizers")
    truth, trained_so = plain(method, "fp64"), trained(method, "fp32", tricks)
    assert distance(beginning(trained_so), beginning(truth)) < 1e-5
    own = distance(plain(method, "fp32"), truth)
    assert 0 < own < (0.3 if method == "cyclegan" else 1e-5)
    assert distance(trained_so, truth) < 4 * own


@pytest.mark.parametrize("method", ["cyclegan", "dcgan", "r3gan", "srgan"])
def test_in_bfloat16_loss_curves_stay_as_near_to_float32_as_in_the_plain_way(method: str) -> None:
    truth = plain(method, "fp32")
    own = distance(plain(method, "bf16"), truth)
    assert 0 < own < 0.3
    tricks = EVERYTHING if method in TAKEN_APART["bf16"] else ("channels_last", "fused_optimizers")
    assert distance(trained(method, "bf16", tricks), truth) < 2 * own


def beginning(curves: dict[str, list[float]]) -> dict[str, list[float]]:
    """The first four values of every curve."""
    return {name: values[:4] for name, values in curves.items()}


# --- switching on and off --------------------------------------------------------------------------------------------


def test_all_can_be_switched_on_and_taken_back_while_training_goes_on() -> None:
    engine, samples = engine_of("dcgan", "fp64")
    other, _ = engine_of("dcgan", "fp64")
    for _ in range(3):
        engine.take_step(samples)
    take_back = accelerate(engine, EVERYTHING, refuse)
    for _ in range(3):
        engine.take_step(samples)
    take_back()
    for _ in range(3):
        engine.take_step(samples)
    for _ in range(9):
        other.take_step(samples)
    ours, theirs = engine.state(), other.state()
    assert ours.counters == theirs.counters
    assert set(ours.tensors) == set(theirs.tensors)
    for name, tensor in theirs.tensors.items():
        torch.testing.assert_close(ours.tensors[name], tensor, rtol=1e-7, atol=1e-9, msg=name)
    weights = [weight for network in engine.pipeline.networks.values() for weight in network.parameters()]
    assert all(weight.is_contiguous() for weight in weights)
    assert not any(player.optimizer.defaults["fused"] for player in engine.players.values())
    assert all(network._compiled_call_impl is None for network in engine.pipeline.networks.values())
    assert not torch.backends.cudnn.benchmark


def test_slots_of_the_optimizer_lie_as_the_weights_do() -> None:
    engine, samples = engine_of("cyclegan", "fp32")
    engine.take_step(samples)
    accelerate(engine, ("channels_last",), refuse)
    seen = 0
    for player in engine.players.values():
        for weight, slots in player.optimizer.state.items():
            for slot in slots.values():
                if slot.dim() == 4:
                    assert slot.stride() == weight.stride()
                    seen += not slot.is_contiguous()
    assert seen > 0


def test_a_training_that_was_begun_plain_is_saved_and_loaded_with_everything_on() -> None:
    engine, samples = engine_of("dcgan", "fp64")
    engine.take_step(samples)
    kept = copies(engine.state().tensors)
    other, _ = engine_of("dcgan", "fp64")
    accelerate(other, EVERYTHING, refuse)
    other.load_state(engine.state())
    assert_same_bits(other.state().tensors, kept)


# --- failing ---------------------------------------------------------------------------------------------------------


def broken(engine: object, report: object) -> None:
    raise OSError("no kernels\nfor this machine")


def test_a_trick_that_fails_is_left_out_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    trick = Trick(does="fails", devices=("cpu",), apply=broken)  # type: ignore[arg-type]
    monkeypatch.setattr("i2i.training.acceleration.TRICKS", {**TRICKS, "fused_optimizers": trick})
    engine, samples = engine_of("dcgan", "fp32")
    lines: list[str] = []
    accelerate(engine, ("channels_last", "fused_optimizers"), lines.append)
    engine.take_step(samples)
    assert lines == ["speed: fused_optimizers does not work here (no kernels for this machine); on without it"]


def failing_backend(graph: object, inputs: object) -> None:
    raise RuntimeError("no compiler found\nat all")


@needs_compiling
def test_networks_that_cannot_be_compiled_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_networks, "BACKEND", failing_backend)
    lines: list[str] = []
    found = losses_of("dcgan", "fp64", ("compiled_networks",), lines.append, STEPS)
    assert found == plain("dcgan", "fp64")
    assert len(lines) == 2
    assert all(len(line.splitlines()) == 1 and "no compiler found at all" in line for line in lines)
    assert "compiled_networks does not work here for generator (" in lines[0]


def backend_without_backward(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
    from torch._dynamo.backends.common import aot_autograd

    def forward_alone(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        return graph

    return aot_autograd(fw_compiler=forward_alone, bw_compiler=failing_backend)(graph, inputs)


@needs_compiling
def test_what_is_wrong_with_a_backward_pass_comes_out_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_networks, "BACKEND", backend_without_backward)
    lines: list[str] = []
    found = losses_of("dcgan", "fp64", ("compiled_networks",), lines.append, 5)
    assert distance(found, {name: curve[:5] for name, curve in plain("dcgan", "fp64").items()}) < 1e-9
    assert len(lines) == 2


@needs_compiling
def test_what_a_network_itself_refuses_is_not_blamed_on_the_compiler() -> None:
    engine, _ = engine_of("cyclegan", "fp64")
    lines: list[str] = []
    accelerate(engine, ("compiled_networks",), lines.append)
    network = engine.pipeline.networks["generator_ab"]
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 5, 16, 16, dtype=torch.float64))
    assert lines == []
    assert network._compiled_call_impl is not None


def compiled_of(engine: Engine) -> set[str]:
    return {name for name, network in engine.pipeline.networks.items() if network._compiled_call_impl is not None}


@needs_compiling
def test_networks_whose_dropout_draws_by_sample_are_not_compiled() -> None:
    engine, samples = engine_of("dropout", "fp64")
    accelerate(engine, ("compiled_networks",), refuse)
    assert compiled_of(engine) == {"discriminator_a", "discriminator_b"}
    engine.take_step(samples)


@needs_compiling
def test_networks_that_couple_a_batch_over_processes_are_not_compiled() -> None:
    engine, _ = engine_of("srgan", "fp64")
    engine.processes = Processes()
    engine.processes.count = 2
    accelerate(engine, ("compiled_networks",), refuse)
    coupled = {name for name, network in engine.pipeline.networks.items() if couples_batch(network)}
    assert coupled and compiled_of(engine) == set(engine.pipeline.networks) - coupled


@needs_compiling
def test_copies_of_compiled_networks_are_not_compiled() -> None:
    engine, _ = engine_of("cyclegan", "fp64")
    accelerate(engine, ("compiled_networks",), refuse)
    names = set(engine.pipeline.networks["generator_ab"].state_dict())
    copied = engine.inference_networks()["generator_ab"]
    assert copied._compiled_call_impl is None
    assert set(copied.state_dict()) == names and not any("_orig_mod" in name for name in names)


def test_a_torch_that_compiles_wrongly_is_not_let_at_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_networks, "notices_thawed_weights", lambda: False)
    lines: list[str] = []
    found = losses_of("r3gan", "fp64", ("compiled_networks",), lines.append, 3)
    assert len(lines) == 1 and "gives no gradients to weights that were frozen" in lines[0]
    assert found == {name: curve[: len(found[name])] for name, curve in plain("r3gan", "fp64").items()}


# --- what auto considers ---------------------------------------------------------------------------------------------


def test_what_is_tried_and_what_is_not() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert measured_tricks(cpu) == ()
    assert unmeasured_tricks(cpu) == ("channels_last", "fused_optimizers", "kept_memory", "fitting_threads")
    assert measured_tricks(cuda) == ("raced_convolutions", "compiled_networks")
    assert unmeasured_tricks(cuda) == ("channels_last", "fused_optimizers")


def test_every_trick_says_what_it_does_in_one_line() -> None:
    for trick in TRICKS.values():
        for text in (trick.does, trick.unmeasured_because):
            assert text is None or (len(text) > 20 and "\n" not in text)
