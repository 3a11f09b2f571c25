"""Which files of a folder are a data set's images, and which are left out.

A folder of class folders, or one whose train/ and test/ (or val/) hold class folders. Images lie in
the class folders themselves, or with `recursive` in any folder below them too, and have the suffix
of a format that is decoded. All else is `Skipped`, but for what no person put there: hidden files
and folders, Thumbs.db and desktop.ini.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stkit.core.errors import DataError
from stkit.data.pictures import KNOWN, SUFFIXES
from stkit.recipes.catalogue import no_source

SPLITS = ("train", "test", "val")
UNSEEN = ("thumbs.db", "desktop.ini")
SHOWN = 10


@dataclass(frozen=True)
class Skipped:
    """What a folder has that its data set has not.

    count: of the files that are not read: of another suffix, no regular files, or in folders that
    are no class folders. names: the first ten of them, relative to the folder. transparent: the
    number of images that are read, but without the transparency they have.
    """

    count: int
    names: tuple[str, ...]
    transparent: int = 0

    @property
    def about(self) -> str:
        """The files that are not read, for people."""
        more = ", ..." if self.count > len(self.names) else ""
        files = "file is" if self.count == 1 else "files are"
        said = f"{self.count:,} {files} not read: {', '.join(self.names)}{more}"
        below = any(os.path.splitext(name)[1].lower() in SUFFIXES for name in self.names)
        return f"{said}; `stkit data --recursive` takes images in folders below" if below else said


@dataclass(frozen=True)
class Listing:
    """The class folders, the images in each by their paths in it, and what else there is.

    others: the paths of all other files, relative to the folder that was asked for, sorted.
    """

    top: Path
    classes: tuple[str, ...]
    images: tuple[tuple[str, ...], ...]
    others: tuple[str, ...]

    def skipped(self, transparent: int = 0) -> Skipped:
        """The others in short."""
        return Skipped(len(self.others), self.others[:SHOWN], transparent)


def listing(root: Path, split: str, *, recursive: bool = False) -> Listing:
    """The images of a split of a folder, by sorted class and file name. DataError: there are none,
    or a folder cannot be listed."""
    top = split_folder(root, split, recursive=recursive)
    folders = _folders(top)
    if not folders:
        raise DataError(f"{top}: found no class folders; expected one folder of images a class")
    others = [item.path for item in _items(top) if not _is_folder(item)]
    if top != root:
        others += [
            path
            for item in _items(root)
            if item.name not in SPLITS or not _is_folder(item)
            for path in _files(item)
        ]
    images = []
    for folder in folders:
        pictures, rest = _parted(folder, recursive)
        if not pictures:
            raise DataError(f"{folder}: no images in this class folder; {_remedy(folder, rest)}")
        if folder.name != folder.name.encode(errors="replace").decode():
            raise DataError(f"{folder}: the class's name is not UTF-8; rename the folder")
        images.append(tuple(pictures))
        others += rest
    names = tuple(sorted(os.path.relpath(path, root) for path in others))
    return Listing(top, tuple(folder.name for folder in folders), tuple(images), names)


def split_folder(root: Path, split: str, *, recursive: bool = False) -> Path:
    """The folder whose sub-folders are the classes: `root` itself, or its train/ or test/.

    The level decides, not the name: `root` holds the splits where its train/, test/ or val/ has
    folders of images; where they hold images themselves, they are classes that are called so.
    DataError: it is no folder, or holds no images so.
    """
    if not root.is_dir():
        raise DataError(no_source(str(root)))
    splits = [root / name for name in SPLITS if (root / name).is_dir()]
    deep = [folder for top in splits for folder in _folders(top)]
    if not any(_has_images(folder, recursive) for folder in deep) and any(
        _has_images(folder, recursive) for folder in _folders(root)
    ):
        return root
    for name in ("train",) if split == "train" else ("test", "val"):
        if (root / name).is_dir():
            return root / name
    if (root / "train").is_dir():
        raise DataError(f"{root}: has train/ but no test/ or val/; pass another folder or --split")
    if _has_images(root):
        raise DataError(
            f"{root}: found images but no class folders; unlearnable examples need two or more "
            "classes, which their noise tells apart: put each class's images into a folder of its "
            "own"
        )
    if not recursive and any(_has_images(folder, True) for folder in _folders(root)):
        raise DataError(
            f"{root}: found no images in the class folders themselves, but in folders below them; "
            "pass --recursive to stkit data or poison"
        )
    raise DataError(
        f"{root}: found no images; expected class folders that hold images, "
        "or train/ and test/ that hold class folders"
    )


def apart(out: Path, folder: Path) -> None:
    """DataError where what is to be written would lie in a folder that is read."""
    if out.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{out}: lies in {folder}, whose images are read; pass another -o")


def _items(folder: str | Path) -> list["os.DirEntry[str]"]:
    """What lies in a folder, sorted by name, hidden things left out."""
    try:
        with os.scandir(folder) as items:
            return sorted(
                (e for e in items if e.name[0] != "." and e.name.lower() not in UNSEEN),
                key=lambda item: item.name,
            )
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be listed ({error.strerror}); check that it is there and who may "
            "read it"
        ) from None


def _folders(top: Path) -> list[Path]:
    return [Path(item.path) for item in _items(top) if _is_folder(item)]


def _has_images(folder: Path, recursive: bool = False) -> bool:
    return any(_is_image(item) for item in _items(folder)) or (
        recursive and bool(_parted(folder, recursive)[0])
    )


def _parted(folder: Path, recursive: bool) -> tuple[list[str], list[str]]:
    """The images in a class folder by their paths in it, sorted, and the paths of all other files;
    links to folders are not followed."""
    images: list[str] = []
    others: list[str] = []
    left = [("", str(folder))]
    while left:
        above, here = left.pop()
        for item in _items(here):
            if _is_image(item):
                images.append(above + item.name)
            elif recursive and _is_folder(item, follow=False):
                left.append((f"{above}{item.name}/", item.path))
            else:
                others += _files(item)
    return sorted(images), others


def _is_image(item: "os.DirEntry[str]") -> bool:
    """Whether it has an image's suffix, and is a regular file, maybe behind a link."""
    if os.path.splitext(item.name)[1].lower() not in SUFFIXES:
        return False
    try:
        return item.is_file()
    except OSError:  # links in a loop
        return False


def _is_folder(item: "os.DirEntry[str]", *, follow: bool = True) -> bool:
    try:
        return item.is_dir(follow_symlinks=follow)
    except OSError:
        return False


def _files(item: "os.DirEntry[str]") -> Iterator[str]:
    """The path, or those of all files below it; links to folders are not followed, they may loop,
    and a folder that cannot be listed stands for what is in it."""
    left = [item]
    while left:
        item = left.pop()
        if not _is_folder(item, follow=False):
            yield item.path
            continue
        try:
            left += _items(item.path)
        except DataError:
            yield item.path


def _remedy(folder: Path, others: list[str]) -> str:
    """What to do about a class folder without images that has so many other files."""
    remedy = "add some or remove the folder"
    if not others:
        return remedy
    if not folder.is_symlink() and _parted(folder, recursive=True)[0]:
        remedy = "they lie in folders below it: pass --recursive to stkit data or poison"
    skipped = Skipped(len(others), (os.path.basename(others[0]),))
    return f"{remedy}; {skipped.about} (expected {', '.join(KNOWN)})"
