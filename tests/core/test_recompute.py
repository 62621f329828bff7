"""Computing activations again changes nothing but the memory: outputs, gradients, statistics, draws."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from i2i.core import discriminators, generators
from i2i.core.discriminators import DiscriminatorOutput
from i2i.core.image_shape import ImageShape
from i2i.core.initialization import InitializationSettings, initialize
from i2i.core.losses.penalties import gradient_penalty, zero_centred_penalty
from i2i.core.randomness import SampleRandom
from i2i.core.recompute import recompute_activations
from i2i.core.step import Progress, StepContext, running
from i2i.core.virtual_batch_norm import reference_rows, set_reference

SHAPE = ImageShape(3, 16)
ROWS = 4

PICTURE_NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet_dropout": generators.ResNetGeneratorSettings(base_channels=4, blocks=2, dropout=0.5).build,
    "resnet_batch_norm": generators.ResNetGeneratorSettings(base_channels=4, blocks=2, normalization="batch").build,
    "resnet_antialiased": generators.ResNetGeneratorSettings(base_channels=4, blocks=1, sampling="antialiased").build,
    "unet": generators.UNetGeneratorSettings(base_channels=2, levels=5).build,
    "srresnet": generators.SRResNetSettings(base_channels=4, blocks=2).build,
    "msrresnet": generators.MSRResNetSettings(base_channels=4, blocks=2).build,
    "rrdb": generators.RRDBSettings(base_channels=4, growth_channels=2, blocks=1).build,
    "compact": generators.CompactSettings(base_channels=4, convs=8).build,
    "patch": discriminators.PatchDiscriminatorSettings(base_channels=4, layers=2).build,
    "pixel": discriminators.PixelDiscriminatorSettings(base_channels=4, normalization="batch").build,
    "vgg": lambda: discriminators.VGGDiscriminatorSettings(base_channels=2).build(SHAPE),
    "dcgan_judge": lambda: discriminators.DCGANDiscriminatorSettings(base_channels=2).build(SHAPE),
    "dcgan_judge_spectral": lambda: discriminators.DCGANDiscriminatorSettings(
        base_channels=2, normalization="none", spectral_norm=True
    ).build(SHAPE),
    "dcgan_judge_virtual": lambda: discriminators.DCGANDiscriminatorSettings(
        base_channels=2, normalization="virtual", reference_rows=3
    ).build(SHAPE),
    "sngan_judge": lambda: discriminators.SNGANDiscriminatorSettings(widths=(4, 4, 4, 4)).build(SHAPE),
    "r3gan_judge": lambda: discriminators.R3GANDiscriminatorSettings(widths=(8, 8, 8)).build(SHAPE),
}
LATENT_NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dcgan": lambda: generators.DCGANGeneratorSettings(latent=5, base_channels=2).build(SHAPE),
    "dcgan_virtual": lambda: generators.DCGANGeneratorSettings(
        latent=5, base_channels=2, normalization="virtual", reference_rows=3
    ).build(SHAPE),
    "sngan": lambda: generators.SNGANGeneratorSettings(latent=5, widths=(4, 4, 4)).build(SHAPE, classes=3),
    "r3gan": lambda: generators.R3GANGeneratorSettings(latent=5, widths=(8, 8, 8)).build(SHAPE),
}
NETWORKS = PICTURE_NETWORKS | LATENT_NETWORKS
UNBLOCKED: dict[str, Callable[[], nn.Module]] = {
    "unet_judge": lambda: discriminators.UNetDiscriminatorSettings(base_channels=2).build(SHAPE),
    "mlp": lambda: generators.MLPGeneratorSettings(latent=5, hidden=(8, 8)).build(SHAPE),
}
TWICE_DIFFERENTIABLE = ("patch", "dcgan_judge_spectral", "dcgan_judge_virtual", "sngan_judge", "r3gan_judge")


def twins(name: str) -> tuple[nn.Module, nn.Module]:
    """A network, and the same with its activations computed again."""
    network = NETWORKS[name]()
    initialize(network, InitializationSettings(standard_deviation=0.3), torch.Generator().manual_seed(1))
    for key, weight in network.named_parameters():
        if key.endswith("branch.4.weight"):
            # R3GAN's blocks start as zeros: let them act.
            nn.init.normal_(weight, 0.0, 0.2, generator=torch.Generator().manual_seed(2))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if name == "dcgan_judge_virtual":
        set_reference(network, inputs(name, reference_rows(network), seed=9)[0])
    again = copy.deepcopy(network)
    assert recompute_activations(again) > 0
    return network.train(), again.train()


def inputs(name: str, rows: int = ROWS, seed: int = 0) -> tuple[Tensor, ...]:
    random = torch.Generator().manual_seed(seed)
    if name in LATENT_NETWORKS:
        latents = torch.randn(rows, 5, generator=random)
        return (latents, torch.arange(rows) % 3) if name == "sngan" else (latents,)
    side = 32 if name == "unet" else SHAPE.pixels
    images = torch.rand(rows, 3, side, side, generator=random) * 2 - 1
    return (images.contiguous(memory_format=torch.channels_last),)


def context() -> StepContext:
    return StepContext(Progress(0, 0, 0.0), {}, SampleRandom(seed=7, rows=range(ROWS)))


def result(output: Any) -> Tensor:
    return output.logits[0] if isinstance(output, DiscriminatorOutput) else output


def learnt(network: nn.Module, name: str, *, narrow: bool = False) -> dict[str, Tensor]:
    """What two calls give, and the gradients and buffers that they and their backward pass leave."""
    given, others = [inputs(name, seed=seed) for seed in (3, 4)]
    given[0].requires_grad_()
    with running(context()), torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        # Two calls before the backward pass, as of a discriminator: statistics have moved on when it comes.
        first, second = (result(network(*arguments)) for arguments in (given, others))
        loss = first.float().square().mean() + functional.softplus(second.float()).mean()
    loss.backward()
    found = {"first": first.detach(), "second": second.detach(), "input": given[0].grad}
    found |= {f"gradient {key}": weight.grad for key, weight in network.named_parameters()}
    return found | {f"buffer {key}": buffer for key, buffer in network.named_buffers()}


def assert_same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert (tensor is None) == (found[name] is None), name
        assert tensor is None or torch.equal(found[name], tensor), name


# --- the same numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_gradients_and_buffers_are_the_same_bits(name: str) -> None:
    plain, again = twins(name)
    expected = learnt(plain, name)
    moved = [tensor for key, tensor in expected.items() if key.startswith("gradient") and tensor is not None]
    assert max(float(tensor.abs().max()) for tensor in moved) > 0
    assert_same_bits(learnt(again, name), expected)


@pytest.mark.parametrize("name", ["resnet_dropout", "srresnet", "rrdb", "patch", "dcgan"])
def test_the_same_bits_in_a_narrow_format(name: str) -> None:
    plain, again = twins(name)
    expected = learnt(plain, name, narrow=True)
    assert not torch.equal(expected["first"].float(), learnt(plain, name)["first"])
    assert_same_bits(learnt(again, name, narrow=True), learnt(twins(name)[0], name, narrow=True))


@pytest.mark.parametrize("name", TWICE_DIFFERENTIABLE)
def test_penalties_that_differentiate_twice_give_the_same(name: str) -> None:
    found = []
    for network in twins(name):
        with running(context()):
            (images,) = inputs(name, seed=5)
            penalties = zero_centred_penalty(network, images) + gradient_penalty(network, images)
            (penalties + result(network(images)).mean()).backward()
        found.append({key: weight.grad for key, weight in network.named_parameters()} | {"penalty": penalties.detach()})
    assert found[0]["penalty"] > 0
    assert_same_bits(found[1], found[0])


def test_dropout_draws_the_same_masks_in_every_backward_pass() -> None:
    """Also when the graph is gone through twice, as the audit of loss terms does."""
    plain, again = twins("resnet_dropout")
    found = []
    for network in (plain, again):
        (images,) = inputs("resnet_dropout")
        with running(context()):
            loss = network(images).square().mean() + network(images).abs().mean()
        weights = list(network.parameters())
        first = torch.autograd.grad(loss, weights, retain_graph=True)
        second = torch.autograd.grad(loss, weights)
        assert all(map(torch.equal, first, second))
        found.append(first)
    assert all(map(torch.equal, *found))
    with running(context()):
        # What those masks are does matter.
        context_call = again(inputs("resnet_dropout")[0])
    with running(StepContext(Progress(0, 0, 0.0), {}, SampleRandom(seed=8, rows=range(ROWS)))):
        assert not torch.equal(again(inputs("resnet_dropout")[0]), context_call)


def test_names_of_weights_and_copies_stay_what_they_were() -> None:
    for name in NETWORKS:
        plain, again = twins(name)
        assert list(again.state_dict()) == list(plain.state_dict())
        assert [key for key, _ in again.named_parameters()] == [key for key, _ in plain.named_parameters()]
    _, again = twins("resnet_batch_norm")
    other = copy.deepcopy(again)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(0.1)
    (images,) = inputs("resnet_batch_norm")
    expected = twins("resnet_batch_norm")[0](images)
    assert torch.equal(again(images), expected), "a copy computes with its own weights and leaves those of the original"
    assert not torch.equal(other(images), expected)
    other(images).sum().backward()
    assert all(weight.grad is None for weight in again.parameters())


def test_networks_without_blocks_say_so() -> None:
    for build in UNBLOCKED.values():
        assert recompute_activations(build()) == 0


# --- memory ----------------------------------------------------------------------------------------------------------


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, after every operation; the same count on every machine."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._alive.setdefault(StorageWeakRef(storage), storage.nbytes())
        self._alive = {storage: size for storage, size in self._alive.items() if not storage.expired()}
        self.peak = max(self.peak, sum(self._alive.values()))
        return made


@pytest.mark.parametrize(
    ("build", "pixels", "most"),
    [
        (generators.ResNetGeneratorSettings(base_channels=8).build, 64, 0.4),
        (generators.SRResNetSettings(base_channels=4, scale=2).build, 32, 0.5),
        (generators.RRDBSettings(base_channels=8, growth_channels=4, blocks=6).build, 32, 0.4),
        (generators.CompactSettings(base_channels=8).build, 32, 0.6),
        (lambda: discriminators.R3GANDiscriminatorSettings(widths=(8,) * 5).build(ImageShape(3, 64)), 64, 0.6),
        (lambda: discriminators.VGGDiscriminatorSettings(base_channels=4).build(ImageShape(3, 128)), 128, 0.75),
    ],
    ids=["resnet", "srresnet", "rrdb", "compact", "r3gan", "vgg"],
)
def test_less_memory_is_in_use_at_once(build: Callable[[], nn.Module], pixels: int, most: float) -> None:
    plain = build().train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    again = copy.deepcopy(plain)
    recompute_activations(again)
    peaks = []
    for network in (plain, again):
        images = torch.rand(4, 3, pixels, pixels).contiguous(memory_format=torch.channels_last)
        with PeakBytes() as count:
            # As of a discriminator: two calls, one backward pass.
            loss = result(network(images[:2])).square().mean() + result(network(images[2:])).mean()
            loss.backward()
        peaks.append(count.peak)
    assert peaks[1] < most * peaks[0], peaks
