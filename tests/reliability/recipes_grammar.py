"""Recipes gone wrong: trees of valid recipes with one to three changes, and text that no longer is such a tree."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from i2i.recipe import built_in_recipes, dump_recipe, load_recipe

Random = np.random.Generator
Tree = dict[str, Any]
Place = tuple[Any, Any]
"""A mapping or list, and a key or index in it."""

_NUMBERS = (
    0, -1, 1, 2, 7, 2**31, 2**63, -(2**63), 10**18, 10**60, 10**400, 1e-320, 1e308, -0.0, 0.1, 1.5, float("inf"),
    float("-inf"), float("nan"),
)  # fmt: skip
_TEXTS = (
    "", " ", "~", "null", "no", "1e-4", "0x10", "-", ":", "#", "a: b", "\t", "\n", "\0", "\x1b[31mred\x1b[0m", "\x07",
    "\x85", "\u2028", "\u202egnp.exe", "\ufeff", "e\u0301", "\U0001f4a9", "ﬀ", "İ", "日本語", "x" * 5000, "../" * 50,
    "/etc/passwd", "/dev/zero", "~root", "$HOME", "%s%n", "{0}", "${jndi:x}", "COM1", "a\\b", "'", '"', "'''", "|", ">",
)  # fmt: skip
_KEYS = ("kind", "name", "extends", "__class__", "__init__", "self", "", "<<", "0", "null", "a.b", "generater", "Data")


@functools.cache
def valid_texts() -> tuple[str, ...]:
    """Every built-in recipe as it is written, and with all its settings written out."""
    short = [recipe.path.read_text(encoding="utf-8") for recipe in built_in_recipes()]
    return (*short, *(dump_recipe(load_recipe(recipe.path)) for recipe in built_in_recipes()))


@functools.cache
def _trees() -> tuple[Tree, ...]:
    return tuple(yaml.safe_load(text) for text in valid_texts())


def _pick(rng: Random, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _places(tree: Any) -> list[Place]:
    """Every place in a tree, from the top down."""
    inner = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [(tree, key) for key, _ in inner] + [place for _, value in inner for place in _places(value)]


def _leaves(tree: Tree, kinds: tuple[type, ...] = (object,)) -> list[Place]:
    leaves = [place for place in _places(tree) if not isinstance(place[0][place[1]], (dict, list))]
    return [place for place in leaves if isinstance(place[0][place[1]], kinds)] or leaves


def _set(place: Place, value: Any) -> None:
    place[0][place[1]] = value


# Changes of a tree


def wrong_type(tree: Tree, rng: Random) -> None:
    """A value is of another kind than it should be."""
    others: list[Any] = [None, True, 3, 0.5, "text", [], {}, [1, "two", None], {"kind": "cyclegan"}, [[[]]], "yes"]
    _set(_pick(rng, _places(tree)), _pick(rng, others))


def unknown_key(tree: Tree, rng: Random) -> None:
    """A key is new, misspelt or in the wrong place."""
    owner, key = _pick(rng, [place for place in _places(tree) if isinstance(place[0], dict)])
    if rng.random() < 0.5:
        owner[_pick(rng, _KEYS)] = _pick(rng, [1, None, "x", {}, []])
    else:
        owner[f"{key}{_pick(rng, ['s', '_', 'x', ' '])}"] = owner.pop(key)


def missing_key(tree: Tree, rng: Random) -> None:
    """A key, with all below it, is gone."""
    owner, key = _pick(rng, [place for place in _places(tree) if isinstance(place[0], dict)])
    del owner[key]


def odd_number(tree: Tree, rng: Random) -> None:
    """A number is out of all bounds, or no number."""
    _set(_pick(rng, _leaves(tree, (int, float))), _pick(rng, _NUMBERS))


def odd_text(tree: Tree, rng: Random) -> None:
    """A text, or a key, has characters that nobody expects."""
    owner, key = _pick(rng, _leaves(tree, (str,)))
    if isinstance(owner, dict) and rng.random() < 0.3:
        owner[_pick(rng, _TEXTS)] = owner.pop(key)
    else:
        _set((owner, key), _pick(rng, _TEXTS))


def foreign_part(tree: Tree, rng: Random) -> None:
    """A part is that of another recipe."""
    other = copy.deepcopy(_pick(rng, _trees()))
    owner, key = _pick(rng, _places(other))
    _set(_pick(rng, _places(tree)), owner[key])


def deep(tree: Tree, rng: Random) -> None:
    """A value lies many levels down, in mappings or lists."""
    levels = int(10 ** rng.uniform(0.5, 3.5))
    mappings = rng.random() < 0.5
    opened, closed = ("{a: ", "}") if mappings else ("[", "]")
    # Text of this sort is written as it is, for the writer of YAML would go as deep as this.
    _set(_pick(rng, _places(tree)), _Raw(opened * levels + "1" + closed * levels))


TREE_CHANGES: dict[str, Callable[[Tree, Random], None]] = {
    "wrong type": wrong_type,
    "unknown key": unknown_key,
    "missing key": missing_key,
    "odd number": odd_number,
    "odd text": odd_text,
    "foreign part": foreign_part,
    "nested deeply": deep,
}


class _Raw(str):
    """Goes into the text unquoted."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text_of(tree: Tree) -> str:
    marks: dict[str, str] = {}

    def represent(dumper: yaml.SafeDumper, raw: _Raw) -> yaml.ScalarNode:
        mark = f"raw-text-{len(marks)}"
        marks[mark] = str(raw)
        return dumper.represent_str(mark)

    class Dumper(_Dumper):
        pass

    Dumper.add_representer(_Raw, represent)
    text = yaml.dump(tree, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=200)
    for mark, raw in marks.items():
        text = text.replace(mark, raw)
    return text


# Changes of the text


def tabs(text: str, rng: Random) -> str:
    """Indentation by tabs, or by other steps, in some lines."""
    lines = text.splitlines()
    for index in rng.integers(0, len(lines), 1 + int(rng.integers(4))):
        indent = _pick(rng, ["\t", " ", "   ", " \t", "\u00a0\u00a0", "\r"])
        lines[index] = indent + lines[index].lstrip()
    return "\n".join(lines)


def twice(text: str, rng: Random) -> str:
    """A run of lines is there twice: keys are."""
    lines = text.splitlines()
    start = int(rng.integers(len(lines)))
    run = lines[start : start + 1 + int(rng.integers(6))]
    place = int(rng.integers(len(lines)))
    return "\n".join([*lines[:place], *run, *lines[place:]])


def aliases(text: str, rng: Random) -> str:
    """Anchors that unfold to billions, that hold themselves, that are unknown or given twice."""
    width, levels = int(rng.integers(2, 12)), int(rng.integers(2, 40))
    bomb = ["a0: &a0 [x, x]"]
    bomb += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    mapping = ["b0: &b0 {k: v}"]
    mapping += [f"b{i}: &b{i} {{{', '.join(f'k{j}: *b{i - 1}' for j in range(width))}}}" for i in range(1, levels)]
    choices = (
        bomb, mapping, ["data: &d", "  root: *d"], ["pipeline: &p [*p, *p]"], ["data: *nobody"],
        ["name: &n x", "tracking: &n {project: *n}"], [f"s: &{'n' * 5000} 1", f"t: *{'n' * 5000}"],
        ["<<: [*a0, *a0]", "a0: &a0 {x: 1}"], ["? *a", "? &a [b]"],
    )  # fmt: skip
    added = "\n".join(_pick(rng, choices))
    return f"{text}\n{added}\n" if rng.random() < 0.5 else f"{added}\n{text}"


def tags(text: str, rng: Random) -> str:
    """Tags, those that would run something among them."""
    tag = _pick(
        rng,
        [
            "!!python/object/apply:os.mkdir [sprung]", "!!python/object/new:os.mkdir [[sprung]]", "!!binary aGk=",
            "!!python/name:os.system", "!!timestamp 2001-12-15", "!!int 'x'", "!!set {a, b}", "!<tag:x,2000:y> z",
            "!!python/module:os", "!!null x", "!!float .nan", "! x", "!!omap [a: 1]",
        ],
    )  # fmt: skip
    lines = text.splitlines()
    index = int(rng.integers(len(lines)))
    before, colon, _ = lines[index].partition(":")
    lines[index] = f"{before}: {tag}" if colon else f"x: {tag}"
    return "\n".join(lines)


def extends(text: str, rng: Random) -> str:
    """The recipe that is extended is itself, no recipe, not there, or no file at all."""
    base = _pick(
        rng,
        [
            "spoiled.yaml", "./spoiled.yaml", "../spoiled.yaml", ".", "/", "/dev/zero", "/dev/null", "/etc/hostname",
            "/proc/self/mem", "./waiting", "chain-000.yaml", "x" * 300, "'a\\0b'", '"a\\0b"', "[a, b]", "3", "''",
            "https://example.com/x.yaml", "~", "picture.png", "/dev/stdin", "/proc/self/fd/0",
        ],
    )  # fmt: skip
    return f"extends: {base}\n" + "\n".join(line for line in text.splitlines() if not line.startswith("extends:"))


def noise(text: str, rng: Random) -> bytes:
    """Bytes are flipped, cut off or overwritten, or it is another encoding."""
    content = bytearray(text.encode())
    match int(rng.integers(6)):
        case 0:
            return bytes(content[: int(rng.integers(len(content)))])
        case 1:
            for place in rng.integers(0, len(content), int(2 ** rng.integers(0, 6))):
                content[place] ^= 1 << int(rng.integers(8))
            return bytes(content)
        case 2:
            start = int(rng.integers(len(content)))
            content[start : start + 20] = rng.bytes(int(rng.integers(1, 60)))
            return bytes(content)
        case 3:
            return text.encode(_pick(rng, ["utf-16", "utf-32", "utf-16-be", "utf-8-sig", "cp037"]), "replace")
        case 4:
            return rng.bytes(int(rng.integers(0, 2000)))
    return bytes(content) * int(rng.integers(2, 400))


def shuffled(text: str, rng: Random) -> str:
    """Pieces of YAML between pieces of the recipe."""
    pieces = [
        "[", "]", "{", "}", ": ", "- ", "? ", "&a ", "*a", "|\n", ">-\n", "'", '"', "---\n", "...\n", "%YAML 1.1\n",
        "# ", "!!", ",", "\n\n", "\\U00110000", '"\\ud800"', "9" * 500, "1e999", ".inf",
    ]  # fmt: skip
    for _ in range(1 + int(rng.integers(4))):
        place = int(rng.integers(len(text)))
        text = text[:place] + _pick(rng, pieces) + text[place:]
    return text


TEXT_CHANGES: dict[str, Callable[[str, Random], str | bytes]] = {
    "tabs": tabs,
    "given twice": twice,
    "aliases": aliases,
    "tags": tags,
    "extends": extends,
    "noise": noise,
    "pieces of YAML": shuffled,
}


def spoiled_recipe(kind: str, rng: Random) -> bytes:
    """A recipe that went wrong in the way `kind` names."""
    if kind in TEXT_CHANGES:
        changed = TEXT_CHANGES[kind](_pick(rng, valid_texts()), rng)
        return changed if isinstance(changed, bytes) else changed.encode(errors="replace")
    return _changed(copy.deepcopy(_pick(rng, _trees())), kind, rng)


def change_tree(text: str, kind: str, rng: Random) -> bytes:
    """This recipe, gone wrong in the way `kind` of TREE_CHANGES names."""
    return _changed(yaml.safe_load(text), kind, rng)


def _changed(tree: Tree, kind: str, rng: Random) -> bytes:
    TREE_CHANGES[kind](tree, rng)
    for _ in range(int(rng.integers(3))):
        others = [change for change in TREE_CHANGES.values() if change is not deep]
        if _places(tree):
            _pick(rng, others)(tree, rng)
    return _text_of(tree).encode(errors="replace")


def surroundings(folder: Path) -> None:
    """What the recipes may name: a pipe in which nothing comes, a picture, a chain of recipes without end."""
    os.mkfifo(folder / "waiting")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    for index in range(400):
        (folder / f"chain-{index:03d}.yaml").write_text(f"extends: chain-{index + 1:03d}.yaml\n")
    (folder / "chain-400.yaml").write_text("seed: 1\n")
