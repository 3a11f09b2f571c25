"""A pickle read as plain data: the program in it is walked through, and nothing of it is called.

A pickle names functions and says what to call them with. Here a name becomes a `Name`, a call a
`Call`, an object that lies outside of the pickle a `Stored`: values, of which the reader of a kind
of file takes those that it knows. So no file decides what runs. Lengths are held against what is
left of the file before they are read, the number of steps is limited, and nothing recurses.
"""

import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

STEPS = 100_000  # of a pickle at most: a bare array takes about 50, the weights of a net 20 each
DICT = "collections.OrderedDict"  # called with nothing, it is a dict


@dataclass(frozen=True)
class Name:
    """A class or function that the file names, as module.name; NumPy 1's as NumPy 2 has it."""

    full: str


@dataclass(eq=False)
class Call:
    """What a name was to be called with, and the state that the outcome was to be given."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(frozen=True)
class Stored:
    """What a persistent id stands for: something that lies elsewhere in the file."""

    key: Any


class RefusedError(Exception):
    """What the pickle holds and no reader takes."""


class Bounded:
    """A file that says ValueError where more is asked for than is left of it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.tell, self.readline = file.tell, file.readline

    def read(self, count: int) -> bytes:
        """So many bytes."""
        if count > self.size - self.file.tell():
            raise ValueError(f"it says that {count:,} bytes follow, of {self.size:,} in all")
        return self.file.read(count)


def walk(
    file: BinaryIO, size: int, admitted: Collection[str], stored: list[Stored] | None = None
) -> Any:
    """The value that the pickle at the file's position describes; the position is then behind it.

    size: of the file. admitted: the full names that it may mention. stored: takes what it has of
    persistent ids; None: it may have none. RefusedError for what it may not hold; a damaged one
    raises errors of every kind. What it describes may print as gigabytes: see what it is first.
    """
    machine = _Machine(admitted, stored)
    bounded = cast(BinaryIO, Bounded(file, size))  # of which `genops` uses these three
    for step, (opcode, argument, _) in enumerate(pickletools.genops(bounded)):
        if step == STEPS:
            raise RefusedError(f"more than {STEPS:,} steps")
        machine.step(opcode.name, argument)
    return machine.pop()


class _Machine:
    """The stack, its marks and the memo of pickle's machine."""

    def __init__(self, admitted: Collection[str], stored: list[Stored] | None) -> None:
        self.admitted, self.stored = admitted, stored
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        """The topmost value."""
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        """All values above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def step(self, name: str, argument: Any) -> None:
        """One opcode. RefusedError for those that make objects in a way no array needs."""
        if name in IGNORED:
            return
        if name in LITERALS:
            if isinstance(argument, int) and abs(argument) >= WHOLE:
                raise RefusedError("a whole number of more than 128 bits")
            self.stack.append(argument)
        elif name in VALUES:
            self.stack.append(VALUES[name](self))
        elif name in EFFECTS:
            EFFECTS[name](self)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "GLOBAL":
            self.stack.append(self.named(*argument.split(" ", 1)))
        else:
            raise RefusedError(f"an object ({name})")

    def named(self, module: Any, name: Any) -> Name:
        """A name, if it is admitted."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise RefusedError("a name that is no text")
        full = f"{module}.{name}".replace("numpy.core.", "numpy._core.", 1)
        if full not in self.admitted:
            raise RefusedError(full)
        return Name(full)

    def stack_global(self) -> Name:
        """STACK_GLOBAL: module and name lie on the stack."""
        name, module = self.pop(), self.pop()
        return self.named(module, name)

    def reduce(self) -> Any:
        """REDUCE: what would be a call."""
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise RefusedError("a call of what is no function")
        return {} if name.full == DICT else Call(name.full, arguments)

    def build(self) -> None:
        """BUILD: what would be the state of an object."""
        state = self.pop()
        if isinstance(self.stack[-1], Call):
            self.stack[-1].state = state
        elif not isinstance(self.stack[-1], dict):  # of an OrderedDict: its attributes
            raise RefusedError("a state for what is no object")

    def persistent(self) -> Stored:
        """BINPERSID: something that lies elsewhere."""
        if self.stored is None:
            raise RefusedError("a persistent id")
        self.stored.append(Stored(self.pop()))
        return self.stored[-1]

    def append(self, items: list[Any]) -> None:
        """To the list on the stack."""
        if not isinstance(self.stack[-1], list):
            raise RefusedError("items for what is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Keys and values in turn, into the dict on the stack."""
        if not isinstance(self.stack[-1], dict):
            raise RefusedError("items for what is no dict")
        self.stack[-1].update(_paired(items))

    def last(self, count: int) -> tuple[Any, ...]:
        """The topmost values, lowest first."""
        return tuple(reversed([self.pop() for _ in range(count)]))


def _paired(items: list[Any]) -> dict[Any, Any]:
    if any(not isinstance(key, str | bytes | int) for key in items[::2]):
        raise RefusedError("a dict with keys that are neither text nor numbers")
    return dict(zip(items[::2], items[1::2], strict=True))


IGNORED = {"PROTO", "FRAME", "STOP"}
WHOLE = 1 << 128  # far above the number that an old .pt begins with
LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
}  # fmt: skip
VALUES: dict[str, Callable[[_Machine], Any]] = {
    "NONE": lambda m: None,
    "NEWTRUE": lambda m: True,
    "NEWFALSE": lambda m: False,
    "EMPTY_TUPLE": lambda m: (),
    "EMPTY_LIST": lambda m: [],
    "EMPTY_DICT": lambda m: {},
    "TUPLE": lambda m: tuple(m.since_mark()),
    "TUPLE1": lambda m: m.last(1),
    "TUPLE2": lambda m: m.last(2),
    "TUPLE3": lambda m: m.last(3),
    "LIST": lambda m: m.since_mark(),
    "DICT": lambda m: _paired(m.since_mark()),
    "DUP": lambda m: m.stack[-1],
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "BINPERSID": _Machine.persistent,
}
EFFECTS: dict[str, Callable[[_Machine], Any]] = {
    "MARK": lambda m: m.marks.append(len(m.stack)),
    "POP": _Machine.pop,
    "POP_MARK": _Machine.since_mark,
    "BUILD": _Machine.build,
    "APPEND": lambda m: m.append([m.pop()]),
    "APPENDS": lambda m: m.append(m.since_mark()),
    "SETITEM": lambda m: m.set_items(list(m.last(2))),
    "SETITEMS": lambda m: m.set_items(m.since_mark()),
    "MEMOIZE": lambda m: m.memo.update({len(m.memo): m.stack[-1]}),
}
