"""What is worth knowing about a recipe and its data before training begins, though none of it is a mistake."""

from __future__ import annotations

import io
from pathlib import Path

from i2i.data.dataset import DataSet
from i2i.data.headers import parse_header, read_header
from i2i.data.picture_files import FolderFiles, PictureFiles, open_picture_files
from i2i.data.settings import ImageFolderSettings
from i2i.errors import DataError
from i2i.recipe import Recipe
from i2i.training.evaluation import Evaluation

_LOOKED_AT = 100


def notes_at_start(recipe: Recipe, data: DataSet, evaluation: Evaluation | None = None) -> list[str]:
    """One line for each thing; see `_batch_note`, `_enlarged_note` and `i2i.evaluation.assessment.cautions`."""
    enlarged = _enlarged_note(recipe.data) if isinstance(recipe.data, ImageFolderSettings) else None
    notes = [note for note in (_batch_note(recipe, data), enlarged) if note is not None]
    return notes + ([] if evaluation is None else evaluation.cautions())


def _batch_note(recipe: Recipe, data: DataSet) -> str | None:
    """A batch that holds more pictures than there are."""
    batch = recipe.training.batch_size
    pictures = min(data.train[stream].images_per_epoch for stream in recipe.pipeline.streams)
    if batch <= pictures:
        return None
    return (
        f"training.batch_size {batch} is more than the {pictures} training pictures: every batch shows some of them"
        f" more than once - use more pictures, or --set training.batch_size={pictures} or less"
    )


def _enlarged_note(settings: ImageFolderSettings) -> str | None:
    """Pictures that are smaller than what is trained on, by a look at the headers of some, evenly spread."""
    files = open_picture_files(Path(settings.root))
    stride = -(-len(files.names) // _LOOKED_AT)
    sides = [side for name in files.names[::stride] if (side := _smaller_side(files, name)) is not None]
    used = [side for side in sides if side >= settings.min_side_pixels]
    small = sum(side < settings.size_pixels for side in used)
    if not small:
        return None
    looked_at = "pictures" if stride == 1 else "pictures looked at"
    return (
        f"{small} of {len(used)} {looked_at} have a side under {settings.size_pixels} pixels and are enlarged, so that"
        " soft pictures are learnt too - `i2i data prepare --no-enlarge` makes a set without them"
    )


def _smaller_side(files: PictureFiles, name: str) -> int | None:
    try:
        if isinstance(files, FolderFiles):
            header = read_header(files.place / name)
        else:
            header = parse_header(io.BytesIO(files.read(name)), Path(name))
    except DataError:
        return None  # It is reported where the pictures are opened.
    return min(header.width, header.height)
