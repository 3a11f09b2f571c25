"""The tables of a grid, each checked and filled in: [data], [[poison]] and [[frame]]. No torch."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Literal

from stkit.bench import toml
from stkit.bench.tasks import Options, Task
from stkit.bench.toml import Table
from stkit.core import header
from stkit.core.checks import choose, nearest, number
from stkit.core.errors import ArtifactError, RecipeError
from stkit.recipes.carried import listed
from stkit.recipes.catalogue import DATASETS
from stkit.recipes.frames import FRAMES
from stkit.recipes.ladder import AUTO
from stkit.recipes.poisons import METHODS

Known = Mapping[str, Collection[str]]
"""The options, without dashes, that there are: of "train" and of every "poison METHOD"."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
BENCH = dict.fromkeys(("output", "split", "data-root", "device", "dry-run", "resume", "force",
                       "json", "quiet"), "`stkit bench`")  # fmt: skip
OWN: dict[str, dict[str, str]] = {
    "train": {
        "seed": "seeds",
        "model": "models",
        "frame": "[[frame]]",
        "test": "[data]",
        "keep": "the grid's own `keep`, of last checkpoints",
        **BENCH,
    },
    "poison": {
        "seed": "poison-seed",
        "poison-rate": "rates",
        "class-noise": "`stkit bench`",
        **BENCH,
    },
}
"""Options of the two commands that a grid does not pass on, and who sets them."""
OF_FILES = ("init-from", "init-layers", "freeze")
"""Options of trainings that start from a file: the names of a grid's tasks say nothing of it."""
Seed = int | Literal["each"]
"""Of a poison: one for the trainings of all seeds, or each training's own."""


@dataclass(frozen=True)
class Data:
    """[data]: what the results say of the data set, the tasks of its training and test images."""

    settings: dict[str, Any]
    clean: Task
    test: Task


@dataclass(frozen=True)
class Poison:
    """One [[poison]]; without a method it is the clean images, or those of a file."""

    name: str
    method: str | None = None
    file: str | None = None
    options: Options = field(default_factory=dict)
    rates: tuple[float, ...] = (1.0,)
    seed: Seed = 0


@dataclass(frozen=True)
class Frame:
    """One [[frame]]. own: its options; options: those of [train] and over them its own."""

    name: str
    frame: str
    own: Options
    options: Options


@dataclass(frozen=True)
class Instead:
    """Sources that are read in the place of those that [data] names, which the results keep.

    test: not of a grid that keeps a part of its training images for that.
    """

    source: str | None = None
    test: str | None = None


def data(table: Table, instead: Instead) -> Data:
    """[data]. instead: what is to be read in the place of what is named."""
    toml.keys("[data]", table, ("source", "test", "limit", "size", "holdout", "name"))
    source, test, name = (toml.one(table, key, str, "[data]") for key in ("source", "test", "name"))
    sizes = {key: toml.one(table, key, int, "[data]") for key in ("limit", "size", "holdout")}
    if name is not None:
        _named("[data] name", name)
    read = instead.source or source
    tested = (None if sizes["holdout"] else instead.test) or test
    if read is None:
        raise RecipeError('[data] has no source; write source = "cifar10", a folder or a file')
    if sizes["holdout"] is not None and test is not None:
        raise RecipeError("[data] has holdout and test, expected one of them; leave one out")
    if tested is None and sizes["holdout"] is None and header.is_stkit(Path(read)):
        raise RecipeError(
            f"[data] has no test; {read} is a file, which holds one split; write test = ... or "
            "pass --test SOURCE"
        )
    for key, value in sizes.items():
        if value is not None:
            number(f"[data] {key}", value, 1, (sizes["limit"] or inf) - (key == "holdout"))
    name = name or _stem(source or "images")
    if not name.isprintable():
        raise RecipeError(f"[data] source is called {name!r}; write name = ... for the results")
    settings: dict[str, Any] = {"name": name}
    if source is not None and with_state(source) != settings["name"]:
        settings["source"] = with_state(source)
    if test is not None:
        settings["test"] = with_state(test)
    settings |= {k: v for k, v in sizes.items() if k != "holdout" or v is not None}
    return Data(settings, *_splits(read, tested, sizes))


def _splits(source: str, test: str | None, sizes: Mapping[str, int | None]) -> tuple[Task, Task]:
    """The tasks of the training and of the test images."""
    given = [f"--{key}={value}" for key, value in sizes.items() if value is not None]
    train = ["--split=train", *given]
    tested = [] if header.is_stkit(Path(test or source)) else ["--split=test"]  # as the file says
    if sizes["holdout"] is not None:
        tested = [*train, "--part=held"]
    elif sizes["size"] is not None:
        tested.append(f"--size={sizes['size']}")
    return (
        Task("clean", ("data",), source, tuple(train), state=state(source)),
        Task("test", ("data",), test or source, tuple(tested), state=state(test or source)),
    )


def _stem(source: str) -> str:
    return source if source in DATASETS else Path(source).stem


def with_state(source: str) -> str:
    """What the settings call a source: a change of it is noticed, also of what a file holds."""
    return f"{_stem(source)} {state(source)}".strip()


def state(source: str) -> str:
    """Eight digits that stand for what a dataset file holds; nothing where there is none."""
    if source in DATASETS or not header.is_stkit(Path(source)):
        return ""
    try:
        return str(header.read(Path(source))["digest"][:8])
    except ArtifactError:  # it is said when the file is to be read
        return ""


def poisons(table: Table, known: Known | None) -> list[Poison]:
    """Every poison of a grid; `rates` and `poison-seed` are for those without their own."""
    rates = _rates("", table, (1.0,))
    seed = _poison_seed("poison-seed", table.get("poison-seed", 0))
    return [_poison(where, each, rates, seed, known) for where, each in _tables(table, "poison")]


def _poison(
    where: str, table: Table, rates: tuple[float, ...], seed: Seed, known: Known | None
) -> Poison:
    name = _named(where, toml.one(table, "name", str, where) or "")
    file, method = (toml.one(table, key, str, where) for key in ("file", "method"))
    if file is None and method is None and name != "clean":
        method = name
    if name == "clean" and method is not None:
        raise RecipeError(f"{where}: clean images have no method; give the poison another name")
    if file is not None or method is None:
        toml.keys(where, table, ("name", "file"))
        return Poison(name, file=file)
    try:  # a name alone may be meant for the clean images
        choose("method", method, METHODS if "method" in table else (*METHODS, "clean"))
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
    own = ("name", "method", "file", "rates", "seed")
    return Poison(
        name, method, options=_options(where, table, own, known, f"poison {method}"),
        rates=_rates(where, table, rates),
        seed=_poison_seed(f"{where} seed", table.get("seed", seed)),
    )  # fmt: skip


def frames(table: Table, known: Known | None) -> list[Frame]:
    """Every frame of a grid."""
    train = _options("[train]", toml.one(table, "train", dict) or {}, (), known, "train")
    return [_frame(where, each, train, known) for where, each in _tables(table, "frame")]


def _frame(where: str, table: Table, train: Options, known: Known | None) -> Frame:
    name = _named(where, toml.one(table, "name", str, where) or "")
    frame = toml.one(table, "frame", str, where) or name
    try:
        choose("frame", frame, FRAMES)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
    own = _options(where, table, ("name", "frame"), known, "train")
    options = {**train, **own}
    augment = options.get("augment")
    climbs = AUTO in listed(str(augment)) if augment else FRAMES[frame].train.ladder is not None
    if options.get("purified") and not options.get("holdout") and not climbs:
        raise RecipeError(
            f"{where} has purified without holdout, the published images that it washes; write "
            "holdout = N in [train] (that of [data] keeps clean images out, for tests)"
        )
    return Frame(name, frame, own, options)


def _tables(table: Table, kind: str) -> list[tuple[str, Table]]:
    """`poisons = [...]` and every [[poison]], the first without options; with where they stand."""
    names = toml.once(f"{kind}s", toml.axis("", table, f"{kind}s", str) or [])
    tables: list[tuple[str, Table]] = [(f"{kind}s {name!r}", {"name": name}) for name in names]
    for each in toml.axis("", table, kind, dict) or []:
        called = each.get("name", each.get("method") or each.get("frame"))
        if called is None:
            raise RecipeError(f"a [[{kind}]] has no name; write name = ...")
        tables.append((f"[[{kind}]] {called!r}", {**each, "name": called}))
    if not tables:
        raise RecipeError(f"has no {kind}; write {kind}s = [...] or a [[{kind}]]")
    return tables


def _options(
    where: str, table: Table, own: Collection[str], known: Known | None, command: str
) -> Options:
    """What of a table is passed on to a command; RecipeError for what cannot be."""
    options = {key: value for key, value in table.items() if key not in own}
    set_by = OWN[command.partition(" ")[0]]
    for key, value in options.items():
        if key in set_by:
            raise RecipeError(f"{where}: {key!r} is no option here; it is set by {set_by[key]}")
        if command == "train" and key in OF_FILES:
            raise RecipeError(
                f"{where}: {key!r} is no option of a grid, whose results would not notice another "
                "checkpoint; use `stkit train`, and `stkit report` on its files"
            )
        if known is not None and key not in known[command]:
            raise RecipeError(f"{where}: {nearest('option', key, known[command])}")
        if not isinstance(value, (str, int, float)):
            raise RecipeError(f"{where}: {key} is {value!r}, expected a number, text or true")
    if command == "train" and "augment" in options:
        options["augment"] = ",".join(listed(str(options["augment"])))
    return options


def _rates(where: str, table: Table, otherwise: tuple[float, ...]) -> tuple[float, ...]:
    rates = toml.axis(where, table, "rates", int, float) or otherwise
    for rate in rates:
        number(f"{where} rates".lstrip(), rate, 0, 1)
    return tuple(toml.once(f"{where} rates".lstrip(), [float(rate) for rate in rates]))


def _poison_seed(where: str, seed: Any) -> Seed:
    if seed == "each":
        return "each"
    if type(seed) is not int:
        raise RecipeError(f'{where} is {seed!r}, expected a whole number or "each"')
    number(where, seed, 0, 2**32 - 1)
    return seed


def _named(where: str, name: str) -> str:
    """A name that can be part of a file's."""
    if not NAME.fullmatch(name):
        raise RecipeError(f"{where}: name {name!r}, expected letters, digits, dots and dashes")
    return name
