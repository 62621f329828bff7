"""From data settings to opened streams."""

from __future__ import annotations

from i2i.data.dataset import DataSet, Stream
from i2i.data.settings import DataSettings, DrawnAnimalsSettings, UnpairedFoldersSettings
from i2i.data.unpaired import open_drawn_animals, open_unpaired_folders

__all__ = ["DataSet", "Stream", "open_streams"]


def open_streams(settings: DataSettings, seed: int) -> DataSet:
    """Open the data that `settings` name; `seed` decides order, crops and mirrors.

    Raises:
        DataError: pictures are missing, or none can be used.
    """
    match settings:
        case UnpairedFoldersSettings():
            return open_unpaired_folders(settings, seed)
        case DrawnAnimalsSettings():
            return open_drawn_animals(settings, seed)
