"""The arithmetic of the authors' own loaders, for `--rounding loader`: to the last bit theirs.

Everywhere else noise is rounded once, in float64, as if it were exact. They add in floating point
and truncate: a sum in float32 that comes within its rounding of the next grey level is that level.
Each of these gives grey levels int16 [n,3,H,W] to be added and clipped, or images uint8.
"""

import numpy as np


def em(noise: np.ndarray, images: np.ndarray, *, positive: bool) -> np.ndarray:
    """EM's, of noise [n,3,H,W]: times 255 in its own type, clamped, added to float32 images.

    positive: clamped to [0,255], as by its authors, else to [-255,255], as by those who mended it.
    """
    scaled = _native(noise) * noise.dtype.type(255)
    scaled = scaled.clip(0 if positive else -255, 255).astype(np.float32)
    return _difference(images.astype(np.float32) + scaled, images)


def sp(noise: np.ndarray, images: np.ndarray) -> np.ndarray:
    """SP's, of noise [n,H,W,3]: added in [0,1] to float64 images."""
    return _difference((images / 255 + _channels_first(noise)) * 255, images)


def ops(noise: np.ndarray, images: np.ndarray) -> np.ndarray:
    """OPS's, of noise [n,H,W,3]: added in [0,1] to float64 images, clipped there."""
    return _difference((images / 255 + _channels_first(noise)).clip(0, 1) * 255, images)


def pictures(images: np.ndarray) -> np.ndarray:
    """NTGA's and torchvision's, of images in [0,1]: times 255 in their own type."""
    levels: np.ndarray = (_native(images) * images.dtype.type(255)).clip(0, 255).astype(np.uint8)
    return levels


def _native(values: np.ndarray) -> np.ndarray:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _channels_first(noise: np.ndarray) -> np.ndarray:
    return noise.astype(np.float64).transpose(0, 3, 1, 2)


def _difference(total: np.ndarray, images: np.ndarray) -> np.ndarray:
    """What truncating the sums adds to the images; those below 0 and above 255 are clipped later,
    which is the same."""
    levels: np.ndarray = total.astype(np.int16) - images
    return levels
