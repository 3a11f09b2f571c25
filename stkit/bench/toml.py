"""Values of a table as TOML gives it, each checked: RecipeError says where and what was found."""

from collections.abc import Collection
from typing import Any

from stkit.core.checks import nearest
from stkit.core.errors import RecipeError


def keys(where: str, table: dict[str, Any], known: Collection[str]) -> None:
    """RecipeError for a key that is not known."""
    for key in table:
        if key not in known:
            raise RecipeError(f"{where}: {nearest('key', key, known)}".lstrip(": "))


def one(table: dict[str, Any], key: str, kind: type, default: Any, where: str = "") -> Any:
    """A value of one type, or the default where it is absent."""
    value = table.get(key, default)
    if value is default or (isinstance(value, kind) and type(value) is kind):
        return value
    words = {str: "text", int: "a whole number", bool: "true or false", dict: "a table"}
    raise RecipeError(f"{where} {key} is {value!r}, expected {words[kind]}".lstrip())


def axis(where: str, table: dict, key: str, kinds: tuple[type, ...], default: Any) -> list:
    """A list of values of these types, not empty where it is given."""
    if key not in table:
        return list(default)
    values = table[key]
    words = {str: "texts", int: "whole numbers", float: "numbers", dict: "tables"}[kinds[-1]]
    if not isinstance(values, list) or any(type(value) not in kinds for value in values):
        raise RecipeError(f"{where} {key} is {values!r}, expected a list of {words}".lstrip())
    if not values:
        raise RecipeError(f"{where} {key} is an empty list, expected at least one value".lstrip())
    return values


def once(where: str, values: list) -> list:
    """The values, if none stands there twice."""
    for value in values:
        if values.count(value) > 1:
            raise RecipeError(f"{where} has {value!r} {values.count(value)} times, expected once")
    return values
