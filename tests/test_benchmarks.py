"""The benchmarks' own arithmetic, and each of them run once on something tiny."""

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stkit import load

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    """Imports a benchmark's module by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_operations_of_the_small_net_by_hand(module):
    """2 * outputs * inputs * kernel a convolution; a backward pass is two such, but the stem's."""
    stem = 2 * 32 * 32 * 16 * 3 * 9
    others = 2 * 128 * 10
    inside, side = 16, 32
    for width in (16, 32, 64, 128):
        side //= 2
        weights = inside * width * 9 + width * width * 9
        projected = inside * width  # every group of the small net has a shortcut of 1x1
        others += 2 * side * side * (weights + projected)
        inside = width
    count = module("limits").per_image
    assert count("small", "forward", classes=10, size=32) == stem + others
    assert count("small", "gradient", classes=10, size=32) == 2 * (stem + others)
    assert count("small", "step", classes=10, size=32) == 2 * stem + 3 * others


def test_operations_of_a_task(module):
    limits = module("limits")
    forward, gradient, step = (
        limits.per_image("small", work, classes=10, size=32)
        for work in ("forward", "gradient", "step")
    )
    found = {task: limits.of_task(task, "small", classes=10, size=32) for task in ("eval", "st")}
    assert found == {"eval": forward, "st": step}
    assert limits.of_task("at", "small", classes=10, size=32) == step + 10 * gradient


@pytest.mark.parametrize("power", [0, 0.5, 1, 2])
def test_exponent_of_a_power(module, power):
    xs = [1, 2, 5, 10]
    found = module("measuring").exponent(xs, [3 * x**power for x in xs])
    assert found == pytest.approx(power, abs=1e-12)


def test_no_exponent_of_one_point(module):
    assert math.isnan(module("measuring").exponent([2, 2], [3, 4]))


def test_table(module):
    rows = [{"name": "a", "rate": 1234.5, "share": 0.123456}, {"name": "bcd", "rate": None}]
    found = module("measuring").table(rows, {"name": "name", "per s": "rate", "share": "share"})
    assert found.splitlines() == ["name  per s  share", "a     1,234  0.123", "bcd       -      -"]


def test_peak_memory_of_what_is_large():
    """In a process of its own, as a larger peak from before cannot be forgotten everywhere."""
    code = "import measuring as m; m.forget_peak(); before = m.host_peak(); "
    code += "large = b'1' * int('100000000'); print(m.host_peak() - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    assert 0.9e8 < int(done.stdout) < 1.5e8


def test_summary_is_the_median_of_neighbours(module):
    turns = {
        "plain": [{"rate": r, "mb": 1.0} for r in (10, 20, 40)],
        "stkit": [{"rate": r, "mb": 2.0} for r in (20, 60, 160)],
        "limit": [1e6, 4e6, 2e6],
    }
    found = module("train_speed").summary(turns, operations=1e4)
    assert (found["gain"], found["gain_least"], found["gain_most"]) == (3, 2, 4)
    assert (found["plain"], found["stkit"], found["limit"]) == (20, 60, 400)
    assert found["share"] == 60 / 400


def run(name: str, *options: str) -> str:
    """What a benchmark writes to stdout."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(FOLDER / name), *options]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def test_train_speed_goes_on_from_its_file(tmp_path):
    out = tmp_path / "rows.jsonl"
    options = (
        "--models", "small", "--batch-sizes", "8", "--precisions", "fp32", "--images", "40",
        "--workers", "1", "--rounds", "1", "--seconds", "0.05", "--threads", "1", "--tasks", "st",
        "--sizes", "72", "--out", str(out),
    )  # fmt: skip
    (row,) = json.loads(run("train_speed.py", *options, "--json"))
    assert json.loads(out.read_text()) == row
    assert row["gain"] > 0 and row["share"] > 0 and row["epoch_end_seconds"] >= 0
    assert row["kb_a_file"] > 0  # above 64 pixels the plain loop decodes files
    parts = row["stkit_parts"]
    assert list(parts) == [
        "python", "import torch", "import the rest", "read data", "create, place", "first step",
        "all",
    ]  # fmt: skip
    assert parts["all"] >= sum(parts.values()) - parts["all"]
    table = run("train_speed.py", *options)
    assert table.splitlines()[1].split()[:4] == ["st", "small", "72", "8"]
    assert len(out.read_text().splitlines()) == 1


@pytest.mark.parametrize("kind", ["train", "acm-model"])
def test_growth(kind):
    found = json.loads(
        run("growth.py", "--kinds", kind, "--axes", "images", "--values", "20,40",
            "--seconds", "0", "--batch", "4", "--json")
    )  # fmt: skip
    assert [(p["kind"], p["value"]) for p in found["points"]] == [(kind, 20), (kind, 40)]
    assert all(p["seconds"] > 0 for p in found["points"])
    (slope,) = found["slopes"]
    assert (slope["axis"], slope["first"], slope["last"]) == ("images", 20, 40)
    assert abs(slope["time"]) < 20


@pytest.mark.parametrize("name", ["train_speed.py", "growth.py"])
def test_nothing_measured_is_a_failure(name):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(name, "--minutes", "-1")
    assert caught.value.returncode == 1
    assert caught.value.stderr.endswith("nothing was measured\n")


def test_gpu_script_goes_on_from_its_files(tmp_path):
    """Its last steps, in small: those before them have their files."""
    before = "start-up train-32-nt train-32-at train-32-eval train-32-acm train-224 poison"
    for name in before.split():
        (tmp_path / f"{name}.json").write_text("there")
    env = {**os.environ, "QUICK": "1", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    subprocess.run(["bash", str(FOLDER / "gpu.sh"), str(tmp_path)], env=env, check=True)
    made = ["growth", "nt-1-epochs", "epoch-small-nt", "epoch-small-st"]
    for name in made:
        assert json.loads((tmp_path / f"{name}.json").read_text())
    seconds = (tmp_path / "seconds.txt").read_text().splitlines()
    assert [line.split()[1] for line in seconds] == [f"{name}.json" for name in made]
    assert (tmp_path / "poison.json").read_text() == "there"
    assert not list(tmp_path.glob("*.safetensors"))


def test_startup():
    found = json.loads(
        run("startup.py", "--models", "small", "--batch-size", "10", "--rounds", "1", "--json")
    )
    assert [row["command"] for row in found["rows"]] == [
        "python",
        "stkit --help",
        "imports",
        "train, one step",
    ]
    assert all(row["seconds"] > 0 for row in found["rows"])


def test_poison_speed():
    found = json.loads(
        run("poison_speed.py", "--models", "small", "--methods", "em", "--limit", "20",
            "--em-batch", "10", "--seconds", "0.01", "--json")
    )  # fmt: skip
    assert [row["loop"] for row in found["rows"]] == [
        "plain fp32, batch 128", "stkit fp32, batch 10", "stkit bf16, batch 10",
    ]  # fmt: skip
    assert all(row["share"] > 0 for row in found["rows"])


def test_readers(module):
    """All of the arithmetic that docs/differences.md gives numbers of, on few images."""
    readers, images = module("readers"), load("digits", limit=20)
    found = readers.readings(images, 1)
    assert found["float64 unlike floor"] > 0.05 > found["loader below floor"] >= 0
    assert 0 < readers.jitters(images)["jitter, mean levels"] < 5
    assert 0 <= readers.policies(images)["trivial, images unlike"] <= 1
