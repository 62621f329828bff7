"""Virtual batch norm: the statistics of the reference and of the sample itself, and of nobody else."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from i2i.core.virtual_batch_norm import (
    ReferenceBatch,
    ReferenceLatents,
    VirtualBatchNorm,
    has_reference,
    reference_rows,
    set_reference,
)


def random_images(rows: int, seed: int = 0) -> Tensor:
    return 2.0 + 3.0 * torch.randn(rows, 2, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer() -> VirtualBatchNorm:
    made = VirtualBatchNorm(2, reference_rows=3).double()
    with torch.no_grad():
        made.weight.copy_(torch.tensor([0.5, 2.0]))
        made.bias.copy_(torch.tensor([1.0, -1.0]))
    return made


def by_definition(norm: VirtualBatchNorm, images: Tensor, companions: Tensor) -> Tensor:
    """One sample among its companions through torch's own batch norm, which takes the statistics of all of them."""
    joined = torch.cat([companions, images])
    normalized = nn.functional.batch_norm(joined, None, None, norm.weight, norm.bias, training=True)
    return normalized[len(companions) :]


def test_each_sample_is_normalized_beside_the_reference() -> None:
    norm, reference, images = layer(), random_images(3, seed=1), random_images(4)
    result = norm(torch.cat([reference, images]))
    expected = [by_definition(norm, images[[row]], reference) for row in range(4)]
    torch.testing.assert_close(result[3:], torch.cat(expected), rtol=0, atol=1e-12)
    # The reference knows only itself.
    torch.testing.assert_close(result[:3], by_definition(norm, reference, reference[:0]), rtol=0, atol=1e-12)


def test_evaluation_uses_the_saved_statistics_of_the_reference() -> None:
    norm, reference, images = layer(), random_images(3, seed=1), random_images(4)
    expected = norm(torch.cat([reference, images]))[3:]
    loaded = VirtualBatchNorm(2, reference_rows=3).double()
    loaded.load_state_dict(norm.state_dict())
    for made in (norm, loaded, copy.deepcopy(norm)):
        torch.testing.assert_close(made.eval()(images), expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(made(images[:1]), expected[:1], rtol=0, atol=1e-12)


def test_gradients_are_right_twice() -> None:
    norm, reference = layer(), random_images(3, seed=1).requires_grad_()
    images = random_images(2).requires_grad_()

    def normalize(reference: Tensor, images: Tensor) -> Tensor:
        return norm(torch.cat([reference, images]))

    assert torch.autograd.gradcheck(normalize, (reference, images))
    assert torch.autograd.gradgradcheck(normalize, (reference, images))
    norm.eval()
    assert torch.autograd.gradgradcheck(norm, (images,))


def test_narrow_formats_keep_wide_statistics() -> None:
    norm, reference, images = layer().float(), random_images(3, seed=1), 100 + random_images(4)
    exact = norm(torch.cat([reference, images]).bfloat16().float())
    result = norm(torch.cat([reference, images]).bfloat16())
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), exact, rtol=0.01, atol=0.01)
    assert norm.reference_mean.dtype == torch.float32


def test_a_reference_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="reference_rows is 0"):
        VirtualBatchNorm(2, reference_rows=0)


def test_a_reference_batch_is_chosen_once_and_put_back_with_its_buffers() -> None:
    network = nn.Sequential(ReferenceBatch(2, (3,)))
    batch = network[0]
    assert isinstance(batch, ReferenceBatch)
    assert reference_rows(network) == 2 and not has_reference(network)
    with pytest.raises(ValueError, match="no reference batch yet"):
        batch.rows()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    set_reference(network, torch.ones(2, 3))
    assert has_reference(network) and torch.equal(batch.rows(), torch.ones(2, 3))
    with pytest.raises(ValueError, match="chosen already"):
        set_reference(network, torch.ones(2, 3))
    # An engine that takes a failed update back also takes the choice back.
    network.load_state_dict(before)
    assert not has_reference(network)


@pytest.mark.parametrize(("shape", "help_"), [((1, 3), "make reference_rows 1, or the batch at least 2"), ((2, 4), "")])
def test_a_reference_batch_of_another_shape_is_refused(shape: tuple[int, ...], help_: str) -> None:
    with pytest.raises(ValueError, match=r"needs \(2, 3\)") as caught:
        set_reference(ReferenceBatch(2, (3,)), torch.ones(shape))
    assert help_ in str(caught.value) and ("make" in str(caught.value)) == bool(help_)


def test_reference_latents_are_drawn_from_the_generator() -> None:
    first, second = ReferenceLatents(50, (4,)), ReferenceLatents(50, (4,))
    for batch in (first, second):
        batch.initialize_weights(torch.Generator().manual_seed(3))
    assert torch.equal(first.rows(), second.rows())
    assert 0.8 < first.rows().std() < 1.2
