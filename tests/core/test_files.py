"""What is no regular file, or none of a size to be read, is refused at once."""

import os
import socket
from pathlib import Path

import pytest

from stkit.core import files
from stkit.core.errors import ArtifactError


@pytest.mark.parametrize("make", ["fifo", "folder", "device", "loop", "nothing", "null", "socket"])
def test_only_regular_files_are_opened(
    tmp_path: Path, make: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    if make == "fifo":
        os.mkfifo(path)
    elif make == "folder":
        path.mkdir()
    elif make == "device":
        path = Path("/dev/zero")
    elif make == "loop":
        path.symlink_to(path)
    elif make == "null":
        path = tmp_path / "a\0b"
    elif make == "socket":
        with socket.socket(socket.AF_UNIX) as place:
            monkeypatch.chdir(tmp_path)  # such a name may have 108 characters
            place.bind("x")
    with pytest.raises(ArtifactError):
        files.open_regular(path)
    with pytest.raises(ArtifactError):
        files.content(path)


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    assert files.content(tmp_path / "link") == b"text"


def test_too_large_and_sparse_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"12345")
    with pytest.raises(ArtifactError, match="found 5 bytes, expected 4 at most"):
        files.content(path, limit=4)
    os.truncate(path, 2**40)
    with pytest.raises(ArtifactError, match="on disk"):
        files.open_regular(path)


def test_what_would_take_gigabytes_to_parse_is_a_value_error() -> None:
    text = "[" + "[]," * files.VALUES + "1]"
    for given in (text, text.encode()):
        with pytest.raises(ValueError, match="values"):
            files.parse_json(given)
    with pytest.raises(ValueError, match="dots"):  # 128 KB of it took 16 GB
        files.parse_toml("a." * 65_000 + "a = 1")


@pytest.mark.parametrize(
    "text", ["[" * 5000, "[" * 300 + "]" * 300, "9" * 5000, "1" * 20, "NaN", "-Infinity", "{", ""]
)
def test_json_that_nobody_can_take_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        files.parse_json(text)
    with pytest.raises(ValueError, match=r".+"):
        files.parse_toml(f"a = {text}")


def test_what_is_fine_is_read() -> None:
    assert files.parse_json('{"a": [1, -2.5, "nan", null]}') == {"a": [1, -2.5, "nan", None]}
    assert files.parse_toml("a = [1, 2]\n[b]\nc = 'd'") == {"a": [1, 2], "b": {"c": "d"}}
