"""Vector arithmetic on latents: "the mean of these, minus the mean of those, plus the mean of these others".

Source: Radford et al. 2016, https://arxiv.org/abs/1511.06434, section 6.3.2: every concept is the mean of three,
since single ones were unstable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from i2i.core.randomness import generator_of
from i2i.errors import UsageError

NEIGHBOUR_NOISE = 0.25
"""Half the width of the uniform noise between a result and its neighbours."""
_EXAMPLE = "write rows and means of rows, such as 1-2+3 or (1,2,3)-(4,5,6)+(7,8,9)"
_TOKEN = re.compile(r"\s*(\d{1,9}|[-+(),])")


@dataclass(frozen=True)
class Term:
    """One operand: the mean of these rows, added or subtracted."""

    sign: Literal[1, -1]
    rows: tuple[int, ...]


def parse_arithmetic(text: str) -> tuple[Term, ...]:
    """Read an expression such as ``(1,2,3)-(4,5,6)+7``: rows and means of rows, added and subtracted.

    Raises:
        UsageError: the text is something else; the message says where.
    """
    return _Parser(text).expression()


def combined(terms: tuple[Term, ...], latents: Tensor) -> Tensor:
    """The value (width,) of an expression over the rows of `latents` (N, width).

    As in the paper the result is not brought back to the length of a drawn latent: means of three keep it on average.

    Raises:
        UsageError: a row is not there.
    """
    for term in terms:
        for row in term.rows:
            if row >= len(latents):
                raise UsageError(f"--arithmetic: no row {row} - the file has rows 0 to {len(latents) - 1}")
    return torch.stack([term.sign * mean_of(term, latents) for term in terms]).sum(0)


def mean_of(term: Term, latents: Tensor) -> Tensor:
    """The mean (width,) of an operand's rows of `latents` (N, width), without its sign."""
    return latents[list(term.rows)].mean(0)


def neighbours(latent: Tensor, count: int, seed: int = 0) -> Tensor:
    """Latents (count, width) around one (width,): uniform noise up to 0.25 is added to each number."""
    noise = [torch.rand(len(latent), generator=generator_of(seed, "neighbour", index)) for index in range(count)]
    return latent + NEIGHBOUR_NOISE * (2.0 * torch.stack(noise) - 1.0)


class _Parser:
    """expression: [sign] term (sign term)*; term: row or "(" row ("," row)* ")"."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, int]] = []
        position = 0
        while text[position:].strip():
            found = _TOKEN.match(text, position)
            if found is None:
                start = position + len(text[position:]) - len(text[position:].lstrip())
                raise self.error(f"{text[start]!r} at character {start + 1} means nothing here")
            self.tokens.append((found[1], found.start(1) + 1))
            position = found.end()
        self.next = 0

    def expression(self) -> tuple[Term, ...]:
        sign = self.sign() if self.peek() in ("+", "-") else 1
        terms = [Term(sign, self.rows())]
        while self.peek():
            terms.append(Term(self.sign(), self.rows()))
        return tuple(terms)

    def sign(self) -> Literal[1, -1]:
        token, where = self.take("+ or -")
        if token not in ("+", "-"):
            raise self.error(f"{token!r} at character {where} where + or - should stand")
        return 1 if token == "+" else -1

    def rows(self) -> tuple[int, ...]:
        token, where = self.take("a row")
        if token.isdecimal():
            return (int(token),)
        if token != "(":
            raise self.error(f"{token!r} at character {where} where a row should stand")
        rows = [self.row()]
        while (token := self.take(", or )"))[0] == ",":
            rows.append(self.row())
        if token[0] != ")":
            raise self.error(f"{token[0]!r} at character {token[1]} where , or ) should stand")
        return tuple(rows)

    def row(self) -> int:
        token, where = self.take("a row")
        if not token.isdecimal():
            raise self.error(f"{token!r} at character {where} where a row should stand")
        return int(token)

    def peek(self) -> str:
        return self.tokens[self.next][0] if self.next < len(self.tokens) else ""

    def take(self, wanted: str) -> tuple[str, int]:
        if self.next == len(self.tokens):
            raise self.error(f"{wanted} is missing at the end")
        self.next += 1
        return self.tokens[self.next - 1]

    def error(self, what: str) -> UsageError:
        return UsageError(f"--arithmetic {self.text!r}: {what} - {_EXAMPLE}")
