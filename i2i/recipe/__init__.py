"""Recipes: YAML to a typed `Recipe` and back, every mistake at once, with file and line."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from i2i.recipe.library import BuiltInRecipe, built_in_recipes, find_recipe
    from i2i.recipe.loading import dump_recipe, load_recipe, parse_recipe
    from i2i.recipe.resume import changes_on_resume, check_seal, seal
    from i2i.recipe.settings import Recipe

__all__ = [
    "BuiltInRecipe",
    "Recipe",
    "built_in_recipes",
    "changes_on_resume",
    "check_seal",
    "dump_recipe",
    "find_recipe",
    "load_recipe",
    "parse_recipe",
    "seal",
]

# Lazy, because the settings of the networks bring torch, which merely listing recipes does not need.
_MODULES = {
    "BuiltInRecipe": "library",
    "built_in_recipes": "library",
    "find_recipe": "library",
    "dump_recipe": "loading",
    "load_recipe": "loading",
    "parse_recipe": "loading",
    "changes_on_resume": "resume",
    "check_seal": "resume",
    "seal": "resume",
    "Recipe": "settings",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
