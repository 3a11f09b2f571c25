"""stkit poison METHOD: one sub-command a method, its options made from the fields of its recipe."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from stkit.cli import claims, class_noise, early, numbers, output, photographs, saving, usage
from stkit.cli import options as o
from stkit.core.checks import as_dict, given, number
from stkit.core.errors import RecipeError
from stkit.recipes.poisons import LONG, METHODS
from stkit.recipes.settings import Recipe, Setting, settings

if TYPE_CHECKING:
    from stkit.data.exporting.photographs import About
    from stkit.data.folders import Skipped
    from stkit.data.images import Images
    from stkit.engine.runtime import Runtime
    from stkit.poisons.interface import Crafting, Record

Rate = Annotated[
    float,
    typer.Option(
        "--poison-rate", parser=numbers.real, help="The share of images that get noise, 0 to 1."
    ),
]
Noise = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="With --scope class: put the poison together from the noise in this small file where "
        "it is of these settings and images; where none is there, keep the noise in it.",
    ),
]
UNITS = {"budget": numbers.budget, "fraction": numbers.fraction}
"""How a setting of this unit is read."""
NUMBERS = {int: numbers.whole, float: numbers.real}
"""The same, of one without a unit."""
PLACE = 30
ALL_RANKS = LONG


def register(app: typer.Typer) -> None:
    """Add a sub-command for every method."""
    methods = typer.Typer(cls=usage.Group, rich_markup_mode=None, help="Make a poisoned data set.")
    for name, recipe in METHODS.items():
        about = recipe.about[0].upper() + recipe.about[1:]
        example = f"stkit poison {name} cifar10 -o {name}.safetensors"
        photos = f"stkit poison {name} photos/ --keep-size -o protected/"
        help = f"{about}.\n\n\b\nExample:\n  {example}\n  {photos}"
        methods.command(name, help=help)(command(name, recipe))
    app.add_typer(methods, name="poison")


@dataclass(frozen=True)
class Request:
    """What every method is asked besides its recipe."""

    method: str
    source: str
    out: Path
    seed: int
    poison_rate: float
    split: str | None
    data_root: Path | None
    dry_run: bool
    force: bool
    json: bool
    quiet: bool
    strict: bool = False
    size: int | None = None
    recursive: bool = False
    keep_size: bool = False
    keep_metadata: bool = False
    device: str = "auto"
    precision: str = "auto"
    step: str = "auto"
    sync_bn: bool = False
    threads: int | None = None
    deterministic: bool = False
    resume: bool = False
    class_noise: Path | None = None
    skipped: "list[Skipped]" = field(default_factory=list)  # said by the reading of the source


def command(method: str, recipe: type[Recipe[Any]]) -> Callable[..., None]:
    """The function behind `stkit poison METHOD`: its signature is what Typer reads."""
    taken: dict[str, tuple[Any, Any]] = {
        "source": (o.Source, o.REQUIRED), "out": (o.Output, o.REQUIRED),
        **{field.name: _option(field) for field in fields(recipe)},
        "seed": (o.Seed, 0), "poison_rate": (Rate, 1.0), "split": (o.Split, None),
        "data_root": (o.DataRoot, None), **photographs.OPTIONS,
    }  # fmt: skip
    if recipe.trains_surrogate:
        taken |= {"device": (o.Device, "auto"), "precision": (o.Precision, "auto")}
        taken |= {"step": (o.Step, "auto"), "sync_bn": (o.SyncBn, False)}
        taken |= {"threads": (o.Threads, None), "deterministic": (o.Deterministic, False)}
        taken |= {"resume": (o.Resume, False)}
        if "scope" in settings(recipe):
            taken |= {"class_noise": (Noise, None)}
    taken |= {"strict": (o.Strict, False), "dry_run": (o.DryRun, False), "force": (o.Force, False)}
    taken |= {"json": (o.Json, False), "quiet": (o.Quiet, False)}

    def run(**options: Any) -> None:
        chosen = {field.name: options.pop(field.name) for field in fields(recipe)}
        _run(given(recipe(), **chosen), Request(method, **options))

    return o.signed(run, taken)


def _option(field: Field[Any]) -> tuple[Any, Any]:
    """A field as an option that is None until given; its help names the recipe's default."""
    about: Setting = field.metadata["setting"]
    name = f"--{field.name.replace('_', '-')}"
    if field.type is bool:
        return Annotated[bool, typer.Option(name, help=about.help)], False
    help, default = about.help, cast(Any, field.default)
    if default is not None:
        shown = f"{default * 255:g}/255" if about.unit == "budget" else f"{default}"
        help = f"{help}  [default: {shown}]"
    if about.unit:
        option = typer.Option(name, parser=UNITS[about.unit], metavar="FRACTION", help=help)
        return Annotated[float | None, option], None
    kind: Any = next(iter(get_args(field.type)), field.type)  # of `int | None`, int
    option = typer.Option(name, parser=NUMBERS.get(kind), metavar=about.metavar, help=help)
    return Annotated[kind | None, option], None


def _run(recipe: Recipe[Any], asked: Request) -> None:
    """Read, poison, write, and say what was done; or, with --dry-run, what would be."""
    _check(recipe, asked)
    from stkit import poisons

    runtime = None
    if recipe.trains_surrogate:
        runtime = o.runtime(
            asked.device, asked.precision, step=asked.step, sync_bn=asked.sync_bn,
            threads=asked.threads, deterministic=asked.deterministic,
            begun=claims.begun(asked.out, resume=asked.resume, force=asked.force),
        )  # fmt: skip
        runtime.agree(recipe, asked.seed, asked.poison_rate, asked.resume)
    with (
        nullcontext()
        if asked.dry_run
        else claims.held(
            asked.out, force=asked.force, resume=asked.resume, folder=asked.keep_size,
            runtime=runtime,
        )
    ):  # fmt: skip
        images = _read(asked, runtime)
        poisons.check(images, recipe, asked.seed, asked.poison_rate)
        surveyed = photographs.survey(images, asked) if asked.keep_size else None
        crafting = None
        if runtime:
            crafting = poisons.craft(images, recipe, seed=asked.seed, runtime=runtime)
        if asked.dry_run:
            plan = _plan(images, poisons.resolved(images, recipe), asked, crafting)
            output.result(plan, as_json=asked.json, quiet=asked.quiet, brief=asked.out)
        elif crafting:
            if surveyed is None:
                _craft(crafting, asked)
            else:
                photographs.carry(crafting, asked, surveyed)
        else:
            _make(images, recipe, asked, surveyed)


def _check(recipe: Recipe[Any], asked: Request) -> None:
    """What can be said before torch is loaded."""
    number("poison-rate", asked.poison_rate, 0, 1)
    photographs.check(asked)
    kept = asked.class_noise
    if kept is not None and as_dict(recipe)["scope"] != "class":
        raise RecipeError(
            "noise is kept where it is one a class; pass --scope class, or no --class-noise"
        )
    if kept is not None and kept.resolve() == asked.out.resolve():
        raise RecipeError(f"-o and --class-noise are both {kept}; pass another file for one")
    early.look(
        None if asked.dry_run else asked.out, force=asked.force, resume=asked.resume,
        folder=asked.keep_size, sources=(asked.source,),
    )  # fmt: skip


def _read(asked: Request, runtime: "Runtime | None") -> "Images":
    """The clean images, of the size that noise is made for."""
    return o.open_source(
        asked.source, asked.split, asked.data_root,
        size=photographs.SIZE if asked.keep_size and asked.size is None else asked.size,
        recursive=asked.recursive, keeps_alpha=asked.keep_size,
        strict=asked.strict, skipped=asked.skipped, runtime=runtime,
    )  # fmt: skip


def _make(
    images: "Images", recipe: Recipe[Any], asked: Request, surveyed: "list[About] | None"
) -> None:
    """A poison that needs no surrogate; `seconds` is the computing alone."""
    from stkit.poisons import poison

    start = perf_counter()
    poisoned = poison(images, recipe, seed=asked.seed, poison_rate=asked.poison_rate)
    seconds = perf_counter() - start
    if surveyed is not None:
        photographs.write(poisoned, images, asked, surveyed, start)
        return
    poisoned.save(asked.out, replace=asked.force)
    say(poisoned.header["statistics"], seconds, asked, len(images))


def _craft(crafting: "Crafting", asked: Request) -> None:
    """A poison that is saved on the way, and gone on with."""
    from stkit.poisons import finish, recorded

    start, runtime, count = perf_counter(), crafting.runtime, len(crafting.images)
    expected = recorded(crafting, asked.poison_rate)
    if asked.resume:
        done = claims.finished(asked.out, "dataset", expected, runtime, force=asked.force)
        if done is not None:
            say(done["statistics"], None, asked, count, runtime)
            return
    if asked.class_noise is not None:
        again = class_noise.again(
            crafting, expected, asked.class_noise, asked.out,
            precision=asked.precision, force=asked.force,
        )  # fmt: skip
        if again is not None:
            if runtime.first:
                say(again, perf_counter() - start, asked, count, runtime)
            return
    if asked.resume:
        saving.take_up(crafting, asked.out, "state")
    statistics: dict[str, Any] = {}

    def finished() -> saving.Save:
        poisoned = finish(crafting, asked.poison_rate)
        statistics.update(poisoned.header.get("statistics", {}))  # of the first rank's alone
        if asked.class_noise is not None:
            class_noise.keep(crafting, poisoned, asked.class_noise)
        return poisoned.save

    line = None if asked.quiet else _line
    saving.run(crafting, asked.out, finished, label=asked.method, line=line, force=asked.force)
    if runtime.first:
        say(statistics, perf_counter() - start, asked, count, runtime)


def _line(record: "Record") -> str:
    """What a surrogate's record says, in one line."""
    return "  ".join(f"{key} {output.text(value)}" for key, value in record.to_json().items())


def _plan(
    images: "Images", recipe: Recipe[Any], asked: Request, crafting: "Crafting | None"
) -> dict[str, Any]:
    """What would be done. Unfinished work lies in memory, and beside FILE until the end."""
    state = sum(t.nbytes for t in crafting.tensors().values()) if crafting else 0
    return {
        "output": str(asked.out), "method": asked.method, "n": len(images),
        "poisoned": round(asked.poison_rate * len(images)), "recipe": as_dict(recipe),
        "memory_bytes": 2 * images.pixels.nbytes + state,
        "disk_bytes": images.pixels.nbytes + state,
        **(o.skipped_keys(asked.skipped) if asked.json else {}),
    }  # fmt: skip


def say(
    statistics: dict[str, Any],
    seconds: float | None,
    asked: Request,
    count: int,
    runtime: "Runtime | None" = None,
) -> None:
    """The result; a key that only some methods have comes after the common ones.

    seconds: None where it was finished before.
    """
    computing: dict[str, Any] = {}
    if runtime and seconds is not None:
        computing = {"peak_memory": runtime.peak_memory(), "device": runtime.machine}
    result = {
        "output": str(asked.out), "method": asked.method, "n": count,
        **{key: statistics[key] for key in ("linf", "l2_mean", "l0_max")},
        "seconds": seconds,
        **{key: value for key, value in statistics.items() if key in ("rounds", "best")},
        **computing, **(o.skipped_keys(asked.skipped) if asked.json else {}),
    }  # fmt: skip
    if statistics.get("converged") is False:
        result["warning"] = "the error never fell to --stop-error; the best round was published"
        if asked.quiet:
            output.note(f"warning: {result['warning']}")
    output.result(result, as_json=asked.json, quiet=asked.quiet, brief=asked.out)
