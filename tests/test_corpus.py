"""Damaged inputs that once ended badly, or might: each is answered in one line, and runs nothing.

A recipe of tests/corpus/recipes.json says what is done to a small given file and which command
reads it (tests/stress/recipes.py); `python tests/stress/fuzz.py` draws many more, and keeps those
that fail.
"""

import contextlib
import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stkit.cli import main
from stkit.engine.step import SGD

HERE = Path(__file__).parent
sys.path.append(str(HERE / "stress"))

import recipes  # noqa: E402
import seeds  # noqa: E402

CORPUS = json.loads((HERE / "corpus/recipes.json").read_text())
STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")
SECONDS = 20
started: list[str] = []
listening = False


def hear(event: str, args: tuple) -> None:
    if listening and event in STARTS:
        started.append(f"{event} {args!r}")


sys.addaudithook(hear)


def stkit(words: list[str], folder: Path) -> int:
    with contextlib.chdir(folder):
        return main(words)


def stopped(words: list[str], folder: Path) -> int:
    """A command that gets SIGINT in its second step of SGD."""
    count, descend = itertools.count(), SGD.step

    def step(self, *args, **how):
        if next(count) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return descend(self, *args, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SGD, "step", step)
        return stkit(words, folder)


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Iterator[Path]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    folder = seeds.make(tmp_path_factory.mktemp("corpus") / "given", stkit)
    seeds.unfinished(folder, stopped)
    yield folder
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Late(BaseException):
    """No answer yet; no reader's `except Exception` swallows it."""


def late(number: int, frame: object) -> None:
    raise Late


@pytest.mark.filterwarnings("default")  # of readers, about what is damaged
@pytest.mark.parametrize("number", range(len(CORPUS)))
def test_damaged_input_is_answered(number, given, tmp_path, monkeypatch, cli):
    global listening
    monkeypatch.chdir(tmp_path)
    words = recipes.apply(CORPUS[number], given, tmp_path)
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    started.clear()
    listening = True
    try:
        result = cli(*words)
    finally:
        listening = False
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert (result.code, len(errors)) in ((0, 0), (1, 1), (2, 1)), result.err
    assert "out of memory" not in result.err
    assert not started
    assert not list(tmp_path.rglob(seeds.CANARY))
