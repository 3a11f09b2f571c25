"""One value for a training, one list of columns: what a report has to open one file for."""

import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from made_up import cell, write

from stkit import load, train
from stkit.core import header
from stkit.recipes.frames import FRAMES
from stkit.recipes.poisons import METHODS
from stkit.report import files, gather, plots, result
from stkit.report.history import Stage

SOURCES = sorted(Path(files.__file__).parent.rglob("*.py"))


def read(folder: Path) -> result.Result:
    (training,) = gather.gather([folder]).results
    return training


def test_a_result_and_a_checkpoint_say_the_same(tmp_path):
    """A bench's JSON of a training, made from the checkpoint's header, and that header."""
    images = load("digits", limit=40)
    run = train(images, "st", test=images, model="small", epochs=2, batch_size=10, device="cpu")
    run.save(tmp_path / "a.safetensors")
    head = header.read(tmp_path / "a.safetensors")
    settings = {
        "data": {"name": "digits"}, "poison": {"name": "clean"}, "frame": {"name": "st"},
        "model": "small", "seed": head["seed"],
    }  # fmt: skip
    files.write(tmp_path / "a.json", files.run("a", settings, head, {}))
    (ours,) = gather.gather([tmp_path / "a.json"]).results
    (theirs,) = gather.gather([tmp_path / "a.safetensors"]).results
    assert ours.acm == pytest.approx(theirs.acm, rel=1e-12) and ours.accuracy is not None
    same = replace(
        ours, file=theirs.file, kind="checkpoint", label=theirs.label, acm=theirs.acm, classes=10
    )
    assert same == theirs
    assert result.summary(head).keys() <= {column.key for column in result.COLUMNS}


def test_columns_are_what_rows_page_and_files_have(tmp_path, cli):
    """All of the list, and nothing that it lacks."""
    made = cell(0.5, frame="st") | {"peak_memory": 2**30, "images_per_second": 2.5}
    made |= {"holdout_accuracy": 0.5, "best_rolled_back": True, "retained_share": 0.7}
    made["rung"] = "gray"
    write(tmp_path, made)
    keys = {column.key for column in result.COLUMNS} - {""}
    absent = {"unfinished", "kept", "split"}  # of what is finished, and tested on test images
    assert cli("report", tmp_path, "--json").json[0].keys() == keys - absent
    printed = {column.key for column in result.COLUMNS if column.printed}
    assert printed | set(result.MEASURED) <= keys and printed <= made.keys()
    out = tmp_path / "x.html"
    assert cli("report", tmp_path, "--format", "html", "-o", out).code == 0
    heads = re.findall("<button>(.*?)</button>", out.read_text().split('id="trainings"')[1])
    assert heads == [column.heading for column in result.COLUMNS if column.heading]


def test_a_training_s_history_is_typed(tmp_path):
    training = read(write(tmp_path, cell(0.5, frame="st")))
    first, last = training.history
    assert (first.number, first.accuracy, last.accuracy) == (1, 0.5, 0.5)
    assert [check.kept for epoch in training.history for check in epoch.checks] == [False, True]
    assert training.stages == (Stage(1, 10, 1),) and first.checks[0].acm == 1e-3


def test_acm_is_the_variant_that_was_judged(tmp_path):
    training = read(write(tmp_path, cell(0.5, frame="st", variant="ratio")))
    assert {check.acm for epoch in training.history for check in epoch.checks} == {0.2}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_no_frame_and_no_poison_is_named(path):
    """In no text that a report's code holds, quoted as a whole; `literature.toml` is data. But that
    `auto` is a frame's name, a device's and a picture's aspect too."""
    names = {*FRAMES, *METHODS, "em-sample", "em-class", "rem-fast"} - {"auto"}
    assert not names & set(re.findall(r"""["']([a-z][\w-]*)["']""", path.read_text()))


def test_every_kind_of_plot_says_what_it_is(cli, tmp_path):
    assert {"acm", "curves", "poison"} <= plots.KINDS.keys()
    for name, about in plots.KINDS.items():
        module = plots.kind(name)
        assert isinstance(module, ModuleType) and about == module.ABOUT and callable(module.draw)
        assert about in " ".join(cli("plot", "--help").out.split())
