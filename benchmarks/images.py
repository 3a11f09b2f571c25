"""The images of all steps, decoded once; and which machine this is.

    python benchmarks/images.py SOURCE [--test SOURCE] --work FOLDER [--limit N] [--device cuda]

SOURCE is a folder of images, a folder with CIFAR's own files (cifar-10-batches-py), a stkit file,
or a name that stkit knows. Writes into FOLDER train.safetensors and test.safetensors, and
images.json, which has their paths, what to pass as `stkit bench --source` (a folder: made where
training and test images are in two places), and the machine.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import measuring

from stkit.core import atomic, header

if TYPE_CHECKING:
    from stkit.data.images import Images

OFFICIAL = {"cifar-10-batches-py": "cifar10", "cifar-100-python": "cifar100"}


def located(source: str) -> tuple[str, Path | None]:
    """What `load` takes, and its data root where the folder holds CIFAR's own files."""
    folder = Path(source)
    for name, dataset in OFFICIAL.items():
        if folder.name == name and folder.is_dir():
            return dataset, folder.parent.absolute()
        if (folder / name).is_dir():
            return dataset, folder.absolute()
    return (str(folder.absolute()) if folder.exists() else source), None


def read(source: str, split: str, limit: int | None) -> "Images":
    """A split of a source; of a stkit file, that which it holds."""
    from stkit import load

    name, root = located(source)
    return load(name, default_split=split, limit=limit, data_root=root)


def tree(where: Path, sets: "dict[str, tuple[str, Images]]") -> str:
    """A folder with train/ and test/: links to folders, or the images of files written out."""
    from stkit.data.exporting.export import export

    shutil.rmtree(where, ignore_errors=True)  # of other sources
    for split, (source, images) in sets.items():
        target = where / split
        if Path(source).is_dir():
            where.mkdir(parents=True, exist_ok=True)
            target.symlink_to(Path(source).absolute(), target_is_directory=True)
        else:
            export(images, target, format="folder")
    return str(where)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source")
    parser.add_argument("--test", help="where the test images are elsewhere")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="images of each set")
    parser.add_argument("--device", default="cpu", help="whose name is told")
    options = parser.parse_args(words)
    test = options.test or options.source
    sets = {"train": (options.source, read(options.source, "train", options.limit)),
            "test": (test, read(test, "test", options.limit))}  # fmt: skip
    facts = {}
    for split, (_, images) in sets.items():
        path = options.work.absolute() / f"{split}.safetensors"
        images.save(path)
        facts[split] = str(path)
    name, root = located(options.source)
    if options.test or header.is_stkit(Path(name)):
        name, root = tree(options.work.absolute() / "tree", sets), None
    facts |= {"source": name, "data_root": str(root or os.environ.get("STKIT_DATA", ""))}
    facts |= {"count": len(sets["train"][1]), **measuring.machine(options.device)}
    atomic.write_text(options.work / "images.json", json.dumps(facts))
    print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
