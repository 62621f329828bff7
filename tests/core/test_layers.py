"""The shared layers equal torch's own, in value and in gradient, whichever path they take."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.core import layers
from i2i.core.layers import (
    BatchNorm,
    BlurDown,
    BlurUp,
    ConditionalBatchNorm,
    Dropout,
    InstanceNorm,
    ReflectionPad,
    Tanh,
    couples_batch,
    normalization_layer,
    normalize_sample,
    pad_with_flipped_strips,
    spectral_norm,
    what_couples_batch,
)
from i2i.core.randomness import SampleRandom
from i2i.core.step import Progress, StepContext, running


def random_images(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Channels-last values with a mean and a spread that normalization has to take away."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (3.0 * values + 1.5).to(dtype).contiguous(memory_format=torch.channels_last)


def context(rows: range = range(4), *, update: int = 0, own: slice = slice(None)) -> StepContext:
    return StepContext(progress=Progress(0, 0, 0.0), batch={}, random=SampleRandom(update, rows, own))


# --- instance norm ---------------------------------------------------------------------------------------------------


LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def by_definition(images: Tensor) -> Tensor:
    """Equation 4 of Ulyanov et al. in elementary operations: torch's own has a gradient that hangs on the layout."""
    variance, mean = torch.var_mean(images, dim=(2, 3), correction=0, keepdim=True)
    return (images - mean) / torch.sqrt(variance + 1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_instance_norm_equals_the_stock_operation_forward_and_backward(batch: int) -> None:
    images = random_images(batch, 5, 6, 7)
    assert layers._takes_fast_path(images)
    ours, theirs = images.clone().requires_grad_(), images.contiguous().requires_grad_()
    result, expected = InstanceNorm()(ours), functional.instance_norm(theirs, eps=1e-5)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    # Every output weighs differently: the gradient of a plain sum would be zero.
    weights = random_images(batch, 5, 6, 7, seed=1)
    (gradient,) = torch.autograd.grad(result, ours, weights)
    (expected_gradient,) = torch.autograd.grad(expected, theirs, weights.contiguous())
    assert expected_gradient.abs().max() > 0.1
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("create_graph", [False, True], ids=["once", "for a second derivative"])
@pytest.mark.parametrize("of_gradient", LAYOUTS)
@pytest.mark.parametrize("of_images", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_gradient_of_instance_norm_does_not_hang_on_memory_layouts(
    batch: int, of_images: str, of_gradient: str, create_graph: bool
) -> None:
    images = random_images(batch, 5, 6, 7).contiguous(memory_format=LAYOUTS[of_images]).requires_grad_()
    weights = random_images(batch, 5, 6, 7, seed=1).contiguous(memory_format=LAYOUTS[of_gradient])
    (expected,) = torch.autograd.grad(by_definition(images), images, weights)
    (gradient,) = torch.autograd.grad(InstanceNorm()(images), images, weights, create_graph=create_graph)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 2])
def test_instance_norm_passes_gradcheck_and_gradgradcheck(batch: int) -> None:
    images = random_images(batch, 2, 3, 3).requires_grad_()
    assert layers._takes_fast_path(images)
    assert torch.autograd.gradcheck(InstanceNorm(), (images,))
    assert torch.autograd.gradgradcheck(InstanceNorm(), (images,))


@pytest.mark.parametrize("batch", [1, 2])
def test_gradient_penalty_through_instance_norm(batch: int) -> None:
    """A penalty differentiates the norm of a gradient: what a network upstream learns from it must be right."""

    def penalty_gradient(normalize: Callable[[Tensor], Tensor]) -> Tensor:
        weight = random_images(4, 2, 3, 3, seed=2).requires_grad_()
        images = random_images(batch, 2, 6, 6).requires_grad_()
        output = normalize(functional.conv2d(images, weight)).pow(3).sum()
        (slope,) = torch.autograd.grad(output, images, create_graph=True)
        (result,) = torch.autograd.grad(slope.square().sum(), weight)
        return result

    expected = penalty_gradient(by_definition)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(penalty_gradient(InstanceNorm()), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_instance_norm_stays_close_in_narrow_formats(dtype: torch.dtype) -> None:
    narrow = random_images(2, 4, 8, 8, dtype=dtype).requires_grad_()
    exact = narrow.detach().double().requires_grad_()
    weights = random_images(2, 4, 8, 8, dtype=dtype, seed=1)
    result, expected = InstanceNorm()(narrow), by_definition(exact)
    assert result.dtype == dtype
    tolerance = 0.02 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance)
    (gradient,) = torch.autograd.grad(result, narrow, weights)
    (expected_gradient,) = torch.autograd.grad(expected, exact, weights.double())
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=tolerance, atol=tolerance)


def test_instance_norm_falls_back_on_other_layouts() -> None:
    images = random_images(2, 3, 4, 5).contiguous()
    assert not layers._takes_fast_path(images)
    result = InstanceNorm()(images)
    torch.testing.assert_close(result, functional.instance_norm(images), rtol=0, atol=1e-12)
    assert result.is_contiguous()


def test_instance_norm_falls_back_while_tracing() -> None:
    images = random_images(1, 3, 4, 4, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants to be rid of tracing; exports still go through it
        traced = torch.jit.trace(InstanceNorm(), images)
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}  # type: ignore[attr-defined]
    assert "aten::instance_norm" in kinds


@pytest.mark.parametrize("batch", [1, 3])
def test_instance_norm_leaves_its_input_alone(batch: int) -> None:
    images = random_images(batch, 3, 4, 4)
    before = images.clone()
    result = InstanceNorm()(images)
    assert result.untyped_storage().data_ptr() != images.untyped_storage().data_ptr()
    # The activations behind it work in place.
    functional.relu_(result)
    assert torch.equal(images, before)
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_instance_norm_refuses_a_single_pixel_as_torch_does() -> None:
    """One pixel less its own mean is nothing: a network would learn nothing and nobody would know."""
    pixel = random_images(2, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        nn.InstanceNorm2d(3)(pixel)
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        InstanceNorm()(pixel)


# --- batch norm ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [False, True], ids=["outside a step", "inside a step"])
def test_batch_norm_of_one_process_is_the_stock_layer(inside: bool) -> None:
    ours, theirs = BatchNorm(3).double(), nn.BatchNorm2d(3).double()
    for turn in range(3):
        images = random_images(2, 3, 4, 4, seed=turn)
        if inside:
            with running(context()):
                result = ours(images)
        else:
            result = ours(images)
        assert torch.equal(result, theirs(images))
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key
    images = random_images(2, 3, 4, 4, seed=9)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


class TwoEqualProcesses:
    """`Joined` as it is when both of two processes hold the same rows."""

    processes = 2

    def mean(self, value: Tensor) -> Tensor:
        return value

    def gather(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, rows])

    def local(self, rows: Tensor) -> Tensor:
        return rows.chunk(2)[0]


def test_batch_norm_takes_the_statistics_of_the_joined_batch() -> None:
    ours, theirs = BatchNorm(3).double(), nn.BatchNorm2d(3).double()
    with torch.no_grad():
        for layer in (ours, theirs):
            layer.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
            layer.bias.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    images = random_images(2, 3, 4, 4)
    joined = StepContext(Progress(0, 0, 0.0), {}, SampleRandom(0, range(4)), joined=TwoEqualProcesses())
    with running(joined):
        result = ours(images)
    torch.testing.assert_close(result, theirs(torch.cat([images, images]))[:2], rtol=0, atol=1e-12)
    # The unbiased variance counts the rows of both processes.
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-12, atol=1e-12)


def test_what_couples_a_batch() -> None:
    assert couples_batch(nn.Sequential(nn.Conv2d(3, 3, 1), normalization_layer("batch", 3)))
    assert not couples_batch(nn.Sequential(nn.Conv2d(3, 3, 1), normalization_layer("instance", 3)))
    assert not couples_batch(normalization_layer("none", 3))
    assert not couples_batch(normalization_layer("virtual", 3, reference_rows=2))


def test_modules_say_themselves_that_they_couple() -> None:
    class MinibatchDeviation(nn.Module):
        couples_batch = True

    class Named(MinibatchDeviation):
        coupling = "the spread of the batch"

    network = nn.Sequential(BatchNorm(3), MinibatchDeviation(), Named(), BatchNorm(3))
    assert what_couples_batch(network) == "batch norm and MinibatchDeviation and the spread of the batch"
    assert what_couples_batch(nn.Conv2d(3, 3, 1)) is None


# --- batch norm by class ---------------------------------------------------------------------------------------------


def test_conditional_batch_norm_scales_and_shifts_by_class() -> None:
    ours, theirs = ConditionalBatchNorm(3, 2).double(), nn.BatchNorm2d(3, affine=False).double()
    images, labels = random_images(4, 3, 5, 5), torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(ours(images, labels), theirs(images), rtol=0, atol=1e-12)
    with torch.no_grad():
        ours.scales.copy_(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
        ours.shifts.copy_(torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 2.0]]))
    expected = theirs(images) * ours.scales[labels][..., None, None] + ours.shifts[labels][..., None, None]
    torch.testing.assert_close(ours(images, labels), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        ours.eval()(images[:1], labels[1:2]),
        theirs.eval()(images[:1]) * ours.scales[1][:, None, None] + ours.shifts[1][:, None, None],
        rtol=0,
        atol=1e-12,
    )


def test_conditional_batch_norm_takes_the_statistics_of_the_joined_batch() -> None:
    ours, alone = ConditionalBatchNorm(3, 2).double(), ConditionalBatchNorm(3, 2).double()
    with torch.no_grad():
        for layer in (ours, alone):
            layer.scales.copy_(torch.tensor([[0.5, 1.0, 2.0], [1.0, 2.0, 3.0]]))
    images, labels = random_images(2, 3, 4, 4), torch.tensor([1, 0])
    joined = StepContext(Progress(0, 0, 0.0), {}, SampleRandom(0, range(4)), joined=TwoEqualProcesses())
    with running(joined):
        result = ours(images, labels)
    expected = alone(torch.cat([images, images]), torch.cat([labels, labels]))[:2]
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-12, atol=1e-12)


def test_conditional_batch_norm_passes_gradgradcheck() -> None:
    layer, labels = ConditionalBatchNorm(2, 2).double(), torch.tensor([0, 1, 0])

    def normalize(images: Tensor, scales: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"scales": scales}, (images, labels))

    values = random_images(3, 2, 2, 2).requires_grad_(), random_images(1, 1, 2, 2)[0, 0].clone().requires_grad_()
    assert torch.autograd.gradcheck(normalize, values)
    assert torch.autograd.gradgradcheck(normalize, values)


# --- spectral norm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 3), nn.Linear(6, 5), nn.ConvTranspose2d(4, 3, 2)], ids=repr)
def test_spectral_norm_divides_by_the_largest_singular_value(layer: nn.Module) -> None:
    assert spectral_norm(layer) is layer
    assert what_couples_batch(layer) == "spectral norm"
    raw = layer.get_parameter("parametrizations.weight.original")
    for _ in range(200):  # one power iteration a look
        _ = layer.weight
    weight = layer.weight
    assert isinstance(weight, Tensor)
    matrix = (raw.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else raw).flatten(1)
    torch.testing.assert_close(weight, raw / torch.linalg.matrix_norm(matrix, 2), rtol=1e-4, atol=1e-5)
    # In evaluation nothing moves.
    layer.eval()
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    assert torch.equal(layer.weight, layer.weight)  # type: ignore[arg-type]
    assert all(torch.equal(layer.state_dict()[key], value) for key, value in before.items())


# --- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", [1, 3])
def test_padding_with_flipped_strips_equals_the_stock_one(pixels: int) -> None:
    ours, theirs = random_images(2, 3, 5, 7).requires_grad_(), random_images(2, 3, 5, 7).requires_grad_()
    result = pad_with_flipped_strips(ours, pixels)
    expected = functional.pad(theirs, (pixels,) * 4, mode="reflect")
    assert torch.equal(result, expected)
    weights = random_images(*expected.shape, seed=1)
    (gradient,) = torch.autograd.grad(result, ours, weights)
    (expected_gradient,) = torch.autograd.grad(expected, theirs, weights)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12)


def test_padding_layer_reflects_without_repeating_the_border() -> None:
    row = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).expand(4, 4)[None, None]
    assert ReflectionPad(2)(row)[0, 0, 0].tolist() == [3.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0]


# --- dropout ---------------------------------------------------------------------------------------------------------


def ones(rows: int) -> Tensor:
    return torch.ones(rows, 8, 16, 16)


def test_dropout_masks_belong_to_samples_not_to_batches() -> None:
    layer = Dropout(0.5)
    with running(context(range(4))):
        together = layer(ones(4))
    alone = []
    for row in range(4):
        with running(context(range(row, row + 1))):
            alone.append(layer(ones(1)))
    assert torch.equal(together, torch.cat(alone))
    assert not torch.equal(together[0], together[1])


def test_dropout_of_a_process_is_its_part_of_the_joined_batch() -> None:
    layer = Dropout(0.5)
    with running(context(range(4))):
        together = layer(ones(4))
    with running(context(range(4), own=slice(2, 4))):
        second = layer(ones(2))
    assert torch.equal(second, together[2:])


def test_each_dropout_call_draws_its_own_mask() -> None:
    layer = Dropout(0.5)
    with running(context()):
        first, second = layer(ones(4)), layer(ones(4))
    with running(context()):
        again = layer(ones(4))
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_inputs_joined_in_one_call_draw_their_own_masks() -> None:
    with running(context(range(2))):
        joined = Dropout(0.5)(ones(4))
    assert not torch.equal(joined[:2], joined[2:])
    # And they don't move when the batch is split into micro-batches of one.
    with running(context(range(1, 2))):
        second = Dropout(0.5)(ones(2))
    assert torch.equal(second, joined[[1, 3]])


@pytest.mark.parametrize("probability", [0.2, 0.5])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(probability: float) -> None:
    with running(context()):
        result = Dropout(probability)(ones(4))
    kept = result != 0
    assert torch.allclose(result[kept], torch.tensor(1.0 / (1.0 - probability)))
    deviation = (probability * (1.0 - probability) / result.numel()) ** 0.5
    assert abs(kept.double().mean() - (1.0 - probability)) < 4 * deviation


def test_dropout_of_rows_of_numbers_belongs_to_samples_too() -> None:
    layer = Dropout(0.5)
    with running(context(range(4))):
        together = layer(torch.ones(4, 50))
    with running(context(range(2, 4))):
        alone = layer(torch.ones(2, 50))
    assert torch.equal(together[2:], alone)
    assert set(together.unique().tolist()) == {0.0, 2.0}


def test_dropout_outside_a_step_is_the_stock_layer() -> None:
    ours, theirs = Dropout(0.5), nn.Dropout(0.5)
    torch.manual_seed(7)
    result = ours(ones(2))
    torch.manual_seed(7)
    assert torch.equal(result, theirs(ones(2)))


def test_dropout_is_nothing_in_evaluation_or_at_probability_zero() -> None:
    images = random_images(2, 3, 4, 4)
    with running(context()):
        assert torch.equal(Dropout(0.5).eval()(images), images)
        assert torch.equal(Dropout(0.0)(images), images)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (7, 10), (8, 8), (3, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blurring_samplers_are_their_filters(height: int, width: int, dtype: torch.dtype) -> None:
    images = torch.randn(2, 3, height, width, dtype=dtype)
    three, four = torch.tensor([1.0, 2.0, 1.0], dtype=dtype), torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=dtype)
    weight = (three[:, None] * three / 16).expand(3, 1, 3, 3)
    expected = functional.conv2d(functional.pad(images, (1,) * 4, mode="reflect"), weight, stride=2, groups=3)
    torch.testing.assert_close(BlurDown()(images), expected)
    # Zeros between the pixels, then the filter; padding of 2 and half a filter are cut off again.
    weight = (four[:, None] * four / 16).expand(3, 1, 4, 4)
    repeated = functional.pad(images, (1,) * 4, mode="replicate")
    expected = functional.conv_transpose2d(repeated, weight, stride=2, padding=3, groups=3)
    assert expected.shape[2:] == (2 * height, 2 * width)
    torch.testing.assert_close(BlurUp()(images), expected)


def test_blurring_samplers_hold_nothing() -> None:
    assert not BlurDown().state_dict() and not BlurUp().state_dict()


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_pictures_are_normalized_as_exactly_as_small_ones(dtype: torch.dtype, in_place: bool) -> None:
    """Sums in float32 over a million pixels lose digits of a variance."""
    values = torch.randn(1, 2, 700, 900, generator=torch.Generator().manual_seed(0)) * 0.1 + 3.0
    images = values.to(dtype).contiguous(memory_format=torch.channels_last)
    exact = images.double()
    exact_variance, exact_mean = torch.var_mean(exact, dim=(2, 3), correction=0)
    affine = (torch.ones(2), torch.zeros(2)) if in_place else None
    normalized, mean, inverse_deviation = normalize_sample(images.clone(), 1e-5, affine, in_place=in_place)
    assert torch.allclose(mean.double(), exact_mean[0], rtol=1e-6, atol=0)
    assert torch.allclose(inverse_deviation.double(), (exact_variance[0] + 1e-5).rsqrt(), rtol=1e-5, atol=0)
    expected = (exact - exact_mean[..., None, None]) * (exact_variance[..., None, None] + 1e-5).rsqrt()
    assert torch.allclose(normalized.double(), expected, atol=1e-4 if dtype == torch.float32 else 3e-2)


def test_gradients_of_large_pictures_are_those_of_the_stock_layer() -> None:
    images = torch.randn(2, 2, 400, 400, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(2, 2, 400, 400, generator=torch.Generator().manual_seed(1))
    results = []
    for norm, source in (
        (InstanceNorm(), images.contiguous(memory_format=torch.channels_last)),
        (None, images.double()),
    ):
        inputs = source.clone().requires_grad_()
        output = functional.instance_norm(inputs, eps=1e-5) if norm is None else norm(inputs)
        (output * weight.to(output.dtype)).sum().backward()
        assert inputs.grad is not None
        results.append((output.detach().double(), inputs.grad.double()))
    (output, gradient), (expected_output, expected_gradient) = results
    assert torch.allclose(output, expected_output, atol=1e-5)
    assert torch.allclose(gradient, expected_gradient, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_is_the_stock_operation(dtype: torch.dtype) -> None:
    values = torch.linspace(-5, 5, 101, dtype=dtype)
    assert torch.equal(Tanh()(values), torch.tanh(values))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_nearly_white_pixels_still_learn_in_narrow_formats(dtype: torch.dtype) -> None:
    values = torch.linspace(3, 5, 9).to(dtype).requires_grad_()
    pictures = Tanh()(values)
    assert pictures.dtype == torch.float32
    (gradient,) = torch.autograd.grad(pictures.sum(), values)
    exact = 1 - torch.tanh(values.detach().double()) ** 2
    torch.testing.assert_close(gradient.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-7)
    (stock,) = torch.autograd.grad(torch.tanh(values).sum(), values)
    assert dtype == torch.float16 or (stock[-4:] == 0).all()  # why there is a layer of our own
