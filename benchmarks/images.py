"""The images of all steps, decoded once; and which machine this is.

    python benchmarks/images.py SOURCE [--test SOURCE] --work FOLDER [--limit N] [--device cuda]

SOURCE is a folder of images, a folder with CIFAR's own files (cifar-10-batches-py), a stkit file,
or a name that stkit knows. Writes train.safetensors and test.safetensors into FOLDER, and
images.json: how many images they have, and the machine.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import measuring

from stkit.core import atomic

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


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source")
    parser.add_argument("--test", help="where the test images are elsewhere")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="images of each set")
    parser.add_argument("--device", default="cpu", help="whose name is told")
    options = parser.parse_args(words)
    sources = {"train": options.source, "test": options.test or options.source}
    facts = measuring.machine(options.device)
    for split, source in sources.items():
        images = read(source, split, options.limit)
        images.save(options.work / f"{split}.safetensors")
        facts[split] = len(images)
    atomic.write_text(options.work / "images.json", json.dumps(facts))
    print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
