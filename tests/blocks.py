"""A markdown document followed as a reader would: its fenced blocks, run in order in one folder.

    follow(ROOT / "README.md", folder, cli)  # a folder of one's own, the fixture `cli`

`sh` and `console` are run by bash (of `console`, lines after a `$ `), with every `stkit` in them
answered by this process, which has torch imported already; `python` by this process, the blocks of
a document in one scope. Other languages are text. Comments just before a block, which readers do
not see, say what is done with it other than that:

    <!-- in small: cifar10 -> digits; --epochs 60 -> --epochs 1 -->   words in the place of words
    <!-- not run: it takes a GPU for an hour -->                      of a block that would be run
    <!-- file: grid.toml -->                                          the block is this file
    <!-- printed -->          each line of it was printed by what was run last; numbers may differ
"""

import json
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

FENCED = re.compile(
    r"(?P<comments>(?:^<!--(?:(?!-->).)*-->\n+)*)^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.M | re.S,
)
SHELL, KINDS = ("sh", "console"), ("in small", "not run", "file", "printed")
STAND_IN = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect(os.environ["STKIT_DOOR"])
    with asked.makefile("rw") as file:
        file.write(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]) + "\\n")
        file.flush()
        code, out, err = json.loads(file.readline())
sys.stderr.write(err)
sys.stdout.write(out)
sys.exit(code)
"""
"""What `stkit` is to bash: it has its arguments answered by who listens, and takes no time."""


@dataclass(frozen=True)
class Block:
    """A fenced block, and what the comments before it say: kind -> the rest of the comment."""

    line: int
    language: str
    body: str
    comments: dict[str, str]

    def in_small(self) -> str:
        """The body with words in the place of others; each of those must be there."""
        body = self.body
        for pair in filter(None, re.split(r"[;\n]\s*", self.comments.get("in small", ""))):
            old, new = pair.split(" -> ")
            assert old in body, f"line {self.line}: there is no {old!r} to replace"
            body = body.replace(old, new)
        return body


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document; none may be indented, and every comment must be known."""
    made = []
    for match in FENCED.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        said = re.findall(r"<!--(.*?)-->", match["comments"], re.S)
        parted = (comment.partition(":") for comment in said)
        comments = {kind.strip(): rest.strip() for kind, _, rest in parted}
        assert comments.keys() <= {*KINDS}, f"line {line}: {comments} are not of {KINDS}"
        made.append(Block(line, match["language"], match["body"], comments))
    assert 2 * len(made) == len(re.findall(r"^\s*(?:```|~~~)", text, re.M)), "a fence is indented"
    return made


def follow(document: Path, folder: Path, cli: Callable[..., Any]) -> None:
    """Run the blocks in the folder; an error names the line of the document."""
    scope: dict[str, Any] = {}
    printed = ""
    for block in blocks(document.read_text()):
        if "not run" in block.comments:
            assert block.comments["not run"], f"line {block.line}: why is it not run?"
        elif "file" in block.comments:
            (folder / block.comments["file"]).write_text(block.in_small())
        elif block.language in SHELL:
            code, printed = shell(typed(block), folder, cli)
            assert code == 0, f"{document.name}, line {block.line}: exit {code}\n{printed}"
        elif block.language == "python":
            printed = python(block, document, folder, scope)
        elif "printed" in block.comments:
            missing = {*shapes(block.body)} - {*shapes(printed), "..."}
            assert not missing, f"{document.name}, line {block.line}: {missing} not in\n{printed}"


def typed(block: Block) -> str:
    """What a reader types."""
    if block.language == "sh":
        return block.in_small()
    lines = re.findall(r"^\$ ((?:.*\\\n)*.*\n)", block.in_small(), re.M)
    return "".join(lines)


def python(block: Block, document: Path, folder: Path, scope: dict[str, Any]) -> str:
    """Run a block of Python; returns what it printed."""
    code = compile("\n" * block.line + block.in_small(), str(document), "exec")
    with chdir(folder), redirect_stdout(StringIO()) as shown:
        exec(code, scope)
    return shown.getvalue()


def shapes(text: str) -> Iterator[str]:
    """The lines that are not empty, with # for each number, and one space between words."""
    for line in text.splitlines():
        if line.strip():
            yield " ".join(re.sub(r"\d(?:[\d.,]*\d)?(?:e[+-]\d+)?", "#", line).split())


def shell(script: str, folder: Path, cli: Callable[..., Any]) -> tuple[int, str]:
    """Run lines of bash, which ends at the first that fails; its exit code, and all it printed."""
    with stand_in() as (door, variables):
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=variables,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout
        output, printed = process.stdout.fileno(), b""
        with process:
            while True:
                if door.fileno() in select.select([door.fileno(), output], [], [])[0]:
                    answer(door.accept()[0], cli)
                elif not (more := os.read(output, 1 << 16)):
                    break
                else:
                    printed += more
    return process.returncode, printed.decode()


@contextmanager
def stand_in() -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """A `stkit` on the PATH of those variables, and the socket where its calls arrive."""
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as door:
        program, path = Path(name, "stkit"), Path(name, "door")
        Path(name, "stand_in.py").write_text(STAND_IN)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS {name}/stand_in.py "$@"\n')
        program.chmod(0o755)
        door.bind(str(path))  # a short path: sockets have no more than about 100 characters
        door.listen()
        before = os.pathsep.join((name, os.environ["PATH"]))
        yield door, {**os.environ, "PATH": before, "STKIT_DOOR": str(path)}


def answer(caller: socket.socket, cli: Callable[..., Any]) -> None:
    """Run one command line of stkit as the caller would, and send what it left behind."""
    with caller, caller.makefile("rw") as file:
        arguments, where, variables = json.loads(file.readline())
        with chdir(where), patch.dict(os.environ, variables, clear=True):
            result = cli(*arguments)
        file.write(json.dumps([result.code, result.out, result.err]) + "\n")
