"""stkit plot: pictures for papers and talks."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import Field, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from stkit.cli import claims, numbers, output, saving
from stkit.cli import options as o
from stkit.core.errors import RecipeError
from stkit.recipes.settings import Setting
from stkit.report import plots
from stkit.report.plots.asked import Asked, option

PLACE = 120
HERE = Path("-")
"""For --data: stdout."""
UNITS = {"fraction": numbers.fraction}
NUMBERS = {int: numbers.whole, float: numbers.real}

Kind = Annotated[str, typer.Argument(metavar="KIND", help="One of the list above.")]
Files = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH", help="Files written by stkit, or folders of stkit bench."),
]
Picture = Annotated[
    Path, typer.Option("-o", "--output", metavar="FILE", help="FILE.png, .svg or .pdf.")
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE.csv", help="Also the numbers behind it; - is stdout."),
]


def register(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command(
        help="Draw a picture for a paper or a talk. Needs matplotlib.\n\n\b\nKinds:\n"
        + "\n".join(f"  {name:<12} {about}" for name, about in plots.KINDS.items())
        + "\n\n\b\nExample:\n"
        "  stkit plot curves sp-nt.safetensors sp-st.safetensors -o curves.png\n"
        "  stkit plot landscape sp-nt.safetensors --source sp.safetensors -o landscape.png\n"
        "  stkit plot acm sp-st.safetensors -o acm.svg --data acm.csv\n"
        "  stkit plot poison digits.safetensors sp.safetensors -o sp.png",
        name="plot",
    )(command())


def command() -> Callable[..., None]:
    """The function behind `stkit plot`: its signature, which Typer reads, has all of `Asked`."""
    asked = {each.name: _option(each) for each in fields(Asked) if "setting" in each.metadata}
    taken: dict[str, tuple[Any, Any]] = {
        "kind": (Kind, o.REQUIRED), "paths": (Files, None),
        "out": (Picture, o.REQUIRED), "data": (Data, None),
        **{name: (kind, None) for name, kind in asked.items() if plots.takers(name)},
        "force": (o.Force, False), "quiet": (o.Quiet, False),
    }  # fmt: skip

    def run(
        kind: str, paths: list[Path] | None, out: Path, data: Path | None, force: bool, quiet: bool,
        **options: Any,
    ) -> None:  # fmt: skip
        options = {name: None if value is False else value for name, value in options.items()}
        _plot(kind, paths or [], out, data, Asked(**options), force=force, quiet=quiet)

    return o.signed(run, taken)


def _option(field: Field[Any]) -> Any:
    """A field of `Asked` as an option that is None until given; its help names the kinds."""
    about: Setting = field.metadata["setting"]
    kind: Any = get_args(field.type)[0]  # of `int | None`, int
    help = f"{', '.join(plots.takers(field.name))}: {about.help[0].lower()}{about.help[1:]}"
    env = "STKIT_DATA" if field.name == "data_root" else None
    if about.unit:
        read = typer.Option(
            option(field.name), parser=UNITS[about.unit], metavar="FRACTION", help=help
        )
        return Annotated[float | None, read]
    if kind is bool:
        return Annotated[bool | None, typer.Option(option(field.name), help=help)]
    named = typer.Option(
        option(field.name), parser=NUMBERS.get(kind), metavar=about.metavar, help=help, envvar=env
    )
    return Annotated[kind | None, named]


def _plot(
    kind: str, paths: list[Path], out: Path, data: Path | None, asked: Asked, *,
    force: bool, quiet: bool,
) -> None:  # fmt: skip
    """Draw one kind of picture, with the numbers behind it."""
    plots.check(kind, paths, out, asked)
    kept = None if data == HERE else data
    if kept is not None and kept.suffix.lower() != ".csv":
        raise RecipeError(f"{kept}: expected a name that ends in .csv, or - for stdout")
    takes = plots.kind(kind).TAKES
    resume = bool(asked.resume) if "resume" in takes else None
    if "device" in takes:  # the process is configured; the kind picks the same again
        begun = claims.part_of(out) if resume else None
        runtime = o.runtime(asked.device or "auto", threads=asked.threads, begun=begun)
        asked = replace(asked, threads=runtime.threads if "threads" in takes else None)
    with ExitStack() as stack:
        stack.enter_context(claims.held(out, force=force, resume=resume))
        if kept is not None:
            stack.enter_context(claims.held(kept, force=force))
        progress = stack.enter_context(output.bar(f"drawing {kind}"))
        carry = partial(saving.carry, out=out, resume=bool(resume), progress=progress)
        rows = plots.draw(
            kind, paths, out, replace(asked, on_progress=progress, carry=carry), data=kept,
            replace=force, on_note=output.note,
        )  # fmt: skip
        if resume is not None:
            claims.part_of(out).unlink(missing_ok=True)
    if data == HERE:
        output.say(plots.csv(rows))
        return
    said = {"output": str(out)} | ({} if kept is None else {"data": str(kept)})
    output.result(said, as_json=False, quiet=quiet, brief=out)
