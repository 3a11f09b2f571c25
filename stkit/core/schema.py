"""Whether JSON from a file is of the types that its reader relies on.

A shape is one of these: a type (text is to be printable, a whole number smaller than LARGE); TEXT,
which may be any; NUMBER, which may also be the text nan, inf or -inf; a tuple of a type and its
least and greatest value; a list of the shape of every item, and SOME where there must be one, or
how many there must be; a dict, in which keys that end in ? may be absent or null, `str` stands for
any key, and what no key names may be anything; a function that returns a shape, for one that holds
itself.
"""

from typing import Any

from stkit.core.errors import ArtifactError

SOME = ...
TEXT, NUMBER = object(), object()
LARGE = 2**63  # far below what no longer fits a float
SHARE = (float, 0, 1)
COUNT = (int, 0, float("inf"))
WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false",
         dict: "an object", list: "a list"}  # fmt: skip


def check(value: Any, shape: Any, where: str = "") -> None:
    """ArtifactError that names the first place where the value is not of the shape."""
    if callable(shape) and not isinstance(shape, type):
        shape = shape()
    if shape is TEXT:
        if not isinstance(value, str):
            raise ArtifactError(_wrong(value, WORDS[str], where))
    elif shape is NUMBER:
        if value not in ("nan", "inf", "-inf"):
            _of_type(value, float, where)
    elif isinstance(shape, dict):
        _of_type(value, dict, where)
        for key, inner in shape.items():
            _key(value, key, inner, where)
    elif isinstance(shape, list):
        _of_type(value, list, where)
        if SOME in shape and not value:
            raise ArtifactError(_wrong(value, "at least one", where))
        if isinstance(shape[-1], int) and len(value) != shape[-1]:
            raise ArtifactError(_wrong(value, f"{shape[-1]} of them", where))
        for number, item in enumerate(value):
            check(item, shape[0], f"{where}.{number}")
    elif isinstance(shape, tuple):
        kind, least, most = shape
        _of_type(value, kind, where)
        if not least <= value <= most:
            raise ArtifactError(_wrong(value, f"{WORDS[kind]} from {least} to {most}", where))
    else:
        _of_type(value, shape, where)


def _key(value: dict[str, Any], key: Any, shape: Any, where: str) -> None:
    """Check what an object holds under one key of a shape."""
    if key is str:
        for name, item in value.items():
            check(item, shape, f"{where}.{name}".lstrip("."))
        return
    name = key.removesuffix("?")
    place = f"{where}.{name}".lstrip(".")
    if name in value and (value[name] is not None or name == key):
        check(value[name], shape, place)
    elif name == key:
        raise ArtifactError(f"damaged, it lacks {place!r}; make it again")


def _of_type(value: Any, kind: type, where: str) -> None:
    kinds = (int, float) if kind is float else kind
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
        raise ArtifactError(_wrong(value, WORDS[kind], where))
    if isinstance(value, int) and abs(value) >= LARGE:
        raise ArtifactError(_wrong(value, "a smaller number", where))
    if isinstance(value, str) and not value.isprintable():
        raise ArtifactError(_wrong(value, "text that can be printed", where))


def _wrong(value: Any, expected: str, where: str) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:40]}..."
    return f"damaged, {where or 'it'} is {shown}, expected {expected}; make it again"
