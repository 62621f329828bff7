from __future__ import annotations

import re

import pytest
import torch

from i2i.errors import UsageError
from i2i.inference.generation.arithmetic import Term, combined, mean_of, neighbours, parse_arithmetic


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("7", [(1, (7,))]),
        ("1-2+3", [(1, (1,)), (-1, (2,)), (1, (3,))]),
        ("(1,2,3)-(4,5,6)+(7,8,9)", [(1, (1, 2, 3)), (-1, (4, 5, 6)), (1, (7, 8, 9))]),
        (" ( 1 , 2 ) - 000003 ", [(1, (1, 2)), (-1, (3,))]),
        ("-1+(2)", [(-1, (1,)), (1, (2,))]),
        ("+1-1", [(1, (1,)), (-1, (1,))]),
    ],
)
def test_expressions_are_read(text: str, terms: list[tuple[int, tuple[int, ...]]]) -> None:
    assert [(term.sign, term.rows) for term in parse_arithmetic(text)] == terms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a row is missing at the end"),
        ("   ", "a row is missing at the end"),
        ("1-", "a row is missing at the end"),
        ("1--2", "'-' at character 3 where a row should stand"),
        ("1 2", "'2' at character 3 where + or - should stand"),
        ("(1,2", ", or ) is missing at the end"),
        ("(1 2)", "'2' at character 4 where , or ) should stand"),
        ("()", "')' at character 2 where a row should stand"),
        ("(1,)", "')' at character 4 where a row should stand"),
        ("1)", "')' at character 2 where + or - should stand"),
        ("((1))", "'(' at character 2 where a row should stand"),
        ("man-woman", "'m' at character 1 means nothing here"),
        ("1 * 2", "'*' at character 3 means nothing here"),
        ("1234567890", "'0' at character 10 where + or - should stand"),
        ("1.5", "'.' at character 2 means nothing here"),
        ("__import__('os')", "'_' at character 1 means nothing here"),
    ],
)
def test_mistakes_are_placed_and_an_example_given(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        parse_arithmetic(text)
    assert "(1,2,3)-(4,5,6)+(7,8,9)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_are_sums_of_means() -> None:
    latents = torch.arange(20.0).reshape(10, 2)
    value = combined(parse_arithmetic("(1,2,3)-(4,6)+9"), latents)
    assert value.tolist() == [4.0 - 10.0 + 18.0, 5.0 - 11.0 + 19.0]
    assert mean_of(Term(-1, (4, 6)), latents).tolist() == [10.0, 11.0]


def test_means_of_three_keep_the_spread_of_a_latent() -> None:
    latents = torch.randn(9, 10_000, generator=torch.Generator().manual_seed(0))
    assert float(combined(parse_arithmetic("(0,1,2)-(3,4,5)+(6,7,8)"), latents).std()) == pytest.approx(1, abs=0.03)


def test_a_row_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="no row 3 - the file has rows 0 to 2"):
        combined(parse_arithmetic("1+(0,3)"), torch.zeros(3, 2))


def test_neighbours_lie_within_a_quarter_and_are_always_the_same() -> None:
    latent = torch.linspace(-2, 2, 500)
    around = neighbours(latent, 8)
    offsets = around - latent
    assert around.shape == (8, 500)
    assert 0.24 < float(offsets.abs().max()) <= 0.25 + 1e-6
    assert len({tuple(row) for row in offsets.tolist()}) == 8
    assert torch.equal(neighbours(latent, 3), around[:3])
    assert not torch.equal(neighbours(latent, 8, seed=1), around)
