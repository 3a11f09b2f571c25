"""Names that would do something where they are shown, through the real commands."""

import csv
import html
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import picture
from made_up import cell

SEEN = ["=1+1", "+1", "-1+1", "@SUM(1)", "a|b", "`rm`", "[x](javascript:x)", "<b onclick=x>", "$x$",
        "[bold]x", "[link=https:x]x", "a;=1", "me@e.org", "&lt;b&gt;"]  # fmt: skip
UNSEEN = ["\x1b[31mred", "\x9b31m", "\x07", "a\u202eb", "\u2066x", "two\nlines", "\t=1", "\r=1",
          "half\udc80"]  # fmt: skip
CONTROLS = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results in files of these names; those that a result may hold are names in it, too."""
    folder = tmp_path / "results"
    folder.mkdir()
    for number, name in enumerate([*SEEN, *UNSEEN]):
        label = name if name in SEEN else None
        made = cell(0.5, label=label, dataset=label, seed=number)
        made["acm"] = -0.25
        made["settings"]["poison"]["name"] = made["settings"]["model"] = label or "x"
        (folder / f"{name}.json").write_text(json.dumps(made))
    return folder


def test_tables(cli, results: Path) -> None:
    for args, extra in (((), 2), (("--layout", 1), None)):
        found = cli("report", results, *args)
        assert found.code == 0 and not CONTROLS.search(found.out + found.err)
        assert extra is None or len(found.out.splitlines()) == len(SEEN + UNSEEN) + 4
    assert r"\x1b[31mred.json" in cli("report", results).out


def test_markdown(cli, results: Path) -> None:
    for args in ((), ("--layout", 1)):
        found = cli("report", results, "--format", "markdown", *args)
        assert found.code == 0 and not CONTROLS.search(found.out)
        assert not re.search(r"[<`$]|\]\(|e@e", found.out)
        heads = [line.count("|") for line in found.out.splitlines() if line.startswith("| ---")]
        counts = {line.count("|") for line in found.out.splitlines() if line.startswith("|")}
        assert counts == set(heads)
        assert all(name in html.unescape(found.out) for name in SEEN)


def test_csv(cli, results: Path) -> None:
    for args in ((), ("--layout", 1)):
        found = cli("report", results, "--format", "csv", *args)
        assert found.code == 0 and not CONTROLS.search(found.out)
        rows = list(csv.DictReader(io.StringIO(found.out)))
        assert None not in {key for row in rows for key in row}
        assert not [cell for row in rows for key, cell in row.items()
                    if cell.startswith(("=", "+", "-", "@")) and key != "acm"]  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(cli("report", results, "--format", "csv").out)))
    assert {float(row["acm"]) for row in rows} == {-0.25}
    assert {row["frame"] for row in rows} >= {"'=1+1", "'+1", "'-1+1", "'@SUM(1)", "a|b"}
    wide = csv.reader(io.StringIO(found.out), delimiter=";")  # of other countries
    assert not [cell for row in wide for cell in row if cell.startswith("=")]


def test_json_has_the_true_names(cli, results: Path) -> None:
    found = cli("report", results, "--json")
    assert found.out.isascii() and not CONTROLS.search(found.out)
    assert {Path(row["file"]).stem for row in found.json} == {*SEEN, *UNSEEN}


def test_a_page(cli, results: Path, tmp_path: Path) -> None:
    shutil.copy(results / "two\nlines.json", results / "b\x1b.json")
    (results / "b\x1b.json").write_text("{")
    page = tmp_path / "x.html"
    assert cli("report", results, "--format", "html", "-o", page).code == 0
    text = page.read_text()
    assert not CONTROLS.search(text) and "<b onclick" not in text
    assert r"Skipped b\x1b.json" in text and all(html.escape(name) in text for name in SEEN)


@pytest.mark.parametrize("name", ["no\x1b]0;x\x07where", "no\u202ewhere", "no\x9bwhere"])
def test_an_error_shows_what_is_unseen(cli, name: str) -> None:
    for line in (["inspect", name], ["report", f"{name}.json"], ["data", name, "-o", "x"],
                 ["bench", name], ["list", name], [name], ["train", "a", f"-{name}"]):  # fmt: skip
        found = cli(*line)
        assert found.code in (1, 2) and found.out == "" and found.err.count("\n") == 1
        assert not CONTROLS.search(found.err)


def test_class_names(cli, tmp_path: Path) -> None:
    """Through data, inspect and an error that names a picture."""
    names = [*SEEN[:4], *SEEN[5:6], "[bold]x", *UNSEEN[:6]]
    for name in names:
        picture(tmp_path / "photos" / name / "0.png")
    made = tmp_path / "made.safetensors"
    found = cli("data", tmp_path / "photos", "-o", made)
    assert found.code == 0 and not CONTROLS.search(found.out + found.err)
    found = cli("inspect", made)
    assert found.code == 0 and not CONTROLS.search(found.out)
    (shown,) = (line for line in found.out.splitlines() if line.startswith("classes"))
    assert all(word in shown for word in (r"\x1b[31mred", "[bold]x", r"two\nlines"))
    assert sorted(cli("inspect", made, "--json").json["classes"]) == sorted(names)
    (tmp_path / "photos" / UNSEEN[0] / "1.png").write_text("no image")
    found = cli("data", tmp_path / "photos", "-o", tmp_path / "x")
    assert found.code == 1 and r"\x1b[31mred/1.png" in found.err and not CONTROLS.search(found.err)


def test_a_plot_takes_no_formula(cli, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = cell(0.5, label=r"$\frac$ $x$ \x")
    (tmp_path / "a.json").write_text(json.dumps(found))
    assert cli("plot", "curves", tmp_path, "-o", tmp_path / "x.png").code == 0
