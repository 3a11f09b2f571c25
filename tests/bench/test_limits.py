"""Grids that nobody can run, and what lies in a bench's folders damaged: one line, nothing lost."""

import os
from pathlib import Path

import pytest
from made_up import cell

from stkit.bench import grid
from stkit.bench.attempts import Attempts, Spent
from stkit.bench.progress import Writer
from stkit.bench.tasks import Run, Task
from stkit.core import header
from stkit.core.errors import ArtifactError, RecipeError
from stkit.core.files import parse_toml
from stkit.report import files

HEAD = 'frames = ["nt"]\n[data]\nsource = "digits"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"seeds = {list(range(5_001))}\npoisons = ['clean']", "asks for 5,001 runs, expected"),
        (f"seeds = {list(range(500))}\npoisons = ['sp']\nrates = {[i / 100 for i in range(1, 99)]}",
         "asks for 49,000 runs, expected 5,000 at most"),
        (f"seeds = {[0] * 20_000}\npoisons = ['clean']", "seeds has 0 20000 times"),
        ("seeds = [" + "9" * 5000 + "]", "found no TOML"),
        ("a" + ".a" * 100_000 + " = 1", "found no TOML .*dots"),
        ("a = " + "[" * 5000, "found no TOML"),
        ("a = " + "{b = " * 5000, "found no TOML"),
        ("a = 1" + " " * (1 << 20), "bytes, expected 1,048,576 at most"),
    ],
    ids=["seeds", "product", "twice", "digits", "dots", "lists", "tables", "size"],
)  # fmt: skip
def test_a_grid_that_is_too_much(cli, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "g.toml"
    path.write_text(f"{text}\n{HEAD}")
    with pytest.raises((RecipeError, ArtifactError), match=message):
        grid.read(path)
    found = cli("bench", path, "--dry-run")
    assert found.code in (1, 2) and found.err.count("\n") == 1 and len(found.err) < 2100


def test_names_that_no_result_can_hold() -> None:
    for text in ("models = ['timm:\\u001b']", "[data]\nsource = 'a\\u001b'\ntest = 'b'"):
        table = {"poisons": ["clean"], "frames": ["nt"], "data": {"source": "digits"}}
        with pytest.raises(RecipeError, match=r"x1b"):
            grid.parse(table | parse_toml(text.replace("'", '"')))


@pytest.mark.parametrize("name", ["/dev/zero", "pipe", "folder", "loop"])
def test_a_grid_that_is_no_file(cli, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for line in (["bench", tmp_path / name], ["report", tmp_path / name]):
        found = cli(*line)
        assert found.code == 1 and found.err.count("\n") == 1
    found = cli("bench", "examples/grid.toml", "-o", tmp_path / "loop")
    assert found.code == 1 and found.err.count("\n") == 1


TASK = Task("t", ("train",), "digits")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"attempts": -1}', "[" * 5000, "9" * 5000, "\xff",
             '{"attempts": 1e999, "seconds": 1, "timed": 1}',
             '{"attempts": 1, "seconds": "x", "timed": 1}',
             '{"attempts": 1, "seconds": "inf", "timed": 1}']
)  # fmt: skip
def test_what_was_spent_is_damaged(tmp_path: Path, text: str) -> None:
    attempts = Attempts(tmp_path, TASK)
    attempts.tries.write_bytes(text.encode("latin-1"))
    attempts.output.write_bytes(text.encode("latin-1"))
    assert attempts.spent() == Spent() and isinstance(attempts.printed(), dict)
    attempts.begin()
    assert attempts.spent().attempts == 1


def test_what_lies_in_the_place_of_a_log_is_not_written_to(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path, TASK)
    (tmp_path / "mine").write_text("mine")
    attempts.output.symlink_to("mine")
    attempts.begin()
    assert not attempts.output.exists() and (tmp_path / "mine").read_text() == "mine"
    for make in (lambda path: path.symlink_to("mine"), os.mkfifo):
        make(attempts.log)
        with pytest.raises(ArtifactError, match="expected a log"):
            attempts.begin()
        attempts.log.unlink()
    os.mkfifo(attempts.output)  # is not waited for
    attempts.begin()
    attempts.log.parent.rmdir()
    attempts.log.parent.write_text("")
    with pytest.raises(ArtifactError, match="remove it or pass another --work"):
        attempts.begin()


@pytest.mark.parametrize(
    "printed", ['{"accuracy": 7}', '{"seconds": "long"}', '{"kind": "x", "name": 3, "digest": 1}',
                '{"accuracy": 0.9, "history": [], "settings": 5, "inputs": 0, "seed": "a"}']
)  # fmt: skip
def test_a_result_can_be_read_whatever_a_process_printed(
    made: Path, tmp_path: Path, printed: str
) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir()
    run = Run("t", TASK, "nt", "small", {}, cell(0.5)["settings"], keep=False)
    (work / TASK.file).write_bytes((made / "nt.safetensors").read_bytes())
    Attempts(work, TASK).output.write_text(printed)
    Writer(out, work, [run]).finish(TASK)
    assert files.read(out / "t.json")["digest"] == header.read(made / "nt.safetensors")["digest"]
