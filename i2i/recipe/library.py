"""Where recipes lie: those inside the installed package, by name, and files.

Imports nothing heavy: `i2i recipes` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from i2i.errors import RecipeError
from i2i.recipe.suggestions import did_you_mean

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
        RecipeError: there is none; the message names the nearest built-in recipe.
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
    near = did_you_mean(path.stem if path.suffix in _SUFFIXES else path.name, names)
    what = "no built-in recipe has this name" if is_bare and path.suffix not in _SUFFIXES else "no such file"
    raise RecipeError(f"{name_or_path}: {what}{near or ''} - `i2i recipes` lists the built-in ones")


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
