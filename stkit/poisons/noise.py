"""Class-wise noise in a small file, from which a poison is put together without a surrogate.

The file has the noise in whole grey levels, as it is added, and the header of the poisoned images,
so that what is put together is the same file: its digest is compared with the one that was kept.
How the noise was computed (precision, threads, ranks) is its maker's, and stands in that header.
"""

from pathlib import Path
from typing import Any

from stkit.core import artifact, header
from stkit.core.errors import ArtifactError
from stkit.data.exporting.noise import one_a_class
from stkit.data.images import Images
from stkit.data.importing.kept import LEVELS, assembled

COMPUTED = ("precision", "threads", "deterministic", "ranks", "sync_bn")
"""What of a recipe says how noise was computed, rather than what was asked for."""


def write(path: Path, images: Images, clean: Images) -> bool:
    """Keep the noise of poisoned images, which were made of all `clean` ones in order; whether
    there is one noise a class that gives them."""
    assert images.poisoned is not None, "poisoned images"
    rows = images.poisoned.nonzero().flatten()
    noise = one_a_class(images.rows(rows), clean.pixels[rows])
    if noise is None:
        return False
    small, large = LEVELS
    fits = int(noise.min()) >= -128 and int(noise.max()) <= 127
    head = {**images.header, "kind": "class-noise", "images": images.provenance["digest"]}
    artifact.write(path, {"levels": noise.to(small if fits else large)}, head)
    return True


def again(
    path: Path, clean: Images, expected: header.Header, *, fixed: dict[str, Any] | None = None
) -> Images:
    """The poisoned images, put together from the kept noise.

    expected: the header that they would have if they were made anew, see `poisons.recorded`; fixed:
    what of COMPUTED was asked for. ArtifactError unless the noise is whole, of this recipe, seed
    and clean set, and gives the images that it was kept for.
    """
    head, tensors = artifact.read(path, "class-noise")
    made = {key: head["recipe"][key] for key in COMPUTED if key in head["recipe"]}
    asked = {key: value for key, value in expected["recipe"].items() if key not in COMPUTED}
    recipe = {**asked, **made, **(fixed or {})}
    apart = header.differences(head, {**expected, "recipe": recipe})
    if apart:
        raise ArtifactError(f"{path}: noise of other settings: {'; '.join(apart)}")
    return assembled(path, head, tensors, clean)
