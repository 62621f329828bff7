"""Recipes found, joined with what they extend and with overrides, checked, and written back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from i2i.data.settings import DataSettings
from i2i.errors import RecipeError
from i2i.recipe.decode import decode
from i2i.recipe.library import find_recipe, reason
from i2i.recipe.nodes import MAX_BYTES, Node, Place, Problems, parse, resolve_scalar
from i2i.recipe.settings import Recipe

_FLOW_WIDTH = 90
_LONGEST_CHAIN = 20
"""Of recipes that each extend the next."""


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, or a built-in recipe by its name, with `--set`-like `overrides` ("a.b=value").

    Raises:
        RecipeError: it cannot be read or has mistakes; one line a mistake, each with file, line and key.
    """
    path = find_recipe(name_or_path)
    source = _display(path)
    problems = Problems()
    node = _read(path, source, (), problems)
    return _build(node, source, _default_name(path), overrides, problems)


def parse_recipe(text: str | bytes, source: str = "recipe", overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from YAML text; `source` is the name that messages give it. `extends` means built-in recipes only.

    Raises:
        RecipeError: as for `load_recipe`.
    """
    problems = Problems()
    node = _with_base(parse(text, source, problems), None, source, (), problems)
    return _build(node, source, "recipe", overrides, problems)


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe, defaults included, as YAML that loads back equal."""
    return yaml.dump(
        _plain(recipe), Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120
    )


def merge(base: Node, over: Node) -> Node:
    """`over` on top of `base`: mappings are joined key by key, unless their `kind` differs; all else is replaced.

    Where settings know two ways to say one thing (data by `root`, or by `a` and `b`), the way of `over` counts.
    """
    if not isinstance(base.value, dict) or not isinstance(over.value, dict) or _kind_differs(base.value, over.value):
        return over
    displaced = _displaced(base.value, over.value)
    joined = {key: child for key, child in base.value.items() if key not in displaced}
    for key, child in over.value.items():
        joined[key] = merge(joined[key], child) if key in joined else child
    # A mapping touched by --set still belongs to its file: that is where a missing key would have to be written.
    return Node(joined, base.place if over.place.line is None else over.place)


def _build(node: Node, source: str, default_name: str, overrides: Sequence[str], problems: Problems) -> Recipe:
    overridden = _named(_apply_overrides(node, overrides, problems), default_name)
    recipe = decode(Recipe, overridden, problems, also_known=("extends",))
    # Parts that are not what was meant would give contradictions that are not there.
    if recipe is not None and {"pipeline", "data"}.isdisjoint(key.split(".")[0] for key in problems.keys):
        for key, message in recipe.contradictions():
            if any(f"{key}.".startswith(f"{mistaken}.") for mistaken in problems.keys):
                continue
            *_, nearest = overridden.walk(tuple(key.split(".")))
            place = nearest.place
            if place.line is not None:
                place = _override_at_fault(_named(node, default_name), overrides, key) or place
            problems.add(place, "", message)
    problems.raise_if_any(source)
    assert isinstance(recipe, Recipe), "neither a recipe nor a problem"
    return recipe


def _named(node: Node, default_name: str) -> Node:
    if isinstance(node.value, dict):
        node.value.setdefault("name", Node(default_name, node.place))
    return node


def _override_at_fault(node: Node, overrides: Sequence[str], key: str) -> Place | None:
    """The override without which the parts would not contradict each other at `key`; None where no single one is."""
    for index, override in enumerate(overrides):
        unsaid = Problems()
        others = [*overrides[:index], *overrides[index + 1 :]]
        recipe = decode(Recipe, _apply_overrides(node, others, unsaid), unsaid)
        if recipe is not None and not unsaid.found and key not in dict(recipe.contradictions()):
            return _place_of_override(override)
    return None


def _place_of_override(override: str) -> Place:
    return Place(f"--set {'.'.join(part.strip() for part in override.partition('=')[0].split('.'))}")


def _read(path: Path, source: str, chain: tuple[Path, ...], problems: Problems, asked_by: str = "") -> Node:
    """The recipe in a file; what is wrong with the file itself is said with who `asked_by` name for it."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{source}: cannot be read: {reason(error)}{asked_by}") from error
    try:
        node = parse(content, source, problems)
    except RecipeError as error:
        raise RecipeError(f"{error}{asked_by}") from error
    return _with_base(node, path, source, (*chain, path.resolve()), problems)


def _with_base(node: Node, path: Path | None, source: str, chain: tuple[Path, ...], problems: Problems) -> Node:
    """`node` merged over what its `extends` names."""
    if node.value is None:
        raise RecipeError(f"{source}: is empty - `i2i recipes` shows recipes to start from")
    if not isinstance(node.value, dict):
        raise RecipeError(f"{node.place}: a recipe is a mapping of keys to values, such as `pipeline:` and `data:`")
    extends = node.value.pop("extends", None)
    if extends is None or extends.value is None:
        return node
    base_path = _find_base(extends, path)
    if not base_path.is_file():
        # Reading a pipe would wait for whoever writes into it, for ever.
        raise RecipeError(f"{extends.place}: extends: {_display(base_path)} is no file - name a .yaml file")
    if len(chain) >= _LONGEST_CHAIN:
        raise RecipeError(f"{extends.place}: extends: is more than {_LONGEST_CHAIN} recipes deep - join some of them")
    if base_path.resolve() in chain:
        circle = " -> ".join(_display(step) for step in (*chain, base_path))
        raise RecipeError(f"{extends.place}: extends: goes in a circle: {circle}")
    base = _read(base_path, _display(base_path), chain, problems, f"; {extends.place} extends it")
    assert isinstance(base.value, dict)
    base.value.pop("name", None)  # a recipe that does not name itself is called after its own file
    return merge(base, node)


def _find_base(extends: Node, path: Path | None) -> Path:
    name = extends.value
    if not isinstance(name, str) or not name:
        raise RecipeError(f"{extends.place}: extends: needs the name of one recipe or file")
    try:
        beside = None if path is None else path.parent / name
        if beside is not None and beside.is_file():
            return beside
        return find_recipe(name) if path is None or Path(name).name == name else find_recipe(path.parent / name)
    except (OSError, ValueError) as error:
        raise RecipeError(f"{extends.place}: extends: {reason(error)}") from error
    except RecipeError as error:
        raise RecipeError(f"{extends.place}: extends: {error}") from error


def _apply_overrides(node: Node, overrides: Sequence[str], problems: Problems) -> Node:
    """All overrides joined first, then merged: a changed `kind` must not drop its sister overrides."""
    root: dict[str, Node] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        path = [part.strip() for part in key.split(".")]
        place = _place_of_override(override)
        if not equals or not all(path):
            problems.add(Place(f"--set {override}"), "", "needs the form KEY=VALUE, such as training.batch_size=4")
            continue
        if path[0] == "extends":
            problems.add(place, "extends", "cannot be set from outside - write a recipe that extends the other")
            continue
        try:
            value = parse(text, place.source, problems, line_numbers=False)
        except RecipeError as error:
            problems.found.append((place, str(error)))
            continue
        inner = root
        for part in path[:-1]:
            child = inner.get(part)
            if child is None or not isinstance(child.value, dict):
                child = inner[part] = Node({}, place)
            assert isinstance(child.value, dict)
            inner = child.value
        inner[path[-1]] = value
    return merge(node, Node(root, Place("--set"))) if root else node


def _kind_differs(base: dict[str, Node], over: dict[str, Node]) -> bool:
    return "kind" in base and "kind" in over and base["kind"].plain() != over["kind"].plain()


def _displaced(base: dict[str, Node], over: dict[str, Node]) -> set[str]:
    """The keys of `base` that the keys of `over` make pointless."""
    kind = next((layer["kind"].plain() for layer in (over, base) if "kind" in layer), None)
    rules = _DISPLACES.get(kind, {}) if isinstance(kind, str) else {}
    return {lost for key, child in over.items() if child.value is not None for lost in rules.get(key, ())}


_DISPLACES: Mapping[str, Mapping[str, Sequence[str]]] = {
    settings.kind: settings.displaces for settings in get_args(DataSettings) if hasattr(settings, "displaces")
}
"""By kind of data: which keys a key takes the place of."""


def _default_name(path: Path) -> str:
    return re.sub(r"[^\w.-]", "_", path.stem, flags=re.ASCII) or "recipe"


def _display(path: Path) -> str:
    """Short where the file lies below the working directory."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as what YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(child) for child in value]
    return str(value) if isinstance(value, Path) else value


class _Dumper(yaml.SafeDumper):
    """Short mappings on one line, equal settings written out rather than as anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        flat = not any(isinstance(value, yaml.MappingNode) for _, value in node.value)
        # Only leaves short enough for one line: a wrapped flow mapping is hard to read.
        node.flow_style = flat and sum(_width(key) + _width(value) for key, value in node.value) <= _FLOW_WIDTH
        return node


def _width(node: yaml.Node) -> int:
    inner = sum(map(_width, node.value)) if isinstance(node, yaml.SequenceNode) else len(node.value)
    return inner + 2


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Quotes what our reader would not take for text; PyYAML itself quotes what YAML 1.1 would not (`no`)."""
    if not text.isprintable():
        # Single quotes would let YAML fold line breaks, of which Unicode has several.
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    try:
        looks_like_text = isinstance(resolve_scalar(text), str)
    except ValueError:
        looks_like_text = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if looks_like_text else "'")


_Dumper.add_representer(str, _represent_text)
