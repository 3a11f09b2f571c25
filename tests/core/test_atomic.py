"""A file or folder is whole or is not there, whatever happens while it is written."""

import errno
from pathlib import Path

import pytest
from conftest import snapshot

from stkit.core import atomic
from stkit.core.errors import ArtifactError


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
