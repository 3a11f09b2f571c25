"""What kinds share that show a model images: the images, and where to compute."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from stkit.core.errors import RecipeError
from stkit.report.plots.asked import Asked

if TYPE_CHECKING:
    from stkit.data.folders import Skipped
    from stkit.data.images import Images
    from stkit.engine.runtime import Runtime


def images(asked: Asked, *, default_split: str, on_note: Callable[[str], None]) -> "Images":
    """The images of `source`, `split`, `data_root`, `size` and `limit`. RecipeError: no source."""
    from stkit.data.load import load

    if asked.source is None:
        raise RecipeError("found no images to show the model; pass --source SOURCE")

    def say(skipped: "Skipped") -> None:
        if skipped.count:
            on_note(f"note: {asked.source}: {skipped.about}")

    return load(
        asked.source, asked.split, default_split=default_split, size=asked.size, limit=asked.limit,
        data_root=asked.data_root, on_skipped=say,
    )  # fmt: skip


def runtime(asked: Asked) -> "Runtime":
    """Where to compute, by `device` and `threads`."""
    from stkit.engine.runtime import pick

    return pick(asked.device or "auto", threads=asked.threads)
