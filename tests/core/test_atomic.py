"""A file or folder is whole or is not there, whatever happens while it is written."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from conftest import snapshot

from stkit.core import atomic
from stkit.core.errors import ArtifactError, Taken


def test_a_file_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "f"
    with atomic.whole_file(path) as file:
        file.write(b"new")
        file.seek(0)
        file.write(b"N")
        assert not path.exists()
    assert snapshot(path.parent) == {"f": b"New"}


@pytest.mark.parametrize("error", [ValueError("own"), KeyboardInterrupt()])
def test_what_stops_the_writer_passes_and_leaves_the_old_file(
    tmp_path: Path, error: BaseException
) -> None:
    (tmp_path / "f").write_text("old")
    with pytest.raises(type(error)), atomic.whole_file(tmp_path / "f") as file:
        file.write(b"half")
        raise error
    assert snapshot(tmp_path) == {"f": b"old"}


def wrapped() -> None:
    """An error as torch.save raises it: its own, while the system's is handled."""
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError:
        raise RuntimeError("unexpected pos") from None


def test_a_failed_write_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_text("old")
    message = f"^{tmp_path / 'f'}: cannot be written .No space left on device.; free some space"
    with pytest.raises(ArtifactError, match=message), atomic.whole_file(tmp_path / "f"):
        wrapped()
    with pytest.raises(RuntimeError, match="alone"), atomic.whole_file(tmp_path / "f"):
        raise RuntimeError("alone")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArtifactError, match=message):
        atomic.write_text(tmp_path / "f", "new")
    with pytest.raises(ArtifactError, match=r"cannot be written .File exists"):
        atomic.write_text(tmp_path / "f" / "under a file", "new")
    assert snapshot(tmp_path) == {"f": b"old"}


def test_text_is_utf_8_and_half_a_pair_is_its_number(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "f", "é\ud800\n")
    assert (tmp_path / "f").read_bytes() == "é\\ud800\n".encode()


def test_nothing_is_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the other name, which nobody can know; and a link at the path is told."""
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "f.00000000.tmp").symlink_to("victim")
    (tmp_path / "f").symlink_to("victim")
    names = iter(["00000000", "00000001"])
    monkeypatch.setattr(atomic, "token_hex", lambda count: next(names))
    with pytest.raises(ArtifactError, match=r"cannot be written .File exists"):
        atomic.write_text(tmp_path / "f", "new")
    with pytest.raises(ArtifactError, match=f"is a link to {tmp_path / 'victim'}"):
        atomic.write_text(tmp_path / "f", "new")
    with pytest.raises(ArtifactError, match="is a link to"):
        atomic.free(tmp_path / "f", force=True)
    assert (tmp_path / "victim").read_text() == "kept" and (tmp_path / "f").is_symlink()


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    for ask in (atomic.free, lambda path, force: atomic.write_text(path, "new", replace=force)):
        with pytest.raises(ArtifactError, match="found a pipe, expected a file name"):
            ask(tmp_path / "f", force=True)
    with pytest.raises(ArtifactError, match="found a device, expected a file name"):
        atomic.free(Path("/dev/null"), force=True)
    assert snapshot_names(tmp_path) == ["f"]


def snapshot_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_dead_writers_left_goes_and_what_living_ones_write_stays(tmp_path: Path) -> None:
    for name in ("f.01234567.tmp", "f.0123456.tmp", "g.01234567.tmp"):
        (tmp_path / name).touch()
    with atomic.whole_file(tmp_path / "f") as mine:
        mine.write(b"mine")
        (living,) = tmp_path.glob("f.????????.tmp")
        atomic.write_text(tmp_path / "f", "other")
        kept = {"f", "f.0123456.tmp", living.name, "g.01234567.tmp"}
        assert {*snapshot_names(tmp_path)} == kept
    assert (tmp_path / "f").read_bytes() == b"mine"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appeared_is_replaced_only_on_purpose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """In one step where there are hard links."""

    def none(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr("os.link", none)
    atomic.write_text(tmp_path / "f", "mine", replace=False)
    with pytest.raises(Taken), atomic.whole_file(tmp_path / "g", replace=False) as file:
        file.write(b"mine")
        (tmp_path / "g").write_text("other")
    atomic.write_text(tmp_path / "f", "again")
    assert snapshot(tmp_path) == {"f": b"again", "g": b"other"}


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_takes_its_place_at_the_end(tmp_path: Path, there: bool) -> None:
    root = tmp_path / "root"
    if there:
        root.mkdir()
    with atomic.whole_folder(root) as place:
        (place / "a").mkdir()
        (place / "a" / "f").write_text("x")
        assert not root.exists() or not list(root.iterdir())
    assert snapshot(tmp_path) == {"root": None, "root/a": None, "root/a/f": b"x"}


def test_a_folder_that_failed_is_not_there(tmp_path: Path) -> None:
    for error, seen in (
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "x"), ArtifactError),
    ):
        with pytest.raises(seen), atomic.whole_folder(tmp_path / "root") as place:
            (place / "f").write_text("x")
            raise error
        assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_given_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "f").touch()
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    monkeypatch.chdir(tmp_path / "here")
    for name in ("full", "here", "link", "full/f"):
        with (
            pytest.raises(ArtifactError, match="pass a new folder"),
            atomic.whole_folder(tmp_path / name),
        ):
            pass
    with (
        pytest.raises(ArtifactError, match="exists already"),
        atomic.whole_folder(tmp_path / "new") as place,
    ):
        (place / "mine").touch()
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "other").touch()
    assert snapshot_names(tmp_path / "new") == ["other"]
    assert snapshot_names(tmp_path) == ["full", "here", "link", "new"]


def test_a_folder_that_vanishes_while_it_is_written_is_not_there(tmp_path: Path) -> None:
    """What is made anew under its name, by another thread, say, holds half at most."""
    removed = "cannot be written .it was removed while it was written"
    with pytest.raises(ArtifactError, match=removed), atomic.whole_folder(tmp_path / "f") as place:
        (place / "a").touch()
        shutil.rmtree(place)
        place.mkdir()
    assert snapshot_names(tmp_path) == []
