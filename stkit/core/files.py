"""Reading what somebody else may have written: regular files of a bounded size, JSON and TOML.

A pipe would wait for ever, a device has no end, a hole in a file takes no disk and all memory; text
nested too deep ends in a RecursionError wherever it is walked. All of that is found here.
"""

import json
import os
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from stkit.core.errors import ArtifactError

HEADER = 100 << 20  # bytes of a safetensors header at most
TEXT = 64 << 20  # bytes of a JSON or TOML file at most
DEPTH = 100  # of objects and lists in each other
DIGITS = 18  # of a whole number: below 2**63
VALUES = 4_000_000  # in a JSON text, each of which takes up to 200 bytes of memory
DOTS = 1000  # on a line of TOML: what a key of so many parts takes grows with their square
SPARSE, DENSE = 1 << 30, 16
"""A file above SPARSE bytes is to have at least one of DENSE bytes on disk."""


def open_regular(path: Path, remedy: str = "check the path") -> BinaryIO:
    """A regular file, open to be read, directly or through links. ArtifactError for all else."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; {remedy}") from None
    except PermissionError:
        raise ArtifactError(f"{path}: permission denied; check who may read it") from None
    except (OSError, ValueError) as error:  # a loop of links, a name too long, a null in it
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(f"{path}: cannot be read ({reason}); {remedy}") from None
    try:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode):
            if stat.S_ISDIR(about.st_mode):
                remedy = "`stkit data` makes one of a folder of images"
            raise ArtifactError(f"{path}: found {kind(about)}, expected a file; {remedy}")
        on_disk = 512 * getattr(about, "st_blocks", about.st_size)
        if about.st_size > SPARSE and on_disk < about.st_size // DENSE:
            raise ArtifactError(
                f"{path}: found {about.st_size:,} bytes of which {on_disk:,} are on disk, expected "
                "a file written whole; make it again"
            )
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


_BINARY = getattr(os, "O_BINARY", 0)  # Windows


def kind(about: os.stat_result) -> str:
    """What is no regular file, for people."""
    if stat.S_ISDIR(about.st_mode):
        return "a folder"
    if stat.S_ISFIFO(about.st_mode):
        return "a pipe"
    if stat.S_ISSOCK(about.st_mode):
        return "a socket"
    return "a link" if stat.S_ISLNK(about.st_mode) else "a device"


def content(path: Path, *, limit: int = TEXT, remedy: str = "check the path") -> bytes:
    """All of a regular file. ArtifactError where it is larger than `limit`, or cannot be read."""
    with open_regular(path, remedy) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ArtifactError(
                f"{path}: found {size:,} bytes, expected {limit:,} at most; {remedy}"
            )
        try:
            return file.read(size)
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None


def parse_json(text: str | bytes) -> Any:
    """JSON as Python values. ValueError for what is none, or that no reader of ours can take:
    nan and infinity, whole numbers of 64 bits and more, what is nested deeper than DEPTH, and more
    than VALUES."""
    if isinstance(text, str):
        count = sum(text.count(mark) for mark in ",[{")
    else:
        count = sum(text.count(mark) for mark in (b",", b"[", b"{"))
    if count > VALUES:
        raise ValueError(f"it has more than {VALUES:,} values")
    return _shallow(_parsed(json.loads, text, parse_constant=_no_number, parse_int=_whole))


def parse_toml(text: str) -> dict[str, Any]:
    """TOML as Python values; ValueError as `parse_json`. Reads about 1 MB in a second."""
    if any(line.count(".") > DOTS for line in text.split("\n")):
        raise ValueError(f"a line has more than {DOTS:,} dots")
    table: dict[str, Any] = _shallow(_parsed(tomllib.loads, text))
    return table


def _parsed(parse: Callable[..., Any], text: str | bytes, **more: Any) -> Any:
    try:
        return parse(text, **more)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _no_number(text: str) -> float:
    raise ValueError(f"found {text}")


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > DIGITS:
        raise ValueError(f"found a whole number of {len(text)} digits")
    return int(text)


def _shallow(value: Any) -> Any:
    """The value, which is nested at most DEPTH deep; whole numbers within 64 bits."""
    level, depth = [value], 0
    while level:
        if depth > DEPTH:
            raise ValueError(f"it is nested more than {DEPTH} deep")
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
            elif isinstance(each, int) and abs(each) >= 10**DIGITS:
                raise ValueError(f"found a whole number above 10**{DIGITS}")
        level, depth = inner, depth + 1
    return value
