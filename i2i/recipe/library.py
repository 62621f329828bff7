"""Where recipes lie: those inside the installed package, by name, and files.

Imports nothing heavy: `i2i recipes` answers at once.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from i2i.errors import RecipeError
from i2i.recipe.suggestions import near_names

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class BuiltInRecipe:
    """A recipe that comes with the package; `summary` is its first comment line."""

    name: str
    path: Path
    summary: str


def built_in_recipes() -> list[BuiltInRecipe]:
    """The recipes inside the installed package, by name."""
    paths = sorted(path for path in _built_in_folder().glob("*.yaml") if not path.name.startswith("_"))
    return [BuiltInRecipe(path.stem, path, _summary(path)) for path in paths]


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe: a built-in name first, where no folder is given, then a path.

    Raises:
        RecipeError: there is none; the message names a file beside it, or built-in recipes, with a name like it.
    """
    path = Path(name_or_path)
    names = {recipe.name: recipe.path for recipe in built_in_recipes()}
    is_bare = isinstance(name_or_path, str) and path.name == name_or_path
    try:
        if is_bare and path.suffix not in _SUFFIXES and path.name in names:
            return names[path.name]
        if path.is_dir():
            inside = path / "recipe.yaml"
            advice = f"did you mean {inside}, or --resume {path}?" if inside.is_file() else "give a .yaml file"
            raise RecipeError(f"{path}: is a folder; {advice}")
        if path.exists():
            return path
        if is_bare and path.stem in names and path.suffix in _SUFFIXES:
            return names[path.stem]
    except (OSError, ValueError) as error:
        raise RecipeError(f"{str(name_or_path)[:200]!r}: cannot be looked up: {reason(error)}") from error
    beside = _file_beside(path)
    near = f", did you mean {beside}?" if beside is not None else near_names(path.stem, names)
    what = "no such file" if path.suffix or not is_bare else "no built-in recipe has this name"
    raise RecipeError(f"{name_or_path}: {what}{near} - `i2i recipes` lists the built-in ones")


def _file_beside(path: Path) -> Path | None:
    """A recipe in the same folder whose name is nearly this one, with its ending or without."""
    try:
        there = sorted(other.name for other in path.parent.iterdir() if other.suffix in _SUFFIXES)
    except (OSError, ValueError):
        return None
    same = [name for name in there if Path(name).stem == path.stem]
    near = same or difflib.get_close_matches(path.name, there, n=1, cutoff=0.8)
    return path.with_name(near[0]) if near else None


def _built_in_folder() -> Path:
    package = Path(__file__).parents[1]
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def _summary(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = file.readline().strip()
    except OSError:
        return ""
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def reason(error: Exception) -> str:
    """What went wrong, without the path that the message names anyway."""
    return str(getattr(error, "strerror", None) or error)
