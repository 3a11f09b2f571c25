"""What a folder has that is not read: on stderr, in --json, and refused by --strict."""

import shutil

import pytest
from PIL import Image

NAMES = ["README.md", "train/ant/deep/2.png", "train/bee/1.heic"]
BELOW = "`stkit data --recursive` takes images in folders below"


@pytest.fixture
def tree(photos, tmp_path, monkeypatch):
    """Photos with three files that are not read, and one with transparency."""
    monkeypatch.chdir(tmp_path)
    root = shutil.copytree(photos, tmp_path / "photos")
    for name in NAMES:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    Image.new("RGBA", (16, 16), (1, 2, 3, 4)).save(root / "train" / "cow" / "8.png")
    return root


def said(err: str) -> bool:
    return err.startswith(
        f"note: photos: 3 files are not read: {', '.join(NAMES)}; {BELOW}\n"
        "note: photos: images whose transparency was dropped: 1\n"
    )


@pytest.mark.parametrize("line", ["data", "poison ops", "poison sp --dry-run"])
def test_what_is_left_out_is_said_and_counted(line, cli, tree):
    done = cli(*line.split(), "photos", "-o", "x", "--json")
    assert said(done.err)
    assert done.json["skipped"] == {"count": 3, "names": NAMES}
    assert done.json["transparency_dropped"] == 1 and done.json["n"] == 25
    plain = cli(*line.split(), "photos", "-o", "y")
    assert said(plain.err) and "skipped" not in plain.out


@pytest.mark.parametrize("line", ["data", "poison ops", "poison em --device cpu"])
def test_strict_fails_before_anything_is_written(line, cli, tree, tmp_path):
    done = cli(*line.split(), "photos", "-o", "x", "--strict")
    assert done.code == 1 and done.out == ""
    assert done.err.startswith("error: photos: 3 files are not read: README.md, ")
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_strict_takes_a_folder_of_images_and_what_is_no_folder(cli, photos, tmp_path):
    done = cli("data", photos, "-o", tmp_path / "x", "--strict", "--json")
    assert done.json["skipped"] == {"count": 0, "names": []} and done.err == ""
    again = cli("data", tmp_path / "x", "-o", tmp_path / "y", "--strict", "--json")
    assert "skipped" not in again.json


def test_other_commands_say_it_too(cli, tree, made):
    assert said(cli("eval", made / "nt.safetensors", "photos", "--split", "train").err)
    tree.joinpath("train", "ant", "0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0")
    done = cli("eval", made / "nt.safetensors", "photos", "--split", "train")
    assert done.code == 1 and done.err.count("\n") == 1
