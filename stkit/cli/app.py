"""The command line: parse, import inside the body, one library call, render.

Only `main` catches errors; only this folder prints. Nothing here imports torch, numpy or timm at
import time, so that `--help` answers at once.
"""

import io
import os
import signal
import sys
import threading
import traceback
import warnings
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import typer

from stkit import __version__, cli
from stkit.cli import output, shrunk, usage
from stkit.cli.output import error, rank
from stkit.core.errors import Interrupted, RankError, RecipeError, StkitError

SHARED = (
    "app", "claims", "class_noise", "completing", "early", "events", "fitted", "grids", "keeping",
    "listed", "numbers", "options", "output", "photographs", "runs", "saving", "shrunk", "telling",
    "train_options", "usage", "watching",
    "worker",
)  # fmt: skip
"""The modules of this folder that are no commands; any other has a PLACE, which orders the help."""


class _Program(usage.Group):
    """The program, which lists its commands by their places."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, those of commands of commands among them."""
        names = [module.__name__.rpartition(".")[2].rstrip("_") for module in COMMANDS]
        return sorted(super().list_commands(ctx), key=names.index)


app = typer.Typer(
    name="stkit",
    cls=_Program,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Unlearnable examples from end to end: poison a data set, train on it by the frames that "
    "are said to undo the poison, measure ACM and accuracy. Each command reads and writes one "
    "safetensors file.",
    epilog="""\b
Example:
  stkit poison sp shapes -o sp.safetensors
  stkit train sp.safetensors --frame nt --model small --epochs 6 --test shapes -o nt.safetensors
  stkit report nt.safetensors""",
)
COMMANDS = sorted(
    (
        import_module(f"{cli.__name__}.{name}")
        for _, name, _ in iter_modules(cli.__path__)
        if name not in SHARED
    ),
    key=lambda module: module.PLACE,
)
for module in COMMANDS:
    module.register(app)
usage.fit(app)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: bool = typer.Option(False, "-V", "--version", help="Print the version and stop."),
) -> None:
    """Say the version, or the help where no command is given."""
    if version or context.invoked_subcommand is None:
        output.say(f"stkit {__version__}" if version else context.get_help())
        raise typer.Exit()


class _Stop(BaseException):
    """A signal outside the training loop; no `except Exception` on the way swallows it."""


def main(args: list[str] | None = None, obj: object = None) -> int:
    """Run the command line and return its exit code: 0, 1, 2, 130 or 143 (see the contract).

    obj: what the commands find as their `context.obj`, such as the host of a bench.

    Of several ranks one that failed ends the process here: to part in good order, as the libraries
    want to at the end, takes the others, which may be gone.
    """
    try:
        code = _run(args, obj)
    except BaseException:
        if not _has_others():
            raise
        traceback.print_exc()
        code = 1
    if code and _has_others():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _has_others() -> bool:
    """Whether this process is connected to other ranks."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_initialized()


def _run(args: list[str] | None, obj: object) -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.unraisablehook = _stop_again
    shrunk.watch()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata in somebody's images
    if rank() and not _by_all_ranks(sys.argv[1:] if args is None else args):
        return 0
    _fill_streams()
    for stream in (sys.stdout, sys.stderr):  # a file's name may be of no encoding
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        result = app(args, standalone_mode=False, obj=obj)
        sys.stdout.flush()
        if "stkit.engine.runtime" in sys.modules:
            from stkit.engine import ranks

            ranks.leave()
        return result if isinstance(result, int) else 0
    except BaseException as problem:
        code = _failed(problem)
        if code is None:
            raise
        return code


def _failed(problem: BaseException) -> int | None:
    """Say what went wrong; the exit code, or None for a fault of ours, which is not hidden."""
    match problem:
        case Interrupted():
            return _said(str(problem), 128 + problem.signal, by_all=True)
        case RankError():
            return _said(str(problem), problem.code, by_all=True)
        case RecipeError():
            return _said(str(problem), 2)
        case StkitError():
            return _said(str(problem), 1)
        case _Stop():
            number = 128 + problem.args[0]
            return _said("interrupted; there was nothing to save yet", number, by_all=True)
        case SystemExit():  # Typer's, when it has said how a shell completes
            return problem.code if isinstance(problem.code, int) else 0
        case BrokenPipeError():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        case MemoryError():
            said = "out of memory; pass fewer or smaller images: stkit data --limit --size"
            return _said(said, 1)
        case OSError():
            return _said(_of_system(problem), 1)
        case RuntimeError():
            return _of_torch(problem)
        case Exception() if hasattr(problem, "format_message"):
            return _said(usage.line(problem), 2)  # Typer's, under a name that depends on its age
    return None


def _fill_streams() -> None:
    """Put something in the place of standard streams that are closed.

    The next file that is opened would else be one of them, and take what libraries print. What
    cannot be printed is an error, as on a full disk; notes are not missed.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _of_system(problem: OSError) -> str:
    """What the system refused, a file or standard output, which Typer prints the helps on."""
    try:
        sys.stdout.flush()
        if problem.filename is None:
            os.write(sys.stdout.fileno(), b"")
    except io.UnsupportedOperation:
        pass  # not the system's, but somebody's in this process
    except OSError as error:
        return str(output.unsaid(error))
    return f"{problem.filename or 'system'}: {problem.strerror or problem}"


def _of_torch(problem: RuntimeError) -> int | None:
    """The same, of what PyTorch raises."""
    from stkit.engine.memory import out_of_memory
    from stkit.engine.process import undetermined
    from stkit.engine.ranks import lost_rank

    if lost_rank(problem):
        return _said(
            "another rank ended, see what it said; unfinished work is where it was last saved, "
            "the same command with --resume goes on",
            1,
        )
    if out_of_memory(problem):
        return _said(
            "the device is out of memory; lower --batch-size (acm: --per-class; rem: also --eot), "
            "or pass --device cpu",
            1,
        )
    reason = undetermined(problem)
    return None if reason is None else _said(reason, 1)


def _by_all_ranks(args: list[str]) -> bool:
    """Whether this command is computed by all ranks; any other is rank 0's alone.

    A command's module says so: ALL_RANKS is True, or the names of those of its sub-commands.
    """
    word, inner, *_ = [*args, "", ""]
    names = (f"{cli.__name__}.{word}", f"{cli.__name__}.{word}_")  # import is a word of Python's
    shared = [
        getattr(module, "ALL_RANKS", False) for module in COMMANDS if module.__name__ in names
    ]
    return any(every if isinstance(every, bool) else inner in every for every in shared)


def _said(message: str, code: int, *, by_all: bool = False) -> int:
    """`error`, once where several ranks have the same to say: by rank 0, unless it has no part.

    by_all: it is known that they all have. What goes wrong before ranks know each other goes wrong
    on all of them alike.
    """
    if by_all or not _has_others():
        return code if rank() else error(message, code)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which torchrun sends when a rank has ended
    from stkit.engine.ranks import said_by_first

    if rank() == 0:
        error(message, code)
        said_by_first(0)
    elif not said_by_first(rank()):
        error(f"rank {rank()}: {message}", code)
    return code


def _stop(number: int, _: object) -> None:
    raise _Stop(number)


def _stop_again(ignored: Any) -> None:
    """Send a signal again whose _Stop was lost: a C extension was running, which passes nothing on.

    Soon, not now, as that one still runs. Of other lost errors Python tells as ever.
    """
    if not isinstance(ignored.exc_value, _Stop):
        sys.__unraisablehook__(ignored)
        return
    again = threading.Timer(0.02, os.kill, (os.getpid(), ignored.exc_value.args[0]))
    again.daemon = True
    again.start()
