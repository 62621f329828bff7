"""The vocabulary of a step: sums of terms, the running context, joined calls."""

from __future__ import annotations

import pytest
import torch

from i2i.core.generators import ResNetGeneratorSettings
from i2i.core.randomness import SampleRandom
from i2i.core.step import (
    Losses,
    Progress,
    SingleProcess,
    StepContext,
    Term,
    call_together,
    current_context,
    running,
)


def context() -> StepContext:
    return StepContext(Progress(0, 0, 0.0), {}, SampleRandom(0, range(1)))


def test_total_is_the_weighted_sum() -> None:
    values = [torch.tensor(value, requires_grad=True) for value in (1.0, 2.0, 3.0)]
    losses = Losses({"a": Term(values[0]), "b": Term(values[1], 10.0), "c": Term(values[2], -0.5)})
    assert losses.total().item() == 19.5
    assert [float(gradient) for gradient in torch.autograd.grad(losses.total(), values)] == [1.0, 10.0, -0.5]


def test_total_of_one_term_of_weight_one_is_that_term() -> None:
    value = torch.tensor(2.0)
    assert Losses({"a": Term(value)}).total() is value


def test_context_is_visible_inside_only_also_after_an_error() -> None:
    outer, inner = context(), context()
    assert current_context() is None
    with running(outer):
        with pytest.raises(KeyError), running(inner):
            assert current_context() is inner
            raise KeyError
        assert current_context() is outer
    assert current_context() is None


def test_calls_are_numbered_anew_in_each_context() -> None:
    first, second = context(), context()
    assert [first.number_call() for _ in range(3)] == [0, 1, 2]
    assert second.number_call() == 0


def test_contexts_do_not_share_what_they_carry() -> None:
    first, second = context(), context()
    first.carry["fake"] = torch.zeros(1)
    assert second.carry == {}


def test_one_process_joins_nothing() -> None:
    rows = torch.randn(2, 3)
    alone = SingleProcess()
    assert alone.processes == 1
    assert alone.gather(rows) is rows and alone.local(rows) is rows and alone.mean(rows) is rows


def test_joined_call_equals_separate_calls_of_unequal_size() -> None:
    network = ResNetGeneratorSettings(base_channels=2, blocks=1).build().double()
    inputs = [torch.randn(count, 3, 16, 16, dtype=torch.float64) for count in (1, 3)]
    together = call_together(network, *inputs, together=True)
    apart = call_together(network, *inputs, together=False)
    for joined, single in zip(together, apart, strict=True):
        torch.testing.assert_close(joined, single, rtol=0, atol=1e-12)


def test_joined_call_is_one_call() -> None:
    sizes: list[int] = []

    def network(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return images

    call_together(network, torch.zeros(1, 2), torch.zeros(3, 2), together=True)
    call_together(network, torch.zeros(1, 2), torch.zeros(3, 2), together=False)
    assert sizes == [4, 1, 3]
