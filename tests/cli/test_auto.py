"""`stkit train --frame auto`, from the plan to the report."""

import signal

import pytest

from stkit import load, train
from stkit.cli import main
from stkit.core import header
from stkit.training.ladder import Chosen, Pilot

LINE = ("--frame", "auto", "--model", "small", "--epochs", 1, "--batch-size", 20)
MORE = ("--holdout", 100, "--device", "cpu", "--threads", 1)


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    """A folder with a set of digits and what was trained on it by auto."""
    folder = tmp_path_factory.mktemp("auto")
    load("digits", limit=140, size=20).save(folder / "set.safetensors")
    words = ("train", folder / "set.safetensors", *LINE, *MORE, "-o", folder / "auto.safetensors")
    assert main([str(word) for word in words]) == 0
    return folder


def test_the_library_does_the_same(climbed, tmp_path):
    images = load(climbed / "set.safetensors")
    run = train(
        images, "auto", model="small", epochs=1, batch_size=20, holdout=100, device="cpu", threads=1
    )
    run.save(tmp_path / "library")
    assert (tmp_path / "library").read_bytes() == (climbed / "auto.safetensors").read_bytes()
    assert run.chosen is not None and run.chosen.rung == "plain"


def test_the_header_has_the_ladder_and_what_was_chosen(climbed):
    head = header.read(climbed / "auto.safetensors")
    chosen = Chosen.from_json(head["chosen"])
    (pilot,) = chosen.pilots
    assert isinstance(pilot, Pilot) and pilot.rung == chosen.rung == "plain" and pilot.passed
    (phase,) = head["recipe"]["phases"]
    assert phase["ladder"]["rungs"][0] == "plain" and phase["prepare"] == []
    assert head["recipe"]["purified"] and head["records"][0]["retained_share"] > 0


def test_a_line_says_what_was_decided(climbed, cli, tmp_path):
    line = ("train", climbed / "set.safetensors", *LINE, *MORE)
    found = cli(*line, "-o", tmp_path / "again")
    assert "auto: plain has learned nothing to judge: trains on plain\n" in found.err
    assert found.out.count("rung               plain") == 1


def test_a_dry_run_shows_the_ladder_and_what_pilots_cost_at_most(climbed, cli, tmp_path):
    plan = cli("train", climbed / "set.safetensors", *LINE, *MORE, "--dry-run", "--json",
               "-o", tmp_path / "no").json  # fmt: skip
    assert plan["pilots"] == {
        "images": 40, "batch_size": 20, "epochs": 1, "steps": 2, "most": 3, "share": 3.0,
    }  # fmt: skip
    assert plan["phases"][0]["ladder"]["images"] == 10_000 and not (tmp_path / "no").exists()


def test_stopped_within_a_pilot_it_goes_on_to_the_same_bytes(climbed, cli, signalled, tmp_path):
    line = ("train", climbed / "set.safetensors", *LINE, *MORE, "-o", tmp_path / "f")
    with signalled(signal.SIGTERM, 1):
        found = cli(*line)
    said = "interrupted at step 1 of 2 of pilot 1, which will begin again; what is done is saved in"
    assert found.code == 143 and said in found.err
    again = cli(*line, "--resume", "-q")
    assert (again.code, again.err) == (0, "resuming at pilot 1\n")
    assert (tmp_path / "f").read_bytes() == (climbed / "auto.safetensors").read_bytes()


def test_rerun_and_report_know_it(climbed, cli):
    commands = cli("rerun", climbed / "auto.safetensors", "--json").json["commands"]
    assert "--frame=auto" in commands[-1] and "--holdout=100" in commands[-1]
    (row,) = cli("report", climbed / "auto.safetensors", "--format", "json").json
    assert (row["frame"], row["rung"]) == ("auto", "plain")
    assert cli("inspect", climbed / "auto.safetensors", "--json").json["chosen"]["rung"] == "plain"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*LINE[2:], "--frame", "auto", "--augment", "jpeg"), "frame 'auto' chooses"),
        ((*LINE[2:], "--frame", "st", "--augment", "auto,gray"), "found auto with gray"),
        (LINE, "found 14 of 140, expected 100 or more"),
        ((*LINE, "--holdout", 99), "holdout is 99, expected 100"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_line(words, said, climbed, cli, tmp_path):
    found = cli("train", climbed / "set.safetensors", *words, "-o", tmp_path / "no")
    assert found.code in (1, 2) and said in found.err and found.err.count("\n") == 1
