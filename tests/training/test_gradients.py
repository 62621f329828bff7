"""Memory runs out in the middle of an update: the batch goes through in smaller parts, and nothing else changes."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i.core.augmentation import AdaptiveAugmentationSettings
from i2i.core.discriminators import DCGANDiscriminatorSettings, PatchDiscriminatorSettings, R3GANDiscriminatorSettings
from i2i.core.generators import DCGANGeneratorSettings, MSRResNetSettings, R3GANGeneratorSettings
from i2i.core.image_shape import ImageShape
from i2i.core.losses.penalties import R1Settings, R2Settings
from i2i.errors import OutOfMemoryError, RecipeError
from i2i.pipelines import SRGANSettings, UnconditionalSettings
from i2i.pipelines.protocol import Pipeline
from i2i.training.checkpoint import TrainingState
from i2i.training.distributed import Processes
from i2i.training.engine import Engine, UpdateReport
from i2i.training.precision import Precision
from i2i.training.settings import AdamSettings, TrainingSettings
from tests.training.toys import Pictures, assert_same_bits, tiny_cyclegan

SHAPE = ImageShape(3, 16)
GENTLE = {name: AdamSettings(learning_rate=1e-3, epsilon=1e-3) for name in ("generator", "discriminator")}
"""A gradient of nearly nothing moves nothing: its sign is a matter of rounding."""
ERRORS: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    "python": MemoryError,
}


@pytest.fixture(autouse=True)
def _little_to_collect() -> Iterator[None]:
    """Each shortage collects garbage; looking through all that other tests have imported takes most of the time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def cyclegan() -> Pipeline:
    return tiny_cyclegan(dropout=0.5)


def srgan() -> Pipeline:
    """Past its pixel phase."""
    settings = SRGANSettings(
        generator=MSRResNetSettings(scale=4, base_channels=2, blocks=1),
        discriminator=PatchDiscriminatorSettings(base_channels=2, layers=1),
    )
    return settings.build(SHAPE)


def shared_fakes() -> Pipeline:
    """The generator's update goes back through pictures of the discriminator's."""
    settings = UnconditionalSettings(
        generator=DCGANGeneratorSettings(latent=4, base_channels=2, normalization="virtual", reference_rows=3),
        discriminator=DCGANDiscriminatorSettings(base_channels=2, normalization="none"),
        fakes="shared",
        augmentation=AdaptiveAugmentationSettings(adjust_every_images=4, images_to_full=20),
    )
    return settings.build(SHAPE)


def r3gan() -> Pipeline:
    settings = UnconditionalSettings(
        generator=R3GANGeneratorSettings(latent=4, widths=(8, 4, 4)),
        discriminator=R3GANDiscriminatorSettings(widths=(4, 4, 8)),
        adversarial="relativistic",
        fakes="separate",
        penalties=(R1Settings(weight=2.0), R2Settings(weight=1.0, every=2)),
    )
    return settings.build(SHAPE)


PIPELINES = {"cyclegan": cyclegan, "srgan": srgan, "shared_fakes": shared_fakes, "r3gan": r3gan}
EVERY = pytest.mark.parametrize("name", PIPELINES)


class Streams(Pictures):
    """Pictures of every stream; those in low resolution are a quarter as wide."""

    def picture(self, stream: str, counter: int) -> Tensor:
        picture = super().picture(stream, counter)
        return picture[:, ::4, ::4] if stream == "low" else picture


def engine_of(name: str, *, accumulate: int = 1, batch_size: int = 4, **settings: Any) -> tuple[Engine, Pictures]:
    pipeline = PIPELINES[name]()
    pipeline.initialize(0)
    training = TrainingSettings(
        batch_size=batch_size, accumulate=accumulate, optimizers=GENTLE, ema_half_life_images=20, **settings
    )
    engine = Engine(pipeline, training, Precision("fp64", torch.device("cpu")), images_per_epoch=10, seed=3)
    return engine, Streams(training, torch.float64, 16)


@contextmanager
def calls_counted(
    engine: Engine, fail: Callable[[int], bool], error: Callable[[], Exception], when: str
) -> Iterator[list[int]]:
    """Count the calls of all networks, and let some of them fail: before or after their work, or on the way back."""
    count = [0]

    def broken(gradient: Tensor) -> Tensor:
        raise error()

    def before(network: torch.nn.Module, inputs: Any) -> None:
        count[0] += 1
        if when == "before" and fail(count[0]):
            raise error()

    def after(network: torch.nn.Module, inputs: Any, output: Any) -> None:
        if when == "before" or not fail(count[0]):
            return
        if when == "after":
            raise error()
        result = output if isinstance(output, Tensor) else output.logits[0]
        if result.requires_grad:
            result.register_hook(broken)

    handles = [network.register_forward_pre_hook(before) for network in engine.pipeline.networks.values()]
    handles += [network.register_forward_hook(after) for network in engine.pipeline.networks.values()]
    yield count
    for handle in handles:
        handle.remove()


def mean_losses(reports: Mapping[str, UpdateReport]) -> dict[str, Tensor]:
    return {
        f"{update}/{term}": torch.stack([part.terms[term].value for part in report.losses]).mean()
        for update, report in reports.items()
        for term in report.losses[0].terms
    }


def kept(state: TrainingState) -> TrainingState:
    """The state as it is now: an engine goes on changing what it has given or been given."""
    return TrainingState(
        {name: tensor.clone() for name, tensor in state.tensors.items()}, copy.deepcopy(dict(state.counters))
    )


def first_and_last_calls(engine: Engine, pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Of every update of a step, which it takes."""
    found: list[tuple[int, int]] = []
    whole = Engine.apply
    with calls_counted(engine, lambda call: False, MemoryError, "before") as count, monkeypatch.context() as patch:

        def noting(engine: Engine, *arguments: Any, **named: Any) -> None:
            first = count[0] + 1
            whole(engine, *arguments, **named)
            found.append((first, count[0]))

        patch.setattr(Engine, "apply", noting)
        engine.take_step(pictures)
    return found


# --- nothing changes -------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("accumulate", [1, 2])
def test_wherever_memory_runs_out_the_training_is_the_same(
    name: str, accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first call of every update and in the last one of its last micro-batch, on the way there and back."""
    engine, pictures = engine_of(name, accumulate=accumulate)
    for _ in range(2):  # the pool is full, and a lazy penalty is due next
        engine.take_step(pictures)
    start = kept(engine.state())
    calls = first_and_last_calls(engine, pictures, monkeypatch)
    assert len(calls) == (3 if name == "r3gan" else 2)
    engine.load_state(kept(start))
    pictures.asked.clear()
    losses = mean_losses(engine.take_step(pictures))
    expected, asked = kept(engine.state()), list(pictures.asked)
    tried = [(first, "after") for first, _ in calls] + [(last, "backward") for _, last in calls]
    for failing, when in tried:
        engine.load_state(kept(start))
        pictures.asked.clear()
        with calls_counted(engine, lambda call, failing=failing: call == failing, ERRORS["cuda"], when):
            reports = engine.take_step(pictures)
        where = f"call {failing} of {calls}, {when}"
        assert engine.micro_batches == 2 * accumulate == len(list(reports.values())[-1].losses), where
        assert pictures.asked == asked, f"{where}: nothing is drawn twice"
        torch.testing.assert_close(mean_losses(reports), losses, rtol=0, atol=1e-11)
        state = engine.state()
        assert state.counters == {**expected.counters, "micro_batches": 2 * accumulate}
        assert state.tensors.keys() == expected.tensors.keys()
        for key, tensor in expected.tensors.items():
            message = f"{where}: {key}"
            torch.testing.assert_close(state.tensors[key], tensor, rtol=0, atol=1e-10, msg=message)


@EVERY
@pytest.mark.parametrize(("error", "when"), [*((error, "after") for error in ERRORS), ("cpu", "backward")])
def test_a_first_update_that_fails_leaves_no_trace(name: str, error: str, when: str) -> None:
    """From there on everything is to the last bit what it is with so many micro-batches from the start."""
    plain, pictures = engine_of(name, accumulate=2)
    engine, drawn = engine_of(name)
    # The second call: the first one has moved statistics and drawn masks already.
    with calls_counted(engine, lambda call: call == 2, ERRORS[error], when):
        engine.take_step(drawn)
    plain.take_step(pictures)
    assert engine.audit.read() == plain.audit.read() != {}
    for _ in range(3):
        engine.take_step(drawn)
        plain.take_step(pictures)
    assert engine.micro_batches == 2
    assert_same_bits(engine.state().tensors, plain.state().tensors)
    assert engine.state().counters == plain.state().counters


def test_parts_get_smaller_until_they_fit() -> None:
    engine, pictures = engine_of("cyclegan", batch_size=6)
    expected, given = engine_of("cyclegan", accumulate=6, batch_size=6)
    largest: list[int] = []

    def refuse_more_than_one(network: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        largest.append(len(inputs[0]))
        if len(inputs[0]) > 2:  # pictures and those for the identity go through together
            raise MemoryError

    for network in engine.pipeline.networks.values():
        network.register_forward_pre_hook(refuse_more_than_one)
    for _ in range(2):
        engine.take_step(pictures)
        expected.take_step(given)
    assert largest[:3] == [12, 6, 2], "of 6, of 3, and of 1, for 3 has no half"
    assert engine.micro_batches == 6
    assert_same_bits(engine.state().tensors, expected.state().tensors)


def test_other_errors_are_no_want_of_memory() -> None:
    engine, pictures = engine_of("cyclegan")
    with (
        calls_counted(engine, lambda call: call == 2, lambda: RuntimeError("shapes do not fit"), "before"),
        pytest.raises(RuntimeError, match="shapes do not fit"),
    ):
        engine.take_step(pictures)
    assert engine.micro_batches == 1


# --- what cannot be split --------------------------------------------------------------------------------------------


def out_of_memory(engine: Engine, pictures: Pictures) -> str:
    with (
        calls_counted(engine, lambda call: True, MemoryError, "before"),
        pytest.raises(OutOfMemoryError) as caught,
    ):
        engine.take_step(pictures)
    assert caught.value.exit_code == 6
    (line,) = str(caught.value).splitlines()
    return line


def test_single_samples_are_the_end() -> None:
    line = out_of_memory(*engine_of("cyclegan"))
    assert line == (
        "step 1: out of memory with a single sample at a time"
        " - try training.activation_checkpointing: true or smaller crops"
    )


def test_batch_norm_keeps_the_batch_whole() -> None:
    PIPELINES["batch_norm"] = lambda: tiny_cyclegan(normalization="batch")
    engine, pictures = engine_of("batch_norm", activation_checkpointing=True)
    del PIPELINES["batch_norm"]
    assert out_of_memory(engine, pictures) == (
        "step 1: out of memory with a batch of 4, which cannot be split: that would change the batch norm in"
        " generator_ab, generator_ba, discriminator_a, discriminator_b - try a smaller training.batch_size or smaller"
        " crops"
    )


def test_losses_over_the_batch_keep_it_whole() -> None:
    PIPELINES["coupled"] = lambda: UnconditionalSettings(
        generator=R3GANGeneratorSettings(latent=4, widths=(8, 4, 4)),
        discriminator=R3GANDiscriminatorSettings(widths=(4, 4, 8)),
        adversarial="relativistic_average",
        fakes="separate",
    ).build(SHAPE)
    engine, pictures = engine_of("coupled")
    del PIPELINES["coupled"]
    assert "cannot be split: that would change the means of the relativistic average loss" in out_of_memory(
        engine, pictures
    )


@pytest.fixture
def with_reference() -> Iterator[None]:
    """A discriminator that keeps two pictures of the first micro-batch."""
    PIPELINES["reference"] = lambda: UnconditionalSettings(
        generator=DCGANGeneratorSettings(latent=4, base_channels=2, normalization="none"),
        discriminator=DCGANDiscriminatorSettings(base_channels=2, normalization="virtual", reference_rows=2),
    ).build(SHAPE)
    yield
    del PIPELINES["reference"]


@pytest.mark.usefixtures("with_reference")
def test_a_reference_batch_is_not_split_before_it_is_chosen() -> None:
    """Of 4 to 2, which it needs; going on to 1 ended in an internal error where now the memory is named."""
    engine, pictures = engine_of("reference")
    assert out_of_memory(engine, pictures) == (
        "step 1: out of memory with micro-batches of 2, which cannot be split: the virtual batch norm in discriminator"
        " takes 2 pictures of the first (try fewer reference_rows) - try training.activation_checkpointing: true or a"
        " smaller training.batch_size or smaller crops"
    )


@pytest.mark.usefixtures("with_reference")
def test_once_it_is_chosen_micro_batches_may_be_smaller() -> None:
    engine, pictures = engine_of("reference")
    plain, given = engine_of("reference")
    for one, drawn in ((engine, pictures), (plain, given)):
        one.take_step(drawn)
    with calls_counted(engine, lambda call: call <= 2, MemoryError, "before"):
        engine.take_step(pictures)
    plain.take_step(given)
    assert engine.micro_batches == 4
    found, expected = engine.state().tensors, plain.state().tensors
    assert_same_bits(
        *({name: tensor for name, tensor in state.items() if "reference.inputs" in name} for state in (found, expected))
    )
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-10, msg=name)


def test_several_processes_stay_in_step() -> None:
    engine, pictures = engine_of("cyclegan")
    engine.gradients.processes = Processes(0, 2)
    assert "which cannot be split: 2 processes share it (start with a larger training.accumulate)" in out_of_memory(
        engine, pictures
    )


def test_a_phase_that_needs_the_whole_batch_after_a_split_says_so() -> None:
    """The recipe asked for no split, so it is not to blame."""
    settings = SRGANSettings(
        generator=MSRResNetSettings(scale=4, base_channels=2, blocks=1),
        discriminator=PatchDiscriminatorSettings(base_channels=2, layers=1),
        adversarial="relativistic_average",
        pixel_images=4,
    )
    PIPELINES["phases"] = lambda: settings.build(SHAPE)
    engine, pictures = engine_of("phases")
    split, given = engine_of("phases", accumulate=2)
    del PIPELINES["phases"]
    with calls_counted(engine, lambda call: call == 1, MemoryError, "before"):
        engine.take_step(pictures)
    assert engine.micro_batches == 2
    with pytest.raises(OutOfMemoryError, match="update generator needs the batch whole for the batch means"):
        engine.take_step(pictures)
    split.take_step(given)
    with pytest.raises(RecipeError, match=r"training.accumulate 2 would change .* set it to 1"):
        split.take_step(given)


# --- going on later --------------------------------------------------------------------------------------------------


def test_a_resumed_training_goes_on_in_the_same_parts() -> None:
    engine, pictures = engine_of("cyclegan")
    with calls_counted(engine, lambda call: call == 1, MemoryError, "before"):
        engine.take_step(pictures)
    resumed, drawn = engine_of("cyclegan")
    resumed.load_state(kept(engine.state()))
    assert resumed.micro_batches == 2
    engine.take_step(pictures)
    resumed.take_step(drawn)
    assert_same_bits(resumed.state().tensors, engine.state().tensors)


def test_checkpoints_of_before_know_of_no_parts() -> None:
    engine, pictures = engine_of("cyclegan", accumulate=2)
    engine.take_step(pictures)
    state = engine.state()
    counters = {name: value for name, value in state.counters.items() if name != "micro_batches"}
    engine.load_state(TrainingState(state.tensors, counters))
    assert engine.micro_batches == 2


def test_going_back_does_not_join_them_again() -> None:
    engine, pictures = engine_of("cyclegan")
    before = kept(engine.state())
    with calls_counted(engine, lambda call: call == 1, MemoryError, "before"):
        engine.take_step(pictures)
    engine.roll_back(before)
    assert engine.micro_batches == 2
