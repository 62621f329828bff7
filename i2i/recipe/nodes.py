"""Recipe text to a tree of values that know where they were written.

YAML 1.2 scalars (``1e-4`` is a number; ``no`` and ``off`` are text), read by PyYAML's parser with resolution of our
own, because PyYAML follows YAML 1.1. Guarded against hostile files: size, depth and alias expansion are limited.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from i2i.errors import RecipeError
from i2i.recipe.yaml_mistakes import explain

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
MAX_NODES = 20_000  # after aliases are expanded: a "billion laughs" file stops here
_SHOWN_MISTAKES = 50
_LONGEST_LINE = 500
_MAX_DIGITS = 400  # beyond this a number is a mistake, and Python refuses to convert some of them

_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEXADECIMAL = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Place:
    """Where a value was written: a file and its line (from 1), or a ``--set`` override (no line)."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass
class Node:
    """A value and its place; `value` is a scalar, a list of nodes or a mapping of text to nodes."""

    value: Scalar | list[Node] | dict[str, Node]
    place: Place

    def plain(self) -> Any:
        """The bare value, without places."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def walk(self, path: tuple[str, ...]) -> Iterator[Node]:
        """This node and those on the way along `path`, as far as the way exists."""
        yield self
        if path and isinstance(self.value, dict) and path[0] in self.value:
            yield from self.value[path[0]].walk(path[1:])


@dataclass
class Problems:
    """Mistakes collected while reading, so that all are reported at once."""

    found: list[tuple[Place, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """The dotted path of each."""

    def add(self, place: Place, key: str, message: str) -> None:
        """Note one mistake; `key` is the dotted path of the value, or ""."""
        # `--set a.b` already names the key.
        named = f"{key}: " if key and place.source != f"--set {key}" else ""
        self.keys.append(key)
        self.found.append((place, f"{place}: {named}{message}"))

    def raise_if_any(self, asked_for: str) -> None:
        """Raise a RecipeError that holds one line a mistake, file by file from top to bottom.

        A line about another file than the one `asked_for` tells why that one was read.
        """
        if self.found:
            sources = list(dict.fromkeys(place.source for place, _ in self.found))
            ordered = sorted(self.found, key=lambda one: (sources.index(one[0].source), one[0].line or 0))
            extended = f"; {asked_for} extends it"
            lines = list(
                dict.fromkeys(
                    _clip(text) + (extended if place.line is not None and place.source != asked_for else "")
                    for place, text in ordered
                )
            )
            more = [f"and {len(lines) - _SHOWN_MISTAKES} more mistakes"] if len(lines) > _SHOWN_MISTAKES else []
            raise RecipeError("\n".join([*lines[:_SHOWN_MISTAKES], *more]))


def _clip(text: str) -> str:
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}..."


def resolve_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar by YAML 1.2's core schema.

    Raises:
        ValueError: a number too long to be meant.
    """
    if text in _WORDS:
        return _WORDS[text]
    is_integer, is_based = _INTEGER.fullmatch(text), _OCTAL_OR_HEXADECIMAL.fullmatch(text)
    if not (is_integer or is_based or _FLOAT.fullmatch(text) or _SPECIAL_FLOAT.fullmatch(text)):
        return text
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} characters - shorten it, or quote it if it is text")
    if is_integer:
        return int(text)
    return int(text, 0) if is_based else float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def parse(content: str | bytes, source: str, problems: Problems, *, line_numbers: bool = True) -> Node:
    """Read YAML text into nodes; `source` is the name that messages give it.

    Duplicate keys, tags and odd keys are noted in `problems`; the rest of the text is still read.

    Raises:
        RecipeError: not YAML, or outside the limits.
    """
    origin = _Origin(source, line_numbers)
    root = _compose(_decode(content, origin), origin)
    if root is None:
        return Node(None, origin.place(1))
    return _Converter(origin, problems).convert(root, (), None)


@dataclass(frozen=True)
class _Origin:
    source: str
    line_numbers: bool

    def place(self, line: int | None) -> Place:
        return Place(self.source, line if self.line_numbers else None)


class _TextLoader(yaml.SafeLoader):
    """Composes nodes and leaves every scalar as text: resolution is ours."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute


_STRING_TAG, _MAPPING_TAG, _SEQUENCE_TAG = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))


def _decode(content: str | bytes, origin: _Origin) -> str:
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{origin.source}: is larger than {MAX_BYTES // 1024} KiB; this is no recipe")
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = origin.place(content[: error.start].count(b"\n") + 1)
        raise RecipeError(f"{place}: is not UTF-8 text - save it with that encoding") from error


def _compose(text: str, origin: _Origin) -> yaml.Node | None:
    try:
        return _TextLoader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        line, message = explain(error, text)
        raise RecipeError(f"{origin.place(line)}: {message}") from error
    except yaml.reader.ReaderError as error:
        place = origin.place(text[: error.position].count("\n") + 1)
        raise RecipeError(f"{place}: holds a character that YAML does not allow (code {error.character!r})") from error
    except RecursionError as error:
        raise RecipeError(f"{origin.source}: is nested too deeply") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets Python's own errors through, as for the escape "\\U00110000".
        raise RecipeError(f"{origin.source}: not valid YAML: {error}") from error


class _Converter:
    """PyYAML's nodes to ours, with places, limits and the list of problems."""

    def __init__(self, origin: _Origin, problems: Problems) -> None:
        self.origin = origin
        self.problems = problems
        self.count = 0

    def place(self, node: yaml.Node) -> Place:
        return self.origin.place(node.start_mark.line + 1)

    def convert(self, node: yaml.Node, path: tuple[str, ...], place: Place | None) -> Node:
        """`place` is that of the key the value belongs to, or None."""
        place = place or self.place(node)
        self.count += 1
        if len(path) > MAX_DEPTH:
            # Also where an anchor that contains its own alias ends.
            raise RecipeError(f"{place}: is nested more than {MAX_DEPTH} levels deep")
        if self.count > MAX_NODES:
            raise RecipeError(f"{place}: aliases expand to more than {MAX_NODES} values")
        if isinstance(node, yaml.MappingNode):
            self._refuse_tag(node, _MAPPING_TAG, path, place)
            return Node(self._mapping(node, path), place)
        if isinstance(node, yaml.SequenceNode):
            self._refuse_tag(node, _SEQUENCE_TAG, path, place)
            items: list[yaml.Node] = node.value
            return Node([self.convert(item, (*path, str(index)), None) for index, item in enumerate(items)], place)
        assert isinstance(node, yaml.ScalarNode)
        self._refuse_tag(node, _STRING_TAG, path, place)
        return Node(self._scalar(node, path, place), place)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Node]:
        mapping: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = self.place(key_node)
            dotted = ".".join(path)
            if not isinstance(key_node, yaml.ScalarNode) or not key_node.value:
                self.problems.add(place, dotted, "a key must be a word")
                continue
            key: str = key_node.value
            key_path = (*path, key)
            if key == "<<" and key_node.style is None:
                self.problems.add(place, dotted, "YAML 1.2 has no merge key '<<' - use 'extends', or repeat the keys")
                continue
            if key in mapping:
                first = mapping[key].place.line
                where = "" if first is None else f"; first in line {first}"
                self.problems.add(place, ".".join(key_path), f"given twice{where}")
                continue
            key = self._refuse_surrogates(key, dotted, place)
            mapping[key] = self.convert(value_node, key_path, place)
        return mapping

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...], place: Place) -> Scalar:
        text: str = node.value
        dotted = ".".join(path)
        if node.style is not None:
            return self._refuse_surrogates(text, dotted, place)
        try:
            return resolve_scalar(text)
        except ValueError as error:
            self.problems.add(place, dotted, str(error))
            return 0  # one complaint is enough

    def _refuse_tag(self, node: yaml.Node, expected: str, path: tuple[str, ...], place: Place) -> None:
        if node.tag != expected:
            self.problems.add(place, ".".join(path), f"the tag {node.tag!r} is not supported - leave it out")

    def _refuse_surrogates(self, text: str, dotted: str, place: Place) -> str:
        if any("\ud800" <= character <= "\udfff" for character in text):
            self.problems.add(place, dotted, "holds half of a surrogate pair, which is no character")
            return text.encode(errors="replace").decode()
        return text
