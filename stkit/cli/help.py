"""stkit help: the help of a command."""

from typing import Annotated

import typer
from typer.core import TyperGroup

PLACE = 150


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("help")(show)


def _names(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
    """What a shell offers: the commands, or those of the one that is typed."""
    command: object = ctx.find_root().command
    for word in ctx.params.get("words") or ():
        command = getattr(command, "commands", {}).get(word)
    return command.list_commands(ctx) if isinstance(command, TyperGroup) else []


def show(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND", help="Such as train, or poison sp.", autocompletion=_names
        ),
    ] = None,
) -> None:
    """The help of a command, as --help gives it.

    \b
    Example:
      stkit help train
      stkit help poison sp
    """
    root = context.find_root()
    root.command.main([*(words or ()), "--help"], root.info_name, standalone_mode=False)
