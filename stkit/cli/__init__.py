"""The command line: parse, import inside the body, one library call, render.

Only `main` catches errors; only this folder prints. Nothing here imports torch, numpy or timm at
import time, so that `--help` answers at once.
"""

import os
import signal
import sys
import warnings
from typing import Any

import typer

from stkit import __version__
from stkit.cli import data, exchange, info, measure, poison, train
from stkit.cli.output import error
from stkit.errors import Interrupted, RecipeError, StkitError
from stkit.recipes import nearest

NO_MEMORY = ("out of memory", "allocate memory", "not enough memory", "ALLOC_FAILED")
"""What torch says, on one device or another, when memory runs out."""

app = typer.Typer(
    name="stkit",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Unlearnable examples from end to end: poison a data set, train on it by the frames that "
    "are said to undo the poison, measure ACM and accuracy. Each command reads and writes one "
    "safetensors file.",
    epilog="""\b
Example:
  stkit poison sp digits -o sp.safetensors
  stkit train sp.safetensors --frame st --model small --test digits -o st.safetensors
  stkit report st.safetensors""",
)
for module in (data, poison, exchange, train, measure, info):
    module.register(app)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version or context.invoked_subcommand is None:
        typer.echo(f"stkit {__version__}" if version else context.get_help())
        raise typer.Exit()


class _Stop(BaseException):
    """A signal outside the training loop; no `except Exception` on the way swallows it."""


def main(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1, 2, 130 or 143 (see the contract)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata in somebody's images
    if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        return error("found several ranks (torchrun), expected one; run stkit without torchrun", 1)
    try:
        result = app(args, standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except Interrupted as stop:
        return error(str(stop), 128 + stop.signal)
    except RecipeError as wrong:
        return error(str(wrong), 2)
    except StkitError as failed:
        return error(str(failed), 1)
    except _Stop as stop:
        return error("interrupted; nothing was left to save", 128 + stop.args[0])
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return error("out of memory; pass fewer or smaller images: stkit data --limit --size", 1)
    except OSError as failed:
        return error(f"{failed.filename or 'system'}: {failed.strerror or failed}", 1)
    except RuntimeError as failed:
        if not any(sign in str(failed) for sign in NO_MEMORY):
            raise
        return error(
            "the device is out of memory; lower --batch-size (acm: --per-class; rem: also --eot), "
            "or pass --device cpu",
            1,
        )
    except Exception as wrong:
        if not hasattr(wrong, "format_message"):  # Typer's, under a name that depends on its age
            raise
        return error(_usage(wrong), 2)


def _usage(wrong: Any) -> str:
    """A usage error in one line, with the nearest command where one is unknown."""
    message = " ".join(wrong.format_message().split()).rstrip(".")
    context = getattr(wrong, "ctx", None)
    if context is None:
        return message
    known = getattr(context.command, "commands", None)
    if known and message.startswith("No such command"):
        kind = "method" if context.command.name == "poison" else "command"
        return nearest(kind, message.split("'")[1], known)
    return f"{message}; see `{context.command_path} --help`"


def _stop(number: int, _: object) -> None:
    raise _Stop(number)
