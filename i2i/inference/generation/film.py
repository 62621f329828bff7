"""Frames as a moving picture: GIF, which everything shows, and MP4, which keeps all colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from i2i.files import atomic_path

FRAMES_PER_SECOND = 25
"""A whole number of the hundredths of a second that a GIF counts in."""
_SHOWN_PIXELS = 128


def enlarged(frames: np.ndarray) -> np.ndarray:
    """Frames (N, H, W, C) at least 128 pixels high, by a whole factor: players blur what they enlarge."""
    factor = max(1, -(-_SHOWN_PIXELS // frames.shape[1]))
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def write_gif(path: Path, frames: np.ndarray) -> None:
    """Write frames (N, H, W, C) uint8, C 1 or 3, as a GIF that begins again when it ends.

    Grey frames keep every level, colours are reduced to 256 a frame.

    Raises:
        StorageError: the file cannot be written.
    """
    if frames.shape[-1] == 1:
        images = [Image.fromarray(frame[..., 0]) for frame in frames]
    else:
        images = [Image.fromarray(frame).quantize(256, Image.Quantize.MEDIANCUT) for frame in frames]
    with atomic_path(path) as temporary:
        images[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=1000 // FRAMES_PER_SECOND,
            loop=0,
        )


def write_mp4(path: Path, frames: np.ndarray) -> bool:
    """Write frames (N, H, W, C) uint8, C 1 or 3, as an MPEG-4 video; False if this machine has no such encoder.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        with atomic_path(path) as temporary:
            if not _encode_mp4(temporary, frames):
                raise _NoEncoder
    except _NoEncoder:
        return False
    return True


class _NoEncoder(Exception):  # noqa: N818 - it never leaves this module
    pass


def _encode_mp4(path: Path, frames: np.ndarray) -> bool:
    import cv2

    # The encoder halves the colours' resolution and takes even sides only.
    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    size = (frames.shape[2], frames.shape[1])
    try:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FRAMES_PER_SECOND, size)
        if not writer.isOpened():
            return False
        for frame in frames:
            writer.write(np.ascontiguousarray(np.broadcast_to(frame[..., ::-1], (*frame.shape[:2], 3))))
        writer.release()
    except cv2.error:
        return False
    return path.stat().st_size > 0
