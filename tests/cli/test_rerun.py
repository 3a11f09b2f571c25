"""`stkit rerun`: what it prints, run in a folder, makes the same files again."""

import contextlib
import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import picture
from processes import run

from stkit.cli import main
from stkit.core import artifact, header

CPU = "--device cpu --precision fp32 --batch-size 20 --model small"
EM = "--model-steps 2 --steps 1 --max-rounds 1 --poison-rate 0.5 --epsilon 16/255"
ST = "--epochs 2 --holdout 5 --check-every 1 --acm-variant ratio --gamma 0.2 --augment jpeg,cg"
FULL = "--epochs 1 --fine-tune-epochs 2 --beta 1/2 --seed 7 --weight-decay 1e-3 --mean 0.5"
MADE = (
    "data digits --limit 45 -o @clean",
    "data digits --limit 45 --holdout 5 --part held --seed 3 -o @held",
    "data digits --split test --limit 25 -o @test",
    "poison sp @clean -o @whole", "rate @whole --clean @clean --poison-rate 0.4 -o @sp",
    "poison ops @clean --pixels 2 --seed 2 -o @ops",
    f"poison em @clean {EM} {CPU} -o @em",
    f"train @em --frame st {ST} --test @test {CPU} -o @st",
    f"train @ops --frame st-full {FULL} --test @held {CPU} -o @full",
    f"train @sp --frame nt --epochs 1 {CPU} -o @nt",
    f"train @ops --frame nt --epochs 1 {CPU} --test @test --init-from @nt "
    "--init-layers layer1,layer2 --freeze -o @frozen",
    "eval @st @test --adversary 4/255 --batch-size 10 --device cpu --seed 9 -o @eval",
    "acm @full @ops --per-class 3 --variant sum --device cpu -o @acm",
)  # fmt: skip
"""What makes the files of these tests, each called @."""


def quietly(ranks: int, words: list[str]) -> int:
    """Stkit in this process, which takes no seconds to begin."""
    assert ranks == 1
    with contextlib.redirect_stdout(io.StringIO()):
        return main(words)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that MADE makes."""
    folder = tmp_path_factory.mktemp("files")
    for line in MADE:
        words = [f"{folder}/{word[1:]}" if word[0] == "@" else word for word in line.split()]
        assert quietly(1, [*words, "-q"]) == 0, line
    return folder


@pytest.mark.parametrize(
    ("name", "count"), [("eval", 5), ("acm", 5), ("nt", 3), ("held", 2), ("frozen", 6)]
)  # fmt: skip
def test_a_chain_that_is_run_gives_the_same_files(
    name: str, count: int, files: Path, cli, tmp_path: Path
) -> None:
    printed = cli("rerun", files / name).out.splitlines()
    found = cli("rerun", files / name, "--run", tmp_path / "again", "--check", obj=quietly)
    assert found.code == 0, found.err
    assert len(printed) == count
    assert [line.split()[0] for line in found.out.splitlines()] == ["same"] * count
    said = [line[2:] for line in found.err.splitlines() if line.startswith("$ ")]
    assert [line.split()[1] for line in said] == [line.split()[1] for line in printed]
    last = found.out.split()[-1]
    assert header.read(Path(last)) == header.read(files / name)


def test_commands_alone_or_as_json(files: Path, cli) -> None:
    printed = cli("rerun", files / "nt")
    shown = cli("rerun", files / "nt", "--json").json
    assert shown["commands"] == printed.out.splitlines() and not printed.err
    digests = [header.read(files / name)["digest"] for name in ("clean", "sp", "nt")]
    assert [each["digest"] for each in shown["files"]] == digests
    assert [each["file"] for each in shown["files"]] == [
        "clean.safetensors", "sp.safetensors", "nt.safetensors",
    ]  # fmt: skip
    for line in shown["commands"]:
        assert shlex.split(line)[0] == "stkit"


def test_what_is_there_is_kept_and_what_is_another_is_not_touched(
    files: Path, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clean.safetensors").write_bytes((files / "clean").read_bytes())
    shown = cli("rerun", files / "ops", "--run", tmp_path, "--json", obj=quietly).json
    assert [each["state"] for each in shown["files"]] == ["kept", "made"]
    assert shown["output"] == str(tmp_path / "ops.safetensors") and shown["versions"] == {}
    assert cli("rerun", files / "ops", "--run", tmp_path, "-q").out == f"{shown['output']}\n"
    monkeypatch.chdir(tmp_path)
    printed = cli("rerun", files / "ops").err
    assert "clean.safetensors, ops.safetensors: here already; run the commands in an emp" in printed
    assert "nothing was run; pass an empty" in cli("rerun", files / "ops", "--run", ".").err

    def never(ranks: int, words: list[str]) -> int:
        raise AssertionError(words)

    (tmp_path / "ops.safetensors").unlink()
    other = (files / "held").read_bytes()
    (tmp_path / "clean.safetensors").write_bytes(other)
    found = cli("rerun", files / "ops", "--run", tmp_path, obj=never)
    assert found.code == 1 and "there is another file" in found.err
    assert (tmp_path / "clean.safetensors").read_bytes() == other
    changed = bytearray((files / "clean").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "clean.safetensors").write_bytes(changed)
    assert cli("rerun", files / "ops", "--run", tmp_path, obj=never).code == 1


def forged(source: Path, out: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A file of the same tensors, and of another header."""
    head, tensors = artifact.read(source)
    head = json.loads(header.dumps(head))
    change(head)
    artifact.write(out, tensors, head)
    return out


def test_a_forged_recipe_gives_different_files(files: Path, cli, tmp_path: Path) -> None:
    def change(head: dict[str, Any]) -> None:
        head["recipe"]["seed"] = head["recipe"].pop("pixels")
        head["recipe"] |= {"pixels": 3}
        del head["recipe"]["seed"]
        head["versions"]["stkit"] = "0.0.1"

    path = forged(files / "ops", tmp_path / "forged", change)
    found = cli("rerun", path, "--run", tmp_path / "again", "--check", obj=quietly)
    assert found.code == 1
    assert [line.split()[0] for line in found.out.splitlines()] == ["same", "different"]
    assert "versions that differ: stkit 0.0.1, now" in found.err
    plain = cli("rerun", path, "--run", tmp_path / "other", obj=quietly)
    assert plain.code == 0 and "1 of 2 files differ" in plain.err


@pytest.mark.parametrize(
    "change",
    [
        {"method": "sp; touch x"}, {"pixels": "2 -o x"}, {"method": "ops\x1b]0;x\x07"},
        {"pixels": 10**9}, {"pixels": [2]}, {"more": "--force"}, {"objective": "code --force"},
    ],
)  # fmt: skip
def test_nothing_is_run_for_a_recipe_that_is_none(
    change: dict[str, Any], files: Path, cli, tmp_path: Path
) -> None:
    """But the images it was made from, which have one."""
    path = forged(files / "ops", tmp_path / "forged", lambda head: head["recipe"].update(change))
    ran: list[list[str]] = []
    found = cli(
        "rerun", path, "--run", tmp_path / "again", obj=lambda ranks, words: ran.append(words) or 2
    )
    assert found.code in (1, 2) and len(found.err.splitlines()) <= 2
    assert all(words[0] == "data" for words in ran)
    assert "\x1b" not in found.err + found.out


def test_a_folder_is_asked_for(cli, photos: Path, tmp_path: Path) -> None:
    assert cli("data", photos, "-o", tmp_path / "a", "-q").code == 0
    shown = cli("rerun", tmp_path / "a")
    assert shown.out == "stkit data FOLDER --split=train -o clean.safetensors\n"
    assert "--source" in shown.err
    found = cli("rerun", tmp_path / "a", "--run", tmp_path / "b", obj=quietly)
    assert found.code == 2 and "--source" in found.err and not (tmp_path / "b").exists()
    line = ("rerun", tmp_path / "a", "--run", tmp_path / "b", "--check", "--source")
    assert cli(*line, photos, obj=quietly).code == 0
    for label in ("ant", "bee", "cow"):
        picture(tmp_path / "others" / label / "1.png")
    (tmp_path / "b/clean.safetensors").unlink()
    found = cli(*line, tmp_path / "others", obj=quietly)
    assert found.code == 1 and "none: another machine, device or folder" in found.err
    assert cli("rerun", tmp_path / "a", "--check").code == 2


def test_an_imported_poison_is_to_be_put_there(files: Path, cli, tmp_path: Path) -> None:
    noise, brought = tmp_path / "noise.pt", tmp_path / "brought"
    line = ("--clean", files / "clean", "-q")
    assert cli("export", files / "sp", "--format", "em", "-o", noise, *line).code == 0
    assert cli("import", noise, "-o", brought, *line).code == 0
    shown = cli("rerun", brought)
    assert "no command makes it: it was imported" in shown.err and len(shown.out.split("\n")) == 2
    folder = tmp_path / "again"
    found = cli("rerun", brought, "--run", folder, obj=quietly)
    assert found.code == 1 and "put the file there" in found.err and not folder.exists()
    folder.mkdir()
    name = cli("rerun", brought, "--json").json["files"][1]["file"]
    (folder / name).write_bytes(brought.read_bytes())
    assert cli("rerun", brought, "--run", folder, "--check", obj=quietly).code == 0


def test_a_command_that_fails_ends_it(files: Path, cli, tmp_path: Path) -> None:
    found = cli("rerun", files / "nt", "--run", tmp_path, obj=lambda ranks, words: 2)
    assert found.code == 1
    assert "clean.safetensors: its command ended with exit code 2" in found.err


def test_as_processes(files: Path, tmp_path: Path) -> None:
    done = run(
        "-m", "stkit", "rerun", files / "clean", "--run", tmp_path / "a b", "--check", "--json",
        env={"RANK": "0", "WORLD_SIZE": "1"},
    )  # fmt: skip
    assert done.code == 0, done.err
    assert [each["state"] for each in json.loads(done.out)["files"]] == ["same"]
    assert "$ stkit data digits --split=train --limit=45 -o '" in done.err


def test_unfinished_work_is_made_whole(files: Path, cli, tmp_path: Path) -> None:
    def change(head: dict[str, Any]) -> None:
        head["progress"] |= {
            "done": False, "tau": 0, "loss": 0.0, "hits": 0.0, "since": 0, "checks": [],
        }  # fmt: skip

    path = forged(files / "nt", tmp_path / "nt.part", change)
    shown = cli("rerun", path)
    assert "--resume -o nt.safetensors" in shown.out and "nt.safetensors.part" in shown.err
    found = cli("rerun", path, "--run", tmp_path / "again", "--check", obj=quietly)
    assert found.code == 0, found.err
    assert [line.split()[0] for line in found.out.splitlines()] == ["same", "same", "made"]
    head = header.read(tmp_path / "again/nt.safetensors")
    assert head["digest"] == header.read(files / "nt")["digest"]
