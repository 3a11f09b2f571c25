"""Standard output and error that are closed, full, or left early: one line, and files are kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_up import cell, write
from processes import ROOT

FULL = Path("/dev/full")


@pytest.fixture
def shell(tmp_path: Path):
    """`shell(line)`: a line of sh, in which `stkit` is this checkout's; what it left behind."""
    write(tmp_path, *(cell(0.5, seed=seed) for seed in range(200)))  # more than a buffer holds

    def run(line: str) -> subprocess.CompletedProcess[str]:
        stkit = f"{sys.executable} -m stkit"
        return subprocess.run(
            ["sh", "-c", line.replace("stkit", stkit)], cwd=tmp_path, text=True,
            capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=300,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("line", ["report . --format csv -o x.csv <&- >&-", "train --help >&-"])
def test_stdout_that_is_closed(shell, tmp_path: Path, line: str) -> None:
    found = shell(f"stkit {line}")
    assert found.returncode == 1 and found.stderr.count("\n") == 1
    assert found.stderr.startswith("error: stdout: cannot be written (Bad file descriptor)")
    if "x.csv" in line:
        assert (tmp_path / "x.csv").read_text().startswith("file,kind,")


def test_stderr_that_is_closed(shell, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    found = shell("stkit report . -o x 2>&-")
    assert (found.returncode, found.stdout, found.stderr) == (0, "x\n", "")
    assert not (tmp_path / "x").read_text().startswith("note")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout(shell, tmp_path: Path) -> None:
    for line in ("stkit report . >/dev/full", "stkit report . -o x >/dev/full"):
        found = shell(line)
        assert found.returncode == 1 and found.stderr.count("\n") == 1
        assert found.stderr.startswith("error: stdout: cannot be written (No space")
    assert (tmp_path / "x").exists()


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stderr(shell, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    found = shell("stkit report . -o y 2>/dev/full")
    assert (found.returncode, found.stdout) == (0, "y\n")


def test_a_reader_that_leaves(shell) -> None:
    found = shell("stkit report . --json | head -c 1")
    assert (found.stdout, found.stderr) == ("[", "")
