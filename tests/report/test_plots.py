"""The numbers behind pictures of trainings, and what all pictures share: style, data, options."""

import csv
import random
from dataclasses import replace
from io import StringIO
from itertools import pairwise

import pytest
from made_up import by_share, cell, write

from stkit.core.errors import ArtifactError, RecipeError
from stkit.recipes.catalogue import MODELS
from stkit.report import gather, lettering, plots
from stkit.report.plots import lr_scales, runs, style
from stkit.report.plots.asked import Asked
from stkit.training import schedule

pytest.importorskip("matplotlib")


def recorded(made: dict, **layers: float) -> dict:
    """A result whose epochs have recorded ACM and gradients of layers, times the epoch."""
    for record in made["history"]:
        record["recorded"] = {
            "acm": {key: {"literal": value * record["epoch"]} for key, value in layers.items()},
            "gradients": {key: value / record["epoch"] for key, value in layers.items()},
        }
    return made


@pytest.fixture
def trained(tmp_path):
    """A folder of results: nt, st of two seeds, and st-full, whose second phase nothing judges."""
    full = cell(0.5, frame="st-full", epochs=3, poison="sp")
    full["history"][2] |= {"phase": 2, "checks": []}
    staged = (cell(0.9, poison="sp", frame="st", seed=seed, epochs=3) for seed in (0, 1))
    return write(tmp_path / "r", cell(0.2, poison="sp", epochs=3), *staged, full)


def test_curves_are_a_row_an_epoch_in_data_too(cli, trained, tmp_path):
    out, data = tmp_path / "c.png", tmp_path / "deep" / "c.csv"
    said = cli("plot", "curves", trained, "-o", out, "--data", data)
    assert said.out == f"output  {out}\ndata    {data}\n"
    rows = list(csv.DictReader(StringIO(data.read_text())))
    seen = {(row["run"], row["seed"]) for row in rows}
    assert seen == {("nt", "0"), ("st", "0"), ("st", "1"), ("st-full", "0")}
    shown = [
        [row[key] for key in ("epoch", "phase", "train_accuracy", "accuracy", "rolled_back", "tau")]
        for row in rows
        if row["seed"] == "0"
    ]
    assert shown == [
        *(["1", "1", "0.9", "0.5", "0", ""], ["2", "1", "0.9", "0.5", "0", ""]),
        *(["3", "1", "0.9", "0.2", "0", ""], ["1", "1", "0.9", "0.5", "1", "1"]),
        *(["2", "1", "0.9", "0.5", "0", "1"], ["3", "1", "0.9", "0.9", "0", "1"]),
        *(["1", "1", "0.9", "0.5", "1", "1"], ["2", "1", "0.9", "0.5", "0", "1"]),
        ["3", "2", "0.9", "0.5", "0", ""],
    ]
    again = cli("plot", "curves", trained, "-o", out.with_suffix(".svg"), "--data", "-")
    assert again.out == data.read_text()


def washed(made: dict, *shares: float) -> dict:
    """A result of a training with 1,000 images held out that retained these shares, an epoch each,
    of half of the answers right."""
    made["recipe"]["holdout"], made["recipe"]["purified"] = 1000, True
    for record, share in zip(made["history"], shares, strict=True):
        record |= {"holdout_accuracy": 0.5, "retained_share": share,
                   "purified_accuracy": {"gray,bdr-2": 0.5 * share}}  # fmt: skip
    return made


def test_curves_show_the_retained_share_where_a_training_has_it(cli, tmp_path):
    shown = write(tmp_path / "r", washed(cell(0.2, poison="sp"), 0.8, 0.3), cell(0.9))
    data = tmp_path / "c.csv"
    said = cli("plot", "curves", shown, "-o", tmp_path / "c.svg", "--data", data)
    assert "note: clean: no retained share, which train --holdout N --purified takes" in said.err
    assert "accuracy that washed images retain" in (tmp_path / "c.svg").read_text()
    found = [
        (row["run"], row["purified_accuracy:gray+bdr-2"], row["retained_share"])
        for row in csv.DictReader(StringIO(data.read_text()))
    ]
    assert found == [
        ("clean", "", ""),
        ("clean", "", ""),
        ("sp", "0.4", "0.8"),
        ("sp", "0.15", "0.3"),
    ]


def test_data_is_never_replaced_unasked(cli, trained, tmp_path):
    out, data = tmp_path / "c.png", tmp_path / "c.csv"
    data.write_text("mine")
    said = cli("plot", "curves", trained, "-o", out, "--data", data)
    assert said.code == 1 and "c.csv: exists already" in said.err
    assert data.read_text() == "mine" and not out.exists()
    with pytest.raises(ArtifactError, match=r"c\.csv: exists already"):
        plots.draw("curves", [trained], out, data=data, replace=False)
    wrong = cli("plot", "curves", trained, "-o", out, "--data", tmp_path / "c.txt")
    assert wrong.code == 2 and "ends in .csv" in wrong.err


def test_the_same_picture_is_the_same_bytes(trained, tmp_path):
    """Whatever matplotlib is set to, which stays as it was."""
    import matplotlib

    first, again = tmp_path / "1.svg", tmp_path / "2.svg"
    rows = plots.draw("curves", [trained], first)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        assert plots.draw("curves", [trained], again) == rows
        assert dict(matplotlib.rcParams) == before
    assert first.read_bytes() == again.read_bytes()
    assert ">st-full</text>" in first.read_text()


def test_labels_are_apart_within_and_near():
    draw = random.Random(0)
    for _ in range(50):
        heights = [draw.choice((10.0, 20.0)) for _ in range(draw.randint(1, 12))]
        wanted = [draw.uniform(-50, 300) for _ in heights]
        places = lettering.spread(wanted, heights, 0, 250)
        boxes = sorted((p - h / 2, p + h / 2) for p, h in zip(places, heights, strict=True))
        assert boxes[0][0] >= -1e-9 and boxes[-1][1] <= 250 + 1e-9
        assert all(below[1] <= above[0] + 1e-9 for below, above in pairwise(boxes))
    assert lettering.spread([50, 10, 90], [10, 10, 10], 0, 100) == [50, 10, 90]
    assert lettering.spread([50, 50], [10, 10], 0, 100) == [45, 55]
    assert lettering.spread([0, 1], [10, 10], 0, 100) == [5, 15]


def test_no_two_lines_look_alike():
    looks = [style.look(i) for i in range(len(style.COLOURS) * len(style.DASHES))]
    assert len(set(looks)) == len(looks) and style.DOTS not in style.DASHES
    with pytest.raises(ArtifactError, match="more than 32 lines"):
        style.look(len(looks))


def test_a_texts_place_at_a_dot():
    assert style.above_or_below((0, 0), [], wide=6) == 1
    assert style.above_or_below((0, 0), [(2, 9)], wide=6) == -1
    assert style.above_or_below((0, 0), [(2, 9), (-2, -9)], wide=6) == 0
    assert style.above_or_below((0, 0), [(7, 9), (-7, -9)], wide=6) == 1


@pytest.mark.parametrize(
    ("others", "message"),
    [({"source": "digits"}, "images of cifar10 and digits, expected one"),
     ({}, "class counts 10 and 100, expected one")],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(tmp_path, others, message):
    results = gather.gather([write(tmp_path / "r", cell(0.5), cell(0.4, frame="st", **others))])
    first, second = (replace(result, classes=10) for result in results.results)
    assert "digits" in message or len(runs.compared([first, second])) == 2
    second = second if others else replace(second, classes=100)
    with pytest.raises(ArtifactError, match=message):
        runs.compared([first, second])


def test_trainings_are_named_by_what_they_differ_in(tmp_path):
    def names(*cells: dict) -> list[str]:
        return [run.name for run in runs.compared(_results(*cells))]

    def _results(*cells: dict):
        folder = write(tmp_path / str(random.random()), *cells)
        return gather.gather([folder]).results

    assert names(cell(0.5)) == ["nt"]
    assert names(cell(0.5), cell(0.5, model="small")) == ["resnet18", "small"]
    assert names(cell(0.5), cell(0.5, poison="sp", frame="st")) == ["clean, nt", "sp, st"]


def test_acm_of_checks_and_of_what_was_recorded(tmp_path):
    judged = recorded(cell(0.5, frame="st"), penultimate=2e-4)
    natural = recorded(cell(0.5), **{"penultimate": 2e-4, "2": 3.0, "10": 1.0})
    folder = write(tmp_path / "r", judged, natural, cell(0.5, frame="at"))
    notes: list[str] = []
    rows = plots.draw("acm", [folder], tmp_path / "a.svg", on_note=notes.append)
    shown = [(row["run"], row["epoch"], row["value"], row["rolled_back"], row["tau"])
             for row in rows if row["quantity"] == "acm"]  # fmt: skip
    assert shown == [
        ("nt", 1, 2e-4, 0, None), ("nt", 2, 4e-4, 0, None),
        ("st", 1.0, 1e-3, 1, 1), ("st", 2.0, 1e-3, 0, 1),
    ]  # fmt: skip
    assert "gamma 0.00026" in (tmp_path / "a.svg").read_text()
    shown = [(row["run"], row["layer"], row["epoch"], row["value"])
             for row in rows if row["quantity"] == "gradients"]  # fmt: skip
    assert shown == [("nt", "2", 1, 3.0), ("nt", "2", 2, 1.5)]  # of the shallowest layer
    assert notes == [
        "note: at: no acm of penultimate, which train --record acm takes",
        "note: at; st: no gradients of 2, which train --record gradients:2 takes",
    ]
    asked = Asked(layer="2,10")
    both = plots.draw("acm", [folder], tmp_path / "b.svg", asked)
    assert {(row["quantity"], row["layer"]) for row in both} == {
        ("acm", "2"), ("gradients", "10"),
    }  # fmt: skip


def test_trainings_judged_by_a_share_have_stages_and_no_acm(cli, tmp_path):
    """On a page, in curves, and beside others in the picture of ACM."""
    folder = write(tmp_path / "r", by_share(cell(0.5, frame="st")), cell(0.6, frame="st-cg"))
    rows = plots.draw("curves", [folder], tmp_path / "c.svg")
    shown = {row["run"]: (row["rolled_back"], row["tau"]) for row in rows if row["epoch"] == 1}
    assert shown["st"] == shown["st-cg"] == (1, 1)
    notes: list[str] = []
    rows = plots.draw("acm", [folder], tmp_path / "a.svg", on_note=notes.append)
    assert {row["run"] for row in rows} == {"st-cg"}
    assert notes[0] == "note: st: no acm of penultimate, which train --record acm takes"
    page = tmp_path / "p.html"
    assert cli("report", folder, "--format", "html", "-o", page).code == 0
    assert page.read_text().count("1@1") == 2
    table = cli("report", folder, "--json").json
    assert [("acm" in row, row["stages"][0]["tau"]) for row in table] == [(True, 1), (False, 1)]


def test_acm_is_of_the_variant_that_judged_where_it_did(tmp_path):
    made = cell(0.5, frame="st", variant="ratio", gamma=0.3)
    for record in made["history"]:
        check = record["checks"][0]
        record["checks"] = [check | {"step": check["step"] - 5}, check]
    folder = write(tmp_path / "r", made)
    rows = plots.draw("acm", [folder], tmp_path / "a.svg")
    assert [(row["epoch"], row["step"]) for row in rows] == [
        (0.5, 5), (1.0, 10), (1.5, 15), (2.0, 20),
    ]  # fmt: skip
    assert {(row["variant"], row["value"]) for row in rows} == {("ratio", 0.2)}
    assert "gamma 0.3" in (tmp_path / "a.svg").read_text()
    write(folder, cell(0.5, frame="st", label="literal"))
    with pytest.raises(RecipeError, match="judged by literal and ratio"):
        plots.draw("acm", [folder], tmp_path / "b.svg")


def test_what_was_not_recorded_is_an_error_that_names_the_option(tmp_path):
    folder, out = write(tmp_path / "r", cell(0.5)), tmp_path / "a.png"
    with pytest.raises(
        ArtifactError, match=r"no gradients of 1 in these files; train with --record acm,gradients"
    ):
        plots.draw("acm", [folder], out)
    write(folder, recorded(cell(0.5, frame="at"), **{"1": 1.0}))
    with pytest.raises(ArtifactError, match=r"have acm of 1 .*; train with --record gradients:3"):
        plots.draw("acm", [folder], out, Asked(layer="1,3"))
    with pytest.raises(RecipeError, match="found 3 layers"):
        plots.draw("acm", [folder], out, Asked(layer="1,2,3"))


def test_lr_scales_are_those_of_the_schedule(tmp_path):
    rows = plots.draw("lr-scales", [], tmp_path / "l.svg", Asked(model="20", beta=0.2))
    assert len(rows) == 20 * 5
    for tau in range(5):
        drawn = tuple(row["scale"] for row in rows if row["tau"] == tau)
        assert drawn == schedule.lr_scales(tau, 20, 0.2)
    assert lr_scales.layers("small", 32) == MODELS["small"].layers
    assert lr_scales.layers("17", 32) == 17


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("curves", "x.json", "--beta", "1/5"), "--beta is for lr-scales; curves takes --columns"),
        (("acm", "x.json", "--model", "small"), "acm takes --variant, --layer, --columns"),
        (("curves",), "expected checkpoints, or results of stkit bench"),
        (("lr-scales", "x.json"), "lr-scales is drawn of no files, found x.json"),
        (("lr-scales", "--beta", "0.3"), "pass 1/3 or 1/4"),
        (("lr-scales", "--beta", "1/40"), "stages is 40, expected a number from 1 to 32"),
        (("lr-scales", "--columns", "3"), "columns is 3, expected a number from 1 to 2"),
        (("lr-scales", "--model", "resnet81"), "did you mean 'resnet18'?"),
        (("acm", "x.json", "--variant", "suml"), "did you mean 'sum'?"),
    ],
)  # fmt: skip
def test_options_of_other_kinds_are_wrong_usage(cli, tmp_path, args, message):
    said = cli("plot", *args, "-o", tmp_path / "x.png")
    assert (said.code, said.err.count("\n")) == (2, 1) and message in said.err, said.err
    assert not (tmp_path / "x.png").exists()
