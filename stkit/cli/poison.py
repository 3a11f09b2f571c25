"""stkit poison METHOD: one sub-command a method, its options made from the fields of its recipe."""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stkit.cli import options as o
from stkit.cli import output, saving
from stkit.core.checks import as_dict, given, number
from stkit.recipes.catalogue import MODELS, TIMM
from stkit.recipes.poisons import ABOUT, LONG, METHODS

if TYPE_CHECKING:
    from stkit.engine.runtime import Runtime

Rate = Annotated[
    float, typer.Option("--poison-rate", help="The share of images that get noise, 0 to 1.")
]
FIELDS: dict[str, tuple[Any, str | dict[str, str], str | None]] = {
    "epsilon": (o.budget, "Per-pixel budget.", None),
    "bound": (str, "The ball of epsilon; l2 has radius epsilon * sqrt(3HW).", "l2|linf"),
    "patch": (int, "Side of a patch in pixels; 8 at 32 px, 32 at 224 px.", None),
    "rounding": (str, "How noise becomes grey levels, once.", "floor|nearest"),
    "objective": (str, "The authors' code, or their paper's Eq. 2.", "code|paper"),
    "pixels": (int, "Pixels an image.", None),
    "scope": (str, "One noise an image, or one a class.", "sample|class"),
    "step_size": (
        o.budget,
        {"em": "Size of a step of the noise; epsilon / 10.",
         "rem": "Size of a step of the noise; 1.6/255, at 224 px 2/255."}, None,
    ),
    "steps": (
        int, {"em": "Steps of the noise; 20, class-wise 1.",
              "rem": "Steps of the noise; 10, at 224 px 7."}, None,
    ),
    "model_steps": (
        int, {"em": "SGD steps of the surrogate a round; 10, CIFAR-100 20, 224 px 100.",
              "rem": "SGD steps of the surrogate; 5000, at 224 px 3000."}, None,
    ),
    "batch_size": (
        int, {"em": "Images a batch; 512, at 224 px 32.", "rem": "Images a batch; 128."}, None,
    ),
    "stop_error": (o.fraction, "The error that ends it; 0.01, at 224 px 0.1.", None),
    "max_rounds": (int, "Rounds at most; the best one is kept.", None),
    "sign": (str, "positive drops the negative half, as the authors' loader.", "both|positive"),
    "clip": (float, "Largest L2 norm of the surrogate's gradient.", None),
    "eot": (int, "Draws of the augmentation a step; 5, at 224 px 4.", None),
    "adversary": (o.budget, "Radius of the inner attack.", None),
    "adversary_step_size": (o.budget, "Its step; 0.8/255, at 224 px 1/255.", None),
    "adversary_steps": (int, "Its steps; 10, at 224 px 7.", None),
    "lr_decay_every": (int, "Steps after which lr falls to a tenth; 2000, 224 px 1200.", None),
    "augment": (str, "cg: jitter and grey in the draws as well (REM-T).", "plain|cg"),
    "fast": (bool, "A short cut with fewer draws and steps: weaker noise, labelled so.", None),
    "model": (str, f"The surrogate: {', '.join(MODELS)}, or {TIMM}NAME.", "MODEL"),
    "lr": (float, "The surrogate's learning rate.", None),
    "momentum": (float, "The surrogate's momentum.", None),
    "weight_decay": (
        float, {"em": "The surrogate's; 5e-4, CIFAR-100 and 224 px 5e-5.",
                "rem": "The surrogate's."}, None,
    ),
}  # fmt: skip
"""Field -> type, help (by method where it differs), what stands for its value in the help."""

PLACE = 30


def register(app: typer.Typer) -> None:
    methods = typer.Typer(rich_markup_mode=None, help="Make a poisoned data set.")
    for name, recipe in METHODS.items():
        about = ABOUT[name][0].upper() + ABOUT[name][1:]
        example = f"stkit poison {name} cifar10 -o {name}.safetensors"
        methods.command(name, help=f"{about}.\n\n\b\nExample:\n  {example}")(command(name, recipe))
    app.add_typer(methods, name="poison")


@dataclass(frozen=True)
class Request:
    """What every method is asked besides its recipe."""

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
    device: str = "auto"
    precision: str = "auto"
    step: str = "auto"
    sync_bn: bool = False
    resume: bool = False


def command(method: str, recipe: type) -> Callable[..., None]:
    """The function behind `stkit poison METHOD`: its signature is what Typer reads."""
    taken: dict[str, tuple[Any, Any]] = {
        "source": (o.Source, inspect.Parameter.empty), "out": (o.Output, inspect.Parameter.empty),
        **{field.name: _option(method, field.name, field.default) for field in fields(recipe)},
        "seed": (o.Seed, 0), "poison_rate": (Rate, 1.0), "split": (o.Split, None),
        "data_root": (o.DataRoot, None),
    }  # fmt: skip
    if method in LONG:
        taken |= {"device": (o.Device, "auto"), "precision": (o.Precision, "auto")}
        taken |= {"step": (o.Step, "auto"), "sync_bn": (o.SyncBn, False)}
        taken |= {"resume": (o.Resume, False)}
    taken |= {"dry_run": (o.DryRun, False), "force": (o.Force, False)}
    taken |= {"json": (o.Json, False), "quiet": (o.Quiet, False)}

    def run(**options: Any) -> None:
        chosen = {field.name: options.pop(field.name) for field in fields(recipe)}
        _run(method, given(recipe(), **chosen), Request(**options))

    run.__annotations__ = {name: kind for name, (kind, _) in taken.items()}
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
            )
            for name, (kind, default) in taken.items()
        ]
    )
    return run


def _option(method: str, name: str, default: Any) -> tuple[Any, Any]:
    """A field as an option that is None until given; its help names the recipe's default."""
    kind, help, metavar = FIELDS[name]
    about = help[method] if isinstance(help, dict) else help
    if kind is bool:
        return Annotated[bool, typer.Option(f"--{name.replace('_', '-')}", help=about)], False
    if default is not None:
        shown = f"{default * 255:g}/255" if kind is o.budget else f"{default}"
        about = f"{about}  [default: {shown}]"
    if kind in (o.budget, o.fraction):
        option = typer.Option(parser=kind, metavar="FRACTION", help=about)
        return Annotated[float | None, option], None
    return Annotated[kind | None, typer.Option(metavar=metavar, help=about)], None


def _run(method: str, recipe: Any, asked: Request) -> None:
    """Read, poison, write, and say what was done; `seconds` is the computing alone."""
    number("poison-rate", asked.poison_rate, 0, 1)
    from stkit import poisons
    from stkit.engine.runtime import pick

    out, runtime = asked.out, None
    if method in LONG:
        runtime = pick(asked.device, asked.precision, step=asked.step, sync_bn=asked.sync_bn)
        runtime.agree(recipe, asked.seed, asked.poison_rate, asked.resume)
    with runtime.together() if runtime else nullcontext():
        if not asked.dry_run:
            saving.clear(out, resume=asked.resume, force=asked.force)
    images = o.open_source(asked.source, asked.split, asked.data_root, runtime=runtime)
    poisons.check(images, recipe, asked.seed, asked.poison_rate)
    if runtime:
        making = poisons.making(images, recipe, seed=asked.seed, runtime=runtime)
        recipe = making.recipe
    if asked.dry_run:
        state = sum(t.nbytes for t in making.tensors().values()) if method in LONG else 0
        plan = _plan(method, recipe, images, asked, state)
        output.result(plan, as_json=asked.json, quiet=asked.quiet, brief=out)
        return
    start = perf_counter()
    if method not in LONG:
        made = poisons.poison(images, recipe, seed=asked.seed, poison_rate=asked.poison_rate)
        seconds = perf_counter() - start
        made.save(out)
        say(method, made.header["statistics"], seconds, asked, len(images))
        return
    if asked.resume:
        saving.take_up(making, out, "state")
    published: list[dict] = []

    def finish() -> None:
        made = poisons.published(making, asked.poison_rate)
        if making.runtime.first:
            published.append(made.save(out)["statistics"])

    saving.run(making, out, finish, label=method, line=None if asked.quiet else _line)
    if making.runtime.first:
        say(method, published[0], perf_counter() - start, asked, len(images), runtime)


def _line(record: dict) -> str:
    """A record of EM or REM in one line."""
    return "  ".join(f"{key} {output.text(value)}" for key, value in record.items())


def _plan(method: str, recipe: Any, images: Any, asked: Request, state: int) -> dict:
    """state: bytes of the unfinished work, which lies in memory, and beside FILE until the end."""
    return {
        "output": str(asked.out), "method": method, "n": len(images),
        "poisoned": round(asked.poison_rate * len(images)), "recipe": as_dict(recipe),
        "memory_bytes": 2 * images.pixels.nbytes + state,
        "disk_bytes": images.pixels.nbytes + state,
    }  # fmt: skip


def say(
    method: str,
    statistics: dict,
    seconds: float,
    asked: Request,
    count: int,
    runtime: "Runtime | None" = None,
) -> None:
    """The result; a key that only EM or REM has comes after the common ones."""
    computing = {}
    if runtime:
        computing = {"peak_memory": runtime.peak_memory(), "device": runtime.machine}
    found = {
        "output": str(asked.out), "method": method, "n": count,
        **{key: statistics[key] for key in ("linf", "l2_mean", "l0_max")}, "seconds": seconds,
        **{key: value for key, value in statistics.items() if key in ("rounds", "best")},
        **computing,
    }  # fmt: skip
    if statistics.get("converged") is False:
        found["warning"] = "the error never fell to --stop-error; the best round was published"
        if asked.quiet:
            output.note(f"warning: {found['warning']}")
    output.result(found, as_json=asked.json, quiet=asked.quiet, brief=asked.out)
