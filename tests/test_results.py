"""Results in reports: rows, means over seeds, the paper's tables, published numbers, bad files."""

import csv
import io
import json
from unittest.mock import Mock

import pytest
from made_up import cell, write

from stkit import anchors, results, tables
from stkit.errors import ArtifactError
from stkit.frames import FRAMES
from stkit.recipes import METHODS, MODELS


def groups(folder) -> list[tables.Group]:
    return tables.groups(results.gather([folder]).entries)


# Rows


def test_rows_of_a_folder(cli, tmp_path):
    write(tmp_path, cell(0.25, poison="sp", rate=0.4, frame="st"), cell(0.75, seed=1))
    first, second = cli("report", tmp_path, "--json").json
    assert (first["kind"], first["data"], first["frame"]) == ("cell", "clean", "nt")
    assert (first["accuracy"], first["best_accuracy"], first["seconds"]) == (0.75, 0.75, 60)
    assert second["data"] == "sp 0.4" and second["acm"] == 1e-3
    assert second["stages"] == [{"epoch": 1, "step": 10, "tau": 1}]
    text = cli("report", tmp_path).out
    assert "All: kind cell, model resnet18, epochs 2" in text and "1@1" in text


def test_rows_with_published_numbers(cli, tmp_path):
    write(tmp_path, cell(0.25, poison="sp"), cell(0.5, poison="sp", source="digits"))
    ours, digits = cli("report", tmp_path, "--json", "--anchors").json
    assert ours["ST paper"] == 0.2408 and ours["BridgePure"] == 0.1385
    assert "ST paper" not in digits


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


def test_what_was_not_tested_has_no_place_in_a_table(cli, tmp_path):
    write(tmp_path, cell(None))
    assert groups(tmp_path) == []
    assert cli("report", tmp_path, "--layout", 1).out == "no such accuracies\n"


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
        "dataset": "cifar10", "poison": "sp", "rate": 1.0, "frame": "st", "model": "resnet18",
        "epochs": 2, "seeds": 1, "accuracy": 0.4, "deviation": None,
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


def test_layout_with_published_numbers(cli, folder):
    text = cli("report", folder, "--layout", 1, "--anchors").out
    assert "20.00 [ST paper 24.08, APBench 13.06, ISS 19.07, BridgePure 13.85]" in text
    assert "80.00 [ST paper 90.11]" in text  # rate 0.6: Table 7
    assert "\nISS: Liu et al." in text


def test_checkpoints_have_a_place_in_tables(cli, made, tmp_path):
    from stkit import load, train
    from stkit.artifacts import write as write_file

    images = load("digits", limit=20)
    run = train(images, "nt", test=images, model="small", epochs=1, batch_size=10, device="cpu")
    write_file(tmp_path / "c.safetensors", run.tensors(), run.head())
    found = cli("report", tmp_path / "c.safetensors", "--layout", 1, "--json").json
    assert [(r["dataset"], r["poison"], r["frame"]) for r in found] == [("digits", "clean", "nt")]
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
    assert alone.code == 1 and "error: found nothing to report" in alone.err


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
        (("--format", "htm"), "did you mean 'html'?"),
    ):
        found = cli("report", tmp_path, *args)
        assert found.code == 2 and message in found.err and found.err.count("\n") == 1


def test_a_result_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    results.write(path, {"a": 1})
    monkeypatch.setattr(results.os, "replace", Mock(side_effect=OSError(28, "disk full")))
    with pytest.raises(ArtifactError, match="cannot be written"):
        results.write(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [path]


# Published numbers


def test_published_numbers_have_a_source_and_known_names():
    values = anchors.published()
    assert len(values) > 800 and all(a.source and a.setting for a in values)
    assert {a.key for a in values} == {"ST paper", "APBench", "ISS", "BridgePure"}
    assert all(0 < a.accuracy < 1 and a.model in MODELS for a in values)
    assert {a.poison.partition("-")[0] for a in values} == {"clean", *METHODS}
    theirs = {"at-8/255", "avatar", "d-vae", "le-jcdp", "bridgepure-4k"}
    assert {a.frame for a in values} - set(FRAMES) == theirs


def test_some_published_numbers():
    def at(poison: str, frame: str, **other) -> dict[str, float]:
        place = {"rate": 1.0, "dataset": "cifar10", "model": "resnet18", **other}
        found = anchors.beside(poison=poison, frame=frame, **place)
        return {key: anchor.accuracy for key, anchor in found.items()}

    assert at("clean", "st") == {"ST paper": 0.7197}
    assert at("clean", "st-full") == {"ST paper": 0.9388}  # from Table 7, rate 0
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
    assert {k: a.accuracy for k, a in group.published.items()} == {
        "APBench": 0.8138, "BridgePure": 0.8346,
    }  # fmt: skip
