"""How helps are laid out, and how a usage error is said. Typer's parts are fitted with both here.

Long helps are in sections, by each option's `rich_help_panel`; lists wrap under their second
column, and examples at a word, with a backslash, so that they can be copied.
"""

import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from stkit.cli import completing
from stkit.core.checks import nearest

DATA, FRAME, STAGED, RUN, OUTPUT = "Data", "Frame and model", "Staged training", "Run", "Output"
SECTIONS = (DATA, FRAME, STAGED, RUN, OUTPUT)
"""Of options, in the order in which they are shown; those in none come first."""
MANY = 15
"""Options from which on a help is in sections."""
WIDE = 30
"""Columns for an option's names at most."""
NARROWING = ("--limit N", "--size N", "--recursive", "--strict")
"""Options of `stkit data` that are looked for wherever a SOURCE is read."""


class Command(TyperCommand):
    """A command whose help is laid out as above."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the command does, lists wrapped."""
        _write(self.help or "", formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        _write_options(self.get_params(ctx), ctx, formatter)


class Group(TyperGroup):
    """A command of commands, of which each is told of by its first sentence."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the command does, lists wrapped."""
        _write(self.help or "", formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write examples."""
        _write(self.epilog or "", formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each command's name and first sentence, whole."""
        rows = [
            (name, self.commands[name].get_short_help_str(limit=1000))
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _write(text: str, formatter: Any) -> None:
    """A paragraph of help or more, in the formatter's width."""
    if text:
        formatter.write_paragraph()
        with formatter.indentation():
            width = formatter.width - formatter.current_indent
            lines = inspect.cleandoc(text).splitlines()
            formatter.write_text("\n".join(wrapped(lines, width)))


def wrapped(lines: Iterable[str], width: int) -> list[str]:
    """Lines of blocks that are not filled, which begin with a \\b; others come out as they are.

    What is too wide and has two columns, of two spaces or more between them, goes on under the
    second; a command goes on after a backslash.
    """
    fixed, out = False, []
    for line in lines:
        fixed = line.strip() == "\b" or (fixed and bool(line))
        out += _folded(line, width) if fixed and len(line) > width else [line]
    return out


def _folded(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    columns = re.match(r"( *\S+(?: \S+)* {2,})\S", line)
    if line.startswith(f"{indent}stkit "):
        cut = textwrap.wrap(
            line, width - 2, subsequent_indent=f"{indent}  ", break_on_hyphens=False,
            break_long_words=False,
        )  # fmt: skip
        return [f"{each} \\" for each in cut[:-1]] + cut[-1:]
    under = len(columns[1]) if columns and len(columns[1]) < width // 2 else len(indent) + 2
    return textwrap.wrap(
        line, width, subsequent_indent=" " * under, break_on_hyphens=False, break_long_words=False
    )


def _write_options(params: Iterable[Any], ctx: Any, formatter: Any) -> None:
    """Arguments, then options: in sections where they are many."""
    rows: dict[str, list[tuple[str, str]]] = {"Arguments": []}
    rows |= {section: [] for section in ("Options", *SECTIONS)}
    params = list(params)
    grouped = len(params) > MANY
    for param in params:
        record = param.get_help_record(ctx)
        if record is None:
            continue
        section = (param.rich_help_panel if grouped else None) or "Options"
        if grouped and param.name == "help":
            section = OUTPUT
        rows["Arguments" if param.param_type_name == "argument" else section].append(record)
    widest = max((len(name) for each in rows.values() for name, _ in each), default=0)
    for section, records in rows.items():
        if records:
            with formatter.section(section):
                formatter.write_dl(
                    [(f"{name:<{min(widest, WIDE)}}", help) for name, help in records], WIDE
                )


def fit(app: typer.Typer) -> None:
    """Give every command of the app this layout, and every value what a shell offers for it."""
    for group in (app, *(inner.typer_instance for inner in app.registered_groups)):
        assert group is not None
        for command in group.registered_commands:
            command.cls = Command
            assert command.callback is not None
            for parameter in inspect.signature(command.callback).parameters.values():
                for told in getattr(parameter.annotation, "__metadata__", ()):
                    if told.autocompletion is None:
                        told.autocompletion = completing.of(told.metavar)


def line(wrong: Any) -> str:
    """A usage error of Typer's in one line, with the nearest command where one is unknown, and with
    `stkit data` where an option of its own is given to another reader of images."""
    context = getattr(wrong, "ctx", None)
    known = getattr(context.command, "commands", None) if context else None
    if context and known and wrong.format_message().startswith("No such command"):
        kind = "method" if context.command.name == "poison" else "command"
        return nearest(kind, wrong.format_message().split("'")[1], known)
    narrowing = next((o for o in NARROWING if o.split()[0] == _no_option(wrong)), None)
    takes = {param.name for param in context.command.params} if context else set()
    # Where clean images go with others, a part of one alone would fit the other no more.
    if context and narrowing and "split" in takes and "clean" not in takes:
        split = " --split test" if context.command.name == "eval" else ""
        made = f"stkit data SOURCE{split} {narrowing} -o part.safetensors"
        return f"No such option: {narrowing.split()[0]}; pass what `{made}` makes"
    return f"{told(wrong)}; see `{context.command_path} --help`" if context else told(wrong)


def _no_option(wrong: Any) -> str | None:
    """The option that a command has not, where that is what is wrong."""
    unknown = wrong.format_message().startswith("No such option")
    return wrong.option_name if unknown else None


def told(wrong: Any) -> str:
    """What is wrong, with the option's name before it where that is known."""
    message = _flat(wrong.format_message()).removeprefix("Invalid value: ")
    if message.endswith("requires an argument"):
        return f"{wrong.option_name}: found no value after it, expected one"
    param = getattr(wrong, "param", None)
    if param is not None and message.startswith("Invalid value"):
        name = param.metavar if param.param_type_name == "argument" else max(param.opts, key=len)
        return f"{name}: {_flat(wrong.message)}"
    return message


def _flat(message: str) -> str:
    return " ".join(message.split()).rstrip(".")
