"""`i2i recipes`: what comes with the package."""

from __future__ import annotations

import json as json_module

import typer

from i2i.errors import RecipeError
from i2i.recipe.library import built_in_recipes, find_recipe


def run(name: str | None, json: bool) -> None:
    """List the built-in recipes, or print the text of the recipe `name`.

    Raises:
        RecipeError: there is no recipe `name`.
    """
    if name is not None:
        path = find_recipe(name)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: cannot be read: {error}") from error
        typer.echo(json_module.dumps({"name": path.stem, "path": str(path), "text": text}) if json else text.rstrip())
        return
    recipes = built_in_recipes()
    if json:
        rows = [{"name": recipe.name, "path": str(recipe.path), "summary": recipe.summary} for recipe in recipes]
        typer.echo(json_module.dumps(rows, indent=2))
        return
    width = max((len(recipe.name) for recipe in recipes), default=0)
    for recipe in recipes:
        typer.echo(f"{recipe.name:<{width}}  {recipe.summary}")
    typer.echo("\nShow one:  i2i recipes NAME        Train it:  i2i train NAME")
    typer.echo("Your own:  i2i recipes NAME > my.yaml, change it, and i2i train my.yaml")
