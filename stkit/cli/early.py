"""What can be said before torch is loaded, which takes seconds: of files that are in the way, that
are missing, or that are others.

The same is found again where they are read and written, as files come and go.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from stkit.cli import claims
from stkit.core import header
from stkit.core.errors import DataError
from stkit.recipes.catalogue import DATASETS, no_source


def look(
    out: Path | None = None,
    *,
    force: bool = False,
    resume: bool | None = None,
    folder: bool = False,
    checkpoints: Iterable[Path | None] = (),
    sources: Iterable[str | None] = (),
) -> None:
    """ArtifactError or DataError for what would be refused later.

    out, force, resume, folder: see `claims.held`. None stands for what was not asked for. Ranks
    look when they know each other: their files may lie elsewhere.
    """
    if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        return
    if out is not None:
        claims.clear(out, force=force, resume=resume, folder=folder)
    for checkpoint in checkpoints:
        if checkpoint is not None:
            header.read(checkpoint, "checkpoint")
    for source in sources:
        if source is None or source in DATASETS:
            continue
        path = Path(source)
        if header.is_stkit(path):
            header.read(path, "dataset")
        elif not path.is_dir():
            raise DataError(no_source(source))
