"""Text as Markdown: names from files and recipes must not become markup."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def plain(value: object) -> str:
    """Any text as one line of Markdown that shows exactly it."""
    return _MARKUP.sub(r"\\\1", " ".join(str(value).split()))


def code(value: object) -> str:
    """A word or a command as code, within a line or a table."""
    text = " ".join(str(value).split())
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    # A table would end its cell at a bar, even within code.
    return f"{fence}{' ' * bool(longest)}{text}{' ' * bool(longest)}{fence}".replace("|", "\\|")


def block(language: str, lines: Sequence[str]) -> str:
    """Lines of code on their own."""
    text = "\n".join(lines)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table of cells that are Markdown already; the columns numbered in `right` are set to the right."""
    rule = [("---:" if column in right else "---") for column in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def front_matter(fields: Mapping[str, str | Sequence[str]]) -> str:
    """The YAML block that model hubs read at a card's beginning."""
    # Text in JSON's quotes is text in YAML's too, whatever it holds.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---"])
