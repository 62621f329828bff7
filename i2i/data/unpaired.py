"""Two sets of pictures without counterparts: their order, their streams, and how they are opened from folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image
from PIL import __version__ as pillow_version

from i2i.data.cache import PictureStore, content_digests, default_cache_folder, open_pictures
from i2i.data.dataset import DataSet
from i2i.data.decoding import decode_rgb8
from i2i.data.folders import check_folder_exists, find_pictures
from i2i.data.keyed import below, keyed_permutation, keyed_words
from i2i.data.settings import DrawnAnimalsSettings, UnpairedFoldersSettings
from i2i.data.transforms import CropAndFlip
from i2i.errors import DataError

_PIXELS_VERSION = 1
"""To be raised with any change of the way from a file to its resized pixels, so that no old cache is taken."""


@dataclass(frozen=True, kw_only=True)
class UnpairedStream:
    """The training pictures of one domain, one at a time.

    Order "permuted" goes through the set in a new order every epoch, from the start again where the other domain is
    larger; "uniform" draws every picture independently, with replacement.

    Source: the reference code of Zhu et al. 2017 does the first for A and the second for B.
    """

    name: str
    pictures: PictureStore
    images_per_epoch: int
    order: Literal["permuted", "uniform"]
    transform: CropAndFlip
    seed: int

    def picture_index(self, counter: int) -> int:
        """Which picture the sample `counter` shows."""
        epoch, position = divmod(int(counter), self.images_per_epoch)
        if self.order == "uniform":
            word, _, _, _ = keyed_words("order", self.seed, self.name, epoch, position)
            return below(word, len(self.pictures))
        permutation = keyed_permutation(self.images_per_epoch, "order", self.seed, self.name, epoch)
        return int(permutation[position]) % len(self.pictures)

    def __getitem__(self, counter: int) -> np.ndarray:
        """The picture of sample `counter`: uint8 (crop, crop, 3); see :class:`i2i.data.dataset.Stream`."""
        if counter < 0:
            raise IndexError("sample counters begin at 0")
        return self.transform(self.pictures[self.picture_index(counter)], self.seed, self.name, int(counter))


def open_unpaired_folders(settings: UnpairedFoldersSettings, seed: int) -> DataSet:
    """Open two folders of pictures, by way of the cache if `settings` say so.

    Raises:
        DataError: a folder is missing or empty, or none of its pictures can be used.
    """
    folders = _folders(settings)
    cache_folder = default_cache_folder() if settings.cache else None
    # Within a root that exists, fetching is no remedy: it leaves a folder that is there alone.
    fetch = settings.fetch if settings.root is None else None
    names = _find_all(folders, fetch)
    digests = {role: content_digests(folder, names[role], cache_folder) for role, folder in folders.items()}
    stores: dict[str, PictureStore] = {}
    report: list[str] = []
    for role, folder in folders.items():
        side = settings.crop_pixels if role.startswith("test") else settings.resize_pixels
        stores[role] = _open_folder(folder, names[role], digests[role], side, settings, cache_folder)
        report += [f"{folder}/{line}" for line in stores[role].skipped]
    train = _streams(stores["a"], stores["b"], CropAndFlip(crop_pixels=settings.crop_pixels, flip=settings.flip), seed)
    test, aligned = _test_pictures(names, stores)
    content = [[role, sorted(digests[role].items())] for role in sorted(digests)]
    content_hash = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return DataSet(train=train, test=test, aligned=aligned, content_hash=content_hash, report=report)


def open_drawn_animals(settings: DrawnAnimalsSettings, seed: int) -> DataSet:
    """Draw two sets of animals; `seed` is that of the training and orders the pictures, it does not draw them."""
    from i2i.data.drawn import draw_unpaired

    stores: dict[str, PictureStore] = {}
    splits: list[tuple[Literal["train", "test"], int]] = [
        ("train", settings.pictures),
        ("test", settings.test_pictures),
    ]
    for split, count in splits:
        if count:
            drawn = draw_unpaired(settings.size_pixels, count, settings.seed, split)
            for domain, pictures in zip("ab", drawn, strict=True):
                stores[f"{split}_{domain}"] = PictureStore(np.stack(pictures), [f"{i:05d}" for i in range(count)])
    checksum = hashlib.sha256()
    for role, store in sorted(stores.items()):
        checksum.update(f"{role} {len(store)};".encode())
        for picture in store:
            checksum.update(np.ascontiguousarray(picture).data)
    transform = CropAndFlip(crop_pixels=settings.size_pixels, flip=settings.flip)
    return DataSet(
        train=_streams(stores["train_a"], stores["train_b"], transform, seed),
        test={domain: stores[f"test_{domain}"] for domain in "ab" if f"test_{domain}" in stores},
        aligned="test_a" in stores,
        content_hash=checksum.hexdigest(),
    )


def _folders(settings: UnpairedFoldersSettings) -> dict[str, Path]:
    """The folder of each role: a and b always, test_a and test_b where there are any."""
    if settings.root is None:
        assert settings.a is not None and settings.b is not None, "settings refuse this"
        folders = {"a": Path(settings.a), "b": Path(settings.b)}
    else:
        root = Path(settings.root).expanduser()
        check_folder_exists(root, fetch=settings.fetch, holds="trainA and trainB (testA and testB, if there are any)")
        folders = {"a": root / "trainA", "b": root / "trainB"}
        folders |= {
            role: root / name for role, name in (("test_a", "testA"), ("test_b", "testB")) if (root / name).is_dir()
        }
    if settings.test_a is not None:
        folders["test_a"] = Path(settings.test_a)
    if settings.test_b is not None:
        folders["test_b"] = Path(settings.test_b)
    return {role: folder.expanduser() for role, folder in folders.items()}


def _find_all(folders: Mapping[str, Path], fetch: str | None) -> dict[str, list[str]]:
    """The pictures of each folder; of folders that are missing or empty, all are reported at once."""
    names: dict[str, list[str]] = {}
    mistakes: list[str] = []
    for role, folder in folders.items():
        try:
            names[role] = find_pictures(folder, fetch=fetch)
        except DataError as error:
            mistakes.append(str(error))
    if mistakes:
        raise DataError("\n".join(dict.fromkeys(mistakes)))
    return names


def _open_folder(
    folder: Path,
    names: Sequence[str],
    digests: Mapping[str, str],
    side: int,
    settings: UnpairedFoldersSettings,
    cache_folder: Path | None,
) -> PictureStore:
    import cv2

    def produce(name: str) -> np.ndarray:
        try:
            return _load_square(folder / name, side, settings.min_side_pixels, settings.max_pixels)
        except DataError as error:
            # Relative, for the cache outlives a move of the folder.
            raise DataError(str(error).removeprefix(f"{folder}/").removeprefix(f"{folder}\\")) from error

    key = [
        _PIXELS_VERSION,
        [cv2.__version__, pillow_version],
        [settings.min_side_pixels, settings.max_pixels],
        [digests[name] for name in names],
    ]
    try:
        return open_pictures(names, side, produce, key=key, cache_folder=cache_folder)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error


def _load_square(path: Path, side: int, min_side: int, max_pixels: int) -> np.ndarray:
    """Decode a picture and resize it to a square: uint8 (side, side, 3)."""
    picture = decode_rgb8(path, max_pixels)
    height, width = picture.shape[:2]
    if min(height, width) < min_side:
        raise DataError(
            f"{path}: {width} x {height} is smaller than min_side_pixels {min_side} - remove it or lower the limit"
        )
    if (height, width) == (side, side):
        return picture
    # Pillow's bicubic and no other: OpenCV's differs by up to 26 levels from what the reference trains on.
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def _streams(a: PictureStore, b: PictureStore, transform: CropAndFlip, seed: int) -> dict[str, UnpairedStream]:
    length = max(len(a), len(b))
    return {
        "a": UnpairedStream(
            name="a", pictures=a, images_per_epoch=length, order="permuted", transform=transform, seed=seed
        ),
        "b": UnpairedStream(
            name="b", pictures=b, images_per_epoch=length, order="uniform", transform=transform, seed=seed
        ),
    }


def _test_pictures(
    names: Mapping[str, Sequence[str]], stores: Mapping[str, PictureStore]
) -> tuple[dict[str, Sequence[np.ndarray]], bool]:
    """The test pictures of each domain, and whether they are counterparts: both folders hold the same names."""
    test: dict[str, Sequence[np.ndarray]] = {
        domain: stores[f"test_{domain}"] for domain in "ab" if f"test_{domain}" in stores
    }
    if len(test) < 2 or sorted(_stems(names["test_a"])) != sorted(_stems(names["test_b"])):
        return test, False
    # A picture that was skipped takes its counterpart along, or all after it would be paired wrongly.
    a, b = _stems(stores["test_a"].names), _stems(stores["test_b"].names)
    common = sorted(set(a) & set(b))
    if not common or len(set(a)) < len(a) or len(set(b)) < len(b):
        return test, False
    return {
        "a": stores["test_a"].select([a.index(stem) for stem in common]),
        "b": stores["test_b"].select([b.index(stem) for stem in common]),
    }, True


def _stems(names: Sequence[str]) -> list[str]:
    return [str(PurePosixPath(name).with_suffix("")) for name in names]
