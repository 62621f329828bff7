from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from i2i.inference.pictures.exif import enlarged_exif
from i2i.inference.pictures.image_files import read_picture

CAMERA = 0x8769
MAKER, ORIENTATION, WIDTH, HEIGHT, ACROSS, DOWN, COMMENT = 0x010F, 0x0112, 0x0100, 0x0101, 0x011A, 0x011B, 0x9286
CAMERA_WIDTH, CAMERA_HEIGHT, SENSOR_ACROSS, SUBJECT, GPS = 0xA002, 0xA003, 0xA20E, 0x9214, 0x8825


def block(orientation: int = 1) -> Image.Exif:
    """The block of a picture of 40 x 20 pixels, as stored."""
    exif = Image.Exif()
    exif[MAKER], exif[ORIENTATION], exif[WIDTH], exif[HEIGHT] = "camera", orientation, 40, 20
    exif[ACROSS], exif[DOWN] = IFDRational(300, 1), IFDRational(150, 1)
    camera = exif.get_ifd(CAMERA)
    camera[CAMERA_WIDTH], camera[CAMERA_HEIGHT], camera[SUBJECT] = 40, 20, (10, 10)
    camera[SENSOR_ACROSS], camera[COMMENT] = IFDRational(5000, 1), b"ASCII\0\0\0hello"
    exif.get_ifd(GPS)[1] = "N"
    return exif


def read(content: bytes | None) -> Image.Exif:
    assert content is not None
    exif = Image.Exif()
    exif.load(content)
    return exif


def of_file(path: Path, orientation: int) -> bytes | None:
    Image.new("RGB", (40, 20)).save(path, exif=block(orientation))
    return read_picture(path).exif


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_turned_picture_has_the_sides_it_now_has(tmp_path: Path, suffix: str) -> None:
    for orientation, (width, height) in ((1, (40, 20)), (3, (40, 20)), (6, (20, 40))):
        exif = read(of_file(tmp_path / f"x.{suffix}", orientation))
        camera = exif.get_ifd(CAMERA)
        assert (exif[WIDTH], exif[HEIGHT]) == (width, height)
        assert (camera[CAMERA_WIDTH], camera[CAMERA_HEIGHT]) == (width, height)
        assert (exif[ACROSS], exif[DOWN]) == ((150, 300) if orientation == 6 else (300, 150))
        assert exif[MAKER] == "camera" and ORIENTATION not in exif
        assert camera[COMMENT] == b"ASCII\0\0\0hello" and exif.get_ifd(GPS)[1] == "N"


def test_an_enlarged_picture_prints_as_large_as_before(tmp_path: Path) -> None:
    exif = read(enlarged_exif(of_file(tmp_path / "x.jpg", 1), 160, 80, 4))
    camera = exif.get_ifd(CAMERA)
    assert (exif[WIDTH], exif[HEIGHT], camera[CAMERA_WIDTH], camera[CAMERA_HEIGHT]) == (160, 80, 160, 80)
    assert (exif[ACROSS], exif[DOWN], camera[SENSOR_ACROSS]) == (1200, 600, 20000)
    assert SUBJECT not in camera, "it would point to another place"
    assert exif[MAKER] == "camera" and exif.get_ifd(GPS)[1] == "N"


def test_no_tag_is_added_and_nothing_damaged_matters() -> None:
    exif = Image.Exif()
    exif[MAKER] = "camera"
    assert dict(read(enlarged_exif(exif.tobytes(), 8, 8, 2))) == {MAKER: "camera"}
    assert enlarged_exif(None, 8, 8, 2) is None
    assert enlarged_exif(b"Exif\0\0II*\0\xff\xff\xff\xff junk", 8, 8, 2) is None
    exif[ACROSS] = IFDRational(0, 0)
    assert MAKER in read(enlarged_exif(exif.tobytes(), 8, 8, 2)), "a density that says nothing costs nothing"
    untouched = block().tobytes()
    assert enlarged_exif(untouched, 40, 20, 1) is untouched
