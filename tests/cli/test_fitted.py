"""Tables on a terminal: no wider than that, and what gave way is counted. Others are whole."""

import io

import pytest
from made_up import cell, write

from stkit.cli import fitted, output

ROWS = [
    {"file": f"a_rather_long_name_of_a_file_{n}.json", "best test accuracy": 0.5, "acm": n, "s": 1}
    for n in (1, 2)
]


@pytest.mark.parametrize(
    ("wide", "heads", "file", "dropped"),
    [
        (99, ["file best test accuracy acm s"], "a_rather_long_name_of_a_file_1.json", 0),
        (60, ["best test", "file accuracy acm s"], "a_rather_long_name_of_a_file_1.json", 0),
        (53, ["best", "test", "file accuracy acm s"], "a_rather_long_name_of_a_file_1.json", 0),
        (48, ["best", "test", "file accuracy acm s"], "a_rather_...e_of_a_file_1.json", 0),
        (41, ["file acm s"], "a_rather_...e_of_a_file_1.json", 1),
        (20, ["file acm"], "a_ra...e_1.json", 2),
    ],
)
def test_what_gives_way(wide, heads, file, dropped):
    fit = fitted.Fit(wide, ("best test accuracy", "s"), ("file",))
    lines = output.rows(ROWS, "table", fit=fit).splitlines()
    assert all(len(line) <= wide for line in lines[: len(heads) + 3])
    assert [" ".join(line.split()) for line in lines[: len(heads)]] == heads
    assert lines[len(heads) + 1].split()[0] == file
    more = lines[len(heads) + 3 :]
    assert more == ([f"{dropped} column{'s' * (dropped > 1)} more in --format csv"] * (dropped > 0))


class Terminal(io.StringIO):
    """A stdout that is one."""

    def isatty(self) -> bool:
        return True


def test_a_report_on_a_terminal(cli, tmp_path, monkeypatch):
    """What all rows share, their folder too, stands above; stages are told below; a file is not."""
    write(tmp_path, cell(0.5, frame="st"), cell(0.25, frame="st", seed=1))
    piped = cli("report", tmp_path).out
    screen = Terminal()
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr("sys.stdout", screen)
    assert cli("report", tmp_path, "-o", tmp_path / "x.txt").code == 0
    assert (tmp_path / "x.txt").read_text() == piped
    assert cli("report", tmp_path, obj=None).code == 0
    lines = screen.getvalue().splitlines()[1:]
    assert lines[0] == (
        f"All: kind run, model resnet18, epochs 2, data clean, frame st, folder {tmp_path}"
    )
    assert max(map(len, lines[2:-2])) <= 70 and lines[-1] == output.STAGES
    assert "column" in lines[-2] and not any("stages:" in line for line in piped.splitlines())


def test_bytes_are_told_in_gb(capsys):
    output.result({"peak_memory": 990539776, "n": 3}, as_json=False, quiet=False)
    output.result({"peak_memory": 990539776}, as_json=True, quiet=False)
    assert capsys.readouterr().out == (
        'peak memory  0.99 GB\nn            3\n{"peak_memory":990539776}\n'
    )
