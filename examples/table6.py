"""Several perturbations on one image: CLEAN and what each POISONED adds to it, clipped to 8 bits.

    python table6.py clean.safetensors rem.safetensors rem-t.safetensors -o mixed.safetensors
    python table6.py test-clean.safetensors test-rem.safetensors --grey -o alone.safetensors

With --grey the perturbations are put on mid-grey, so that nothing of the images is left. Part of
table6.sh.
"""

import argparse
import sys
from pathlib import Path

import torch

from stkit import Images, StkitError, load

GREY = 128


def mixed(clean: Images, *poisoned: Images, name: str, grey: bool = False) -> Images:
    """The clean images, or as many grey ones, with all that the poisoned sets differ by from them.

    In their order and of their split; the header calls them `name`. A sum that leaves [0,255] is
    clipped, once. SystemExit for sets that are not of the same images.
    """
    total = torch.full_like(clean.pixels, GREY) if grey else clean.pixels
    total = total.to(torch.int16)
    for images in poisoned:
        if not torch.equal(images.index, clean.index):
            raise SystemExit("error: found other images than the clean ones; poison this very file")
        total += images.pixels.to(torch.int16)
        total -= clean.pixels
    pixels = total.clamp_(0, 255).to(torch.uint8)
    return Images.from_tensors(
        pixels, clean.labels, classes=clean.classes, split=clean.header["split"], name=name
    )


def main() -> None:
    """Read, mix, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clean")
    parser.add_argument("poisoned", nargs="+")
    parser.add_argument("--grey", action="store_true")
    parser.add_argument("-o", "--output", required=True)
    asked = parser.parse_args()
    name = "+".join(Path(file).stem for file in asked.poisoned)
    try:
        sets = [load(file) for file in (asked.clean, *asked.poisoned)]
        made = mixed(*sets, name=name, grey=asked.grey)
        made.save(asked.output, replace=False)
    except StkitError as error:
        sys.exit(f"error: {error}")
    print(asked.output)


if __name__ == "__main__":
    main()
