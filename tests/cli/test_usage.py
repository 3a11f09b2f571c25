"""Helps, what a shell offers, and how numbers are refused, for every command that there is."""

import os
import subprocess
import sys
from typing import get_args

import pytest
from test_cli import COMMANDS, declared

from stkit import __version__
from stkit.cli import usage
from stkit.recipes.frames import FRAMES

COMPLETED = {
    "stkit train x --frame st": {"st", "st-cg", "st-full"},
    "stkit train x --acm-variant ": {"literal", "sum", "ratio"},
    "stkit train x --device ": {"auto", "cpu", "cuda", "mps"},
    "stkit train x --check-every ": {"epoch"},
    "stkit train x --model w": {"wrn-28-10", "wrn-34-10"},
    "stkit train x --augment jpeg,cut": {"jpeg,cutout", "jpeg,cutmix"},
    "stkit poison em x --model s": {"small"},
    "stkit report --format m": {"markdown"},
    "stkit list m": {"methods", "models"},
    "stkit train di": {"digits", "dim.safetensors"},
    "stkit train x --test im": set(),  # and so the shell offers files
    "stkit help poison s": {"sp"},
    "stkit h": {"help"},
}


def test_h_v_and_help(cli):
    assert cli("-V").out == f"stkit {__version__}\n"
    for words in ([], ["train"], ["poison"], ["poison", "sp"]):
        shown = cli(*words, "-h").out
        assert shown == cli(*words, "--help").out == cli("help", *words).out != ""
    assert "unknown command 'trian'; did you mean 'train'" in cli("help", "trian").err
    assert "unknown method 'spp'; did you mean 'sp'" in cli("help", "poison", "spp").err


def test_a_shell_completes_values_and_files_and_imports_nothing_heavy(tmp_path):
    (tmp_path / "dim.safetensors").touch()
    code = (
        "import os, sys; from stkit.cli import main\n"
        "sys.argv = ['stkit']\n"
        f"for line in {list(COMPLETED)!r}:\n"
        "    os.environ['COMP_WORDS'] = line\n"
        "    os.environ['COMP_CWORD'] = str(len(line.split(' ')) - 1)\n"
        "    assert main() == 0\n"
        "    print('---')\n"
        "assert not {'torch', 'timm', 'numpy', 'rich'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "_STKIT_COMPLETE": "complete_bash"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    offered = [set(block.split()) for block in done.stdout.split("---\n")]
    assert offered == [*COMPLETED.values(), set()]


def test_every_number_is_read_by_us():
    """Typer's own messages say neither what was found nor, in words, what was expected."""
    kinds = [
        (name, option.parser)
        for _, name, kind, option in declared()
        if {int, float} & {kind, *get_args(kind)}
    ]
    assert len(kinds) > 50
    assert [name for name, parser in kinds if parser is None] == []


def test_the_help_of_train_is_in_sections(cli):
    shown = cli("train", "-h").out
    places = [shown.index(f"\n{section}:\n") for section in usage.SECTIONS]
    assert places == sorted(places)
    assert "\nOptions:\n" not in shown  # every option is in one of them
    for section, option in zip(
        usage.SECTIONS, ("--test", "--frame", "--gamma", "--seed", "--help"), strict=True
    ):
        place = shown.index(f"  {'-h, ' * (option == '--help')}{option} ")
        assert max(each for each in places if each < place) == shown.index(f"\n{section}:\n")


@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize("name", COMMANDS)
def test_helps_keep_within_the_terminal(name, width, cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = cli(*name.split(), "-h").out
    assert [line for line in shown.splitlines() if len(line) > width] == []


def test_what_is_folded_can_be_read_and_copied():
    lines = ["\b", "  st-cg   staged training with grey", "  stkit train a --frame st -o b"]
    assert usage.wrapped(lines, 28) == [
        "\b", "  st-cg   staged training", "          with grey",
        "  stkit train a --frame st \\", "    -o b",
    ]  # fmt: skip
    assert usage.wrapped(["long enough to be filled"], 10) == ["long enough to be filled"]
    assert FRAMES["nt"].about in "".join(usage.wrapped([f"  nt  {FRAMES['nt'].about}"], 79))
