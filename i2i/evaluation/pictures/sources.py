"""Where the pictures come from that an evaluation looks at: files, the halves of a data set, or a model.

All of them answer to one small protocol, so that a metric never asks which it is. Pictures are 8-bit: what a model
makes is rounded to whole levels first, as if it had been written to a file and read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from i2i.data.crops import CropStream
from i2i.data.dataset import DataSet, Stream
from i2i.data.indexed import RowStream
from i2i.data.settings import DataSettings, UnpairedFoldersSettings
from i2i.data.unpaired import UnpairedStream
from i2i.errors import DataError

Split = Literal["train", "test"]


class PictureSource(Protocol):
    """A known number of 8-bit pictures that can be had again, a stretch at a time."""

    @property
    def count(self) -> int:
        """How many pictures there are."""
        ...

    @property
    def description(self) -> str:
        """For a person: "pictures in photos/test", "pictures of MODEL, seed 0"."""
        ...

    @property
    def sha256(self) -> str | None:
        """Of what the pictures show, wherever and in whatever files they lie; None where a model makes them anew."""
        ...

    def pictures(self, first: int, last: int) -> Sequence[np.ndarray]:
        """Pictures `first` to `last` - 1, each (H, W, C) uint8 with C 1 or 3, of any sizes; the same at every call."""
        ...


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a model got, to make the pictures of a source of it one by one."""

    source: PictureSource
    scale: int = 1
    """By which it enlarges them."""


@runtime_checkable
class MadeOfOthers(Protocol):
    """A source whose pictures a model makes of other ones."""

    @property
    def given(self) -> Given | None:
        """What it makes them of; None where it makes them of nothing, or they are not made."""
        ...


def given_to(source: PictureSource) -> Given | None:
    """What the pictures of `source` are made of; None where they are made of nothing, or not made."""
    return source.given if isinstance(source, MadeOfOthers) else None


@dataclass(frozen=True, kw_only=True)
class ArraySource:
    """Pictures that can be had by number: a list, one array (N, H, W, C), or the store of a data set."""

    images: Sequence[np.ndarray] | np.ndarray = field(repr=False)
    """(H, W, C) uint8 each."""
    description: str = "pictures in memory"

    @property
    def count(self) -> int:
        """See :class:`PictureSource`."""
        return len(self.images)

    @property
    def sha256(self) -> str | None:
        """See :class:`PictureSource`; all pictures are read for it, once."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return sha256_of_pictures(self.images[number] for number in range(self.count))

    def pictures(self, first: int, last: int) -> Sequence[np.ndarray]:
        """See :class:`PictureSource`."""
        return [np.asarray(self.images[number]) for number in range(first, min(last, self.count))]


@dataclass(frozen=True, kw_only=True)
class CallableSource:
    """Pictures that a function makes by number, such as a model's."""

    count: int
    description: str
    picture: Callable[[int], np.ndarray] = field(repr=False)
    """Number of a picture to the picture, (H, W, C) uint8; the same at every call."""
    sha256: str | None = None

    def pictures(self, first: int, last: int) -> Sequence[np.ndarray]:
        """See :class:`PictureSource`."""
        return [self.picture(number) for number in range(first, min(last, self.count))]


@dataclass(frozen=True, kw_only=True)
class FirstOf:
    """The first `count` pictures of a longer source."""

    source: PictureSource
    count: int

    @property
    def description(self) -> str:
        """See :class:`PictureSource`."""
        return f"the first {self.count} of {self.source.description}"

    @property
    def sha256(self) -> str | None:
        """See :class:`PictureSource`."""
        return None if self.source.sha256 is None else self._sha256

    @cached_property
    def _sha256(self) -> str:
        return sha256_of_pictures(self.source.pictures(number, number + 1)[0] for number in range(self.count))

    @property
    def given(self) -> Given | None:
        """See :class:`MadeOfOthers`."""
        whole = given_to(self.source)
        return None if whole is None else replace(whole, source=at_most(whole.source, self.count))

    def pictures(self, first: int, last: int) -> Sequence[np.ndarray]:
        """See :class:`PictureSource`."""
        return self.source.pictures(first, min(last, self.count))


def at_most(source: PictureSource, count: int | None) -> PictureSource:
    """`source`, or its first `count` pictures where it has more; None for all."""
    return source if count is None or source.count <= count else FirstOf(source=source, count=count)


def data_source(data: DataSet, stream: str, split: Split, description: str) -> ArraySource:
    """The pictures of one half of a data set as training prepares them, each once, neither cropped at random, mirrored
    nor changed in colour.

    Args:
        data: opened, best with what `undisturbed` makes of its settings.
        stream: which pictures: "real", "a", "b", "high".
        split: "train" or "test".
        description: of the data, for a person.

    Raises:
        DataError: there are no such pictures.
    """
    images = data.test.get(stream) if split == "test" else _stored(data.train[stream])
    if not images:
        raise DataError(f"{description}: has no test pictures - give it some, or evaluate with --split train")
    which = "" if stream == "real" else f" {stream}"
    return ArraySource(
        images=images.array if isinstance(images, _Rows) else images, description=f"{description}, {split}{which}"
    )


def undisturbed(settings: DataSettings) -> DataSettings:
    """Settings that give the training pictures the size that the networks see, by the same one step as the test ones.

    Those of two sets are resized to somewhat more in training, to be cropped at random.
    """
    if isinstance(settings, UnpairedFoldersSettings):
        return replace(settings, resize_pixels=settings.crop_pixels)
    return settings


def sha256_of_pictures(pictures: Iterable[np.ndarray]) -> str:
    """SHA-256 of what pictures show, in their order, as 64 hexadecimal digits."""
    return sha256_of_digests(digest_of(picture) for picture in pictures)


def digest_of(picture: np.ndarray) -> str:
    """SHA-256 of the size and the levels of a picture (H, W, C) uint8; grey is the same in one channel and in three."""
    if picture.shape[-1] == 3 and (picture == picture[..., :1]).all():
        picture = picture[..., :1]
    height, width, channels = picture.shape
    return hashlib.sha256(f"{height} {width} {channels};".encode() + picture.tobytes()).hexdigest()


def sha256_of_digests(digests: Iterable[str]) -> str:
    """What `sha256_of_pictures` gives, of the pictures' own digests."""
    whole = hashlib.sha256()
    for digest in digests:
        whole.update(bytes.fromhex(digest))
    return whole.hexdigest()


@dataclass(frozen=True)
class _Rows:
    """One array of pictures: an array has no truth value to ask whether there are any."""

    array: np.ndarray

    def __len__(self) -> int:
        return len(self.array)


def _stored(stream: Stream) -> Sequence[np.ndarray] | _Rows:
    """All pictures that a training stream draws from, once each."""
    match stream:
        case RowStream():
            return _Rows(stream.rows)
        case UnpairedStream():
            return stream.pictures
        case CropStream(side="high"):
            return [stream.crops.pictures[number][0] for number in stream.crops.used]
        case _:
            raise DataError("the small pictures of an upscaling set are no target - evaluate against its large ones")
