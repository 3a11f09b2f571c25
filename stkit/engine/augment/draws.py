"""What was drawn for a batch, as a value: one small table with all that is random about it."""

from dataclasses import dataclass

from torch import Tensor

PAD = 4
LARGEST_PADDED = 64  # px; larger images get a random resized crop instead of a padded one
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # what the columns `order` count
COLUMNS = {
    "top": slice(0, 1), "left": slice(1, 2), "height": slice(2, 3), "width": slice(3, 4),
    "flip": slice(4, 5), "jitter": slice(5, 6), "factors": slice(6, 9), "hue": slice(9, 10),
    "order": slice(10, 14), "grey": slice(14, 15),
    "hole": slice(15, 17), "shuffle": slice(17, 18), "channels": slice(18, 21),
    "plasma": slice(21, 23), "roughness": slice(23, 25), "intensity": slice(25, 26),
    "seeds": slice(26, 28), "auto": slice(28, 32), "trivial": slice(32, 34),
}  # fmt: skip
"""Name -> its columns: up to `grey` in every table, the rest where a name needs them."""


@dataclass(frozen=True)
class Draws:
    """One random draw for each image: names, the side in pixels, and float32 table [N, 15 or 34].

    All columns are drawn whatever the names, so frames share their crops. Rows may be taken
    (`replace(draws, table=draws.table[rows])`), or copied into a captured step's table.
    """

    names: tuple[str, ...]
    size: int
    table: Tensor

    def __getitem__(self, column: str) -> Tensor:
        """The columns of that name, [N, 1 to 4]; flip, jitter, grey, shuffle, plasma: 0 or 1."""
        return self.table[:, COLUMNS[column]]
