"""stkit plot landscape: its numbers, its scale, and how it is stopped and gone on with."""

import csv
import math
import os
import signal
from pathlib import Path

import pytest
import torch

from stkit import models
from stkit.core import artifact, header
from stkit.measure.directions import Walk
from stkit.measure.landscape import Landscape
from stkit.recipes.landscape import Plane

pytest.importorskip("matplotlib")
from stkit.report.plots import landscape

SETTINGS = ("--points", "3", "--limit", "6", "--threads", "1", "--device", "cpu")


def line(made: Path, out: Path, *more: object) -> list[object]:
    data = out.with_suffix(".csv")
    files = [made / "nt.safetensors", made / "nt.safetensors"]
    source = ("--source", made / "clean.safetensors")
    return ["plot", "landscape", *files, *source, *SETTINGS, "-o", out, "--data", data, *more]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def test_the_numbers_behind_it(cli, made, tmp_path):
    out = tmp_path / "l.png"
    result = cli(*line(made, out))
    assert result.code == 0, result.err
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l.csv", "l.png"]
    table = rows(tmp_path / "l.csv")
    assert len(table) == 18 and table[:9] == table[9:]
    assert [row["alpha"] for row in table[:3]] == ["-1.0", "0.0", "1.0"]
    assert [row["beta"] for row in table[:9:3]] == ["-1.0", "0.0", "1.0"]
    assert "BatchNorm's running statistics" in result.err and "other images" not in result.err
    assert f"loss {float(table[4]['loss']):.4g} at the centre" in result.err


def test_stopped_and_gone_on_with(cli, made, tmp_path, monkeypatch):
    monkeypatch.setattr(landscape, "picture", lambda *_: None)  # which takes most of the time
    whole, out = tmp_path / "whole.png", tmp_path / "deep" / "l.png"
    assert cli(*line(made, whole)).code == 0
    moves, to = [], Walk.to

    def stopping(self, alpha, beta):
        moves.append(alpha)
        if len(moves) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        to(self, alpha, beta)

    with monkeypatch.context() as patch:
        patch.setattr(Walk, "to", stopping)
        stopped = cli(*line(made, out))
    assert stopped.code == 143 and "place 4 of 18" in stopped.err and "--resume" in stopped.err
    assert [path.name for path in out.parent.iterdir()] == ["l.png.part"]
    again = cli(*line(made, out))
    assert again.code == 1 and "unfinished work is there; pass --resume" in again.err
    other = cli(*line(made, out, "--resume", "--span", "0.5"))
    assert other.code == 1 and other.err.count("\n") == 1
    assert "made with other settings: recipe.span was 1.0, now 0.5" in other.err
    resumed = cli(*line(made, out, "--resume"))
    assert resumed.code == 0 and "resuming at place 4 of 18" in resumed.err
    assert sorted(path.name for path in out.parent.iterdir()) == ["l.csv", "l.png"]
    assert out.with_suffix(".csv").read_bytes() == whole.with_suffix(".csv").read_bytes()


def test_a_picture_that_cannot_be_written_is_not_measured_again(cli, made, tmp_path, monkeypatch):
    monkeypatch.setattr(landscape, "picture", lambda *_: None)
    out, numbers = tmp_path / "l.svg", landscape.numbers

    def taken(*args):
        out.write_text("of somebody else")
        return numbers(*args)

    with monkeypatch.context() as patch:
        patch.setattr(landscape, "numbers", taken)
        failed = cli(*line(made, out))
    assert failed.code == 1 and "appeared while this was at work" in failed.err
    monkeypatch.setattr(Walk, "to", None)
    assert cli(*line(made, out, "--resume", "--force")).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l.csv", "l.svg"]


def test_bad_input(cli, made, tmp_path):
    out, nt, other = tmp_path / "l.png", made / "nt.safetensors", tmp_path / "other.safetensors"
    head = header.read(nt) | {"model": "resnet18"}
    artifact.write(other, models.create("resnet18", classes=3, size=16).state_dict(), head)
    source = ("--source", made / "clean.safetensors")
    for args, code, said in (
        ((nt,), 2, "pass --source SOURCE"),
        ((nt, other, *source), 1, "expected one model"),
        ((nt, *source, "--points", "4"), 2, "expected an odd number"),
        ((nt, "--source", "digits"), 1, "10"),
        ((made / "clean.safetensors", *source), 1, "expected a checkpoint file"),
    ):
        result = cli("plot", "landscape", *args, "-o", out)
        assert result.code == code and said in result.err, result.err
        assert result.err.count("\n") == 1 and not out.exists()


def surface(*losses: float) -> Landscape:
    values = torch.tensor(losses, dtype=torch.float64).view(3, 3)
    return Landscape(values, Plane(points=3), math.log(10), 20)


def test_one_scale_for_all_and_nothing_above_it():
    deep = surface(9, 9, 9, 9, 0.003, 9, 9, math.nan, math.inf)
    flat = surface(*[5.0] * 9)
    both = landscape.scale([flat, deep])
    assert both.low == pytest.approx(math.log10(0.003))
    assert both.high == pytest.approx(math.log10(10 * math.log(10)))
    shown = [float(f"{10**level:.3g}") for level in both.levels]
    assert shown == [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
    z = landscape.heights(deep.losses, both)
    assert z[1, 1] == both.low and z[2].tolist()[1:] == [both.high] * 2
    pit = landscape.scale([surface(*[9.0] * 4, 3e-5, *[9.0] * 4)])  # as deep as a trap may be
    assert both.named == both.levels and len(pit.levels) == 16
    assert [round(10**level, 5) for level in pit.named] == [1e-4, 1e-3, 0.01, 0.1, 1]
    for bottomless in (surface(*[0.0] * 9), surface(*[math.nan] * 9), surface(*[1e9] * 9)):
        low = landscape.scale([bottomless])
        assert low.levels and math.isfinite(low.low) and low.low < low.high


def test_surfaces_without_contours_are_drawn():
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    landscape.picture(figure, ["a", "b"], [surface(*[value] * 9) for value in (0.0, math.nan)])
    figure.draw_without_rendering()
