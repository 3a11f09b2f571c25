"""Lines of accuracy by gamma, beta and poison rate."""

import csv

import pytest
from made_up import by_share, cell, write

from stkit.report import gather, sweeps


def read(folder, *cells):
    return gather.gather([write(folder, *cells)]).results


def staged(accuracy, **how):
    frame = how.pop("frame", "st")
    label = "-".join(f"{k}{v:.3g}" for k, v in how.items() if k in ("gamma", "beta"))
    return cell(accuracy, frame=frame, label=label, **how)


CELLS = (
    staged(0.5, poison="sp", gamma=1e-4), staged(0.7, poison="sp", gamma=1e-4, seed=1),
    staged(0.8, poison="sp"), staged(0.3, poison="sp", gamma=1e-3),
    staged(0.4, poison="sp", beta=0.5), staged(0.1, poison="ops", gamma=1e-3, beta=0.5),
    cell(0.2, poison="sp"), staged(None, poison="sp", gamma=5e-4),
)  # fmt: skip


def test_by_gamma_and_by_beta(tmp_path):
    """Trainings that differ in it and in seeds alone; the default stands for what was left open."""
    results = read(tmp_path, *CELLS)
    (gamma,) = sweeps.staged(results, "gamma")
    assert gamma.name == "sp st"
    assert [(p.value, p.low, p.high) for p in gamma.points] == [
        (1e-4, 0.5, 0.7), (2.6e-4, 0.8, 0.8), (1e-3, 0.3, 0.3)
    ]  # fmt: skip
    (beta,) = sweeps.staged(results, "beta")
    assert [(p.value, p.group.mean) for p in beta.points] == [(0.25, 0.8), (0.5, 0.4)]
    assert sweeps.default(gamma.one.setup, "gamma") == 2.6e-4
    assert sweeps.default(gamma.one.setup, "beta") == 0.25


def test_lines_of_one_name_are_told_apart(tmp_path):
    more = [staged(0.5, poison="sp", gamma=g, beta=1 / 2) for g in (1e-4, 1e-3)]
    lines = sweeps.staged(read(tmp_path, *CELLS, *more), "gamma")
    assert {line.name for line in lines} == {"sp st (beta 1/4)", "sp st (beta 1/2)"}


def test_a_share_is_no_threshold_of_acm(tmp_path):
    """But beta is beta, whatever is judged."""
    cells = [
        by_share(staged(0.5, poison="sp", gamma=gamma, beta=beta), gamma)
        for gamma, beta in ((0.4, 0.25), (0.5, 0.25), (0.5, 0.5))
    ]
    results = read(tmp_path, *cells)
    assert sweeps.staged(results, "gamma") == []
    (line,) = sweeps.staged(results, "beta")
    assert [point.value for point in line.points] == [0.25, 0.5]
    assert sweeps.default(line.one.setup, "beta") == 0.25


def rates():
    for frame, clean in (("nt", 0.9), ("st", 0.7)):
        yield cell(clean, frame=frame)
        for rate in (0.5, 1.0):
            yield cell(clean - rate / 2, poison="sp", rate=rate, frame=frame)
        yield cell(0.3, poison="ops", frame=frame)


def test_by_rate(tmp_path):
    """A panel a poison, a line a frame, from the clean images at rate 0 on."""
    panels = sweeps.by_rate(read(tmp_path, *rates()))
    lines = {(line.one.poison, line.name): line for panel in panels for line in panel}
    assert [len(panel) for panel in panels] == [2, 2]
    assert [(p.value, p.group.mean) for p in lines["sp", "st"].points] == [
        (0, 0.7), (0.5, pytest.approx(0.45)), (1, pytest.approx(0.2))
    ]  # fmt: skip
    assert [p.value for p in lines["ops", "nt"].points] == [0, 1]


@pytest.mark.parametrize("kind", ["sensitivity", "rates"])
def test_what_is_drawn(cli, tmp_path, kind):
    pytest.importorskip("matplotlib")
    folder = write(tmp_path / "r", *(CELLS if kind == "sensitivity" else rates()))
    out, data = tmp_path / "x.svg", tmp_path / "x.csv"
    assert cli("plot", kind, folder, "-o", out, "--data", data).code == 0
    rows = list(csv.DictReader(data.read_text().splitlines()))
    first = [(row["poison"], row["setting"], row["value"], row["seeds"]) for row in rows][:2]
    if kind == "sensitivity":
        assert first == [("sp", "gamma", "0.0001", "2"), ("sp", "gamma", "0.00026", "1")]
        assert {(row["setting"], row["value"]) for row in rows[3:]} == {
            ("beta", "0.25"), ("beta", "0.5"),
        }  # fmt: skip
        assert float(rows[0]["accuracy"]) == pytest.approx(0.6)
    else:
        assert first == [("sp", "poison_rate", "0.0", "1"), ("sp", "poison_rate", "0.5", "1")]
    text = out.read_text()
    words = ("default", "1/4", "sp st") if kind == "sensitivity" else ("poison rate", "nt", "ops")
    assert all(f">{word}<" in text for word in words)


def test_a_gamma_that_a_logarithm_lacks(cli, tmp_path):
    pytest.importorskip("matplotlib")
    folder = write(tmp_path / "r", *CELLS, staged(0.5, poison="sp", gamma=0.0))
    said = cli("plot", "sensitivity", folder, "-o", tmp_path / "x.png")
    assert said.code == 0 and "left out gamma 0" in said.err


@pytest.mark.parametrize(
    ("kind", "message"),
    [("sensitivity", "results/grids/figure9.toml"), ("rates", "results/grids/rates.toml")],
)
def test_nothing_to_compare(cli, tmp_path, kind, message):
    pytest.importorskip("matplotlib")
    folder = write(tmp_path / "r", cell(0.2, poison="sp", frame="st"), cell(0.5, frame="nt"))
    said = cli("plot", kind, folder, "-o", tmp_path / "x.png")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "expected some" in said.err and message in said.err
