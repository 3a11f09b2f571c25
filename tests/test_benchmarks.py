"""The benchmarks' own arithmetic, and each of them run once on something tiny.

In this process where that can be: to start one and import torch costs more than what it measures.
"""

import importlib
import json
import math
import os
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from stkit import load
from stkit.core.errors import ArtifactError

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


ONE, TWO, THREE = CASES = [{"case": name, "device": "cpu"} for name in ("one", "two", "three")]


class Measure:
    """Measures cases; what it has for one in `wrong` is raised there."""

    def __init__(self, **wrong: BaseException) -> None:
        self.wrong, self.asked = wrong, []

    def __call__(self, case: dict) -> dict:
        self.asked.append(case["case"])
        if case["case"] in self.wrong:
            raise self.wrong[case["case"]]
        return {"rate": 2.5}


@pytest.fixture
def fill(module, tmp_path):
    """Fills tmp_path/rows.jsonl."""

    def call(measure, minutes: float = 1, **how):
        path = tmp_path / "rows.jsonl"
        return module("rows").fill(
            CASES, measure, path=path, minutes=minutes, by=["python", "/tmp/x.py", "-o", "/a/b"],
            **how,
        )  # fmt: skip

    return call


def test_what_was_interrupted_after_the_first_case_measures_only_the_rest(fill, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fill(Measure(two=KeyboardInterrupt()))
    (row,) = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    assert row["case"] == "one" and row["rate"] == 2.5
    assert row["command"] == "python x.py -o b"  # no path of this machine
    assert row["date"][:2] == "20"
    second = Measure()
    rows, code = fill(second)
    assert (second.asked, code) == (["two", "three"], 0)
    assert [row["case"] for row in rows] == ["one", "two", "three"]
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3
    assert fill(Measure(one=AssertionError()))[1] == 0  # nothing is left to do


def test_half_a_line_is_no_row(fill, tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text(json.dumps(TWO) + "\n" + json.dumps(ONE)[:-3])
    measure = Measure()
    rows, code = fill(measure)
    assert (measure.asked, code, len(rows)) == (["one", "three"], 0, 3)
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3


def test_a_case_that_fails_ends_no_other(fill, capsys):
    rows, code = fill(Measure(two=ValueError("too large")))
    assert ([row["case"] for row in rows], code) == (["one", "three"], 1)
    assert "ValueError: too large" in capsys.readouterr().err
    rows, code = fill(Measure(two=RuntimeError("illegal address")), broken=lambda error: True)
    assert code == 1


def test_a_gpu_that_is_lost_ends_the_process(fill):
    measure = Measure(one=RuntimeError("illegal address"))
    rows, code = fill(measure, broken=lambda error: True)
    assert (rows, code, measure.asked) == ([], 1, ["one"])


def test_minutes_that_run_out_are_no_success(fill, module):
    assert fill(Measure(), minutes=0) == ([], module("rows").LEFT)
    time_left = module("rows").Minutes(1)
    assert time_left.left
    time_left.took(61)  # another one would not end in time
    assert not time_left.left


@pytest.mark.parametrize("name", ["train_speed", "poison_speed", "growth", "startup", "epochs"])
def test_nothing_measured_is_not_complete(name, module, capsys):
    assert module(name).main(["--minutes", "-1"]) == 3
    assert "(nothing measured)" in capsys.readouterr().out


SMALL = ("--models", "small", "--batch-sizes", "8", "--precisions", "fp32", "--images", "40",
         "--rounds", "1", "--seconds", "0.05", "--threads", "1")  # fmt: skip


def test_train_speed_goes_on_from_its_file(module, tmp_path, capsys):
    """In one process. Above 64 pixels the plain loop decodes files; it stays for the next case."""
    train_speed, out = module("train_speed"), tmp_path / "rows.jsonl"
    options = [*SMALL, "--tasks", "st", "--sizes", "72", "--workers", "0", "--together",
               "--out", str(out)]  # fmt: skip
    assert train_speed.main([*options, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == row
    assert row["gain"] > 0 and row["share"] > 0 and row["epoch_end_seconds"] >= 0
    assert row["kb_a_file"] > 0 and row["stkit_mb"] is None
    assert {"machine", "torch", "command", "date"} <= row.keys()
    assert list(row["stkit_parts"]) == [
        "import the rest", "read data", "create, place", "first step", "all",
    ]  # fmt: skip
    more = [*options, "--steps", "auto,eager"]
    assert train_speed.main([*more, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first == row and second["step"] == "eager"
    assert train_speed.main(more) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[1].split()[:4] == ["st", "small", "72", "8"]
    assert len(out.read_text().splitlines()) == 2


def test_sides_that_two_cases_share_are_one(module):
    started = []

    def answers(case):
        started.append(case["side"])
        question = yield "started"
        while True:
            if question == "fail":
                raise ValueError
            question = yield case["side"] + question

    sides = module("sides").Sides("", answers, together=True)
    one = sides.take({"a": {"side": "plain"}, "b": {"side": "graph"}})
    assert [said for _, said in one.values()] == ["started", "started"]
    two = sides.take({"a": {"side": "plain"}, "b": {"side": "compile"}})
    assert started == ["plain", "graph", "compile"]
    assert two["a"][0].ask("?") == "plain?" and two["b"][0].ask("!") == "compile!"
    with pytest.raises(StopIteration):
        one["b"][0].ask("?")


def test_a_side_in_a_process_of_its_own(module, tmp_path):
    """As on a CPU, where memory is told apart so: what it says of its start, and one turn."""
    train_speed, measuring = module("train_speed"), module("measuring")
    options = train_speed.parse([*SMALL, "--tasks", "nt"])
    (case,) = train_speed.cases(options)
    asked = {"source": None, "size": 32, "where": str(tmp_path), "images": 40, "files": "jpg"}
    child = measuring.Child(
        train_speed.__file__, {**case, **train_speed.made(asked), "side": "stkit", "workers": 0}
    )
    try:
        parts, turn = child.ask()["parts"], child.ask(0.05)
    finally:
        child.close()
    assert list(parts) == [
        "python", "import torch", "import the rest", "read data", "create, place", "first step",
        "all",
    ]  # fmt: skip
    assert parts["all"] >= sum(parts.values()) - parts["all"]
    assert turn["rate"] > 0 and turn["mb"] > 100


SIDE = """
import json, sys
import sides

def answers(case):
    question = yield case["side"]
    while True:
        question = yield [case["side"], 1 / question]

sides.serve(answers(json.loads(sys.argv[2])))
"""


def test_sides_in_processes_of_their_own(module, tmp_path, monkeypatch, capfd):
    """A file's children, for which `main` would serve; one that fails says so, and ends."""
    (tmp_path / "side.py").write_text(SIDE)
    monkeypatch.setenv("PYTHONPATH", f"{FOLDER}{os.pathsep}{ROOT}")
    sides = module("sides").Sides(str(tmp_path / "side.py"), None, together=False)
    both = sides.take({"a": {"side": "plain"}, "b": {"side": "limit"}})
    assert [side.ask(4) for side, _ in both.values()] == [["plain", 0.25], ["limit", 0.25]]
    with pytest.raises(RuntimeError, match="ended early"):
        both["a"][0].ask(0)
    sides.close()
    assert both["b"][0].process.returncode == 0


def test_growth_in_one_process(module, tmp_path, capsys):
    growth = module("growth")
    options = ("--kinds", "train,acm-model", "--axes", "images", "--values", "20,40", "--batch",
               "4", "--seconds", "0", "--together", "--json")  # fmt: skip
    assert growth.main([*options, "--out", str(tmp_path / "rows.jsonl")]) == 0
    found = json.loads(capsys.readouterr().out)
    points = [("train", 20), ("train", 40), ("acm-model", 20), ("acm-model", 40)]
    assert [(p["kind"], p["value"]) for p in found["points"]] == points
    assert all(p["seconds"] > 0 for p in found["points"])
    for slope in found["slopes"]:
        assert (slope["axis"], slope["first"], slope["last"]) == ("images", 20, 40)
        assert abs(slope["time"]) < 20


def test_readers(module):
    """All of the arithmetic that docs/differences.md gives numbers of, on few images."""
    readers, images = module("readers"), load("digits", limit=20)
    found = readers.readings(images, 1)
    assert found["float64 unlike floor"] > 0.05 > found["loader below floor"] >= 0
    assert 0 < readers.jitters(images)["jitter, mean levels"] < 5
    assert 0 <= readers.policies(images)["trivial, images unlike"] <= 1


def test_a_case_that_was_ended_comes_last_from_then_on(module, tmp_path):
    """One that takes longer than its step may would else be all that is ever tried."""
    rows, path = module("rows"), tmp_path / "x.jsonl"
    asked, tried = [{"n": n} for n in range(3)], []

    def measure(case: dict) -> dict:
        tried.append(case["n"])
        if case["n"] == 0 and len(tried) < 5:
            raise SystemExit  # the process is killed
        return {"value": 1}

    def fill() -> int:
        return rows.fill(asked, measure, path=path, minutes=1, by=["x"])[1]

    for _ in range(2):
        with pytest.raises(SystemExit):
            fill()
    assert tried == [0, 1, 2, 0] and len(rows.read(path)) == 2
    assert fill() == 0 and len(rows.read(path)) == 3
    assert [each.name for each in tmp_path.iterdir()] == ["x.jsonl"]


class Launch:
    """Runs the benchmarks' steps in this process, or what `own` has for them; notes their names.

    What `own` has for a step is what it prints, and its exit code.
    """

    def __init__(self, module, **own: tuple[object, int]) -> None:
        self.module, self.own, self.ran = module, own, {}

    def __call__(self, words, out: Path, log: Path, seconds: float) -> int:
        name = out.stem
        self.ran[name] = list(words)
        if name in self.own or words[0] == "-m":
            said, code = self.own.get(name, ({}, 0))
            out.write_text(json.dumps(said))
            log.write_text(f"{name} has ended\n")
            return code
        with (
            out.open("w") as printed, log.open("a") as said,
            redirect_stdout(printed), redirect_stderr(said),
        ):  # fmt: skip
            return self.module(Path(words[0]).stem).main(words[1:])


@pytest.fixture
def gpu(module, monkeypatch, tmp_path):
    """`gpu(*options, **own) -> (exit code, what ran)`: one call of gpu.py in small."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which is put back at the end
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*options: str, **own: tuple[object, int]):
        launch = Launch(module, **own)
        words = ["--quick", "--out", str(tmp_path / "out"), *options]
        return module("gpu").main(words, run=launch), launch.ran

    return call


def steps(text: str) -> dict[str, list[str]]:
    """The table of steps: name -> the words of its line."""
    lines = f"\n{text}".rpartition("\nstep ")[2].splitlines()[1:]
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_every_step_in_small_and_then_nothing_is_left(gpu, tmp_path, capsys):
    """What `stkit` and candidates.py would do is played; all else is measured."""
    own = {"candidates": ("a table", 0), "growth": ("", 0),
           "queue": ({"left": [], "failed": {}}, 0)}  # fmt: skip
    out = tmp_path / "out"
    (out / "quick").mkdir(parents=True)
    (out / "quick" / "clean_nt_small_s0.json").write_text('{"accuracy": 0.5}')
    code, ran = gpu("--skip", "start-up", **own)
    text = capsys.readouterr().out
    table = steps(text)
    assert table["growth"][:3] == ["left", "0", "1"]  # exit 0, and there is nothing
    assert {line[0] for name, line in table.items() if name != "growth"} == {"complete"}
    assert code == 3
    order = ["images", "check", "train", "compile", "poison", "queue", "candidates"]
    assert list(ran)[: len(order)] == order and "nt" not in ran  # whose result was there
    kept = json.loads((out / "benchmarks" / "gpu-check.json").read_text())
    assert {"machine", "torch", "command", "date", "exit"} <= kept.keys()
    for path in (out / "benchmarks").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            assert {"machine", "torch", "command", "date"} <= json.loads(line).keys()
            assert str(tmp_path) not in line
    code, ran = gpu("--skip", "start-up,growth")
    assert (code, ran) == (0, {})
    first = json.loads((out / "benchmarks" / "gpu-poison.jsonl").read_text().splitlines()[0])
    changed = {**first, "stkit": 4321.0}  # the numbers shown are those of the files
    (out / "benchmarks" / "gpu-poison.jsonl").write_text(json.dumps(changed))
    capsys.readouterr()
    assert gpu("--list")[0] == 3
    text = capsys.readouterr().out
    assert "4,321" in text and steps(text)["poison"][:3] == ["left", "1", "2"]


def test_a_step_that_fails_stops_no_other(gpu, capsys, tmp_path):
    checks = [{"name": "nt", "status": "ok"}, {"name": "em", "status": "wrong", "about": "0.3"}]
    own = {"check": ({"ok": False, "checks": checks}, 1),
           "train": ("", 1), "queue": ({"left": ["a", "b"], "failed": {}}, 0)}  # fmt: skip
    code, ran = gpu("--only", "check,train,queue", **own)
    text = capsys.readouterr().out
    assert code == 1 and list(ran) == ["images", "check", "train", "queue"]
    assert [line[0] for line in steps(text).values()][:3] == ["FAILED", "FAILED", "left"]
    assert "WRONG em: 0.3" in text and "1 of 2 not wrong" in text
    assert "failed train: exit 1: train has ended" in text
    code, ran = gpu("--only", "check,queue", queue=({"left": [], "failed": {"a": "no"}}, 1))
    assert code == 1 and list(ran) == ["queue"]  # a check would say the same here
    code, ran = gpu("--only", "check,queue", queue=({"left": [], "failed": {}}, 0))
    assert (code, list(ran)) == (1, ["queue"])
    assert steps(capsys.readouterr().out)["check"][0] == "FAILED"
    (tmp_path / "out" / "benchmarks" / "gpu-check.json").unlink()
    code, ran = gpu("--only", "check,queue")
    assert (code, list(ran)) == (0, ["check"])


def test_minutes_that_run_out_leave_work(gpu, capsys):
    code, ran = gpu("--minutes", "0.5", "--only", "check,train")  # less than a step wants
    assert (code, list(ran)) == (3, ["images"])
    assert [line[0] for line in steps(capsys.readouterr().out).values()] == ["left", "left"]
    code, ran = gpu("--minutes", "5", "--only", "check,queue", queue=({"left": ["a"]}, 0))
    assert code == 3
    with pytest.raises(SystemExit, match="2"):
        gpu("--minutes", "-3")
    assert "--minutes: -3, expected 0 or more" in capsys.readouterr().err
    assert 4 < float(ran["queue"][-1]) <= 4.75 and ran["queue"][-2] == "--time-limit"


def test_a_check_counts_on_its_machine_alone(gpu, tmp_path, capsys):
    assert gpu("--only", "check")[0] == 0
    path = tmp_path / "out" / "benchmarks" / "gpu-check.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"machine": "another GPU"}))
    assert list(gpu("--only", "check")[1]) == ["check"]
    assert gpu("--only", "check")[1] == {}


def test_another_torch_is_another_machine(gpu, module, monkeypatch):
    """What is told of it comes with the images."""
    gpu("--only", "check")
    assert gpu("--only", "check")[1] == {}
    monkeypatch.setattr(module("gpu_made"), "version", lambda name: f"{name} 3.0")
    assert list(gpu("--only", "check")[1]) == ["images"]  # as this Python's torch is the same


def test_what_a_bench_is_told_is_what_it_takes(module, tmp_path, cli):
    """nt's step and the queue's, planned by `stkit bench` itself from the images of `images.py`."""
    place = module("gpu_made").Place(tmp_path / "out", tmp_path / "work", False)
    assert module("images").main(["digits", "--limit", "20", "--work", str(place.work)]) == 0
    benches = {s.name: s for s in module("gpu_steps").steps(place) if "bench" in s.command}

    def planned(name: str) -> list[dict]:
        step = benches[name]
        return cli(*step.command[2:], step.timed, "2", "--dry-run").json["cells"]

    (run,) = planned("nt")
    assert f"{run['cell']}.json" == benches["nt"].made.file.name
    assert len(planned("queue")) > 100


def test_without_images_only_the_check_runs(gpu, capsys):
    code, ran = gpu("--only", "check,train", images=("", 1))
    assert (code, list(ran)) == (1, ["images", "check"])
    assert "failed train: there are no images" in capsys.readouterr().out


def test_one_call_at_a_time_measures(gpu, module, tmp_path):
    lock = tmp_path / "out" / "work" / "gpu.lock"
    with (
        module("gpu").locks.held(lock, module("gpu").busy),
        pytest.raises(ArtifactError, match="measures already"),
    ):
        gpu("--only", "check")


def test_a_step_that_outlives_its_call_keeps_others_from_measuring(module, tmp_path, monkeypatch):
    """A call that is killed ends no step; the lock is the step's, too."""
    gpu, code = module("gpu"), "import os, sys; os.fstat(int(sys.argv[1]))"
    held, right = [], gpu.launch

    def launch(words, out, log, seconds, *, locks):
        held.append(right(["-c", code, str(locks[0])], out, log, seconds, locks=locks))
        return 1

    monkeypatch.setattr(gpu, "launch", launch)
    gpu.main(["--quick", "--out", str(tmp_path / "out"), "--only", "check"])
    assert held == [0, 0]


def test_a_candidate_that_hangs_gets_its_row_before_the_step_is_ended(module, tmp_path):
    """Else each call would begin with it, and come no further."""
    place = module("gpu_made").Place(tmp_path / "out", tmp_path / "work", False)
    (step,) = (s for s in module("gpu_steps").steps(place) if s.name == "candidates")
    words = step.command
    assert float(words[words.index("--patience") + 1]) + 20 < 60 * (step.minutes + 1)


def test_a_step_that_hangs_is_ended(module, tmp_path):
    gpu, log = module("gpu"), tmp_path / "log"
    start = time.monotonic()
    code = gpu.launch(["-c", "import time; time.sleep(60)"], tmp_path / "out", log, 0.2)
    assert code == gpu.KILLED and time.monotonic() - start < 30
    done = gpu.launch(["-c", "print(1); raise SystemExit(3)"], tmp_path / "out", log, 60)
    assert done == 3 and (tmp_path / "out").read_text() == "1\n"


def test_images_are_decoded_once_from_whatever_has_them(module, tmp_path, photos, capsys):
    """A folder, two files, and where CIFAR's own files are looked for."""
    images, one, two = module("images"), tmp_path / "one", tmp_path / "two"
    assert images.main([str(photos), "--work", str(one)]) == 0
    files = [str(one / f"{split}.safetensors") for split in ("train", "test")]
    assert images.main([files[0], "--test", files[1], "--work", str(two)]) == 0
    for folder in (one, two):
        facts = json.loads((folder / "images.json").read_text())
        assert (facts["train"], facts["test"]) == (24, 12) and facts["torch"]
    assert (two / "test.safetensors").read_bytes() == (one / "test.safetensors").read_bytes()
    (tmp_path / "cifar-10-batches-py").mkdir()
    found = images.located(str(tmp_path)), images.located(str(tmp_path / "cifar-10-batches-py"))
    assert found == (("cifar10", tmp_path), ("cifar10", tmp_path))


def test_the_shell_script(tmp_path):
    """A call as one types it, its steps being processes."""
    env = {**os.environ, "QUICK": "1", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    words = ["bash", str(FOLDER / "gpu.sh"), "--only", "growth", "--out", str(tmp_path)]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert steps(done.stdout)["growth"][:3] == ["complete", "1", "1"]
    wrong = subprocess.run([*words, "--skip", "nothing"], env=env, capture_output=True, text=True)
    assert wrong.returncode == 2


def test_startup(module, tmp_path, cli, capsys):
    """The commands that are timed do what they should; those that import torch, in this process."""
    startup = module("startup")
    options = startup.parse(["--models", "small", "--batch-size", "10", "--rounds", "1"])
    commands, cases = startup.Commands(options, tmp_path), startup.cases(options)
    python, help_, imports, train = (commands.words(case) for case in cases)
    row = commands.measure(cases[0])
    assert startup.seconds(python) > 0 and 0 < row["cold"] == row["seconds"]
    assert startup.seconds(help_) > 0
    exec(imports[-1])
    assert cli(*train[3:]).code == 0 and commands.model.exists()
    with pytest.raises(RuntimeError, match="exit 3"):
        startup.seconds([*python[:1], "-c", "raise SystemExit(3)"])
