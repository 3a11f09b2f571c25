"""The one tree of errors. Each message is one line: what was found, what was expected, what to do.

The library raises these; only `cli.main` catches them. `RecipeError` is wrong usage (exit 2), the
others are failures (exit 1).
"""

from collections.abc import Iterator
from contextlib import contextmanager


class StkitError(Exception):
    """Any failure that a user can cause or repair."""


class RecipeError(StkitError):
    """A setting outside its range, or a name that does not exist."""


class ArtifactError(StkitError):
    """A file that is missing, damaged, of the wrong kind, or in the way."""


class DataError(StkitError):
    """Images or labels that cannot be read or do not fit."""


class SizesDiffer(DataError):
    """Images of several sizes, where one is expected; `which` says whose.

    source, size: words of the command that makes a set of one, as far as they are known.
    """

    def __init__(self, which: str, source: str = "FOLDER", size: object = "N") -> None:
        super().__init__(
            f"{which}; one size is expected: run `stkit data {source} --size {size} -o FILE` first"
        )
        self.which = which


@contextmanager
def sized(source: str, size: int) -> Iterator[None]:
    """Name the source and the size where images differ in theirs that have to fit others."""
    try:
        yield
    except SizesDiffer as differ:
        raise SizesDiffer(differ.which, source, size) from None


class DivergenceError(StkitError):
    """A loss, weights or noise that are not finite any more, so that no result can be made."""


class DeviceError(StkitError):
    """A device that is not there, or has too little memory."""


class RankError(StkitError):
    """Ranks that cannot go on together: raised on all of them, said by rank 0."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Interrupted(StkitError):
    """A signal arrived and the unfinished work was saved; `signal` is its number."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class Taken(ArtifactError):
    """A file has appeared, while work was under way, where its result was to be."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"{path}: appeared while this was at work, and was left as it is; "
            "pass --force to replace it or another -o"
        )
