"""What of a folder is not read, and folders that cannot be read."""

import os
import shutil

import pytest
from conftest import CLASSES

from stkit.core.errors import DataError
from stkit.data.folders import Skipped
from stkit.data.load import load


def left_out(root, split=None) -> Skipped:
    seen: list[Skipped] = []
    load(root, split, on_skipped=seen.append)
    assert len(seen) == 1
    return seen[0]


@pytest.fixture
def tree(photos, tmp_path):
    """A copy of the photos, to add to."""
    return shutil.copytree(photos, tmp_path / "photos")


def test_nothing_is_left_out_of_images_alone(tree):
    assert left_out(tree) == left_out(tree, "test") == Skipped(0, (), 0)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._1.png"):  # which a system puts there
        (tree / "train" / "ant" / name).write_text("x")
    (tree / ".git").mkdir()
    (tree / ".git" / "config").write_text("x")
    load(tree, strict=True)


OTHERS = {
    "another kind": "train/ant/1.heic", "a video": "train/bee/clip.mp4",
    "beside the classes": "train/1.png", "one folder deeper": "train/cow/more/1.png",
    "two folders deeper": "train/cow/more/and/1.png", "beside the splits": "README.md",
    "in no split": "rest/ant/1.png", "no ending": "train/ant/1",
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_not_read_is_named(kind, tree):
    path = tree / OTHERS[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    assert left_out(tree) == Skipped(1, (OTHERS[kind],))
    assert left_out(tree, "test").count == (not OTHERS[kind].startswith("train"))
    with pytest.raises(DataError, match=r"photos: 1 file is not read: .*; expected JPEG, PNG"):
        load(tree, strict=True)


def test_the_first_ten_are_named_and_all_counted(tree):
    for number in range(12):
        (tree / "train" / "ant" / f"{number:02}.heic").write_text("x")
    skipped = left_out(tree)
    assert skipped.count == 12 and skipped.names[-1] == "train/ant/09.heic"
    assert skipped.about.startswith("12 files are not read: train/ant/00.heic, ")
    assert skipped.about.endswith("train/ant/09.heic, ...")


def test_what_is_no_regular_file_is_left_out(tree):
    folder = tree / "train" / "ant"
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "up").symlink_to("..")
    (tree / "train" / "loop").symlink_to("loop")
    assert left_out(tree).names == tuple(
        f"train/{name}"
        for name in ("ant/gone.png", "ant/loop.png", "ant/pipe.png", "ant/up", "loop")
    )


def test_a_class_folder_may_be_a_link_but_not_one_that_leads_back(tree):
    (tree / "train" / "dog").symlink_to(tree / "test" / "ant")
    assert load(tree).classes == (*CLASSES, "dog")
    (tree / "train" / "dog").unlink()
    (tree / "train" / "dog").symlink_to(".")
    with pytest.raises(DataError, match="train/dog: no images in this class folder; add some or"):
        load(tree)


def test_a_class_without_images_says_what_it_has(tree):
    shutil.rmtree(tree / "train" / "ant")
    (tree / "train" / "ant").mkdir()
    for name in ("1.heic", "2.heic"):
        (tree / "train" / "ant" / name).write_text("x")
    with pytest.raises(
        DataError, match=r"train/ant: no images .*2 files are not read: 1.heic, ..."
    ):
        load(tree)


def test_folders_below_a_class_are_walked_to_the_end(tree):
    here = os.open(tree / "train" / "ant", os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(os.open("1.heic", os.O_CREAT, dir_fd=here))
    os.close(here)
    assert left_out(tree).count == 1


@pytest.mark.parametrize("where", ["train", "train/bee"])
def test_a_folder_that_cannot_be_listed(where, tree, monkeypatch):
    """The tests may run as root, whom no permission stops."""
    listed = os.scandir

    def scandir(path):
        if str(path) == str(tree / where):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=rf"{where}: cannot be listed \(Permission denied\); check"):
        load(tree)


def test_a_folder_below_a_class_that_cannot_be_listed_is_left_out(tree, monkeypatch):
    (tree / "train" / "ant" / "more").mkdir()
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert left_out(tree).names == ("train/ant/more",)
