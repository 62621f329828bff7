from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from i2i.errors import StorageError
from i2i.inference.generation.film import enlarged, write_gif, write_mp4


def frames(count: int, height: int, width: int, channels: int) -> np.ndarray:
    """A bright square that wanders over a slope."""
    film = np.empty((count, height, width, channels), np.uint8)
    film[:] = np.linspace(20, 120, width, dtype=np.uint8)[:, None]
    for index in range(count):
        film[index, 2:8, 3 * index : 3 * index + 6] = [250, 200, 90][:channels]
    return film


def test_a_grey_gif_is_exact_and_goes_round(tmp_path: Path) -> None:
    film = frames(5, 20, 30, 1)
    write_gif(tmp_path / "new" / "film.gif", film)
    with Image.open(tmp_path / "new" / "film.gif") as image:
        assert (getattr(image, "n_frames", 1), image.size) == (5, (30, 20))
        assert (image.info["duration"], image.info["loop"]) == (40, 0)
        for index in range(5):
            image.seek(index)
            assert np.array_equal(np.asarray(image.convert("L")), film[index, :, :, 0])


def test_a_colour_gif_is_close(tmp_path: Path) -> None:
    film = frames(5, 20, 30, 3)
    write_gif(tmp_path / "film.gif", film)
    with Image.open(tmp_path / "film.gif") as image:
        for index in range(5):
            image.seek(index)
            shown = np.asarray(image.convert("RGB")).astype(int)
            assert np.abs(shown - film[index]).mean() < 4


@pytest.mark.parametrize("size", [(64, 64), (33, 45)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_video_shows_the_frames_in_order(tmp_path: Path, size: tuple[int, int], channels: int) -> None:
    film = frames(6, *size, channels)
    assert write_mp4(tmp_path / "film.mp4", film)
    video = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    for frame in film:
        there, shown = video.read()
        assert there
        shown = shown[: size[0], : size[1], ::-1].astype(int)
        assert np.abs(shown - frame).mean() < 8
        square = np.unravel_index(shown[..., 0].argmax(), shown.shape[:2])
        assert frame[square][0] == 250
    assert not video.read()[0]


def test_without_an_encoder_there_is_no_video_and_no_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def __init__(self, *_: Any) -> None: ...

        def isOpened(self) -> bool:  # noqa: N802 - the library's name
            return False

        fourcc = staticmethod(lambda *_: 0)

    monkeypatch.setattr(cv2, "VideoWriter", Closed)
    assert not write_mp4(tmp_path / "film.mp4", frames(2, 16, 16, 3))
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write, name in ((write_gif, "film.gif"), (write_mp4, "film.mp4")):
        with pytest.raises(StorageError, match="file"):
            write(tmp_path / "file" / name, frames(2, 16, 16, 1))


def test_small_frames_are_enlarged_by_a_whole_factor() -> None:
    film = frames(2, 28, 28, 1)
    shown = enlarged(film)
    assert shown.shape == (2, 140, 140, 1)
    assert np.array_equal(shown[:, ::5, ::5], film)
    assert enlarged(np.zeros((1, 256, 256, 3), np.uint8)).shape == (1, 256, 256, 3)
