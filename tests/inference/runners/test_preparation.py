"""Networks that were made faster compute the same."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i.core.generators import (
    CompactSettings,
    DCGANGeneratorSettings,
    MLPGeneratorSettings,
    MSRResNetSettings,
    R3GANGeneratorSettings,
    ResNetGeneratorSettings,
    RRDBSettings,
    SNGANGeneratorSettings,
    SRResNetSettings,
    UNetGeneratorSettings,
)
from i2i.core.image_shape import ImageShape
from i2i.core.layers import BatchNorm, InstanceNorm, ReflectionPad
from i2i.inference.runners.preparation import (
    CellConvolution,
    OverwritingInstanceNorm,
    OverwritingResidual,
    ReusingPad,
    Workspace,
    prepared,
)

CPU = torch.device("cpu")
PICTURE_FAMILIES = {
    "resnet-instance": ResNetGeneratorSettings(base_channels=16, blocks=2),
    "resnet-batch": ResNetGeneratorSettings(base_channels=16, blocks=2, normalization="batch"),
    "resnet-none": ResNetGeneratorSettings(base_channels=16, blocks=2, normalization="none"),
    "unet-instance": UNetGeneratorSettings(base_channels=4, levels=5, normalization="instance"),
    "unet-batch": UNetGeneratorSettings(base_channels=4, levels=5),
    "srresnet": SRResNetSettings(scale=2, base_channels=16, blocks=2),
    "msrresnet": MSRResNetSettings(scale=2, base_channels=16, blocks=2),
    "rrdb": RRDBSettings(scale=4, base_channels=16, blocks=1),
    "compact": CompactSettings(scale=2, base_channels=16, convs=2),
}
LATENT_FAMILIES = {
    "dcgan": DCGANGeneratorSettings(latent=12, base_channels=4),
    "mlp": MLPGeneratorSettings(latent=12, hidden=(16, 8)),
    "sngan": SNGANGeneratorSettings(latent=12, widths=(8, 8, 8, 8)),
    "r3gan": R3GANGeneratorSettings(latent=12, widths=(8, 8, 8, 8), cardinalities=(2, 2, 2, 2), blocks=(1, 1, 1, 1)),
}


def trained(network: nn.Module) -> nn.Module:
    """Statistics and scales as a training might leave them: those of a new network would hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            assert module.running_mean is not None
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.2)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.uniform_(module.bias, -0.3, 0.3, generator=generator)
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def built(settings: Any, *, latent: bool = False) -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    if latent:
        return trained(settings.build(ImageShape(3, 32), 0)), (torch.randn(16, settings.latent),)
    pictures = torch.rand(2, 3, 32, 64) * 2 - 1
    return trained(settings.build()), (pictures.contiguous(memory_format=torch.channels_last),)


def replaced(network: nn.Module) -> set[type]:
    return {type(module) for module in network.modules()}


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("family", [*PICTURE_FAMILIES, *LATENT_FAMILIES])
class TestFamilies:
    def make(self, family: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
        if family in PICTURE_FAMILIES:
            return built(PICTURE_FAMILIES[family])
        return built(LATENT_FAMILIES[family], latent=True)

    def test_give_the_same_in_fp32_call_after_call(self, family: str) -> None:
        network, inputs = self.make(family)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        faster = prepared(network, CPU, "fp32")
        expected = network(*inputs)
        # Far below a grey level, which is 2 / 255.
        torch.testing.assert_close(faster(*inputs), expected, rtol=0, atol=2e-4)
        assert torch.equal(faster(*inputs), faster(*inputs))
        assert expected.std() > 1e-3
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert before.keys() == network.state_dict().keys()

    def test_are_as_good_as_autocast_in_bf16(self, family: str) -> None:
        network, inputs = self.make(family)
        exact = network(*inputs)
        faster = prepared(network, CPU, "bf16")
        with torch.autocast("cpu", torch.bfloat16):
            usual, got = network(*inputs).float(), faster(*inputs).float()
        assert not torch.equal(got, exact)
        error, usual_error = (float((value - exact).square().mean().sqrt()) for value in (got, usual))
        assert error <= 1.25 * usual_error + 1e-4


def test_batch_norm_is_gone_where_a_linear_layer_is_before_it() -> None:
    for settings in (PICTURE_FAMILIES["resnet-batch"], PICTURE_FAMILIES["unet-batch"], PICTURE_FAMILIES["srresnet"]):
        network, _ = built(settings)
        assert BatchNorm in replaced(network)
        assert BatchNorm not in replaced(prepared(network, CPU, "fp32"))
    network, _ = built(LATENT_FAMILIES["mlp"], latent=True)
    assert not any("BatchNorm" in kind.__name__ for kind in replaced(prepared(network, CPU, "fp32")))


def test_each_replacement_is_made_on_the_cpu_and_none_on_a_gpu() -> None:
    network, _ = built(PICTURE_FAMILIES["resnet-instance"])
    ours = {CellConvolution, OverwritingInstanceNorm, OverwritingResidual, ReusingPad}
    assert ours <= replaced(prepared(network, CPU, "fp32"))
    assert not ours & replaced(prepared(network, torch.device("cuda"), "fp32"))
    assert not ours & replaced(network)


def test_weights_are_converted_once_and_shared_where_they_are_not() -> None:
    network, _ = built(PICTURE_FAMILIES["resnet-instance"])
    pointers = {parameter.data_ptr() for parameter in network.parameters()}
    exact, rough = prepared(network, CPU, "fp32"), prepared(network, CPU, "bf16")
    assert sum(parameter.data_ptr() in pointers for parameter in exact.parameters()) > 4, "no second copy in fp32"
    weights = [module.weight for module in rough.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))]
    assert weights
    assert all(weight.dtype == torch.bfloat16 for weight in weights)
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_what_others_use_too_is_left_alone() -> None:
    shared = nn.Conv2d(16, 16, 1)
    network = trained(nn.ModuleList([nn.Sequential(shared, BatchNorm(16)), nn.Sequential(shared, InstanceNorm())]))
    faster = prepared(network, CPU, "fp32")
    assert isinstance(faster, nn.ModuleList)
    images = torch.randn(1, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    for got, expected in zip(faster, network, strict=True):  # type: ignore[call-overload]
        assert torch.equal(got(images), expected(images))


def test_layers_with_hooks_are_left_alone() -> None:
    network = trained(nn.Sequential(nn.Conv2d(3, 16, 1), BatchNorm(16)))
    seen: list[tuple[int, ...]] = []
    network[1].register_forward_hook(lambda module, given, result: seen.append(tuple(result.shape)))  # type: ignore[index]
    prepared(network, CPU, "fp32")(torch.randn(1, 3, 8, 8))
    assert seen == [(1, 16, 8, 8)]


@pytest.mark.parametrize("kernel", [3, 7, 9])
@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("size", [(20, 30), (21, 30), (12, 17), (9, 9)], ids=str)
def test_cells_give_what_the_convolution_gives(kernel: int, padding: int, size: tuple[int, int]) -> None:
    layer = nn.Conv2d(16, 3, kernel, padding=padding)
    images = torch.randn(2, 16, *size)
    expected = layer(images)
    torch.testing.assert_close(CellConvolution(layer)(images), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
def test_overwriting_norm_is_instance_norm(kind: torch.dtype, layout: torch.memory_format) -> None:
    images = (torch.randn(3, 16, 9, 12) * 4 + 2).to(kind).contiguous(memory_format=layout)
    expected = InstanceNorm()(images.float())
    got = OverwritingInstanceNorm(16, 1e-5)(images.clone(memory_format=layout))
    assert got.dtype == kind
    torch.testing.assert_close(got.float(), expected, rtol=0, atol=1e-5 if kind == torch.float32 else 2e-2)


def test_overwriting_norm_refuses_a_single_pixel_as_instance_norm_does() -> None:
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        OverwritingInstanceNorm(4, 1e-5)(torch.zeros(1, 4, 1, 1))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_padding_into_reused_memory_is_padding(kind: torch.dtype) -> None:
    pad = ReusingPad(3, Workspace())
    for size in ((8, 9), (12, 5), (8, 9)):
        images = torch.randn(2, 4, *size).to(kind).contiguous(memory_format=torch.channels_last)
        assert torch.equal(pad(images), ReflectionPad(3)(images))


def test_threads_have_memory_of_their_own_and_little_is_held() -> None:
    workspace = Workspace()
    images = torch.zeros(1, 2, 4, 4)
    own = workspace.like(images, 6, 6).data_ptr()
    assert workspace.like(images, 6, 6).data_ptr() == own
    others: list[int] = []
    thread = threading.Thread(target=lambda: others.append(workspace.like(images, 6, 6).data_ptr()))
    thread.start()
    thread.join()
    assert others != [own]
    kept = [workspace.like(torch.empty(1, 64, 2, 2), side, side) for side in range(500, 520)]
    assert sum(tensor.nbytes for tensor in kept) > 2**28 >= sum(held.nbytes for held in workspace._held.values()) > 0
    large = torch.empty(1, 300, 2, 2)
    assert workspace.like(large, 1000, 1000).shape == (1, 300, 1000, 1000)
    assert not workspace._held


def test_what_is_prepared_can_be_prepared_again() -> None:
    network = trained(PICTURE_FAMILIES["resnet-instance"].build())
    once = prepared(network, CPU, "fp32")
    assert any(isinstance(part, CellConvolution) for part in once.modules())
    twice = prepared(once, CPU, "fp32")
    images = torch.rand(1, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert torch.equal(twice(images.clone()), once(images.clone()))
