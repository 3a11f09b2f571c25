"""A data set for learning to tell rotations: each image turned by 0, 90, 180, 270 degrees (label).

    python examples/rotations.py sp.safetensors rotations.safetensors [--once]
    stkit train rotations.safetensors --frame nt --augment none,crop --model small -o nt.safetensors

Gidaris et al., "Unsupervised Representation Learning by Predicting Image Rotations" (ICLR 2018):
all four turns of each image. With --once each has one of them, in turn, so an epoch takes a quarter
of the time. Train without flips: the mirror of an image turned by 90 degrees is a mirrored image
turned by 270, so with them no net tells these two labels apart.
"""

import argparse
import sys

import torch

from stkit import Images, StkitError, load

DEGREES = (0, 90, 180, 270)  # counter-clockwise


def rotations(images: Images, *, once: bool = False) -> Images:
    """The images turned, labelled by how often by 90 degrees: the four of an image in a row."""
    if images.pixels.shape[2] != images.pixels.shape[3]:
        raise SystemExit("error: found images that are not square; see stkit data --size")
    turned = torch.stack([images.pixels.rot90(turn, (2, 3)) for turn in range(4)], 1)
    labels = torch.arange(4).repeat(len(images))
    if once:
        labels = torch.arange(len(images)) % 4
        pixels = turned[torch.arange(len(images)), labels]
    else:
        pixels = turned.flatten(0, 1)
    split = images.header["split"]
    return Images.from_tensors(pixels, labels, classes=DEGREES, split=split, name="rotations")


def main() -> None:
    """Read, turn, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images")
    parser.add_argument("output")
    parser.add_argument("--once", action="store_true", help="one turn of each image")
    asked = parser.parse_args()
    try:
        rotations(load(asked.images), once=asked.once).save(asked.output, replace=False)
    except StkitError as error:
        sys.exit(f"error: {error}")
    print(asked.output)


if __name__ == "__main__":
    main()
