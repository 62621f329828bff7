"""Nodes to typed settings: plain frozen dataclasses, told apart by `kind`, every mistake with its place.

Mappings are walked here, because only here are the places of keys known; single values are judged by pydantic in
strict mode ("4" is no number, true is no number, 2.5 is no whole number).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union

import pydantic

from i2i.errors import I2IError
from i2i.recipe.nodes import Node, Place, Problems, resolve_scalar
from i2i.recipe.suggestions import did_you_mean

_FAILED: Any = object()  # a value that could not be made; the reason is among the problems
_LONGEST_KEY_LIST = 16


def decode(settings: type, node: Node, problems: Problems, also_known: tuple[str, ...] = ()) -> Any:
    """An instance of the dataclass `settings`, or None after noting in `problems` why there is none.

    Where a value is refused, that is noted and its default stands in, so that the mistakes after it come to light too:
    the result is what was asked for only if `problems` has nothing new.
    `also_known` are top-level keys that suggestions may name although the dataclass does not hold them.
    """
    value = _Decoder(settings, problems, also_known).dataclass(settings, node, ())
    return None if value is _FAILED else value


@functools.cache
def known_paths(settings: type) -> tuple[str, ...]:
    """Every dotted key that a recipe of this dataclass may hold, over all kinds."""
    return tuple(dict.fromkeys(".".join(path) for path in _walk_paths(settings, (), frozenset())))


class _Decoder:
    def __init__(self, root: type, problems: Problems, also_known: tuple[str, ...]) -> None:
        self.root = root
        self.problems = problems
        self.also_known = also_known

    def value(self, annotation: Any, node: Node, path: tuple[str, ...], default: Any) -> Any:
        """`default` is what the owner uses when the key is absent; it tells the kind where none is written."""
        members = _union_members(annotation)
        settings = [member for member in members if isinstance(member, type) and dataclasses.is_dataclass(member)]
        if node.value is None and type(None) in members:
            return None
        if settings and (isinstance(node.value, dict) or {*members} <= {*settings, type(None)}):
            return self._settings(settings, node, path, default)
        for member in members:
            origin = typing.get_origin(member)
            if origin in _MAPPINGS and isinstance(node.value, dict):
                return self._mapping(typing.get_args(member)[1], node.value, path)
            if origin in (list, tuple) and isinstance(node.value, list) and _holds_settings(member):
                return self._sequence(member, node.value, path)
        return self._leaf(annotation, node, path)

    def dataclass(self, settings: type, node: Node, path: tuple[str, ...], other_kinds: Sequence[type] = ()) -> Any:
        if not isinstance(node.value, dict):
            message = f"{_no_keys(node)}; needs keys indented below it, such as {_some(_fields(settings))}"
            self.problems.add(node.place, ".".join(path), message)
            return _FAILED
        hints = typing.get_type_hints(settings, include_extras=True)
        fields = _fields(settings)
        values: dict[str, Any] = {}
        doubtful: set[str] = set()
        for key, child in node.value.items():
            if key not in fields:
                self._unknown_key(key, list(fields), child.place, path, other_kinds)
                continue
            known_before = len(self.problems.found)
            values[key] = self.value(hints[key], child, (*path, key), _default_of(fields[key]))
            if len(self.problems.found) > known_before:
                doubtful.add(key)
        for name, field in fields.items():
            if name not in node.value and _default_of(field) is dataclasses.MISSING:
                self.problems.add(node.place, ".".join((*path, name)), "is missing")
        return self._construct(settings, values, doubtful, node, path)

    def _construct(
        self, settings: type, values: dict[str, Any], doubtful: set[str], node: Node, path: tuple[str, ...]
    ) -> Any:
        """The dataclass checks itself, one thing after the other. What it refuses is noted and left to its default.

        A refusal that has to do with a value of `doubtful` keys is not noted: a default that stands in may be its
        cause.
        """
        assert isinstance(node.value, dict)
        required = [name for name, field in _fields(settings).items() if _default_of(field) is dataclasses.MISSING]
        values = {key: value for key, value in values.items() if value is not _FAILED}
        lacking = [name for name in required if name not in values]
        values |= dict.fromkeys(lacking)
        doubtful.update(lacking)
        while (refusal := _refusal(settings, values)) is not None:
            if lacking and not isinstance(refusal, ValueError):
                return _FAILED  # it looked into what is not there
            if isinstance(refusal, AttributeError):
                raise refusal
            message = str(refusal)
            overridden = [key for key, child in node.value.items() if child.place.line is None]
            culprit = _culprit(settings, values, [key for key in values if key not in required], message, overridden)
            if doubtful.isdisjoint(_words(message)):
                self._contradiction(message, node, node.value, path, culprit)
            if culprit is None or culprit in required:
                return _FAILED
            del values[culprit]
            doubtful.add(culprit)
        return _FAILED if lacking else settings(**values)

    def _contradiction(
        self, message: str, node: Node, children: dict[str, Node], path: tuple[str, ...], named: str | None
    ) -> None:
        """`named` is the field that the dataclass complains about; it gives the line."""
        place = node.place if named is None else children[named].place
        full_path = path if named is None else (*path, named)
        message = " ".join(message.split())
        if named is None:
            message = message.removeprefix(f"{path[-1]} ") if path else message
        elif told := re.match(rf"{named} (?=is |are |-?\d)", message):
            message = message[told.end() :]
        elif f"{named} is" not in message and not isinstance(children[named].value, str):
            message = f"is {_shown(children[named].plain())}; {message}"
        if named is not None and (others := _others_of(message, named)):
            other = f"{others[0]}: ..." if place.line is not None else f"--set {'.'.join((*path, others[0]))}=..."
            message = f"{message} - set another one, such as {other}"
        self.problems.add(place, ".".join(full_path), message)

    def _settings(self, members: Sequence[type], node: Node, path: tuple[str, ...], default: Any) -> Any:
        """One of several dataclasses, chosen by `kind`; without one, that of the owner's default."""
        by_kind = {kind: member for member in members for kind in _kinds(member)}
        if not isinstance(node.value, dict):
            if len(by_kind) < 2:
                return self.dataclass(members[0], node, path)
            message = f"{_no_keys(node)}; needs keys indented below it, first of all kind: {' or '.join(by_kind)}"
            self.problems.add(node.place, ".".join(path), message)
            return _FAILED
        chosen = type(default) if type(default) in members else members[0] if len(members) == 1 else None
        kind_node = node.value.get("kind")
        if kind_node is not None and len(members) > 1:
            kind = kind_node.value
            chosen = by_kind.get(kind) if isinstance(kind, str) else None
            if chosen is None:
                hint = did_you_mean(str(kind_node.plain()), by_kind) or f"; known: {_some(by_kind)}"
                message = f"{_shown(kind_node.plain()).removeprefix('the text ')} is no known kind{hint}"
                self.problems.add(kind_node.place, ".".join((*path, "kind")), message)
                return _FAILED
        if chosen is None:
            key = ".".join((*path, "kind"))
            self.problems.add(node.place, key, f"is missing; known: {_some(by_kind)}")
            return _FAILED
        return self.dataclass(chosen, node, path, [member for member in members if member is not chosen])

    def _mapping(self, annotation: Any, children: dict[str, Node], path: tuple[str, ...]) -> Any:
        # An entry has no default of its owner's; where no kind is written, it is the first one listed.
        first = _union_members(annotation)[0]
        default = first() if dataclasses.is_dataclass(first) and isinstance(first, type) else None
        values = {key: self.value(annotation, child, (*path, key), default) for key, child in children.items()}
        return _FAILED if any(value is _FAILED for value in values.values()) else values

    def _sequence(self, annotation: Any, children: list[Node], path: tuple[str, ...]) -> Any:
        inner = typing.get_args(annotation)[0]
        values = [self.value(inner, child, (*path, str(index)), None) for index, child in enumerate(children)]
        if any(value is _FAILED for value in values):
            return _FAILED
        return values if typing.get_origin(annotation) is list else tuple(values)

    def _leaf(self, annotation: Any, node: Node, path: tuple[str, ...]) -> Any:
        plain = node.plain()
        try:
            # Through JSON, because strict mode then takes a list for a tuple, and nothing else too much.
            return _adapter(annotation).validate_json(json.dumps(plain))
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            self.problems.add(node.place, ".".join(path), _explain(annotation, plain, first["type"], first["msg"]))
            return _FAILED

    def _unknown_key(
        self, key: str, siblings: list[str], place: Place, path: tuple[str, ...], other_kinds: Sequence[type]
    ) -> None:
        kinds = [kind for other in other_kinds if key in _fields(other) for kind in _kinds(other)]
        elsewhere = [known for known in known_paths(self.root) if known.rsplit(".", 1)[-1] == key]
        near = did_you_mean(key, siblings if path else [*siblings, *self.also_known])
        if kinds:
            hint = f" here; it belongs to kind: {' or '.join(kinds)}"
        elif near:
            hint = near
        elif elsewhere:
            hint = f", did you mean {elsewhere[0]!r}?"
        else:
            hint = f"; known here: {_some(siblings)}"
        self.problems.add(place, ".".join((*path, key)), f"unknown key{hint}")


def _refusal(settings: type, values: Mapping[str, Any]) -> Exception | None:
    """Why the dataclass does not take these values; None if it does."""
    try:
        settings(**values)
    except (ValueError, TypeError, ArithmeticError, AttributeError, I2IError) as error:
        return error
    return None


def _culprit(
    settings: type, values: Mapping[str, Any], optional: Sequence[str], message: str, overridden: Sequence[str]
) -> str | None:
    """The key of the value that a refusal is about: the one it names, else the one without which there is none.

    Of several that it names, the one that was changed from outside: the others did no harm in their file.
    """
    named = [word for word in dict.fromkeys(_words(message)) if word in values]
    changed = [word for word in named if word in overridden]
    if len(named) == 1 or len(changed) == 1:
        return (changed or named)[0]
    for key in [word for word in named if word in optional] or optional:
        without = _refusal(settings, {other: value for other, value in values.items() if other != key})
        if without is None or _NUMBER.sub("#", str(without)) != _NUMBER.sub("#", message):
            return key
    return named[0] if named else None


def _others_of(message: str, named: str) -> list[str]:
    """Of "needs one of a, b, c": those besides the one that is named."""
    told = re.search(r"needs one of (\w+(?:, \w+)+)$", message)
    words = told[1].split(", ") if told else []
    return [word for word in words if word != named] if named in words else []


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


_NUMBER = re.compile(r"-?\d[\d.e+-]*")
_MAPPINGS = (dict, Mapping)
_UNIONS = (Union, types.UnionType)


def _union_members(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated and any(
        dataclasses.is_dataclass(member) for member in _union_members(typing.get_args(annotation)[0])
    ):
        return _union_members(typing.get_args(annotation)[0])
    if origin in _UNIONS:
        return [inner for member in typing.get_args(annotation) for inner in _union_members(member)]
    return [annotation]


def _holds_settings(annotation: Any) -> bool:
    inner = (part for member in typing.get_args(annotation) for part in _union_members(member))
    return any(dataclasses.is_dataclass(part) for part in inner)


def _fields(settings: type) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(settings) if field.init}


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _kinds(settings: type) -> tuple[str, ...]:
    return typing.get_args(typing.get_type_hints(settings).get("kind"))


def _walk_paths(annotation: Any, path: tuple[str, ...], above: frozenset[type]) -> Iterator[tuple[str, ...]]:
    for member in _union_members(annotation):
        if dataclasses.is_dataclass(member) and isinstance(member, type) and member not in above:
            hints = typing.get_type_hints(member, include_extras=True)
            for name in _fields(member):
                yield (*path, name)
                yield from _walk_paths(hints[name], (*path, name), above | {member})


@functools.cache
def _adapter(annotation: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(annotation, config=pydantic.ConfigDict(strict=True, allow_inf_nan=False))


def _some(words: Iterable[str]) -> str:
    listed = list(words)
    more = ", ..." if len(listed) > _LONGEST_KEY_LIST else ""
    return ", ".join(listed[:_LONGEST_KEY_LIST]) + more


def _shown(plain: Any) -> str:
    """A value as a message shows it: short, and telling text from numbers."""
    if isinstance(plain, bool) or plain is None:
        return {True: "true", False: "false", None: "null"}[plain]
    text = repr(plain)
    return f"the text {text[:60]}" if isinstance(plain, str) else text[:60]


def _no_keys(node: Node) -> str:
    """A single value, or none, where a mapping of keys to values is wanted."""
    if node.value is None:
        return "is empty"
    glued = isinstance(node.value, str) and re.match(r"\w+:\S", node.value)
    return f"is {_shown(node.plain())}{' - a space is missing after the colon' if glued else ''}"


def _explain(annotation: Any, plain: Any, error_type: str, message: str) -> str:
    if error_type == "finite_number" and isinstance(plain, (int, float)):
        return f"is {_shown(plain)}; needs a finite number"
    if not error_type.endswith(("_type", "_parsing", "from_float", "literal_error", "_short", "_long", "missing")):
        return f"is {_shown(plain)}: {message[:1].lower()}{message[1:]}"
    return f"is {_shown(plain)}; needs {_wanted(annotation)}{_hint(annotation, plain)}"


def _wanted(annotation: Any) -> str:
    """A type in words."""
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if origin is typing.Annotated:
        return _wanted(arguments[0])
    if origin in _UNIONS:
        return " or ".join(_wanted(member) for member in arguments)
    if origin is tuple and Ellipsis not in arguments:
        wanted = list(dict.fromkeys(_wanted(member) for member in arguments))
        return f"a list of {len(arguments)}: {' and '.join(wanted)}{' each' if len(wanted) == 1 else ''}"
    if origin in (tuple, list):
        return f"a list, each entry {_wanted(arguments[0])}"
    if origin in _MAPPINGS:
        return "a mapping of keys to values"
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return f"keys such as {_some(_fields(annotation))}"
    return names.get(annotation, "text" if hasattr(annotation, "__fspath__") else str(annotation))


def _hint(annotation: Any, plain: Any) -> str:
    """What to write instead, where the intention can be guessed."""
    members = _union_members(annotation)
    literals = [word for member in members if typing.get_origin(member) is Literal for word in typing.get_args(member)]
    if isinstance(plain, str):
        if bool in members and plain.lower() in ("yes", "on", "y", "no", "off", "n"):
            return f" - write {'true' if plain.lower() in ('yes', 'on', 'y') else 'false'}"
        if literals:
            return did_you_mean(plain, [str(word) for word in literals])
        bare = _resolved(plain.strip())
        if type(bare) in members or (isinstance(bare, int) and not isinstance(bare, bool) and float in members):
            return " - remove the quotes"
        squeezed = _resolved(re.sub(r"(?<=\d)[_, ](?=\d)", "", plain.strip()))
        if isinstance(squeezed, int) and (int in members or float in members):
            return f" - write {squeezed}"
    if isinstance(plain, float) and int in members and plain.is_integer():
        return f" - write {int(plain)}"
    if isinstance(plain, (bool, int, float)) and (str in members or str(plain) in literals):
        return " - put it in quotes"
    return ""


def _resolved(text: str) -> Any:
    try:
        return resolve_scalar(text)
    except ValueError:
        return text
