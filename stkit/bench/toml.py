"""Values of a table as TOML gives it, each checked: RecipeError says where and what was found."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

from stkit.core import files
from stkit.core.checks import nearest
from stkit.core.errors import RecipeError

Table = dict[str, Any]
"""A table of TOML, whose values are of any type until they are checked."""
T = TypeVar("T")
LARGEST = 1 << 20  # bytes of a file, which are read in about a second
WORDS = {
    str: ("text", "texts"), int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"), bool: ("true or false", "switches"),
    dict: ("a table", "tables"),
}  # fmt: skip
"""What people call the types, one and several."""


def read(path: Path) -> Table:
    """What a file holds. ArtifactError where it cannot be read, RecipeError where it is no TOML."""
    text = files.content(path, limit=LARGEST, remedy="pass a grid in TOML")
    try:
        return files.parse_toml(text.decode())
    except ValueError as error:
        raise RecipeError(f"{path}: found no TOML ({error}); see `stkit bench --help`") from None


def keys(where: str, table: Table, known: Collection[str]) -> None:
    """RecipeError for a key that is not known."""
    for key in table:
        if key not in known:
            raise RecipeError(f"{where}: {nearest('key', key, known)}".lstrip(": "))


def one(table: Table, key: str, kind: type[T], where: str = "") -> T | None:
    """A value of one type; None where it is absent."""
    if key not in table:
        return None
    value = table[key]
    if isinstance(value, kind) and type(value) is kind:
        return value
    raise RecipeError(f"{where} {key} is {value!r}, expected {WORDS[kind][0]}".lstrip())


def axis(where: str, table: Table, key: str, *kinds: type[T]) -> list[T] | None:
    """A list of values of these types, not empty; None where it is absent."""
    if key not in table:
        return None
    values = table[key]
    if not isinstance(values, list) or any(type(value) not in kinds for value in values):
        several = WORDS[kinds[-1]][1]
        raise RecipeError(f"{where} {key} is {values!r}, expected a list of {several}".lstrip())
    if not values:
        raise RecipeError(f"{where} {key} is an empty list, expected at least one value".lstrip())
    return values


def once(where: str, values: list[T]) -> list[T]:
    """The values, if none stands there twice."""
    for value, times in Counter(values).items():
        if times > 1:
            raise RecipeError(f"{where} has {value!r} {times} times, expected once")
    return values
