"""Poisoned images in files, one each, read on all cores."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stkit.data.images import Images
from stkit.data.importing import fitting
from stkit.data.pictures import read_image


def read(files: Sequence[Path], clean: Images) -> Tensor:
    """The images in these files as uint8 [n,3,H,W]. DataError where one is unreadable, or not of
    the clean images' size."""
    data = np.empty((len(files), *clean.pixels.shape[1:]), np.uint8)

    def fill(row: int) -> None:
        picture = read_image(files[row])[None]
        fitting.frame(picture.shape, clean, files[row].name, last=True)
        data[row] = picture[0].transpose(2, 0, 1)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(fill, range(len(files))):
            pass
    return torch.from_numpy(data)


def few(names: Sequence[object]) -> str:
    """The first five of them, for a message."""
    return ", ".join(map(str, names[:5])) + (", ..." if len(names) > 5 else "")
