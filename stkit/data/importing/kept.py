"""Class-wise noise that stkit kept itself, put on its clean images again.

Its header is that of the poisoned images, so nothing is to be guessed or named.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from stkit.core import artifact, header
from stkit.core.errors import ArtifactError, DataError, RecipeError
from stkit.core.header import Header
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.data.importing.values import Options

LEVELS = (torch.int8, torch.int16)


def read(path: Path, clean: Images, options: Options) -> Images:
    """The images that the noise was kept with. DataError where these are not their clean ones, or
    the file is one that needs no import; RecipeError for options: its header says all."""
    kind = header.read(path)["kind"]
    if kind != "class-noise":
        raise DataError(
            f"{path}: found a {kind} of stkit's own, expected noise or images that others made; "
            "pass it as it is to `stkit train`, `eval`, `report`"
        )
    if replace(options, order=Options.order) != Options(seed=options.seed):
        raise RecipeError(
            f"{path}: stkit wrote this noise, and its header says what it is; leave out the options"
        )
    head, tensors = artifact.read(path, "class-noise")
    if [each["digest"] for each in head["inputs"]] != [clean.provenance["digest"]]:
        raise DataError(
            f"{path}: was made for other images than these (the digest differs); "
            "pass the clean set it was made for"
        )
    return assembled(path, head, tensors, clean)


def assembled(path: Path, head: Header, tensors: Mapping[str, Tensor], clean: Images) -> Images:
    """The poisoned images of kept noise. ArtifactError where they are not those it was kept for."""
    noise = tensors.get("levels", torch.empty(0))
    if noise.shape != (len(clean.classes), *clean.pixels.shape[1:]) or noise.dtype not in LEVELS:
        raise ArtifactError(f"{path}: damaged, its levels are {noise.dtype} {list(noise.shape)}")
    poisoned = perturbation.draw(len(clean), head["recipe"]["poison_rate"], head["seed"])
    labels, levels = clean.labels.numpy(), noise.short().numpy()
    pixels = perturbation.add(clean.pixels, poisoned, lambda rows: levels[labels[rows]])
    kept = {key: value for key, value in head.items() if key not in ("images", "seal")}
    images = replace(
        clean, pixels=pixels, poisoned=poisoned, header={**kept, "kind": "dataset", "digest": ""}
    )
    if images.provenance["digest"] != head["images"]:
        raise ArtifactError(f"{path}: gives other images than it was kept for (the digest differs)")
    return images
