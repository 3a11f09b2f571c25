"""`stkit train --keep`: epochs on the way, each in a whole file of its own beside FILE."""

import signal

import pytest
import torch
from conftest import snapshot

from stkit import load_checkpoint, models
from stkit.cli import claims
from stkit.core import artifact, header
from stkit.data.images import read
from stkit.engine.runtime import pick
from stkit.recipes.options import frame_with
from stkit.recipes.training import TrainingRecipe
from stkit.report import gather
from stkit.training.loop import Training

TRAIN = ("--model", "small", "--batch-size", 12, "--device", "cpu")  # two steps an epoch
NT = ("--frame", "nt", "--epochs", 3, *TRAIN)


@pytest.fixture
def train(cli, made):
    """`train(out, *more)`: three epochs on the clean images, naturally."""
    return lambda out, *more: cli("train", made / "clean.safetensors", *NT, "-o", out, *more)


def test_an_epoch_is_kept_as_it_was_and_the_end_is_the_same(train, cli, made, tmp_path):
    (tmp_path / "plain").mkdir()
    assert train(tmp_path / "plain/nt.safetensors").code == 0
    found = train(tmp_path / "nt.safetensors", "--keep", "1,3", "--json").json
    assert found["kept"] == [str(tmp_path / f"nt.epoch-{n}.safetensors") for n in (1, 3)]
    files = snapshot(tmp_path)
    assert files["nt.safetensors"] == files["plain/nt.safetensors"]
    assert set(files) == {
        "plain", "plain/nt.safetensors", "nt.safetensors", "nt.epoch-1.safetensors",
        "nt.epoch-3.safetensors",
    }  # fmt: skip
    recipe = TrainingRecipe(frame_with("nt", epochs=3), "small", 12)
    run = Training(read(made / "clean.safetensors"), recipe, runtime=pick("cpu", "fp32"))
    while not run.epochs:
        next(run.steps())
    loaded = load_checkpoint(tmp_path / "nt.epoch-1.safetensors")
    assert loaded.header["kept"] == {"epoch": 1, "epochs": 3}
    assert loaded.header["records"] == header.read(tmp_path / "nt.safetensors")["records"][:1]
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, run.model.state_dict()[name]), name
    last = [artifact.read(tmp_path / f"nt{n}.safetensors")[0] for n in ("", ".epoch-3")]
    assert last[0]["digest"] == last[1]["digest"]


def test_what_an_epoch_leaves_is_what_it_was_rolled_back_to(cli, made, tmp_path):
    """And no accuracy is shown of it: the epoch's was measured before."""
    line = ("train", made / "clean.safetensors", "--frame", "st", "--gamma", 0, "--epochs", 2)
    test = ("--test", made / "clean.safetensors")
    assert cli(*line, *TRAIN, *test, "-o", tmp_path / "st", "--keep", 1, "-q").code == 0
    head, weights = artifact.read(tmp_path / "st.epoch-1")
    fresh = models.create("small", classes=3, size=16).state_dict()
    assert all(torch.equal(weights[name], fresh[name]) for name in fresh)
    assert head["records"][0]["rolled_back"] and "accuracy" in head["records"][0]
    (row,) = cli("report", tmp_path / "st.epoch-1", "--json").json
    assert row["kept"] == "epoch 1 of 2" and "accuracy" not in row


def test_resumed(train, tmp_path, signalled):
    """What was kept before is left, what is to come is written, what was lost is said."""
    whole, out = tmp_path / "whole", tmp_path / "x"
    assert train(whole, "--keep", "1-3", "-q").code == 0
    files = snapshot(tmp_path)
    with signalled(signal.SIGTERM, 3):
        assert train(out, "--keep", "1-3").code == 143
    first = (tmp_path / "x.epoch-1").stat().st_ino
    (tmp_path / "x.epoch-2").write_bytes(files["whole.epoch-2"])  # killed before it could save
    assert train(out, "--keep", "1-3", "--resume").err.count("--keep") == 0
    assert {name.replace("whole", "x"): text for name, text in files.items()}.items() <= snapshot(
        tmp_path
    ).items()
    assert (tmp_path / "x.epoch-1").stat().st_ino == first
    (tmp_path / "x.epoch-2").unlink()
    found = train(out, "--keep", "1,2", "--resume", "--json")
    assert found.json["kept"] == [str(tmp_path / "x.epoch-1")]
    assert "no file is there, of epoch 2; only a new training can keep that\n" in found.err


def test_files_in_the_way_are_found_before_the_training(train, tmp_path):
    out, kept = tmp_path / "x", tmp_path / "x.epoch-3"
    kept.write_text("somebody's")
    before = snapshot(tmp_path)
    found = train(out, "--keep", "1,3")
    assert (found.code, found.err.count("\n")) == (1, 1)
    assert f"{kept}: exists already; pass --force to replace it" in found.err
    assert snapshot(tmp_path) == before
    with claims.held(tmp_path / "x.epoch-1", force=False):
        assert "x.epoch-1: process" in train(out, "--keep", "1").err
    assert train(out, "--keep", "1,3", "--force", "-q").code == 0
    assert header.read(kept)["kept"]["epoch"] == 3
    found = train(out, "--keep", "1,3", "--seed", 1, "--resume", "--force")
    assert (found.code, found.err.count("\n")) == (0, 3), "replaced, as it was to come"


@pytest.mark.parametrize(
    ("name", "remedy"), [("x.epoch-1", "move it away"), ("x.epoch-3", "pass --force to replace it")]
)
def test_resume_beside_another_trainings_epoch(train, tmp_path, signalled, name, remedy):
    assert train(tmp_path / "other", "--keep", "1-3", "--seed", 1, "-q").code == 0
    with signalled(signal.SIGTERM, 3):
        assert train(tmp_path / "x", "--keep", "1").code == 143
    (tmp_path / name).write_bytes((tmp_path / f"other.{name[2:]}").read_bytes())
    before = snapshot(tmp_path)
    found = train(tmp_path / "x", "--keep", "1,3", "--resume")
    assert found.code == 1 and f"of this training: seed was 1, now 0; {remedy}" in found.err
    assert snapshot(tmp_path) == before


def test_an_epoch_is_no_finished_training(train, cli, tmp_path):
    """Neither to go on with, nor among the seeds of a mean; and its command makes it again."""
    out, kept = tmp_path / "x", tmp_path / "x.epoch-1"
    assert train(out, "--keep", "1", "-q").code == 0
    out.write_bytes(kept.read_bytes())
    assert "made with other settings: it is no finished work; pass" in train(out, "--resume").err
    shown = cli("rerun", kept, "--json").json["files"][-1]
    assert "--keep=1 -o nt.safetensors" in shown["command"]
    assert shown["file"] == "nt.epoch-1.safetensors"
    gathered = gather.gather([kept])
    assert (len(gathered.rows), gathered.results) == (1, [])


@pytest.mark.parametrize(
    ("keep", "code", "message"),
    [
        ("0", 2, "found '0', expected whole numbers from 1, as in 1,3,10-20"),
        ("1,last", 2, "found 'last', expected"),
        ("3-1", 2, "found '3-1', expected"),
        ("", 2, "found '', expected"),
        ("1-900000000000000000", 2, "--keep is 900000000000000000, expected epochs from 1 to 3"),
    ],
)
def test_no_epochs(keep, code, message, train, tmp_path):
    found = train(tmp_path / "x", f"--keep={keep}")
    assert (found.code, found.err.count("\n"), snapshot(tmp_path)) == (code, 1, {})
    assert message in found.err


def test_epochs_that_a_stopped_training_never_reached(cli, made, tmp_path):
    line = ("train", made / "clean.safetensors", "--frame", "nt-stop", "--gamma", 0)
    found = cli(
        *line,
        "--epochs",
        3,
        "--check-every",
        2,
        *TRAIN,
        "-o",
        tmp_path / "x",
        "--keep",
        "1-3",
        "--json",
    )
    assert found.json["kept"] == [str(tmp_path / "x.epoch-1")]
    assert "note: --keep: the training stopped in epoch 1, before epoch 2, 3\n" in found.err
