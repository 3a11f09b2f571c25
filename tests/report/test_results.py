"""Results in reports: rows, means over seeds, the paper's tables, published numbers, bad files."""

import csv
import io
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from made_up import cell, write

from stkit.core import header
from stkit.core.errors import ArtifactError
from stkit.recipes.catalogue import MODELS
from stkit.recipes.frames import FRAMES
from stkit.recipes.poisons import METHODS
from stkit.report import files, gather, literature, tables
from stkit.report.groups import Group, grouped


def groups(folder) -> list[Group]:
    return grouped(gather.gather([folder]).results)


# Rows


def test_rows_of_a_folder(cli, tmp_path):
    write(tmp_path, cell(0.25, poison="sp", rate=0.4, frame="st"), cell(0.75, seed=1))
    first, second = cli("report", tmp_path, "--json").json
    assert (first["kind"], first["data"], first["frame"]) == ("cell", "clean", "nt")
    assert (first["accuracy"], first["best_accuracy"], first["seconds"]) == (0.75, 0.75, 60)
    assert second["data"] == "sp 0.4" and second["acm"] == 1e-3
    assert second["stages"] == [{"epoch": 1, "step": 10, "tau": 1}]
    text = cli("report", tmp_path).out
    assert "All: kind run, model resnet18, epochs 2" in text and "1@1" in text


def test_rows_with_published_numbers(cli, tmp_path):
    write(tmp_path, cell(0.25, poison="sp"), cell(0.5, poison="sp", source="digits"))
    ours, digits = cli("report", tmp_path, "--json", "--anchors").json
    assert ours["ST paper"] == 0.2408 and ours["BridgePure"] == 0.1385
    assert "epsilon 8/255" in ours["ST paper setting"] and "ST paper" not in digits
    text = cli("report", tmp_path, "--anchors").out
    assert "\nST paper: Hu et al." in text and "(epsilon 8/255 for EM" in text
    why = "No published numbers beside 1 of 2 of these: none for the data set digits (there are for"
    assert why in text and why in cli("report", tmp_path, "--format", "csv", "--anchors").err


@pytest.mark.parametrize(
    ("made", "more", "cause"),
    [
        ({"model": "small"}, "", "the model small (there are for resnet18, resnet50, "),
        ({"poison": "lsp"}, "", "the poison lsp (there are for em-sample, em-class, rem, sp and "),
        ({"poison": "sp", "rate": 0.37}, "", "the poison rate 0.37 (there are for 1, "),
        ({"frame": "cutout"}, "", "the frame cutout (there are for nt, "),
        ({"source": "cifar10, 100 images"}, "", "the data set cifar10, 100 images (there are for"),
        ({}, "--measure best", "this measure, Accuracy on clean test images, best epoch"),
    ],
)
def test_why_there_is_no_published_number(cli, tmp_path, made, more, cause):
    write(tmp_path, cell(0.5, **made))
    text = cli("report", tmp_path, "--layout", 1, "--anchors", *more.split()).out
    assert f"\n\nNo published numbers here: none for {cause}" in text, text


def test_imported_noise_has_no_published_number(cli, tmp_path):
    """Whatever it is called; what stkit makes under that name has some."""
    own = cell(0.5, poison="sp", seed=1)
    own["inputs"][0]["recipe"]["imported"] = "noise"
    write(tmp_path, own)
    assert "none for imported noise, sp (there" in cli("report", tmp_path, "--anchors").out
    (row,) = cli("report", tmp_path, "--anchors", "--json").json
    assert "ST paper" not in row and row["data"] == "sp"


def test_a_cell_file_by_name(cli, tmp_path):
    write(tmp_path, cell(0.25))
    (path,) = tmp_path.glob("*.json")
    assert cli("report", path, "--json").json[0]["accuracy"] == 0.25
    found = cli("report", tmp_path / "none.json")
    assert found.code == 1 and "no such file" in found.err


# Means, deviations, differences


def test_mean_and_deviation_over_seeds(tmp_path):
    write(tmp_path, *(cell(a, seed=s) for s, a in enumerate((0.80, 0.84, 0.88))))
    (group,) = groups(tmp_path)
    assert group.mean == pytest.approx(0.84) and group.deviation == pytest.approx(0.04)
    assert group.text() == "84.00 ± 4.00" and group.difference is None


def test_difference_to_natural_training_on_the_same_images(tmp_path):
    write(
        tmp_path, cell(0.9), cell(0.7, frame="st"), cell(0.2, poison="sp"),
        cell(0.5, poison="sp", frame="st"), cell(0.6, poison="ops", frame="st"),
    )  # fmt: skip
    found = {(g.first.poison, g.frame): g.difference for g in groups(tmp_path)}
    assert found == {
        ("clean", "nt"): None, ("clean", "st"): pytest.approx(-0.2),
        ("sp", "nt"): None, ("sp", "st"): pytest.approx(0.3), ("ops", "st"): None,
    }  # fmt: skip


def test_other_settings_are_no_other_seed(tmp_path):
    """What shares a name but not its settings gets a row of its own, named after what differs."""
    write(
        tmp_path, cell(0.5, frame="st"), cell(0.7, frame="st", label="st", epochs=4),
        cell(0.9, frame="st", seed=1),
    )  # fmt: skip
    assert {g.frame: g.accuracies for g in groups(tmp_path)} == {
        "st (epochs 2)": [0.5, 0.9], "st (epochs 4)": [0.7],
    }  # fmt: skip


def test_seeds_on_other_threads_share_a_row(tmp_path):
    """They decide the last bits, as a seed does; a poison's do, too."""
    results = [cell(0.5, poison="em-class"), cell(0.7, poison="em-class", seed=1)]
    results[1]["recipe"] |= {"threads": 2, "deterministic": True}
    results[1]["inputs"][0]["recipe"]["threads"] = 4
    write(tmp_path, *results)
    assert {g.frame: g.accuracies for g in groups(tmp_path)} == {"nt": [0.5, 0.7]}


def test_what_was_not_tested_has_no_place_in_a_table(cli, tmp_path):
    write(tmp_path, cell(None))
    assert groups(tmp_path) == []
    tested = cli("report", tmp_path, "--layout", 1).out
    assert tested == "no such accuracies; `stkit train` takes them with --test SOURCE\n"
    held = cli("report", tmp_path, "--layout", 1, "--measure", "holdout").out
    assert held == "no such accuracies; `stkit train` takes them with --holdout N\n"


# What is the same, and what is not


def test_rates_0_and_1_have_rows_of_their_own(cli, tmp_path):
    write(tmp_path, *(cell(0.9 - rate / 2, poison="ops", rate=rate) for rate in (0, 0.5, 1)))
    for layout in (1, 4):
        shown = cli("report", tmp_path, "--layout", layout).out
        assert all(value in shown for value in ("90.00", "65.00", "40.00", "ops 0 ", "ops 0.5"))


def test_other_images_are_no_other_seed(cli, tmp_path):
    """Of one name; nor is natural training on them what others are compared to."""
    tested, trained, same = cell(0.5, frame="st"), cell(0.6, seed=1), cell(0.9)
    tested["inputs"][1] = {**tested["inputs"][1], "digest": "another test set"}
    trained["inputs"][0] = {**trained["inputs"][0], "digest": "some other images"}
    write(tmp_path, same, tested, {**trained, "name": "trained"})
    found = cli("report", tmp_path, "--layout", 1, "--json").json
    assert {row["dataset"]: (row["seeds"], row["difference_to_nt"]) for row in found} == {
        "cifar10 (images clean of, tested on clean of)": (1, None),
        "cifar10 (images clean of, tested on another )": (1, None),
        "cifar10 (images some oth, tested on clean of)": (1, None),
    }
    text = cli("report", tmp_path, "--layout", 1).out
    assert text.count("Accuracy on clean test images, %, cifar10 (images ") == 3


def test_poisons_of_one_clean_set_share_a_table(cli, tmp_path):
    write(tmp_path, cell(0.9), *(cell(0.5, poison=name) for name in ("sp", "ops", "em-class")))
    assert {row["dataset"] for row in cli("report", tmp_path, "--layout", 1, "--json").json} == {
        "cifar10"
    }


def test_a_training_that_is_found_twice_counts_once(cli, tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder, cell(0.5), cell(0.6, seed=1))
    (row,) = cli("report", tmp_path / "a", tmp_path / "b", "--layout", 1, "--json").json
    assert row["seeds"] == 2 and len(cli("report", tmp_path / "a", "--json").json) == 2


def test_the_rate_of_a_poison_that_came_as_a_file(cli, tmp_path):
    found = cell(0.5, poison="sp", rate=0.5)
    del found["settings"]["poison"]["rate"]
    write(tmp_path, found)
    (row,) = cli("report", tmp_path, "--layout", 7, "--json").json
    assert row["rate"] == 0.5


def test_names_that_look_like_numbers(cli, tmp_path):
    write(tmp_path, cell(0.5, label="inf", dataset="nan"))
    (row,) = cli("report", tmp_path, "--layout", 1, "--json").json
    assert (row["dataset"], row["frame"]) == ("nan", "inf")


def test_text_of_no_encoding(cli, tmp_path):
    found, out = cell(0.5, frame="st"), tmp_path / "deep" / "x.html"
    write(tmp_path, cell(0.5, frame="st", seed=1))
    found["recipe"]["precision"] = "\ud800"
    (tmp_path / "a.json").write_text(json.dumps(found))
    assert cli("report", tmp_path, "--layout", 1).code == 0
    assert cli("report", tmp_path, "--format", "html", "-o", out).code == 0
    assert list(out.parent.iterdir()) == [out] and "\\ud800" in out.read_text()


def test_why_a_table_is_empty(cli, tmp_path):
    write(tmp_path, cell(0.5))
    text = cli("report", tmp_path, "--layout", 7).out
    assert text == "no poisoned images among these; layouts 7 and 8 show them by their rate\n"


# Layouts


@pytest.fixture
def folder(tmp_path):
    """Two poisons, a rate, three frames, two models."""
    made = [cell(0.9, model=m) for m in ("resnet18", "vgg16-bn")]
    made += [cell(0.7, frame="st"), cell(0.6, frame="st", label="st-ratio", variant="ratio")]
    made += [cell(0.2, poison="sp"), cell(0.4, poison="sp", frame="st")]
    made += [cell(0.8, poison="sp", rate=0.6), cell(0.3, poison="em-class", seed=1)]
    return write(tmp_path, *made)


def arranged(folder, layout: str) -> list[tuple[str, list[str], list[list[str]]]]:
    def texts(table: tables.Table) -> list[list[str]]:
        return [list(row.values()) for row in table.texts(with_anchors=False)]

    found = tables.arrange(groups(folder), layout)
    return [(table.title.split(", %, ")[1], table.heads, texts(table)) for table in found]


@pytest.mark.parametrize("layout", ["1", "2"])
def test_poisons_and_frames_by_models(folder, layout):
    ((title, heads, rows),) = arranged(folder, layout)
    assert title == "cifar10" and heads == ["poison", "frame", "resnet18", "vgg16-bn"]
    assert rows == [
        ["clean", "nt", "90.00", "90.00"],
        ["clean", "st", "70.00 (-20.00)", "-"],
        ["clean", "st-ratio", "60.00 (-30.00)", "-"],
        ["em-class", "nt", "30.00", "-"],
        ["sp", "nt", "20.00", "-"],
        ["sp", "st", "40.00 (+20.00)", "-"],
        ["sp 0.6", "nt", "80.00", "-"],
    ]


def test_poisons_and_models_by_frames(folder):
    ((_, heads, rows),) = arranged(folder, "4")
    assert heads == ["poison", "model", "nt", "st", "st-ratio"]
    assert rows[0] == ["clean", "resnet18", "90.00", "70.00 (-20.00)", "60.00 (-30.00)"]
    assert rows[1] == ["clean", "vgg16-bn", "90.00", "-", "-"]


@pytest.mark.parametrize("layout", ["7", "8"])
def test_poisons_and_frames_by_rates(folder, layout):
    """Clean images are rate 0 of every poison; a table each model that has poisoned images."""
    (title, heads, rows), empty = arranged(folder, layout)
    assert title == "cifar10, resnet18, by poison rate"
    assert heads == ["poison", "frame", "0", "0.6", "1"]
    assert rows == [
        ["em-class", "nt", "90.00", "-", "30.00"],
        ["sp", "nt", "90.00", "80.00", "20.00"],
        ["sp", "st", "70.00 (-20.00)", "-", "40.00 (+20.00)"],
    ]
    assert empty[2] == []


def test_frames_in_the_order_of_table_5(tmp_path):
    """A table a model and poison; natural training is its row of weight decay 1e-4."""
    frames = ("gray", "st", "nt", "mixup", "wd-1e-3", "at", "st-full", "cutout")
    names = [cell(i / 10, poison="rem", frame=f) for i, f in enumerate(frames)]
    write(tmp_path, *names, cell(0.9, poison="rem", frame="mixup", model="vgg16-bn"),
          cell(0.8, poison="sp", frame="mixup"))  # fmt: skip
    rem, other, sp = arranged(tmp_path, "5")
    assert rem[:2] == ("cifar10, resnet18, rem", ["frame", "accuracy"])
    assert [row[0] for row in rem[2]] == [
        "cutout", "mixup", "nt", "wd-1e-3", "at", "st", "st-full", "gray",
    ]  # fmt: skip
    assert rem[2][:3] == [
        ["cutout", "70.00 (+50.00)"],
        ["mixup", "30.00 (+10.00)"],
        ["nt", "20.00"],
    ]
    assert (other[0], other[2]) == ("cifar10, vgg16-bn, rem", [["mixup", "90.00"]])
    assert (sp[0], sp[2]) == ("cifar10, resnet18, sp", [["mixup", "80.00"]])


def test_numbers_of_the_table_that_is_shown_go_first(cli, tmp_path):
    """Natural training on REM: 21.86 in Table 1, 23.51 in Table 5."""
    write(tmp_path, cell(0.2, poison="rem", label="wd-1e-4"))
    for layout, percent in ((1, "21.86"), (5, "23.51")):
        text = cli("report", tmp_path, "--layout", layout, "--anchors").out
        assert (
            f"[ST paper {percent}, APBench 17.47" in text and f"2306.02064, Table {layout}" in text
        )
        (row,) = cli("report", tmp_path, "--layout", layout, "--anchors", "--json").json
        assert row["ST paper"] == float(percent) / 100


def test_a_table_for_each_data_set(tmp_path):
    mine = cell(0.4, source="folder", dataset="mine")
    write(tmp_path, cell(0.5), cell(0.3, source="cifar100"), mine)
    assert [title for title, *_ in arranged(tmp_path, "1")] == ["cifar10", "cifar100", "mine"]


def test_layouts_in_every_format(cli, folder):
    text = cli("report", folder, "--layout", 1).out
    assert "Accuracy on clean test images, %, cifar10" in text and "40.00 (+20.00)" in text
    markdown = cli("report", folder, "--layout", 1, "--format", "markdown").out
    assert "| sp       | st       | 40.00 (+20.00) | -" in markdown
    found = cli("report", folder, "--layout", 1, "--json").json
    (staged,) = [row for row in found if (row["poison"], row["frame"]) == ("sp", "st")]
    assert staged == {
        "dataset": "cifar10", "split": "test", "poison": "sp", "rate": 1.0, "frame": "st",
        "model": "resnet18", "epochs": 2, "seeds": 1, "accuracy": 0.4, "deviation": None,
        "difference_to_nt": pytest.approx(0.2),
    }  # fmt: skip
    lines = list(csv.DictReader(io.StringIO(
        cli("report", folder, "--layout", 7, "--format", "csv").out
    )))  # fmt: skip
    assert len(lines) == len(found) and lines[0]["accuracy"] == "0.9"


def test_what_a_table_shows(cli, tmp_path):
    found = cell(0.4, poison="sp")
    write(tmp_path, {**found, "holdout_accuracy": 0.35}, cell(0.9))
    best = cli("report", tmp_path, "--layout", 1, "--measure", "best", "--anchors").out
    assert "test images, best epoch, %, cifar10" in best and "50.00" in best and "24.08" not in best
    (row,) = cli("report", tmp_path, "--layout", 1, "--measure", "holdout", "--json").json
    assert row["holdout_accuracy"] == 0.35 and "accuracy" not in row
    assert "unknown measure" in cli("report", tmp_path, "--measure", "x").err


def test_to_a_file(cli, folder, tmp_path):
    out = tmp_path / "deep" / "t.md"
    assert cli("report", folder, "--layout", 1, "-o", out).out == f"{out}\n"
    assert "40.00 (+20.00)" in out.read_text()
    assert cli("report", folder, "-o", out).code == 1
    assert cli("report", folder, "-o", out, "--force").code == 0


def test_latex_of_a_layout(cli, folder):
    """What LaTeX acts on is escaped; rows of a poison stand together; sources stand below; what may
    be wider than a column is fitted into it."""
    made = cell(0.5, poison="sp", frame="st", label="50%_a&b {x} ^~\\--`e\u0301")
    write(folder, made)
    text = cli("report", folder, "--layout", 1, "--format", "latex", "--anchors").out
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "% \\usepackage{booktabs,graphicx} in the preamble"
    assert lines[4] == "\\caption{Accuracy on clean test images, \\%, cifar10}"
    assert lines[6].startswith("\\resizebox") and lines[7] == "\\begin{tabular}{llll}"
    assert lines[9:11] == ["poison & frame & resnet18 & vgg16-bn \\\\", "\\midrule"]
    assert "em-class & nt & 30.00 {[}ST paper 32.28{]} & -- \\\\" in lines
    odd = "50\\%\\_a\\&b \\{x\\} \\textasciicircum{}\\textasciitilde{}\\textbackslash{}-{}-{`}é"
    assert f" & {odd} & 50.00 ($+$30.00)" in text
    assert lines.count("\\addlinespace") == 3 and "\n    ST paper: Hu et al." in text
    assert text.count("\\begin") == text.count("\\end") == 3 and text.count("XeLaTeX") == 0
    write(folder, cell(0.5, frame="st", label="\N{GREEK SMALL LETTER LAMDA}"))
    bare = cli("report", folder, "--layout", 5, "--format", "latex").out
    assert "XeLaTeX" in bare.splitlines()[1] and "graphicx" not in bare
    unlaid = cli("report", folder, "--format", "latex")
    assert unlaid.code == 2 and "pass --layout 1|2|4|5|7|8" in unlaid.err


def test_a_row_an_epoch(cli, tmp_path):
    washed = cell(0.9, epochs=3)
    washed["history"][2]["purified_accuracy"] = {"gray,jpeg-10": 0.25}
    write(tmp_path, washed, cell(0.5, frame="st"))
    text = cli("report", tmp_path, "--epochs").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["frame"], row["epoch"]) for row in rows] == [
        ("nt", "1"), ("nt", "2"), ("nt", "3"), ("st", "1"), ("st", "2"),
    ]  # fmt: skip
    assert [float(row["accuracy"]) for row in rows] == [0.5, 0.5, 0.9, 0.5, 0.5]
    assert rows[3] == rows[3] | {"tau": "1", "verdict": "roll back", "acm": "0.001", "step": "10"}
    assert rows[0]["tau"] == "" and rows[0]["loss"] == "0.1" and "holdout_accuracy" not in rows[0]
    assert [row["purified_accuracy:gray+jpeg-10"] for row in rows[1:4]] == ["", "0.25", ""]
    as_json = cli("report", tmp_path, "--epochs", "--json").json
    assert as_json[0]["tau"] is None and as_json[4]["epoch"] == 2
    assert cli("report", tmp_path, "--epochs", "--layout", 1).code == 2


def test_layout_with_published_numbers(cli, folder):
    text = cli("report", folder, "--layout", 1, "--anchors").out
    assert "20.00 [ST paper 24.08, APBench 13.06, ISS 19.07, BridgePure 13.85]" in text
    assert "80.00 [ST paper 90.11]" in text  # rate 0.6: Table 7
    assert "\nISS: Liu et al." in text


def test_checkpoints_have_a_place_in_tables(cli, made, tmp_path):
    from stkit import load, train

    images = load("digits", limit=20)
    run = train(images, "nt", test=images, model="small", epochs=1, batch_size=10, device="cpu")
    run.save(tmp_path / "c.safetensors")
    found = cli("report", tmp_path / "c.safetensors", "--layout", 1, "--json").json
    place = [(r["dataset"], r["poison"], r["rate"], r["frame"]) for r in found]
    assert place == [("digits, 20 images", "clean", 0, "nt")]
    untested = cli("report", made / "nt.safetensors", "--layout", 1)
    assert untested.out.startswith("no such accuracies")


# What is bad


def test_mixed_versions_are_named(cli, tmp_path):
    other = {"stkit": "0.2.0", "torch": "2.9"}
    write(tmp_path, cell(0.5), cell(0.6, seed=1), cell(0.7, seed=2, versions=other))
    found = cli("report", tmp_path, "--layout", 1)
    assert found.code == 0
    assert found.err == "note: made by different versions: stkit 0.1.0 (2), 0.2.0 (1)\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "damaged, it is no JSON"),
        ("", "damaged, it is no JSON"),
        (json.dumps({"kind": "cell", "format": 1}), "damaged, it lacks 'settings'"),
        (json.dumps({"kind": "cell", "format": 2}), "found format 2, expected 1"),
        (json.dumps({"kind": "cell", "format": 1, "settings": 3}), "damaged"),
    ],
)
def test_a_damaged_result_is_named_skipped_and_counted(cli, tmp_path, text, why):
    write(tmp_path, cell(0.5))
    (tmp_path / "z.json").write_text(text)
    found = cli("report", tmp_path)
    assert found.code == 0 and "Skipped files: 1" in found.out
    assert found.err.startswith(f"note: skipped {tmp_path}/z.json: {why}")
    assert found.err.count("\n") == 1 and len(cli("report", tmp_path, "--json").json) == 1
    alone = cli("report", tmp_path / "z.json")
    assert alone.code == 1 and alone.err.startswith(f"error: {tmp_path}/z.json: {why}")
    assert alone.err.count("\n") == 1


DEEP = 100_000


def damaged(place: str, value: object) -> str:
    """A staged cell's JSON with one value replaced, at a path as of `header.flat`."""
    found = json.loads(json.dumps(cell(0.5, frame="st")))
    found |= {"peak_memory": 5, "images_per_second": 2.5, "train_accuracy": 0.5}
    where: Any = found
    *path, last = (int(key) if key.isdecimal() else key for key in place.split("."))
    for key in path:
        where = where[key]
    assert isinstance(where, list) or last in where or last == "holdout_accuracy"
    where[last] = value
    return json.dumps(found)


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("accuracy", "0.3", "'0.3', expected a number"),
        ("accuracy", 37, "37, expected a number from 0 to 1"),
        ("accuracy", "nan", "nan, expected a number from 0 to 1"),
        ("accuracy", True, "True, expected a number"),
        ("best_accuracy", [], "[], expected a number"),
        ("holdout_accuracy", -1, "-1, expected a number from 0 to 1"),
        ("train_accuracy", {}, "{}, expected a number"),
        ("history", 5, "5, expected a list"),
        ("history.0", None, "None, expected an object"),
        ("history.0.epoch", "1", "'1', expected a whole number"),
        ("history.0.phase", None, "None, expected a whole number"),
        ("history.1.accuracy", "high", "'high', expected a number"),
        ("history.0.checks", 3, "3, expected a list"),
        ("history.0.checks.0.acm", "small", "'small', expected an object"),
        ("history.0.checks.0.acm.literal", "small", "'small', expected a number"),
        ("history.0.checks.0.step", 1.5, "1.5, expected a whole number"),
        ("history.0.checks.0.verdict", None, "None, expected text"),
        ("versions", "abc", "'abc', expected an object"),
        ("versions.torch", 2.9, "2.9, expected text"),
        ("stages", "none", "'none', expected a list"),
        ("stages.0.tau", "1", "'1', expected a whole number"),
        ("peak_memory", "lots", "'lots', expected a number"),
        ("seconds", "60", "'60', expected a number"),
        ("images_per_second", [1], "[1], expected a number"),
        ("acm", "x" * 99, "expected a number"),
        ("epochs", None, "None, expected a whole number"),
        ("settings.data", [], "[], expected an object"),
        ("settings.data.name", 1, "1, expected text"),
        ("settings.poison.name", None, "None, expected text"),
        ("settings.poison.rate", 2, "2, expected a number from 0 to 1"),
        ("settings.frame.name", [], "[], expected text"),
        ("settings.model", 18, "18, expected text"),
        ("settings.seed", "0", "'0', expected a whole number"),
        ("inputs", {}, "{}, expected a list"),
        ("inputs", [], "[], expected at least one"),
        ("inputs.0.digest", 3, "3, expected text"),
        ("inputs.0.recipe", "clean", "'clean', expected an object"),
        ("inputs.0.inputs", None, "None, expected a list"),
        ("recipe.phases", [], "[], expected at least one"),
        ("recipe.phases.0", 3, "3, expected an object"),
        ("recipe.phases.0.adversary", {"epsilon": "4/255"}, "expected a number"),
        ("recipe.frame", None, "None, expected text"),
        ("recipe.phases.0.adversary", {"epsilon": 1e308}, "1e+308, expected a number from 0 to 1"),
        ("stages.0.step", "one", "'one', expected a whole number"),
        ("settings.model", "a\nb", "'a\\nb', expected text that can be printed"),
        ("versions.stkit", "\ud800", "'\\ud800', expected text that can be printed"),
    ],
)
def test_a_result_of_wrong_types_is_named_skipped_and_counted(
    cli, tmp_path, place, value, expected
):
    write(tmp_path, cell(0.5))
    (tmp_path / "z.json").write_text(damaged(place, value))
    for args in ((), ("--layout", 7), ("--format", "html", "-o", tmp_path / "x.html")):
        found = cli("report", tmp_path, *args)
        assert found.code == 0
        line = f"note: skipped {tmp_path}/z.json: damaged, {place}"
        assert found.err.startswith(line) and expected in found.err and found.err.count("\n") == 1
        assert args[:1] == ("--format",) or "Skipped files: 1" in found.out
    assert "z.json: damaged" in (tmp_path / "x.html").read_text()


@pytest.mark.parametrize(
    "place", ["acm", "epochs", "seconds", "peak_memory", "settings.seed", "history.0.epoch",
              "history.0.checks.0.step", "history.0.checks.0.acm.literal"]
)  # fmt: skip
@pytest.mark.parametrize("value", [10**18, -(10**400)], ids=["19", "401"])
def test_a_number_that_no_float_holds_is_named(cli, tmp_path, place, value):
    """Wherever it stands: it is found before the result is looked at."""
    write(tmp_path, cell(0.5))
    (tmp_path / "z.json").write_text(damaged(place, value))
    found = cli("report", tmp_path)
    assert found.code == 0 and "Skipped files: 1" in found.out
    line = f"note: skipped {tmp_path}/z.json: damaged, it is no JSON (found a whole number of "
    assert found.err.startswith(line) and found.err.count("\n") == 1


@pytest.mark.parametrize(
    "text", ["[" * DEEP, '{"a":' * DEEP, '{"kind": "cell", "format": 1, "accuracy": NaN}',
             '{"kind": "cell", "format": 1, "name": ' + "[" * 990 + "]" * 990 + "}"],
)  # fmt: skip
def test_a_result_that_is_no_plain_json_is_skipped(cli, tmp_path, text):
    write(tmp_path, cell(0.5))
    (tmp_path / "z.json").write_text(text)
    found = cli("report", tmp_path)
    assert found.code == 0 and "Skipped files: 1" in found.out
    assert f"skipped {tmp_path}/z.json: damaged" in found.err and found.err.count("\n") == 1


def test_null_is_as_good_as_absent(cli, tmp_path):
    found = cell(0.5, poison="sp")
    found["settings"]["poison"]["rate"] = None
    found["inputs"][1]["recipe"] |= {"method": None, "scope": None, "poison_rate": None}
    write(tmp_path, found)
    (row,) = cli("report", tmp_path, "--json").json
    assert row["data"] == "sp"
    (row,) = cli("report", tmp_path, "--layout", 1, "--json").json
    assert (row["poison"], row["rate"]) == ("sp", 1)


@pytest.mark.parametrize("value", [5e-324, 1.7e308])
def test_an_acm_at_the_ends_of_what_a_float_holds(cli, tmp_path, value):
    (tmp_path / "a.json").write_text(damaged("history.0.checks.0.acm.literal", value))
    page = tmp_path / "x.html"
    assert cli("report", tmp_path, "--format", "html", "-o", page).code == 0
    assert 2 < page.read_text().count(">1e") < 12  # powers of ten that are named


def test_a_header_that_is_nested_deep_or_of_wrong_types(cli, tmp_path):
    deep, path = "[" * DEEP + "]" * DEEP, tmp_path / "c.safetensors"
    inside = json.dumps({"__metadata__": {"stkit": f'{{"kind": {deep}}}'}})
    said = {"stkit": json.dumps({"kind": "eval", "format": 1})}
    typed = json.dumps({"__metadata__": said, "w": {"data_offsets": [0, "end"]}})
    for text in (f'{{"a": {deep}}}', inside, typed):
        path.write_bytes(len(text).to_bytes(8, "little") + text.encode())
        found = cli("report", path)
        assert found.code == 1 and found.err.startswith(f"error: {path}: it")
        assert found.err.count("\n") == 1


def test_infinite_acm_is_no_damage(cli, tmp_path):
    (tmp_path / "a.json").write_text(damaged("history.0.checks.0.acm.literal", "inf"))
    assert cli("report", tmp_path, "--layout", 1, "--json").json[0]["accuracy"] == 0.5


def test_a_checkpoint_of_wrong_types(cli, made, tmp_path):
    head, path = header.read(made / "nt.safetensors"), tmp_path / "c.safetensors"
    check = {"step": 1, "verdict": "keep", "acm": {"literal": "inf"}, "tau": 1, "lr_scales": [1.0]}
    head["records"][0]["checks"] = [check]
    head["recipe"]["phases"][0]["staged"] = {"variant": "literal"}
    _forge(path, head)
    assert cli("report", path, "--json").json[0]["acm"] == "inf"  # no damage
    head["records"][0]["epoch"] = "first"
    _forge(path, head)
    found = cli("report", path)
    why = "damaged, records.0.epoch is 'first', expected a whole number; make it again"
    assert (found.code, found.err) == (1, f"error: {path}: {why}\n")


def _forge(path: Path, head: dict) -> None:
    """A file without tensors that has this header."""
    head = head | {"seal": header.seal(head)}
    text = json.dumps({"__metadata__": {"stkit": json.dumps(head)}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


# Validation images, parts of a set


def held_out(accuracy: float, **place: Any) -> dict:
    """A cell tested on clean training images that had been kept out."""
    found = cell(accuracy, **place)
    images, root = found["inputs"]
    rest, held = (
        {**root, "recipe": {"source": "file", "holdout": 2000, "part": part}, "inputs": [root]}
        for part in ("rest", "held")
    )
    found["inputs"] = [{**images, "inputs": [rest]}, held]
    return {**found, "name": found["name"] + "-held"}


def test_validation_is_never_mixed_with_test(cli, tmp_path):
    write(tmp_path, cell(0.2, poison="sp"), held_out(0.3, poison="sp", seed=1))
    text = cli("report", tmp_path, "--layout", 1, "--anchors").out
    first, second = text.split("Accuracy on clean ")[1:]
    assert first.startswith("test images, %, cifar10\n") and "20.00 [ST paper 24.08" in first
    assert second.startswith("validation images, %, cifar10, all but 2000 images\n")
    assert "30.00\n" in second and "30.00 [" not in second
    page = tmp_path / "x.html"
    assert cli("report", tmp_path, "--format", "html", "--anchors", "-o", page).code == 0
    assert "Accuracy on clean validation images, %</text>" in page.read_text()
    assert page.read_text().count("<td>validation</td>") == 1
    rows = cli("report", tmp_path, "--json").json
    assert {row["seed"]: row.get("split") for row in rows} == {0: None, 1: "validation"}


def test_a_file_that_is_named_twice_counts_once(cli, tmp_path):
    write(tmp_path, cell(0.5), cell(0.6, seed=1))
    one, two = sorted(tmp_path.glob("*.json"))
    for paths in ((one, tmp_path), (tmp_path, one, two, tmp_path)):
        (row,) = cli("report", *paths, "--layout", 1, "--json").json
        assert row["seeds"] == 2


def test_a_part_of_a_set_is_no_place_for_published_numbers(cli, tmp_path):
    found = cell(0.2, poison="sp")
    for image in (found["inputs"][0]["inputs"][0], found["inputs"][1]):
        image["recipe"] = {**image["recipe"], "limit": 1000}
    write(tmp_path, found)
    text = cli("report", tmp_path, "--layout", 1, "--anchors").out
    assert "%, cifar10, 1000 images" in text and "20.00\n" in text and "ST paper" not in text


def test_other_json_is_passed_over(cli, tmp_path):
    write(tmp_path, cell(0.5))
    (tmp_path / "old.json").write_text('{"accuracy": 1}')
    found = cli("report", tmp_path)
    assert found.err == "note: passed over 1 other JSON files, which no bench wrote\n"
    assert "Skipped" not in found.out


def test_nothing_to_report(cli, tmp_path):
    found = cli("report", tmp_path)
    assert (found.code, found.err.count("\n")) == (1, 1) and "nothing to report" in found.err


def test_bad_options(cli, tmp_path):
    write(tmp_path, cell(0.5))
    for args, message in (
        (("--layout", 3), "unknown layout '3'"),
        (("--format", "html"), "HTML is written to a file"),
        (("--format", "html", "--layout", 1, "-o", tmp_path / "x"), "leave out --layout"),
        (("--format", "htm"), "did you mean 'html'?"),
    ):
        found = cli("report", tmp_path, *args)
        assert found.code == 2 and message in found.err and found.err.count("\n") == 1


def test_a_result_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write(path, {"a": 1})
    monkeypatch.setattr("os.replace", Mock(side_effect=OSError(28, "disk full")))
    with pytest.raises(ArtifactError, match="cannot be written"):
        files.write(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [path]


# Published numbers


def test_published_numbers_have_a_source_and_known_names():
    values = literature.anchors()
    assert len(values) > 800 and all(a.source and a.setting for a in values)
    keys = {"ST paper", "APBench", "ISS", "BridgePure", "CUDA paper"}
    assert {a.key for a in values} == keys
    assert all(0 < a.accuracy < 1 and a.model in MODELS for a in values)
    assert {a.poison.partition("-")[0] for a in values} == {"clean", *METHODS}
    theirs = {"at-8/255", "avatar", "d-vae", "le-jcdp", "bridgepure-4k"}
    assert {a.frame for a in values} - set(FRAMES) == theirs


TABLE_5 = (
    "cutout", "mixup", "cutmix", "autoaugment", "gauss", "dropout", "nt", "wd-1e-3", "wd-1e-2",
    "at", "st", "st-full",
)  # fmt: skip


def test_some_published_numbers():
    def at(poison: str, frame: str, **other) -> dict[str, float]:
        place = {"rate": 1.0, "dataset": "cifar10", "model": "resnet18", **other}
        found = literature.beside(poison=poison, frame=frame, **place)
        return {key: anchor.accuracy for key, anchor in found.items()}

    assert at("clean", "st") == {"ST paper": 0.7197}
    assert at("clean", "st-full") == {"ST paper": 0.9388}  # in print from Table 7, rate 0
    rem = {frame: at("rem", frame, table="5")["ST paper"] for frame in TABLE_5}
    assert [*rem.values()] == [
        0.2166, 0.1124, 0.1034, 0.2812, 0.1595, 0.2508, 0.2351, 0.2199, 0.2171, 0.4816, 0.6832,
        0.8083,
    ]  # fmt: skip
    assert at("ops", "nt", rate=0.4) == {"ST paper": 0.8826}
    assert at("em-class", "st-full", dataset="cifar100", model="vgg16-bn") == {"ST paper": 0.713}
    assert at("rem", "jpeg") == {"APBench": 0.8544, "ISS": 0.815}
    assert at("sp", "st-full", dataset="imagenet-mini") == {"ST paper": 0.7948}
    assert at("rem-fast", "nt") == {} and at("em", "nt") == {}


def test_the_adversary_s_radius_is_part_of_the_name(tmp_path):
    strong = cell(0.8, poison="sp", frame="at")
    strong["recipe"]["phases"][0]["adversary"]["epsilon"] = 8 / 255
    write(tmp_path, strong)
    (group,) = groups(tmp_path)
    assert {k: a.accuracy for k, a in group.anchors.items()} == {
        "APBench": 0.8138, "BridgePure": 0.8346,
    }  # fmt: skip
