"""What `stkit probe` looks at: the preparations by default, and how they are named. No torch."""

from stkit.core.errors import RecipeError
from stkit.recipes.carried import listed, named, preparation

PLAIN = "plain"
"""The images as they were published."""
PREPARED = (
    PLAIN, "gray", "jpeg-90", "jpeg-70", "jpeg-30", "jpeg-10", "gray,jpeg-30", "bdr-2",
    "orthogonal",
)  # fmt: skip
SAMPLE = 10_000  # images at most: four fifths are fitted on, a fifth is read
FIFTHS = 5


def least(classes: int) -> int:
    """The images that a probe takes: twenty to read, and ten of every class on the average."""
    return max(100, 10 * classes)


def prepared(text: str) -> tuple[str, ...]:
    """The preparations in a comma list, in their order, each with its number; none for `plain`.

    RecipeError for an unknown name (the nearest is suggested), an augmentation, a wrong number.
    """
    if not isinstance(text, str):
        raise RecipeError(f"prepare is {text!r}, expected a comma list such as 'gray,jpeg-30'")
    names = listed(text)
    if names == [PLAIN]:
        return ()
    return tuple(named(*preparation(name)) for name in names)


def spelled(names: tuple[str, ...]) -> str:
    """Preparations as `prepared` reads them."""
    return ",".join(names) or PLAIN
