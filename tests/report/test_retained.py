"""The ranks of docs/retained.py, on results that nobody trained."""

import importlib
import json
from pathlib import Path

import pytest
from made_up import cell, write

ROOT = Path(__file__).parents[2]
FRAMES = ("nt", "gray", "jpeg")
ACCURACIES = {  # in the order of FRAMES, each with its share
    "clean": ((0.60, 0.70), (0.58, 0.90), (0.55, 0.95)),
    "sp": ((0.20, 0.20), (0.57, 0.88), (0.30, 0.25)),
    "ops": ((0.30, 0.30), (0.15, 0.20), (0.54, 0.90)),
}


@pytest.fixture
def retained(monkeypatch: pytest.MonkeyPatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("retained")


def judged(accuracy: float, share: float | None, **settings) -> dict:
    """A result with a retained share after each of its epochs, of 0.9 but after the last."""
    made = cell(accuracy, model="small", **settings)
    for record in made["history"] if share is not None else []:
        last = record is made["history"][-1]
        record |= {"holdout_accuracy": 0.6, "retained_share": share if last else 0.9}
    made["recipe"]["holdout"] = 2000
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three frames on three sets, and a training that was not judged."""
    made = [
        judged(accuracy, share, poison=poison, frame=frame)
        for poison, values in ACCURACIES.items()
        for frame, (accuracy, share) in zip(FRAMES, values, strict=True)
    ]
    return write(tmp_path, *made, judged(0.5, None, frame="bdr"))


def told(retained, capsys, *words: object) -> dict:
    """What it prints as JSON."""
    assert retained.main([*map(str, words), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    return found


def test_ranks_judgements_and_choice(retained, capsys, folder: Path) -> None:
    found = told(retained, capsys, folder)
    assert found["passed over"] == 1
    ranks = {row["set"]: row for row in found["rank correlation"]}
    assert list(ranks) == ["clean", "ops", "sp", "all poisons", "all"]
    assert [ranks[name]["rho with accuracy"] for name in ("clean", "ops", "sp")] == [-1, 1, 1]
    # damage, by frame: SP .40, .01, .25, OPS .30, .43, .01, against shares .20 .88 .25 .30 .20 .90
    assert ranks["sp"]["rho with damage"] == -1 and ranks["clean"]["rho with damage"] is None
    assert ranks["all poisons"]["trainings"] == 6
    whole = {row["set"]: row for row in found["judgement"]}["all poisons"]
    assert (whole["pass"], whole["fail"]) == (2, 4)
    assert whole["most damage of them"] == pytest.approx(0.01)
    assert whole["least damage of those"] == pytest.approx(0.25)
    chosen = {row["set"]: (row["mildest that passes"], row["best"]) for row in found["choice"]}
    assert chosen == {"clean": ("nt", "nt"), "sp": ("gray", "gray"), "ops": ("jpeg", "jpeg")}


def test_another_order_and_an_earlier_epoch(retained, capsys, folder: Path) -> None:
    found = told(retained, capsys, folder, "--order", "jpeg,gray")
    chosen = {row["set"]: (row["mildest that passes"], row["behind"]) for row in found["choice"]}
    assert chosen["clean"] == ("jpeg", pytest.approx(0.05)) and chosen["sp"] == ("gray", 0)
    early = told(retained, capsys, folder, "--epoch", "1")
    assert {row["rho with accuracy"] for row in early["rank correlation"]} == {None}
    assert early["judgement"][-1]["fail"] == 0


def test_what_was_not_judged_is_said_in_a_line(retained, capsys, tmp_path: Path) -> None:
    write(tmp_path, judged(0.5, None))
    assert retained.main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert (
        said.startswith("error: found 1 results without a retained share")
        and len(said.splitlines()) == 1
    )


def test_tables_for_people(retained, capsys, folder: Path) -> None:
    assert retained.main([str(folder)]) == 0
    assert "| sp" in capsys.readouterr().out


def test_equal_values_share_a_rank(retained) -> None:
    """By hand: ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3."""
    assert retained.rho([(1, 1), (2, 2), (2, 3), (5, 9)]) == pytest.approx(0.9**0.5)
    assert retained.rho([(1, 1), (2, 2)]) is None
