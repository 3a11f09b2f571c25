"""What a data set's file holds: how many images, of which size, and of which classes. No torch."""

import sys
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from stkit.core import files, header
from stkit.core.errors import ArtifactError

NAMED = 20
"""Classes that are counted one by one for people."""


@dataclass(frozen=True)
class Contents:
    """The images of a file: how many, their sides in pixels, how many of each class."""

    n: int
    width: int
    height: int
    per_class: tuple[int, ...]

    def balance(self, classes: list[str]) -> str:
        """How many images a class has, for people: one number where all have the same."""
        counts = dict(zip(classes, self.per_class, strict=True))
        least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        if counts[least] == counts[most]:
            return f"{counts[most]:,} each"
        if len(counts) <= NAMED:
            return ", ".join(f"{name} {count:,}" for name, count in counts.items())
        return f"from {counts[least]:,} ({least}) to {counts[most]:,} ({most})"


def contents(path: Path, classes: int) -> Contents:
    """What the file of a data set of so many classes holds; its labels are read, no image is.

    ArtifactError where images or labels are missing, or not of the shape that they have.
    """
    head, start = header.layout(path)
    images, labels = head.get("images", {}), head.get("labels", {})
    shape = images.get("shape", [])
    if len(shape) != 4 or labels.get("shape") != shape[:1] or labels.get("dtype") != "I64":
        raise ArtifactError(f"{path}: damaged, it has no images with labels; make it again")
    first, last = labels["data_offsets"]
    read = array("q")
    with files.open_regular(path) as file:
        file.seek(start + first)
        read.frombytes(file.read(last - first))
    if sys.byteorder == "big":
        read.byteswap()
    counts = Counter(read)
    if len(read) != shape[0] or not counts.keys() <= set(range(classes)):
        raise ArtifactError(f"{path}: damaged, labels are not those of its classes; make it again")
    return Contents(shape[0], shape[3], shape[2], tuple(counts[label] for label in range(classes)))
