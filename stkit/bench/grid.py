"""A grid of trainings: TOML in, stages and cells out. Planning only: nothing is run, no torch.

A cell is one training: a poison at a rate, a frame, a model, a seed, over one data set. Cells share
the stages before their own, so a poison is made once. The schema stands at the head of
`examples/grid.toml`. Paths are as typed, from the folder in which one stands.
"""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from math import inf
from pathlib import Path
from typing import Any

from stkit.bench import toml
from stkit.bench.tasks import Cell, Grid, Stage
from stkit.core import header
from stkit.core.checks import choose, nearest, number
from stkit.core.errors import ArtifactError, RecipeError
from stkit.recipes.carried import listed
from stkit.recipes.catalogue import DATASETS, model_name
from stkit.recipes.frames import FRAMES
from stkit.recipes.poisons import METHODS

Known = Mapping[str, Collection[str]]
"""The options, without dashes, that there are: of "train" and of every "poison METHOD"."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
BENCH = dict.fromkeys(("output", "split", "data-root", "device", "dry-run", "resume", "force",
                       "json", "quiet"), "`stkit bench`")  # fmt: skip
OWN: dict[str, dict[str, str]] = {
    "train": {"seed": "seeds", "model": "models", "frame": "[[frame]]", "test": "[data]", **BENCH},
    "poison": {"seed": "poison-seed", "poison-rate": "rates", **BENCH},
}
"""Options of the two commands that a grid does not pass on, and who sets them."""


def read(path: Path, known: Known | None = None, *, source: str | None = None) -> Grid:
    """The grid of a TOML file. known: names an option that is not there; None leaves that to the
    stage. source: in the place of the grid's, whose name the results keep. ArtifactError where the
    file cannot be read, RecipeError for what is wrong in it.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return parse(table, known, source=source)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}; pass a grid in TOML") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: found no TOML ({error}); see `stkit bench --help`") from None
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def parse(table: dict[str, Any], known: Known | None = None, *, source: str | None = None) -> Grid:
    """The grid of a table as TOML gives it."""
    toml.keys("", table, ("data", "train", "poison", "frame", "poisons", "frames", "models",
                          "rates", "seeds", "poison-seed", "keep"))  # fmt: skip
    data, clean, test = _data(toml.one(table, "data", dict, {}), source)
    train = _options("[train]", toml.one(table, "train", dict, {}), (), known, "train")
    shared = {
        "rates": _rates("", toml.axis("", table, "rates", (int, float), [1.0])),
        "seed": _poison_seed("poison-seed", table.get("poison-seed", 0)),
    }
    models = toml.once("models", toml.axis("", table, "models", (str,), ["resnet18"]))
    for model in models:
        model_name(model)
    seeds = toml.once("seeds", toml.axis("", table, "seeds", (int,), [0]))
    for seed in seeds:
        number("seeds", seed, 0, 2**32 - 1)
    poisons = [_poison(where, entry, shared, known) for where, entry in _entries(table, "poison")]
    frames = [_frame(where, entry, train, known) for where, entry in _entries(table, "frame")]
    cells = [
        _cell(data, test, made, frame, model, seed)
        for poison in poisons
        for made in _made(poison, seeds, clean)
        for frame in frames
        for model in models
        for seed in (seeds if made[2] is None else [made[2]])
    ]
    names = [cell.name for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise RecipeError(f"two cells are called {twice!r}; give its poison or frame another name")
    return Grid(tuple(cells), toml.one(table, "keep", bool, True))


def _data(table: dict[str, Any], instead: str | None) -> tuple[dict[str, Any], Stage, Stage]:
    """[data]: how the results call the data set, the stage of the training images, and of test.

    instead: a source to be read in the place of the one that is named.
    """
    toml.keys("[data]", table, ("source", "test", "limit", "size", "holdout", "name"))
    source = toml.one(table, "source", str, None, "[data]")
    name = toml.one(table, "name", str, None, "[data]")
    _named("[data] name", name)
    test = toml.one(table, "test", str, None, "[data]")
    called: dict[str, Any] = {"name": name or _stem(source or "images")}
    if source is not None and _named_images(source) != called["name"]:
        called["source"] = _named_images(source)
    if test is not None:
        called["test"] = _named_images(test)
    source = instead or source
    if source is None:
        raise RecipeError('[data] has no source; write source = "cifar10", a folder or a file')
    holdout = toml.one(table, "holdout", int, None, "[data]")
    if holdout is not None and test is not None:
        raise RecipeError("[data] has holdout and test, expected one of them; leave one out")
    if test is None and holdout is None and header.is_stkit(Path(source)):
        raise RecipeError(f"[data] has no test; {source} is a file, which holds one split")
    parts: dict[str, list[str]] = {"train": ["--split=train"], "test": ["--split=test"]}
    if header.is_stkit(Path(test or source)):
        parts["test"] = []  # as the file says
    sizes = {key: toml.one(table, key, int, None, "[data]") for key in ("limit", "size")}
    for key, value in sizes.items():
        if value is not None:
            number(f"[data] {key}", value, 1, inf)
            parts["train"].append(f"--{key}={value}")
    if holdout is not None:
        number("[data] holdout", holdout, 1, (sizes["limit"] or inf) - 1)
        parts["train"].append(f"--holdout={holdout}")
        parts["test"] = [*parts["train"], "--part=held"]
        sizes["holdout"] = holdout
    elif sizes["size"] is not None:
        parts["test"].append(f"--size={sizes['size']}")
    clean, tested = (
        Stage(stage, ("data",), path, tuple(parts[split]), state=_state(path))
        for stage, path, split in (("clean", source, "train"), ("test", test or source, "test"))
    )
    return {**called, **sizes}, clean, tested


def _stem(source: str) -> str:
    return source if source in DATASETS else Path(source).stem


def _named_images(source: str) -> str:
    """What the settings call a source: a change of it is noticed, also of what a file holds."""
    return f"{_stem(source)} {_state(source)}".strip()


def _state(source: str) -> str:
    """Eight digits that stand for what a dataset file holds; nothing where there is none."""
    if source in DATASETS or not header.is_stkit(Path(source)):
        return ""
    try:
        return header.read(Path(source))["digest"][:8]
    except ArtifactError:  # it is said when the file is to be read
        return ""


def _poison(where: str, entry: dict[str, Any], shared: dict, known: Known | None) -> dict:
    """One [[poison]], filled in."""
    own = ("name", "method", "file", "rates", "seed")
    name = _named(where, toml.one(entry, "name", str, None, where))
    file, method = (toml.one(entry, key, str, None, where) for key in ("file", "method"))
    if file is None and method is None and name != "clean":
        method = name
    if name == "clean" and method is not None:
        raise RecipeError(f"{where}: clean images have no method; give the poison another name")
    if file is not None or method is None:
        toml.keys(where, entry, ("name", "file"))
        return {"name": name, "file": file}
    try:  # a name alone may be meant for the clean images
        choose("method", method, METHODS if "method" in entry else (*METHODS, "clean"))
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
    return {
        "name": name, "method": method,
        "options": _options(where, entry, own, known, f"poison {method}"),
        "rates": _rates(where, toml.axis(where, entry, "rates", (int, float), shared["rates"])),
        "seed": _poison_seed(f"{where} seed", entry.get("seed", shared["seed"])),
    }  # fmt: skip


def _frame(where: str, entry: dict[str, Any], train: dict, known: Known | None) -> dict:
    """One [[frame]], filled in; its options come over those of [train]."""
    name = _named(where, toml.one(entry, "name", str, None, where))
    frame = toml.one(entry, "frame", str, None, where) or name
    try:
        choose("frame", frame, FRAMES)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
    options = _options(where, entry, ("name", "frame"), known, "train")
    return {"name": name, "frame": frame, "options": options, "train": train}


def _made(poison: dict, seeds: list[int], clean: Stage) -> Iterator[tuple[dict, Stage | str, Any]]:
    """Each set of images that a [[poison]] gives: its settings, its stage, the one seed it is for.

    That seed is None where the images serve the trainings of all seeds.
    """
    if "method" not in poison:
        yield {k: v for k, v in poison.items() if v}, poison["file"] or clean, None
        return
    each = poison["seed"] == "each"
    kept = {key: poison[key] for key in ("name", "method", "options")}
    for rate in poison["rates"]:
        for seed in seeds if each else [poison["seed"]]:
            options = (*_words(poison["options"]), f"--seed={seed}")
            verb = ("poison", poison["method"])
            stage = Stage(f"{poison['name']}_s{seed}", verb, clean, options)
            if rate < 1:  # of the same noise, so that it is made once
                name, options = f"{poison['name']}{_rate(rate)}_s{seed}", (f"--poison-rate={rate}",)
                stage = Stage(name, ("rate",), stage, options, clean=clean)
            yield {**kept, "rate": rate, "seed": seed}, stage, seed if each else None


def _cell(data: dict, test: Stage, made: tuple, frame: dict, model: str, seed: int) -> Cell:
    poison, source, _ = made
    if "file" in poison:
        poison = {**poison, "file": f"{Path(poison['file']).name} {_state(poison['file'])}".strip()}
    options = {**frame["train"], **frame["options"]}
    named = re.sub(r"[^A-Za-z0-9.-]+", "-", model)
    name = f"{poison['name']}{_rate(poison.get('rate', 1.0))}_{frame['name']}_{named}_s{seed}"
    words = (f"--frame={frame['frame']}", f"--model={model}", f"--seed={seed}", *_words(options))
    settings = {
        "data": data, "poison": poison, "frame": {"name": frame["name"], "frame": frame["frame"]},
        "model": model, "seed": seed, "train": options,
    }  # fmt: skip
    if frame["options"]:
        settings["frame"]["options"] = frame["options"]
    state = _state(source) if isinstance(source, str) else ""
    return Cell(name, settings, Stage(name, ("train",), source, words, test, state=state))


def _rate(rate: float) -> str:
    return "" if rate == 1 else f"-r{rate:g}"


def _words(options: dict[str, Any]) -> list[str]:
    """Options as a command line has them; a switch that is false is left out."""
    return [
        f"--{key}" if value is True else f"--{key}={value}"
        for key, value in options.items()
        if value is not False
    ]


def _options(
    where: str, entry: dict[str, Any], own: Collection[str], known: Known | None, command: str
) -> dict[str, Any]:
    """What of a table is passed on to a command; RecipeError for what cannot be."""
    found = {key: value for key, value in entry.items() if key not in own}
    set_by = OWN[command.partition(" ")[0]]
    for key, value in found.items():
        if key in set_by:
            raise RecipeError(f"{where}: {key!r} is no option here; it is set by {set_by[key]}")
        if known is not None and key not in known[command]:
            raise RecipeError(f"{where}: {nearest('option', key, known[command])}")
        if not isinstance(value, (str, int, float)):
            raise RecipeError(f"{where}: {key} is {value!r}, expected a number, text or true")
    if command == "train" and "augment" in found:
        found["augment"] = ",".join(listed(str(found["augment"])))
    return found


def _entries(table: dict[str, Any], kind: str) -> list[tuple[str, dict]]:
    """`poisons = [...]` and every [[poison]], the first without options; with where they stand."""
    names = toml.once(f"{kind}s", toml.axis("", table, f"{kind}s", (str,), []))
    tables = toml.axis("", table, kind, (dict,), [])
    found = [(f"{kind}s {name!r}", {"name": name}) for name in names]
    for entry in tables:
        called = entry.get("name", entry.get("method") or entry.get("frame"))
        if called is None:
            raise RecipeError(f"a [[{kind}]] has no name; write name = ...")
        found.append((f"[[{kind}]] {called!r}", {**entry, "name": called}))
    if not found:
        raise RecipeError(f"has no {kind}; write {kind}s = [...] or a [[{kind}]]")
    return found


def _rates(where: str, rates: list[float]) -> list[float]:
    for rate in rates:
        number(f"{where} rates".lstrip(), rate, 0, 1)
    return toml.once(f"{where} rates".lstrip(), [float(rate) for rate in rates])


def _poison_seed(where: str, seed: Any) -> Any:
    if seed != "each" and type(seed) is not int:
        raise RecipeError(f'{where} is {seed!r}, expected a whole number or "each"')
    if seed != "each":
        number(where, seed, 0, 2**32 - 1)
    return seed


def _named(where: str, name: Any) -> Any:
    """A name that can be part of a file's; None passes where there is none to check."""
    if name is not None and not NAME.fullmatch(name):
        raise RecipeError(f"{where}: name {name!r}, expected letters, digits, dots and dashes")
    return name
