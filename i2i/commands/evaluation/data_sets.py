"""What `--data SET` means: a recipe's data, a run's own, or files in a format that is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from i2i.errors import DataError, UsageError

if TYPE_CHECKING:
    from i2i.core.image_shape import ImageShape
    from i2i.data.dataset import DataSet
    from i2i.data.settings import DataSettings

_RECIPE_FILE = "recipe.yaml"
_RECIPE_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class OpenedSet:
    """A data set and what to call it."""

    data: DataSet
    description: str


def has_test_folders(place: str) -> bool:
    """Whether `place` holds ``testA`` and ``testB``, whose pictures are taken at their own size."""
    return all((Path(place).expanduser() / name).is_dir() for name in ("testA", "testB"))


def open_set(place: str, shape: ImageShape | None, *, advice: str = "") -> OpenedSet:
    """Open the data set at `place`.

    Args:
        place: a recipe (a file, a run folder, or the name of a built-in one), a folder of idx files, CIFAR-10, or a
            folder or .zip file of pictures.
        shape: of the pictures that the model makes, to which files are brought; None for models of any size, which
            need a recipe.
        advice: what else a model of any size can be scored on, for the error where `place` is no recipe.

    Raises:
        DataError: there is nothing, or nothing that can be used.
        RecipeError: a recipe has mistakes.
        UsageError: the model needs to know more than such files say.
    """
    from i2i.data.streams import open_streams
    from i2i.evaluation.pictures.sources import undisturbed

    recipe_file = _recipe_at(place)
    if recipe_file is not None:
        from i2i.recipe import load_recipe

        recipe = load_recipe(recipe_file)
        return OpenedSet(data=open_streams(undisturbed(recipe.data), recipe.seed), description=f"data of {place}")
    path = Path(place).expanduser()
    if not path.exists():
        raise DataError(f"{place}: no such folder, file or built-in recipe - check the spelling (`i2i recipes`)")
    if shape is None:
        raise UsageError(
            f"{place}: does not say which of its pictures this model needs - {advice}, or name a recipe or a run, which"
            " does"
        )
    return OpenedSet(data=open_streams(_settings_of(path, shape), 0), description=str(place))


def _recipe_at(place: str) -> str | Path | None:
    """The recipe that `place` names; None for plain files."""
    path = Path(place).expanduser()
    if path.suffix.lower() in _RECIPE_SUFFIXES:
        return place
    if (path / _RECIPE_FILE).is_file():
        return path / _RECIPE_FILE
    if path.exists():
        return None
    from i2i.recipe import built_in_recipes

    return place if place in {recipe.name for recipe in built_in_recipes()} else None


def _settings_of(path: Path, shape: ImageShape) -> DataSettings:
    """What a recipe would say of these files."""
    from i2i.data.cifar10 import ARCHIVE_NAME
    from i2i.data.idx import find_idx_images
    from i2i.data.settings import Cifar10Settings, IdxSettings, ImageFolderSettings

    is_cifar = path.name == ARCHIVE_NAME or any(
        (path / name).exists() for name in (ARCHIVE_NAME, "cifar-10-batches-py", "data_batch_1")
    )
    if is_cifar:
        return Cifar10Settings(root=str(path), size_pixels=shape.pixels)
    if path.is_dir() and find_idx_images(path, "train") is not None:
        return IdxSettings(root=str(path), size_pixels=shape.pixels)
    halves = [path / name for name in ("train", "test")]
    train, test = (str(half) for half in halves) if all(half.is_dir() for half in halves) else (str(path), None)
    # The smallest pictures are training's business.
    return ImageFolderSettings(
        root=train, test=test, size_pixels=shape.pixels, channels=3 if shape.channels == 3 else 1, min_side_pixels=1
    )
