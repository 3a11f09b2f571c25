"""The images that pictures show: of a clean data set and of poisons of it, the same of each class.

Files are read byte by byte, a few images of each: no torch, and at once however large they are.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from stkit.core import files, header, lineage
from stkit.core.errors import DataError
from stkit.core.header import Header
from stkit.recipes.poisons import METHODS
from stkit.report import names

CLASSES = 10  # columns of a picture
LARGEST = 64 << 20  # bytes of an image, or of all labels, that are read


@dataclass(frozen=True)
class Row:
    """The images of one data set, each [3,H,W], a byte a value."""

    name: str
    images: tuple[bytes, ...]


@dataclass(frozen=True)
class Samples:
    """Images of data sets that belong together, a column a class.

    Attributes:
        size: height and width of all images.
        classes: the names of the columns.
        index: which image of the source each column shows.
        clean: None where no clean set was among the files.
        poisons: in the order of the files.
        left_out: how many classes have no column.
    """

    size: tuple[int, int]
    classes: tuple[str, ...]
    index: tuple[int, ...]
    clean: Row | None
    poisons: tuple[Row, ...]
    left_out: int


def read(paths: Sequence[Path]) -> Samples:
    """The images of these data set files: one clean set, or none, and poisons of one clean set.

    Of each of the first ten classes the first image that all files have, and of those one that as
    many as possible of the poisons have changed. ArtifactError for another file; DataError where
    the files do not belong together.
    """
    sets = [_Set(path, header.read(path, "dataset")) for path in paths]
    _belong_together(sets)
    clean = [one for one in sets if one.clean]
    if len(clean) > 1:
        raise DataError(
            f"found {len(clean)} clean data sets ({clean[0].path}, {clean[1].path}), expected one "
            "and poisons of it; pass one of them"
        )
    chosen = _chosen(clean + [one for one in sets if not one.clean])
    index, labels = list(chosen.values()), list(chosen)
    called = _called([one for one in sets if not one.clean])
    return Samples(
        size=sets[0].shape[1],
        classes=tuple(sets[0].head["classes"][label] for label in labels),
        index=tuple(index),
        clean=Row(names.CLEAN, _images(clean[0], index)) if clean else None,
        poisons=tuple(Row(called[one.path], _images(one, index)) for one in sets if not one.clean),
        left_out=len(sets[0].head["classes"]) - len(labels),
    )


class _Set:
    """A data set file and what was read of it so far."""

    def __init__(self, path: Path, head: Header) -> None:
        self.path, self.head = path, head
        self.lineage = lineage.of(head)
        self.clean = self.lineage.poison is None
        self.source = list(lineage.walk(head))[-1]["digest"]
        first, (count, channels, height, width) = tensor(path, "images", "U8", 4)
        if channels != 3 or 3 * height * width > LARGEST:
            raise DataError(
                f"{path}: found images of {[channels, height, width]}, expected smaller ones of 3 "
                "channels"
            )
        self.first, self.shape = first, (count, (height, width))
        self.rows = {index: row for row, index in enumerate(self.column("index"))}

    def column(self, name: str) -> Sequence[int]:
        """`labels` or `index`. DataError where there is none, or not one an image."""
        first, (count,) = tensor(self.path, name, "I64", 1)
        if count != self.shape[0] or 8 * count > LARGEST:
            raise DataError(
                f"{self.path}: found {count} {name} of {self.shape[0]} images, expected one each, "
                f"at most {LARGEST // 8:,}; make it again"
            )
        values = array("q")
        with files.open_regular(self.path) as file:
            file.seek(first)
            values.frombytes(file.read(8 * count))
        return values

    def changed(self) -> bytes:
        """Which images are poisoned: a byte each, 1 or 0; where nothing is said of it, all."""
        if "poisoned" not in header.layout(self.path)[0]:
            return b"\1" * self.shape[0]
        first, (count,) = tensor(self.path, "poisoned", "BOOL", 1)
        if count != self.shape[0]:
            raise DataError(f"{self.path}: damaged, not every image is marked; make it again")
        with files.open_regular(self.path) as file:
            file.seek(first)
            return file.read(count)


def tensor(path: Path, name: str, dtype: str, dimensions: int) -> tuple[int, list[int]]:
    """Where a tensor begins in a file, and its shape. DataError unless its bytes are there."""
    head, start = header.layout(path)
    about = head.get(name, {})
    shape, (first, end) = about.get("shape", []), about.get("data_offsets", (0, 0))
    if about.get("dtype") != dtype or len(shape) != dimensions or not prod(shape):
        raise DataError(f"{path}: found no {name}, expected a data set; pass another file")
    if end - first != prod(shape) * (8 if dtype == "I64" else 1):
        raise DataError(f"{path}: damaged, its {name} are not whole; make it again")
    return start + first, shape


def _belong_together(sets: Sequence[_Set]) -> None:
    """DataError unless all were made of the same images."""
    first = sets[0]
    (height, width), classes = first.shape[1], first.head["classes"]
    for other in sets[1:]:
        (high, wide), known = other.shape[1], other.head["classes"]
        if len(known) != len(classes):
            raise DataError(
                f"{other.path}: found {len(known)} classes, expected {len(classes)} as in "
                f"{first.path}; pass one clean set and poisons of it"
            )
        if (high, wide) != (height, width):
            raise DataError(
                f"{other.path}: found images of {wide}x{high}, expected {width}x{height} as in "
                f"{first.path}; pass data sets of different sizes one at a time"
            )
        if other.source != first.source or known != classes:
            raise DataError(
                f"{other.path}: found images of another source than those of {first.path}; pass "
                "the clean set that the poison was made of"
            )


def _chosen(sets: Sequence[_Set]) -> dict[int, int]:
    """Label -> index of the image shown. DataError where the files share none."""
    first = sets[0]
    poisons = [(one.rows, one.changed()) for one in sets if not one.clean]
    best: dict[int, tuple[int, int]] = {}  # label -> how many poisons changed it, its index
    for index, label in zip(first.column("index"), first.column("labels"), strict=True):
        before = best.get(label, (-1, 0))[0]
        if before == len(poisons) or any(index not in one.rows for one in sets[1:]):
            continue
        count = sum(marks[rows[index]] for rows, marks in poisons)
        if count > before:
            best[label] = count, index
    known = len(first.head["classes"])
    if not best:
        raise DataError(
            f"{sets[-1].path}: found none of the images of {first.path}; pass the clean set that "
            "the poison was made of"
        )
    if min(best) < 0 or max(best) >= known:
        raise DataError(
            f"{first.path}: labels run from {min(best)} to {max(best)}, expected 0 to {known - 1} "
            f"for {known} classes; make the file again"
        )
    return {label: best[label][1] for label in sorted(best)[:CLASSES]}


def _images(one: _Set, index: Sequence[int]) -> tuple[bytes, ...]:
    size = 3 * prod(one.shape[1])
    with files.open_regular(one.path) as file:
        images = []
        for number in index:
            file.seek(one.first + one.rows[number] * size)
            images.append(file.read(size))
    return tuple(images)


def _called(sets: Sequence[_Set]) -> dict[Path, str]:
    """What to call each poison: as papers do, and with its file's name where two share that."""
    called = {}
    for one in sets:
        poison = one.lineage.poison
        assert poison is not None
        name = poison.method.upper() if poison.method in METHODS else poison.method
        more = [word for word in (poison.scope, "fast" if poison.fast else None) if word]
        called[one.path] = names.rated("-".join([name, *more]), one.lineage.rate)
    many = Counter(called.values())
    return {
        path: name if many[name] == 1 else f"{name} ({path.stem})" for path, name in called.items()
    }
