"""Whether a file is long enough for the picture that its header claims.

A damaged header can claim any size, and decoders set memory aside for it, and some fill it, before they notice that the
pixels are missing. What no encoder can pack into so few bytes is therefore refused without decoding.
"""

from __future__ import annotations

from PIL import ImageFile, TiffImagePlugin

# Bytes that one byte unfolds to at most: zlib's longest match of 258 bytes in 2 bits; codes of 12 bits in LZW, each
# for 3838 bytes at most; a run of 128 in two bytes.
_DEFLATED, _LZW, _PACKED_BITS = 1032, 2560, 64
_TIFF_UNFOLDING = {1: 1, 5: _LZW, 8: _DEFLATED, 32946: _DEFLATED, 32773: _PACKED_BITS}
_TIFF_JPEG = 7
# A block of 64 pixels takes a bit at least with Huffman codes; arithmetic ones, which hardly a program reads, could do
# with less for a flat picture.
_JPEG_PIXELS_A_BYTE = 512
# The least that libwebp takes is a byte for 562 pixels, of a flat picture.
_VP8_PIXELS_A_BYTE = 2048
# Without loss it takes a byte for 25,000 such pixels and its decoder fills the whole before it misses anything, so
# that a large picture that is nearly all of one colour is given up with the damaged ones.
_VP8L_PIXELS_A_BYTE, _PIXELS_WITHOUT_QUESTION = 4096, 2**24
# Runs of one colour in two bytes; a file may also skip as many pixels as it likes, which no program writes.
_BMP_RUN_PIXELS_A_BYTE = 128
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def most_png_pixels(start: bytes, length: int) -> float | None:
    """By a PNG file's first 26 bytes; None where they make no sense, which the decoder will say."""
    bits = start[24] * _PNG_CHANNELS.get(start[25], 0)
    return 8 * _DEFLATED / bits * length if bits else None


def most_webp_pixels(kind: bytes, length: int) -> float:
    """By the name of the first chunk that holds pixels."""
    if kind == b"VP8L":
        return _VP8L_PIXELS_A_BYTE * length + _PIXELS_WITHOUT_QUESTION
    return _VP8_PIXELS_A_BYTE * length


def most_pixels(picture: ImageFile.ImageFile, length: int) -> float | None:
    """Of a JPEG, BMP or TIFF file that Pillow has opened; None without a bound."""
    if picture.format == "JPEG":
        return _JPEG_PIXELS_A_BYTE * length
    if picture.format == "BMP":
        return _most_bmp_pixels(picture, length)
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return None
    compression = picture.tag_v2.get(259, 1)
    if compression == _TIFF_JPEG:
        return _JPEG_PIXELS_A_BYTE * length
    unfolding = _TIFF_UNFOLDING.get(compression)
    if unfolding is None:
        return None
    samples = picture.tag_v2.get(258, 1)
    # Of one sample: colours may be stored for every other pixel only.
    return length * 8 * unfolding / max(1, max(samples) if isinstance(samples, tuple) else int(samples))


def _most_bmp_pixels(picture: ImageFile.ImageFile, length: int) -> float:
    tile = picture.tile[0]
    if tile.codec_name == "raw" and isinstance(tile.args, tuple):
        return picture.width * length / int(tile.args[1])  # pixels of a row, bytes of a row
    return _BMP_RUN_PIXELS_A_BYTE * length + _PIXELS_WITHOUT_QUESTION
