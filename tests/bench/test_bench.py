"""stkit bench: what it runs, skips, goes on with and reports.

Most tests put a shell script in the place of `python -m stkit`, which copies finished files; one
runs a grid of real tasks, each of which costs seconds of imports.
"""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stkit.bench import locks
from stkit.bench.run import Host
from stkit.core import header
from stkit.core.errors import ArtifactError
from stkit.report import files

LIMIT = 600.0  # seconds that nothing here takes, however busy the machine is
STAND_IN = """#!/bin/sh
# In the place of python -m stkit. Notes the task, then copies a file that is finished.
for word; do [ "$before" = -o ] && out=$word; before=$word; done
device=cpu
case $* in *--device=*) device=${*##*--device=} ;; esac
echo "$*" >>"$NOTES"
case $out in
  *broken*) echo working on it >&2; echo "error: it broke" >&2; exit 1 ;;
  *silent*) exit 3 ;;
  *killed*) kill -9 $$ ;;
  *slow*) [ -e "$out.part" ] || {
      trap 'echo half >"$out.part"; exit 143' TERM
      : >"$NOTES.slow"; while :; do sleep 0.02; done
    } ;;
  *orphan*) kill -9 $PPID; while [ ! -e "$NOTES.go" ]; do sleep 0.02; done ;;
  *wait*) while [ ! -e "$NOTES.go" ]; do sleep 0.02; done ;;
esac
case $1 in data) from=clean ;; poison) from=ops ;; train) from=nt ;; esac
cp "$MADE/$from.safetensors" "$out"
echo '{"output": "x", "accuracy": 0.5, "best_accuracy": 0.75, "seconds": 2.0, "peak_memory": 9,' \
  '"device": "'"${device%% *}"'"}'
"""


@pytest.fixture
def stand_in(tmp_path, made, monkeypatch) -> Iterator[Path]:
    """Where the stand-in, `stand-in` beside it, notes every task; it waits for `notes.go`."""
    script, notes = tmp_path / "stand-in", tmp_path / "notes"
    script.write_text(STAND_IN)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    notes.write_text("")
    monkeypatch.setenv("NOTES", str(notes))
    monkeypatch.setenv("MADE", str(made))
    monkeypatch.chdir(tmp_path)
    yield notes
    notes.with_name("notes.go").touch()  # no task outlives its test


@pytest.fixture
def bench(cli, stand_in):
    """Run `stkit bench` with the stand-in for its tasks; `clock`: in the place of the real one."""

    def run(*args, clock: Callable[[], float] = time.monotonic):
        return cli("bench", *args, obj=Host((str(stand_in.with_name("stand-in")),), clock))

    return run


def until(there: Callable[[], object]) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + LIMIT
    while not there():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """While the body runs, something is done beside it; it must have ended with it."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join(LIMIT)
    assert not thread.is_alive()


def toml(folder: Path, frames=("nt", "st"), poisons=("clean", "ops"), extra: str = "") -> Path:
    """A grid file; frames and poisons may have any name, what they are is `nt` and `sp`."""
    tables = "".join(f'[[frame]]\nname = "{name}"\nframe = "nt"\n' for name in frames)
    for name in poisons:
        tables += f'[[poison]]\nname = "{name}"\n' + ("" if name == "clean" else 'method = "sp"\n')
    path = folder / "grid.toml"
    path.write_text(f'models = ["small"]\n{extra}\n[data]\nsource = "digits"\n{tables}')
    return path


def started(notes: Path) -> list[str]:
    """The files of the tasks that were started."""
    lines = notes.read_text().splitlines()
    return [Path(line.split(" -o ")[1].split()[0]).name for line in lines]


def names(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.json")}


RUNS = {f"{p}_{f}_small_s0" for p in ("clean", "ops") for f in ("nt", "st")}


def test_a_grid_is_run_once(bench, tmp_path, stand_in):
    path = toml(tmp_path)
    found = bench(path, "-o", "out", "--json")
    assert found.json == {"output": "out", "cells": 4, "done": 4, "left": [], "failed": {}}
    assert names(tmp_path / "out") == RUNS | {"ops_s0"}
    assert len(started(stand_in)) == 2 + 1 + 4
    assert not list(tmp_path.rglob("*.lock")) and not list(tmp_path.rglob("*.tmp"))
    again = bench(path, "-o", "out", "--json")
    assert again.json["done"] == 4 and again.err == "" and len(started(stand_in)) == 7


def test_what_a_result_holds(bench, tmp_path, stand_in, made):
    bench(toml(tmp_path, extra="seeds = [3]"), "-o", "out")
    found = files.read(tmp_path / "out" / "ops_nt_small_s3.json")
    head = header.read(made / "nt.safetensors")
    assert found["settings"]["seed"] == 3 and found["settings"]["poison"]["method"] == "sp"
    assert (found["accuracy"], found["best_accuracy"], found["peak_memory"]) == (0.5, 0.75, 9)
    assert (found["seconds"], found["attempts"], found["device"]) == (2.0, 1, "cpu")
    assert found["digest"] == head["digest"] and found["inputs"] == head["inputs"]
    assert found["recipe"] == head["recipe"] and found["versions"] == head["versions"]
    assert len(found["history"]) == 1 and "output" not in found
    poison = files.read(tmp_path / "out" / "ops_s0.json")
    assert poison["kind"] == "poison" and poison["seconds"] == 2.0
    assert poison["digest"] == header.read(made / "ops.safetensors")["digest"]


def test_a_failure_is_reported_and_the_rest_goes_on(bench, tmp_path, stand_in):
    path = toml(tmp_path, frames=("broken", "silent", "killed", "nt"), poisons=("clean",))
    found = bench(path, "-o", "out", "--json")
    assert found.code == 1
    said = json.loads(found.out)
    assert said["done"] == 1 and names(tmp_path / "out") == {"clean_nt_small_s0"}
    why = said["failed"]
    assert why["clean_broken_small_s0"] == "it broke"
    assert why["clean_silent_small_s0"].startswith("ended with code 3; see ")
    assert why["clean_killed_small_s0"].startswith("killed by signal 9")
    text = bench(path, "-o", "out")
    assert text.code == 1 and text.err.count("failed clean_broken_small_s0: it broke\n") == 2
    assert "failed  3\n" in text.out


def test_failed_are_counted_by_runs(bench, tmp_path, stand_in):
    """Not the poison, for want of which both runs fail."""
    found = bench(toml(tmp_path, poisons=("broken",)), "-o", "out")
    assert found.code == 1 and "runs    2\n" in found.out and "failed  2\n" in found.out


def test_what_needs_a_failed_task_fails_with_it(bench, tmp_path, stand_in):
    path = toml(tmp_path, frames=("nt",), poisons=("broken", "clean"))
    found = bench(path, "-o", "out", "--json")
    assert found.code == 1 and names(tmp_path / "out") == {"clean_nt_small_s0"}
    assert json.loads(found.out)["failed"] == {
        "broken_s0": "it broke",
        "broken_nt_small_s0": "it needs broken_s0, which failed: it broke",
    }  # fmt: skip


def test_the_time_limit_stops_and_the_next_run_goes_on(bench, tmp_path, stand_in):
    path = toml(tmp_path, frames=("slow",), poisons=("clean", "ops"))

    def clock() -> float:
        """An hour is over once a training is under way."""
        return time.monotonic() + 3600 * stand_in.with_name("notes.slow").exists()

    found = bench(path, "-o", "out", "--json", "--time-limit", 30, clock=clock)
    assert found.json["left"] == ["clean_slow_small_s0", "ops_slow_small_s0"]
    assert "the time is up: 1 task saves and stops" in found.err
    assert len(list(tmp_path.rglob("*.part"))) == 1
    plan = bench(path, "-o", "out", "--json", "--dry-run").json
    assert [cell["state"] for cell in plan["cells"]] == ["unfinished", "to do"]
    found = bench(path, "-o", "out", "--json", "--only", "clean*")
    assert found.json["done"] == 1
    found = files.read(tmp_path / "out" / "clean_slow_small_s0.json")
    assert found["attempts"] == 2 and 3602 < found["seconds"] < 3602 + LIMIT
    assert not list(tmp_path.rglob("*.tries"))


def test_a_signal_stops_and_says_so(bench, tmp_path, stand_in):
    def interrupt() -> None:
        until(stand_in.with_name("notes.slow").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    path = toml(tmp_path, frames=("nt", "slow"), poisons=("clean",))
    with beside(interrupt):
        found = bench(path, "-o", "out", "-q")
    assert (found.code, found.out) == (143, "")
    assert found.err == ("error: interrupted; 1 of 2 runs are done, the same command goes on\n")
    assert len(list(tmp_path.rglob("*.part"))) == 1


def test_side_by_side_on_several_devices(bench, tmp_path, stand_in):
    """Both trainings are under way at once: neither ends before both have begun."""

    def let_go() -> None:
        until(lambda: sum("wait" in name for name in started(stand_in)) == 2)
        stand_in.with_name("notes.go").touch()

    path = toml(tmp_path, frames=("wait-a", "wait-b"), poisons=("clean",))
    with beside(let_go):
        found = bench(path, "-o", "out", "--json", "--devices", "cuda:0,cuda:1")
    assert found.json["done"] == 2
    trained = [line for line in stand_in.read_text().splitlines() if line.startswith("train")]
    assert {line.split("--device=")[1] for line in trained} == {"cuda:0", "cuda:1"}
    told = {files.read(path)["device"] for path in (tmp_path / "out").glob("*.json")}
    assert told == {"cuda:0", "cuda:1"}


def test_the_tasks_are_the_same_side_by_side(bench, tmp_path, stand_in):
    """Their threads, which decide the last bits, too."""
    extra = "seeds = [0]\n[train]\nthreads = 3"
    seen = []
    for more in ("", extra):
        grid = toml(tmp_path, extra=more)
        for jobs in (1, 2):
            stand_in.write_text("")
            assert bench(grid, "-o", f"out{len(seen)}", "--work", "w", "--jobs", jobs).code == 0
            seen.append(sorted(stand_in.read_text().splitlines()))
            shutil.rmtree(tmp_path / "w")
    assert seen[0] == seen[1] and seen[2] == seen[3]
    for lines, count in ((seen[0], 1), (seen[2], 3)):
        trained = [line for line in lines if line.startswith("train")]
        assert len(trained) == 4 and all(line.count("--threads=") == 1 for line in trained)
        assert all(f"--threads={count} " in line for line in trained)
        assert not any("--threads" in line for line in lines if line not in trained)


@pytest.mark.parametrize("folder", ["out", "large"])
def test_one_bench_at_a_time_holds_a_folder(bench, tmp_path, stand_in, folder):
    """That of the results and that of the tasks' files; a plan needs neither."""
    words = (toml(tmp_path, frames=("nt",), poisons=("clean",)), "-o", "out", "--work", "large")
    with locks.held(tmp_path / folder):
        found = bench(*words, "--json")
        assert (found.code, found.out, found.err.count("\n")) == (1, "", 1)
        who = f"{tmp_path / folder}: process {os.getpid()} on "
        assert found.err.startswith(f"error: {who}") and "pass another -o" in found.err
        assert started(stand_in) == [] and names(tmp_path / "out") == set()
        assert bench(*words, "--json", "--dry-run").json["cells"]
    assert bench(*words, "--json").json["done"] == 1
    assert not list(tmp_path.rglob("*.lock"))


def test_a_task_whose_bench_was_killed_is_whole_in_the_next(bench, tmp_path, stand_in):
    """It goes on alone and holds the folder; then the next takes what it made and printed."""
    path = toml(tmp_path, frames=("orphan", "nt"), poisons=("clean",))
    begun = "import sys; from stkit.bench.run import Host; from stkit.cli import main; " \
        "main(sys.argv[2:], Host((sys.argv[1],)))"  # fmt: skip
    words = [sys.executable, "-c", begun, str(stand_in.with_name("stand-in"))]
    killed = subprocess.run(
        [*words, "bench", str(path), "-o", "out", "--json"],
        cwd=tmp_path, capture_output=True, timeout=LIMIT,
    )  # fmt: skip
    assert killed.returncode == -9 and not killed.stdout
    found = bench(path, "-o", "out")
    assert found.code == 1 and "or a task of its that outlived it" in found.err
    stand_in.with_name("notes.go").touch()
    until(lambda: free(tmp_path / "out"))
    assert bench(path, "-o", "out", "--json").json["done"] == 2
    left = files.read(tmp_path / "out" / "clean_orphan_small_s0.json")
    assert (left["attempts"], left["seconds"], left["device"]) == (1, 2.0, "cpu")
    assert left["peak_memory"] == 9 and left["accuracy"] == 0.5
    assert sum("orphan" in name for name in started(stand_in)) == 1
    left = {path.suffix for path in (tmp_path / "out/work").iterdir()}
    assert left == {"", ".safetensors"}  # and the folder of logs


def free(folder: Path) -> bool:
    """Whether nobody holds a folder."""
    try:
        with locks.held(folder):
            return True
    except ArtifactError:
        return False


def test_a_time_that_nobody_saw_is_not_told(bench, tmp_path, stand_in):
    """The bench and its task were killed together: one try has no time, so the whole has none."""
    path = toml(tmp_path, frames=("nt",), poisons=("clean",))
    bench(path, "-o", "other")
    (file,) = (tmp_path / "other/work").glob("clean_nt_*.safetensors")
    work = tmp_path / "out/work"
    files.write(work / f"{file.name}.tries", {"attempts": 1, "seconds": 0.0, "timed": 0})
    assert bench(path, "-o", "out", "--json").json["done"] == 1
    found = files.read(tmp_path / "out" / "clean_nt_small_s0.json")
    assert found["attempts"] == 2 and "seconds" not in found


def test_a_result_of_other_settings_is_left_alone(bench, tmp_path, stand_in):
    bench(toml(tmp_path), "-o", "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.json")}
    found = bench(toml(tmp_path, extra="seeds = [0]\n[train]\nepochs = 7"), "-o", "out")
    assert found.code == 1
    assert "made with other settings: train.epochs was absent, now 7; pass another -o" in found.err
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").glob("*.json")}


def test_a_result_of_other_settings_that_appears_meanwhile(bench, tmp_path, stand_in):
    """Put there by something that does not hold the folder."""
    path, out = toml(tmp_path, frames=("wait",), poisons=("clean", "ops")), tmp_path / "out"
    bench(toml(tmp_path, extra="seeds = [0]\n[train]\nepochs = 7"), "-o", "other")
    foreign = files.read(tmp_path / "other" / "ops_nt_small_s0.json")

    def write() -> None:
        until(lambda: any("clean_wait" in name for name in started(stand_in)))
        files.write(out / "ops_wait_small_s0.json", foreign)
        files.write(out / "ops_s0.json", {**poison, "recipe": {**poison["recipe"], "k": 3}})
        stand_in.with_name("notes.go").touch()

    poison = files.read(tmp_path / "other" / "ops_s0.json")
    toml(tmp_path, frames=("wait",), poisons=("clean", "ops"))
    with beside(write):
        found = bench(path, "-o", out, "--json", "--only", "*")
    said = json.loads(found.out)
    assert found.code == 1 and said["done"] == 1
    why = "ops_s0.json: made with other settings: recipe.k was 3, now absent; pass another -o"
    assert why in said["failed"]["ops_s0"] and found.err.count("made with other") == 1
    (out / "ops_s0.json").unlink()
    again = bench(path, "-o", out, "--json")
    assert "settings: frame.name was nt, now wait" in again.err and again.code == 1


def test_a_damaged_result_is_left_alone(bench, tmp_path, stand_in):
    path = toml(tmp_path)
    bench(path, "-o", "out")
    damaged = tmp_path / "out" / "clean_nt_small_s0.json"
    damaged.write_text("{")
    found = bench(path, "-o", "out", "--json")
    assert found.code == 1 and json.loads(found.out)["done"] == 3
    assert "clean_nt_small_s0.json: damaged" in found.err and damaged.read_text() == "{"
    plan = bench(path, "-o", "out", "--json", "--dry-run").json
    assert [cell["state"] for cell in plan["cells"]] == ["blocked", "done", "done", "done"]
    assert "clean_nt_small_s0.json: damaged" in plan["cells"][0]["why"]
    assert "blocked clean_nt_small_s0: " in bench(path, "-o", "out", "--dry-run").out


def test_a_checkpoint_whose_result_was_lost_is_not_trained_again(bench, tmp_path, stand_in):
    path, file = toml(tmp_path), tmp_path / "out" / "clean_nt_small_s0.json"
    bench(path, "-o", "out")
    whole = files.read(file)
    file.unlink()
    assert bench(path, "-o", "out", "--json").json["done"] == 4
    assert len(started(stand_in)) == 7
    found = files.read(file)
    assert found["history"] == whole["history"] and "seconds" not in found


def test_a_truncated_checkpoint_is_named_with_what_to_do(bench, tmp_path, stand_in):
    path = toml(tmp_path, frames=("nt",), poisons=("clean",))
    bench(path, "-o", "out")
    (tmp_path / "out" / "clean_nt_small_s0.json").unlink()
    (file,) = (tmp_path / "out/work").glob("clean_nt_*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    found = bench(path, "-o", "out", "-q")
    assert found.code == 1 and "remove it and run again" in found.err
    file.unlink()
    assert bench(path, "-o", "out", "--json").json["done"] == 1


def test_checkpoints_go_when_they_are_not_kept(bench, tmp_path, stand_in):
    path = toml(tmp_path, extra="keep = false")
    bench(path, "-o", "out", "--work", "large")
    assert len(list((tmp_path / "large").glob("*_small_*.safetensors"))) == 0
    assert len(list((tmp_path / "large").glob("*.safetensors"))) == 3
    assert bench(path, "-o", "out", "--work", "large", "--json").json["done"] == 4
    assert not (tmp_path / "out/work").exists() and len(started(stand_in)) == 7


def test_only_some_runs(bench, tmp_path, stand_in):
    found = bench(toml(tmp_path), "-o", "out", "--only", "*_st_*", "--json")
    assert found.json["cells"] == 2 and names(tmp_path / "out") == {
        "clean_st_small_s0", "ops_st_small_s0", "ops_s0",
    }  # fmt: skip


def test_some_runs_by_several_patterns(bench, tmp_path):
    line = (toml(tmp_path), "--only", "ops_st_*", "--only", "*_st_*", "--only", "clean_nt_*")
    runs = bench(*line, "--dry-run", "-q").out.split()
    assert runs == ["clean_nt_small_s0", "clean_st_small_s0", "ops_st_small_s0"]


def test_dry_run(bench, tmp_path, stand_in):
    path = toml(tmp_path)
    text = bench(path, "--dry-run")
    assert text.code == 0 and "clean_nt_small_s0" in text.out and "a rough rule" in text.out
    rows = [line.split()[0] for line in text.out.splitlines()[2:] if "to do" in line]
    assert rows[:3] == ["clean", "test", "ops_s0"] and len(rows) == 3 + 4
    plan = bench(path, "--dry-run", "--json").json
    assert plan["images"].keys() == {"clean", "test", "ops_s0"}
    assert bench(path, "--dry-run", "-q").out.split() == [
        f"{p}_{f}_small_s0" for p in ("clean", "ops") for f in ("nt", "st")
    ]
    assert started(stand_in) == [] and {p.name for p in tmp_path.iterdir()} == {
        "grid.toml", "notes", "stand-in",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--jobs", 0), 2, "jobs is 0"),
        (("--devices", ","), 2, "devices is an empty list"),
        (("--time-limit", -1), 2, "time-limit is -1"),
        (("--only", "x*"), 2, "no run is called 'x*'"),
        (("--only", "clean*", "--only", "x*"), 2, "no run is called 'x*'"),
        (("-o", "notes"), 1, "found a file, expected a folder"),
    ],
)
def test_bad_options(bench, tmp_path, stand_in, args, code, message):
    found = bench(toml(tmp_path), *args)
    assert found.code == code and message in found.err and found.err.count("\n") == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('[[frame]]\nname = "x"\nframe = "nt"\ngamma = 1', "option gamma does not belong"),
        (
            '[[frame]]\nname = "x"\nframe = "st"\ngamma = "a"',
            "--gamma: found 'a', expected",
        ),
        ('[[frame]]\nname = "x"\nframe = "st"\ncheck-every = 0', "--check-every is '0'"),
        ('[[frame]]\nname = "x"\nframe = "st"\ngama = 1', "did you mean 'gamma'?"),
        (
            '[[poison]]\nname = "x"\nmethod = "sp"\nepsilon = 9',
            "found '9', expected a",
        ),
        ('[[poison]]\nname = "x"\nmethod = "em"\nscope = "clas"', "did you mean 'class'?"),
        ('[[poison]]\nname = "x"\nmethod = "em"\nprecision = "fp17"', "unknown precision 'fp17'"),
        ('[[frame]]\nname = "x"\nframe = "nt"\nprecision = "fp17"', "unknown precision 'fp17'"),
        ('[[frame]]\nname = "x"\nframe = "nt"\nstep = "fast"', "unknown step 'fast'"),
        ('[[frame]]\nname = "x"\nframe = "nt"\nbatch-size = 0', "batch-size is 0"),
        ('[[frame]]\nname = "x"\nframe = "nt"\nstd = "0,1,1"', "std above 0"),
        ('[[poison]]\nname = "cleann"', "did you mean 'clean'?"),
    ],
)
def test_options_are_checked_before_anything_is_run(bench, tmp_path, stand_in, table, message):
    path = toml(tmp_path)
    path.write_text(path.read_text() + table + "\n")
    found = bench(path, "-o", "out")
    assert found.code == 2 and message in found.err and found.err.count("\n") == 1
    assert found.err.startswith(f"error: {path}: ") and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"digits"', '"digitss"', "digitss: no such folder, file or known data set; did you mean"),
        ('"digits"', '"a"', "a: no such folder, file or known data set; expected a folder"),
        ('"clean"', '"x"\nfile = "x.safetensors"', "x.safetensors: no such folder, file"),
    ],
)
def test_images_that_are_not_there(bench, tmp_path, stand_in, before, after, message):
    path = toml(tmp_path)
    path.write_text(path.read_text().replace(before, after))
    for args in ((), ("--dry-run",)):
        found = bench(path, "-o", "out", *args)
        assert (found.code, found.err.count("\n")) == (1, 1) and message in found.err
    assert not (tmp_path / "out").exists()


def test_a_poison_file_of_another_kind(bench, tmp_path, stand_in, made):
    path = toml(tmp_path)
    path.write_text(f'{path.read_text()}[[poison]]\nname = "f"\nfile = "{made}/nt.safetensors"\n')
    found = bench(path, "-o", "out", "--dry-run")
    assert found.code == 1 and "found a checkpoint file, expected a dataset file" in found.err


def test_a_source_is_not_missed_where_its_images_are_made(bench, tmp_path, stand_in, photos):
    path, copy = toml(tmp_path, frames=("nt",)), tmp_path / "copy"
    copy.symlink_to(photos)
    path.write_text(path.read_text().replace('"digits"', '"copy"'))
    bench(path, "-o", "out", "--only", "clean*")
    copy.unlink()
    assert bench(path, "-o", "out", "--json").json["done"] == 2


# Locks


def test_a_folder_is_held_once(tmp_path):
    folder = tmp_path / "deep" / "a"
    with locks.held(folder):
        with pytest.raises(ArtifactError, match=f"process {os.getpid()} on "), locks.held(folder):
            pass
        assert not free(folder)
    assert list(folder.iterdir()) == [] and free(folder)


def test_a_folder_may_be_named_twice(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with locks.held(tmp_path, tmp_path / "link") as files:
        assert len(files) == 1


def test_a_lock_ends_with_its_processes(tmp_path):
    """A file that a dead process left is no lock; one that its task still holds is."""
    (tmp_path / locks.NAME).write_text("process 1 on elsewhere\n")  # left by one that was killed
    with locks.held(tmp_path) as files:
        task = subprocess.Popen(["sleep", f"{LIMIT}"], pass_fds=files)
        lock = (tmp_path / locks.NAME).rename(tmp_path / "kept")  # as when the bench is killed
    lock.rename(tmp_path / locks.NAME)
    try:
        assert not free(tmp_path)
    finally:
        task.kill()
        task.wait()
    assert free(tmp_path)


def test_no_lock_where_none_can_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot be locked"), locks.held(tmp_path / "file"):
        pass


# For real

REAL = """
models = ["small"]
poisons = ["ops"]
[data]
source = "digits"
limit = 40
[train]
batch-size = 8
[[frame]]
name = "long"
frame = "nt"
epochs = 12
[[frame]]
name = "st"
epochs = 1
check-every = 2
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    """A folder with the results of real tasks; the first training was stopped and gone on with."""
    root = tmp_path_factory.mktemp("real")
    grid, out = root / "grid.toml", root / "out"
    grid.write_text(REAL)
    words = [sys.executable, "-m", "stkit", "bench", str(grid), "-o", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    one = [*words, "--jobs", "1"]
    first = subprocess.Popen(one, stderr=subprocess.PIPE, text=True, env=environment)

    def trains() -> bool:
        assert first.poll() is None
        return any("epoch 1/12" in log.read_text() for log in out.glob("work/logs/ops_long*"))

    try:
        until(trains)
    finally:
        first.terminate()
        said = first.communicate(timeout=LIMIT)[1]
    assert first.returncode == 143 and "0 of 2 runs are done" in said
    assert len(list((out / "work").glob("ops_long*.part"))) == 1
    done = subprocess.run(
        [*words, "-q", "--jobs", "2"], capture_output=True, text=True, timeout=LIMIT,
        env=environment | {"OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{out}\n", "")
    return root


def test_real_runs(real):
    out = real / "out"
    assert names(out) == {"ops_long_small_s0", "ops_st_small_s0", "ops_s0"}
    gone_on = files.read(out / "ops_long_small_s0.json")
    assert gone_on["attempts"] == 2 and len(gone_on["history"]) == 12
    assert "resuming at step" in next((out / "work/logs").glob("ops_long*.log")).read_text()
    staged = files.read(out / "ops_st_small_s0.json")
    assert staged["recipe"]["phases"][0]["staged"]["check_every"] == 2
    assert staged["recipe"]["threads"] == gone_on["recipe"]["threads"] == 1
    assert staged["stages"] and staged["acm"] > 0 and staged["images_per_second"] > 0
    assert "lr_scales" not in str(staged["history"]) and staged["device"].startswith("cpu")
    poison = files.read(out / "ops_s0.json")
    assert staged["inputs"][0]["digest"] == poison["digest"] and poison["l0_max"] == 1


def test_real_runs_in_a_report(real, cli):
    rows = cli("report", real / "out", "--json").json
    assert [(row["data"], row["frame"], row["epochs"]) for row in rows] == [
        ("ops", "long", 12), ("ops", "st", 1),
    ]  # fmt: skip
    page = real / "report.html"
    assert cli("report", real / "out", "--format", "html", "-o", page).code == 0
    assert page.read_text().count("data:image/png;base64,") == 3
