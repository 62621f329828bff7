"""From data settings to opened streams."""

from __future__ import annotations

from i2i.data.cifar10 import open_cifar10
from i2i.data.dataset import DataSet, Stream
from i2i.data.drawn_digits import open_drawn_digits
from i2i.data.idx import open_idx
from i2i.data.labelled import open_image_folder
from i2i.data.settings import (
    Cifar10Settings,
    DataSettings,
    DrawnAnimalsSettings,
    DrawnDigitsSettings,
    DrawnScenesSettings,
    IdxSettings,
    ImageFolderSettings,
    UnpairedFoldersSettings,
    UpscalingFolderSettings,
)
from i2i.data.unpaired import open_drawn_animals, open_unpaired_folders
from i2i.data.upscaling import open_drawn_scenes, open_upscaling_folder

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
        case ImageFolderSettings():
            return open_image_folder(settings, seed)
        case IdxSettings():
            return open_idx(settings, seed)
        case Cifar10Settings():
            return open_cifar10(settings, seed)
        case DrawnDigitsSettings():
            return open_drawn_digits(settings, seed)
        case UpscalingFolderSettings():
            return open_upscaling_folder(settings, seed)
        case DrawnScenesSettings():
            return open_drawn_scenes(settings, seed)
