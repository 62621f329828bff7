"""Consistency with the low-resolution picture: what was enlarged must shrink back to what it was made from.

A generator that was trained to look right invents more than detail: it shifts colours and brightness of whole areas,
which the low-resolution picture contradicts. Back-projection takes exactly that part away.

Source: Irani and Peleg 1991, "Improving resolution by image registration", CVGIP 53, section 4.
"""

from __future__ import annotations

from fractions import Fraction

from torch import Tensor

from i2i.core.resize import imresize

ITERATIONS = 10
"""Of a difference as unlike pictures as can be, white noise, 1 % is left; of a colour shift nothing to speak of."""


def back_project(upscaled: Tensor, low: Tensor, scale: int, iterations: int = ITERATIONS) -> Tensor:
    """Change `upscaled` as little as it takes for its bicubic reduction to be `low`.

    Each iteration enlarges what is still missing and adds it: ``y + up(low - down(y))``. With MATLAB's kernel ``up``
    is ``scale ** 2`` times the transpose of ``down``, so this is gradient descent on the squared difference: the
    eigenvalues of ``down(up())`` lie between 0.22 and 1, no difference grows, and detail that ``down`` does not see
    stays as it is. Where black or white stop a correction, a difference remains.

    Args:
        upscaled: (N, C, H * scale, W * scale), float.
        low: (N, C, H, W), float, in [-1, 1].

    Returns:
        (N, C, H * scale, W * scale), in [-1, 1].
    """
    # Clamped now and in each iteration: what is written can be no brighter than white.
    corrected = upscaled.clamp(-1.0, 1.0)
    for _ in range(iterations):
        missing = low - imresize(corrected, Fraction(1, scale))
        corrected = imresize(missing, scale).add_(corrected).clamp_(-1.0, 1.0)
    return corrected
