"""stkit poison --keep-size: a folder of photographs in, the same folder out."""

import shutil
import signal
from dataclasses import asdict

import numpy as np
import pytest
from conftest import picture, snapshot

from stkit import SP, load, poison
from stkit.data.pictures import read_image
from stkit.poisons.photographs import keep_size

EM = (
    "em", "--model", "small", "--batch-size", 4, "--steps", 2, "--model-steps", 2, "--max-rounds",
    2, "--stop-error", 0, "--epsilon", "4/255", "--device", "cpu", "--threads", 1, "--size", 16,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two classes of four photographs, which lie a folder deeper and are of many sizes."""
    for label, name in enumerate(("ant", "bee")):
        for i in range(4):
            path = tmp_path / "photos" / name / "2026" / f"{i}.{'jpg' if i % 2 else 'png'}"
            picture(path, 10 * label + i, size=(32 + 8 * i, 48))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_command_gives_the_same_tree_and_the_library_too(cli, folder):
    before = snapshot(folder / "photos")
    line = ("poison", "sp", "photos", "--keep-size", "--recursive", "--size", 16)
    shown = cli(*line, "-o", "out", "--json").json
    assert snapshot(folder / "photos") == before
    clean = load("photos", size=16, recursive=True)
    kept = keep_size(poison(clean, SP()), clean, "photos", "lib", recursive=True)
    assert snapshot(folder / "out") == snapshot(folder / "lib")
    assert {key: shown[key] for key in asdict(kept) if key in shown} == {
        key: value for key, value in asdict(kept).items() if key != "converted"
    } | {"n": 8}
    made = {path.removesuffix(".png") for path, data in snapshot(folder / "out").items() if data}
    wanted = {path.rpartition(".")[0] for path, data in before.items() if data}
    assert made == wanted
    result = cli(*line, "-o", "out")
    assert result.code == 1 and "out: exists already; pass a new folder as -o" in result.err


def test_long_noise_is_stopped_and_gone_on_with(cli, folder, signalled):
    line = ("poison", *EM, "photos", "--keep-size", "--recursive")
    assert cli(*line, "-o", "whole", "-q").out == "whole\n"
    with signalled(signal.SIGINT, 3):
        stopped = cli(*line, "-o", "out")
    assert stopped.code == 130 and not (folder / "out").exists()
    broken = folder / "photos" / "ant" / "2026" / "0.png"
    shutil.move(broken, folder / "away")
    assert "unfinished work is there; pass --resume" in cli(*line, "-o", "out").err
    assert cli(*line, "-o", "out", "--resume").code == 1, "other photographs"
    shutil.move(folder / "away", broken)
    result = cli(*line, "-o", "out", "--resume")
    assert result.code == 0 and "resuming at" in result.err
    assert snapshot(folder / "out") == snapshot(folder / "whole")
    assert not (folder / "out.part").exists()
    delta = read_image(folder / "out" / "bee" / "2026" / "2.png").astype(int)
    delta -= read_image(folder / "photos" / "bee" / "2026" / "2.png")
    assert 0 < np.abs(delta).max() <= 4


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("sp photos --keep-size -o x", 1, "but in folders below them; pass --recursive to stkit"),
        ("sp photos/ant/2026 --keep-size -o x", 1, "unlearnable examples need two or more classes"),
        ("sp photos/ant --keep-size -o x", 1, "one class"),
        ("ops photos/ant --keep-size -o x", 1, "unlearnable examples need two or more classes"),
        (
            "sp digits --keep-size -o x",
            2,
            "digits, which has no photographs; pass a folder of class",
        ),
        ("sp photos --recursive --keep-size -o photos/x", 1, "lies in photos, whose images are"),
        ("sp photos --keep-metadata -o x", 2, "keep-metadata is given without --keep-size"),
        ("em photos --keep-size --scope class --class-noise n -o x", 2, "leave out --keep-size"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(line, code, message, cli, folder):
    before = snapshot(folder)
    result = cli("poison", *line.split())
    assert result.code == code and message in result.err and result.err.count("\n") == 1
    assert snapshot(folder) == before


def test_a_size_and_folders_below_make_a_file_too(cli, folder):
    assert cli("data", "photos", "--recursive", "--size", 16, "-o", "clean", "-q").code == 0
    assert cli("poison", "sp", "clean", "-o", "one", "-q").code == 0
    line = ("poison", "sp", "photos", "--recursive", "--size", 16, "-o", "two", "-q")
    assert cli(*line).code == 0
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()
