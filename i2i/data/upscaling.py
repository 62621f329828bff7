"""Pictures in high and low resolution as data sets: opened from files or drawn, with some held out for testing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2i.data.cache import default_cache_folder
from i2i.data.crops import Crops, CropStream
from i2i.data.dataset import DataSet
from i2i.data.degradation_settings import BicubicSettings, SecondOrderSettings
from i2i.data.degradations import PIXELS_VERSION, bicubic, second_order
from i2i.data.picture_groups import Group, PictureGroups, open_groups
from i2i.data.settings import DrawnScenesSettings, UpscalingFolderSettings
from i2i.data.upscaling_files import UpscalingFiles, cut_to_multiple, find_upscaling_files
from i2i.errors import DataError

_LARGEST_SHOWN_PIXELS = 256
_SMALLEST_TEST_PIXELS = 16
"""Beside two borders of `scale` pixels, which scores leave out: their windows need as much."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Some of the pictures of a set; `place` is where they are from, if they are from files."""

    pictures: PictureGroups
    used: Sequence[int]
    place: Path | None = None

    def named(self, line: str) -> str:
        return line if self.place is None else f"{self.place}/{line}"

    def of_size(self, least: int, scale: int, hint: str) -> tuple[_Part, list[str]]:
        """Those with sides of at least `least` pixels, and a line for each of the others."""
        kept: list[int] = []
        lines: list[str] = []
        for number in self.used:
            height, width = self.pictures[number][0].shape[:2]
            if min(height, width) >= least:
                kept.append(number)
            else:
                cut = f", cut to multiples of {scale}," if scale > 1 else ""
                name = self.pictures.names[number]
                lines.append(self.named(f"{name}: {width} x {height}{cut} is smaller than {hint}"))
        return dataclasses.replace(self, used=kept), lines


def open_upscaling_folder(settings: UpscalingFolderSettings, seed: int) -> DataSet:
    """Open high-resolution pictures and, given or made, their counterparts, by way of the cache if `settings` say so.

    Raises:
        DataError: pictures or counterparts are missing or do not match, or none of the pictures can be used.
    """
    cache_folder = default_cache_folder() if settings.cache else None
    files = {"train": _find(settings, settings.root, settings.low, "data.low")}
    if settings.test is not None:
        files["test"] = _find(settings, settings.test, settings.test_low, "data.test_low")
    digests = {role: found.digests(cache_folder) for role, found in files.items()}
    opened = {role: found.open(digests[role], cache_folder) for role, found in files.items()}
    parts = {
        role: _Part(pictures=pictures, used=range(len(pictures)), place=files[role].high.place)
        for role, pictures in opened.items()
    }
    report = [parts[role].named(line) for role, pictures in opened.items() for line in pictures.skipped]
    if settings.held_out:
        parts["train"], parts["test"] = _hold_out(parts["train"], settings.held_out)
    held_out = [parts["test"].pictures.names[number] for number in parts["test"].used] if settings.held_out else []
    content_hash = hashlib.sha256(json.dumps([digests, held_out]).encode()).hexdigest()
    return _data_set(settings, parts["train"], parts.get("test"), seed, content_hash, report, cache_folder)


def open_drawn_scenes(settings: DrawnScenesSettings, seed: int) -> DataSet:
    """Draw scenes; `seed` is that of the training and decides order and crops, it does not draw them."""
    from i2i.data.drawn_scenes import Split, draw_scenes

    checksum = hashlib.sha256()
    parts: dict[Split, _Part] = {}
    splits: list[tuple[Split, int]] = [("train", settings.pictures), ("test", settings.test_pictures)]
    for split, count in splits:
        if not count:
            continue
        groups: list[Group] = []
        for scene in draw_scenes(settings.size_pixels, count, settings.seed, split):
            checksum.update(f"{split} {scene.shape};".encode())
            checksum.update(scene.data)
            high = cut_to_multiple(scene, settings.scale)
            made = isinstance(settings.degradation, BicubicSettings)
            groups.append((high, bicubic(high, settings.scale)) if made else (high,))
        pictures = PictureGroups(groups, [f"{split} {index:05d}" for index in range(count)])
        parts[split] = _Part(pictures=pictures, used=range(count))
    return _data_set(settings, parts["train"], parts.get("test"), seed, checksum.hexdigest(), [], None)


def _find(settings: UpscalingFolderSettings, root: str, low: str | None, low_key: str) -> UpscalingFiles:
    return find_upscaling_files(
        root,
        low,
        low_key=low_key,
        scale=settings.scale,
        shrink=isinstance(settings.degradation, BicubicSettings),
        max_pixels=settings.max_pixels,
    )


def _hold_out(part: _Part, wanted: int) -> tuple[_Part, _Part]:
    """Split off `wanted` pictures for testing, evenly spread."""
    total = len(part.used)
    if wanted >= total:
        raise DataError(
            f"{part.place}: held_out is {wanted}, but {total} pictures can be used - lower data.held_out, some are"
            " needed to train on"
        )
    held_out = [(2 * index + 1) * total // (2 * wanted) for index in range(wanted)]
    rest = sorted(set(range(total)) - set(held_out))
    return dataclasses.replace(part, used=rest), dataclasses.replace(part, used=held_out)


def _data_set(
    settings: UpscalingFolderSettings | DrawnScenesSettings,
    train: _Part,
    test: _Part | None,
    seed: int,
    content_hash: str,
    report: list[str],
    cache_folder: Path | None,
) -> DataSet:
    crop, scale = settings.crop_pixels, settings.scale
    train, small = train.of_size(crop, scale, f"crop_pixels {crop} - lower data.crop_pixels")
    if not train.used:
        raise DataError(f"{small[0]}" + (f"; so are all {len(small)} pictures" if len(small) > 1 else ""))
    report = report + small
    high: list[np.ndarray] = []
    low: list[np.ndarray] = []
    if test is not None:
        least = _SMALLEST_TEST_PIXELS + 2 * scale
        test, small = test.of_size(least, scale, f"{least} x {least}, the least to test on")
        report += small
        high = [test.pictures[number][0] for number in test.used]
        low = _test_lows(test, settings, cache_folder)
    crops = Crops(
        pictures=train.pictures,
        used=train.used,
        crop_pixels=crop,
        scale=scale,
        flip=settings.flip,
        quarter_turns=settings.quarter_turns,
        seed=seed,
    )
    return DataSet(
        train={
            "low": CropStream(side="low", crops=crops, degradation=settings.degradation),
            "high": CropStream(side="high", crops=crops, degradation=settings.degradation),
        },
        test={"low": low, "high": high} if high else {},
        shown=_shown(low, high, scale) if high else {},
        aligned=bool(high),
        content_hash=content_hash,
        report=report,
    )


def _test_lows(
    test: _Part, settings: UpscalingFolderSettings | DrawnScenesSettings, cache_folder: Path | None
) -> list[np.ndarray]:
    """The low-resolution counterparts of test pictures; those of a blind degradation are always the same."""
    degradation = settings.degradation
    if not isinstance(degradation, SecondOrderSettings) or (test.used and len(test.pictures[test.used[0]]) > 1):
        return [test.pictures[number][1] for number in test.used]
    if not test.used:
        return []
    high = {str(number): test.pictures[number][0] for number in test.used}
    # By what a picture shows and not by its place: the same, whatever lies beside it, and for every training seed.
    keys = {name: hashlib.sha256(picture.tobytes()).hexdigest() for name, picture in high.items()}

    def produce(name: str) -> Group:
        return (second_order(high[name], settings.scale, degradation, "test", keys[name]),)

    made = ["second order", PIXELS_VERSION, dataclasses.asdict(degradation), settings.scale, list(keys.values())]
    return open_groups(list(high), produce, key=made, cache_folder=cache_folder).pictures(0)


def _shown(low: Sequence[np.ndarray], high: Sequence[np.ndarray], scale: int) -> dict[str, Sequence[np.ndarray]]:
    """The middle of each test picture, all of one size."""
    side = min(_LARGEST_SHOWN_PIXELS // scale, *(min(picture.shape[:2]) for picture in low))
    middles_low: list[np.ndarray] = []
    middles_high: list[np.ndarray] = []
    for small, large in zip(low, high, strict=True):
        top, left = ((length - side) // 2 for length in small.shape[:2])
        middles_low.append(small[top : top + side, left : left + side])
        middles_high.append(large[scale * top : scale * (top + side), scale * left : scale * (left + side)])
    return {"low": middles_low, "high": middles_high}
