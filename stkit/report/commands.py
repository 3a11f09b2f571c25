"""The command that made a file, from the recipe in its header. No torch.

Only what the recipe says goes into it: numbers, and names that this version knows. RecipeError
where no command makes it: what came in from outside, or was made in Python.
"""

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stkit.core import lineage
from stkit.core.checks import as_dict, choose, whole
from stkit.core.errors import RecipeError
from stkit.core.header import Header
from stkit.recipes import asked, layers
from stkit.recipes.acm import VARIANTS
from stkit.recipes.asked import Values
from stkit.recipes.catalogue import DATASETS
from stkit.recipes.frames import pgd20
from stkit.recipes.poisons import LONG

ENDING = ".safetensors"
FOLDER = "FOLDER"
"""Stands for the folder of images that a chain begins with: no header says where that is."""


@dataclass(frozen=True)
class Command:
    """What makes a file: `stkit VERB READS OPTIONS -o FILE`, by so many ranks.

    reads: files of the chain as paths, data sets by name, FOLDER. test, init: what --test and
    --init-from read. out: the FILE, where the one that was asked for is an epoch on its way.
    """

    verb: tuple[str, ...]
    reads: tuple[Path | str, ...]
    options: Values
    test: Path | None = None
    init: Path | None = None
    ranks: int = 1
    out: str | None = None

    @property
    def resumable(self) -> bool:
        """Whether it takes --resume."""
        return self.verb[0] == "train" or self.verb[-1] in LONG

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the chain that it reads."""
        return tuple(each for each in (*self.reads, self.test, self.init) if isinstance(each, Path))


def kept(out: Path, epoch: int) -> Path:
    """Where `stkit train -o OUT --keep EPOCH` writes the weights of that epoch."""
    stem = out.name.removesuffix(ENDING)
    return out.with_name(f"{stem}.epoch-{epoch}{out.name[len(stem) :]}")


@dataclass(frozen=True)
class Parents:
    """What a file was made from: the headers, and the names of the files."""

    heads: tuple[Header, ...]
    files: tuple[Path, ...]


def of(head: Header, files: tuple[Path, ...], split: str) -> Command:
    """The command for a file with this header. files: those of its parents. split: of the images
    that it holds or, by default, reads."""
    make = KINDS.get(head["kind"], _unknown)
    try:
        return make(head, Parents(tuple(head["inputs"]), files), split)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RecipeError(f"its recipe is damaged ({error!r})") from None


def _dataset(head: Header, parents: Parents, split: str) -> Command:
    recipe = head["recipe"]
    if "imported" in recipe:
        raise RecipeError(
            f"it was imported from {recipe.get('content', 'a file')} in the layout "
            f"{recipe['imported']!r}, which `stkit import --name {quoted(recipe['method'])}` needs"
        )
    if "method" in recipe:
        return _poison(head, parents, split)
    source = recipe.get("source")
    options = {name: recipe[name] for name in ("size", "limit", "holdout") if recipe.get(name)}
    if source == "file":
        (images,) = parents.files
        if "part" in recipe:
            options |= {"part": recipe["part"], "seed": _seed(head)}
        return Command(("data",), (images,), options)
    if source not in (*DATASETS, "folder"):
        raise RecipeError(f"its images, {source!r}, are tensors in Python")
    choose("split", split, ("train", "test"))
    where = FOLDER if source == "folder" else source
    return Command(("data",), (where,), {"split": split, **options})


def _poison(head: Header, parents: Parents, split: str) -> Command:
    recipe = head["recipe"]
    options, count = asked.poison(recipe) | {"seed": _seed(head)}, 1
    if recipe["method"] in LONG:
        options |= asked.runtime(recipe)
        count = asked.ranks(recipe)
    (clean,) = parents.files
    return Command(("poison", recipe["method"]), (clean,), options, ranks=count)


def _checkpoint(head: Header, parents: Parents, split: str) -> Command:
    recipe, seed = head["recipe"], _seed(head)
    options = asked.training(recipe, seed, side=_side(parents.heads[0]))
    options |= {"seed": seed} | asked.runtime(recipe)
    if "kept" in head:
        options["keep"] = head["kept"]["epoch"]
    others = dict(zip(parents.files[1:], parents.heads[1:], strict=True))
    init = next((file for file, each in others.items() if each["kind"] == "checkpoint"), None)
    if (init is None) is not (recipe.get("init") is None):
        raise RecipeError("its recipe and its inputs disagree about a checkpoint to start from")
    test = next((file for file in others if file != init), None)
    return Command(("train",), parents.files[:1], options, test, init, ranks=asked.ranks(recipe))


def _side(images: Header) -> int | None:
    """The side of images in pixels; None where their header does not say."""
    recipes = [each["recipe"] for each in lineage.walk(images)]
    given: int | None = next((recipe["size"] for recipe in recipes if recipe.get("size")), None)
    return given or (32 if recipes[-1].get("source") in DATASETS else None)


def _acm(head: Header, parents: Parents, split: str) -> Command:
    _of_files(parents)
    recipe = head["recipe"]
    if head["seed"] != parents.heads[0]["seed"]:
        raise RecipeError("it was measured in Python, of another draw")
    options: Values = {"variant": choose("ACM variant", recipe["variant"], VARIANTS)}
    layer = recipe.get("layer")
    if layer is not None:
        if layers.layer(str(layer)) != layer:
            raise RecipeError(f"its layer, {layer!r}, has a name that a command cannot ask for")
        options["layer"] = layer
    options |= {"per-class": recipe["per_class"]} | asked.runtime(recipe)
    return Command(("acm",), parents.files, options)


def _eval(head: Header, parents: Parents, split: str) -> Command:
    _of_files(parents)
    recipe = head["recipe"]
    options: Values = {}
    if recipe["adversary"] is not None:
        epsilon = recipe["adversary"]["epsilon"]
        if recipe["adversary"] != as_dict(pgd20(epsilon)):
            raise RecipeError("its adversary was made in Python, it is not PGD-20")
        options["adversary"] = asked.fraction(epsilon)
    if "batch_size" in recipe:
        options["batch-size"] = recipe["batch_size"]
    options |= {"seed": _seed(head)} | asked.runtime(recipe)
    return Command(("eval",), parents.files, options)


def _of_files(parents: Parents) -> None:
    """RecipeError unless a checkpoint was measured on a data set."""
    kinds = [each["kind"] for each in parents.heads]
    if kinds != ["checkpoint", "dataset"]:
        raise RecipeError(f"it was measured in Python, on {' and '.join(kinds)}")


def _seed(head: Header) -> int:
    seed: int = head["seed"]
    whole("seed", seed, 0, 2**32 - 1)
    return seed


def _noise(head: Header, parents: Parents, split: str) -> Command:
    raise RecipeError(f"`stkit poison {head['method']} --class-noise` keeps it with its images")


def _unknown(head: Header, parents: Parents, split: str) -> Command:
    raise RecipeError(f"it is a {head['kind']} of Python's")


KINDS: dict[str, Callable[[Header, Parents, str], Command]] = {
    "dataset": _dataset, "state": _poison, "checkpoint": _checkpoint, "acm": _acm, "eval": _eval,
    "class-noise": _noise,
}  # fmt: skip


def words(
    command: Command,
    file: str,
    folder: Path = Path(),
    *,
    data_root: Path | None = None,
    resume: bool = False,
) -> list[str]:
    """The words after `stkit` that make `file`, with all files of the chain in this folder.

    data_root: for sets that are known by name. resume: where unfinished work may be there.
    """
    values = dict(command.options)
    if data_root is not None and any(each in DATASETS for each in command.reads):
        values["data-root"] = str(data_root)
    if resume and command.resumable:
        values["resume"] = True
    reads = [folder / each if isinstance(each, Path) else each for each in command.reads]
    also = [
        f"--{option}={folder / read}"
        for option, read in (("test", command.test), ("init-from", command.init))
        if read is not None
    ]
    made = ["-o", _plain(folder / (command.out or file))]
    return [*command.verb, *map(_plain, reads), *asked.words(values), *also, *made]


def _plain(word: Path | str) -> str:
    """An argument that no command takes for an option."""
    return f"./{word}" if str(word).startswith("-") else str(word)


def line(command: Command, words: Sequence[str]) -> str:
    """The command as it is typed in a shell."""
    ranks = ["torchrun", f"--nproc-per-node={command.ranks}", "-m", "stkit"]
    return " ".join(map(quoted, [*(ranks if command.ranks > 1 else ["stkit"]), *words]))


def quoted(word: str) -> str:
    """A word for a shell, on one line. What cannot be printed is escaped as in bash's $'...'."""
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word))}'"


def _escaped(letter: str) -> str:
    if letter.isprintable() and letter not in "'\\":
        return letter
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))
