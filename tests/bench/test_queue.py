"""Queues: grids in the order of what they are worth, one folder each; noise that comes home.

A shell script stands in the place of `python -m stkit`, which copies finished files; noise is made
by the command itself, with a net and a set that are small.
"""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from stkit.bench import estimate, grid, locks, noise, progress
from stkit.bench.run import Host
from stkit.bench.tables import Instead
from stkit.bench.tasks import NOISE, Task, tasks_of
from stkit.cli import grids
from stkit.core import artifact, header
from stkit.core.errors import RecipeError
from stkit.report import files

ROOT = Path(__file__).parents[2]
STAND_IN = """#!/bin/sh
# Notes the task, then copies a file that is finished; class-wise noise as the command keeps it.
for word; do [ "$before" = -o ] && out=$word; before=$word; done
echo "$*" >>"$NOTES"
case $out in *broken*) echo "error: it broke" >&2; exit 1 ;; esac
case $1 in data) from=clean ;; poison) from=ops ;; train) from=nt ;; esac
cp "$MADE/$from.safetensors" "$out"
"""
GRID = """
models = ["small"]
seeds = [0, 1]
poisons = ["clean", "sp"]
frames = ["nt", "st"]
[data]
source = "{source}"
[train]
epochs = {epochs}
"""


def write(folder: Path, name: str, *, epochs: int = 1, source: str = "digits", more: str = ""):
    """A grid's file."""
    path = folder / f"{name}.toml"
    path.write_text(GRID.format(source=source, epochs=epochs) + more)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `q.toml`, a queue of two grids that differ in their epochs."""
    write(tmp_path, "a")
    write(tmp_path, "b", epochs=2)
    (tmp_path / "q.toml").write_text(
        '[[grid]]\nfile = "a.toml"\nonly = ["*_st_*_s0", "sp_*_s0"]\n'
        '[[grid]]\nfile = "b.toml"\nonly = ["clean_nt_*"]\n[[grid]]\nfile = "a.toml"\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bench(cli, folder: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Run `stkit bench` with the stand-in, which notes its tasks in `notes`."""
    script = folder / "stand-in"
    script.write_text(STAND_IN)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("NOTES", str(folder / "notes"))
    monkeypatch.setenv("MADE", str(made))
    return lambda *args: cli("bench", *args, obj=Host((str(script),)))


def made_in_order(folder: Path) -> list[str]:
    """The names of the tasks that were started, without the digests."""
    lines = (folder / "notes").read_text().splitlines()
    return [Path(line.split(" -o ")[1].split()[0]).name.rpartition("-")[0] for line in lines]


ORDER = [
    "a/clean_st_small_s0", "a/sp_st_small_s0", "a/sp_nt_small_s0", "b/clean_nt_small_s0",
    "b/clean_nt_small_s1", "a/clean_nt_small_s0", "a/clean_nt_small_s1", "a/clean_st_small_s1",
    "a/sp_nt_small_s1", "a/sp_st_small_s1",
]  # fmt: skip


def test_a_queue_is_its_grids_runs_in_order_each_once(folder: Path, cli) -> None:
    assert cli("bench", "q.toml", "--dry-run", "-q").out.split() == ORDER
    plan = cli("bench", "q.toml", "-o", "out", "--dry-run", "--json").json
    assert [cell["cell"] for cell in plan["cells"]] == ORDER and not (folder / "out").exists()
    assert all(cell["seconds"] > 0 and cell["state"] == "to do" for cell in plan["cells"])
    assert sorted(plan["images"]) == ["a/clean", "a/sp_s0", "a/test"]  # once for both grids
    shown = cli("bench", "q.toml", "--dry-run").out
    assert [line.split()[0] for line in shown.splitlines() if "small_s" in line] == ORDER


def test_a_queue_is_run_in_order_each_grid_into_its_folder(bench, folder: Path, cli) -> None:
    sums = bench("q.toml", "-o", "out", "--jobs", 1, "--json").json
    assert sums == {"output": "out", "cells": 10, "done": 10, "left": [], "failed": {}}
    names = [name.partition("/")[2] for name in ORDER]
    assert [name for name in made_in_order(folder) if "small" in name] == names
    assert sum("small" not in name for name in made_in_order(folder)) == 3
    both = {path.stem for path in (folder / "out/b").glob("*")}
    assert both == {"clean_nt_small_s0", "clean_nt_small_s1"}
    assert len(list((folder / "out/a").glob("*_small_*.json"))) == 8
    assert (folder / "out/a/sp_s0.json").exists() and not list((folder / "out").glob("*.json"))
    assert {path.name for path in (folder / "out").iterdir()} == {"a", "b", "work"}
    assert len(cli("report", "out/b", "--json").json) == 2
    of_b = files.read(folder / "out/b/clean_nt_small_s0.json")
    assert of_b["settings"]["train"] == {"epochs": 2}


def test_it_goes_on_from_results_whose_work_is_gone(bench, folder: Path) -> None:
    """A grid of its own, in the folder that the queue gives it, is the same."""
    bench("a.toml", "-o", "out/a", "--only", "*_s0", "--work", "elsewhere")
    (folder / "notes").unlink()
    bench("q.toml", "-o", "out", "--jobs", 1, "--only", "a/*", "--json")
    done = [name for name in made_in_order(folder) if "small" in name]
    assert done == [name[2:] for name in ORDER if name.startswith("a/") and name.endswith("s1")]
    plan = bench("q.toml", "-o", "out", "--dry-run", "--json").json
    left = [cell["cell"] for cell in plan["cells"] if cell["state"] != "done"]
    assert left == ["b/clean_nt_small_s0", "b/clean_nt_small_s1"]
    assert bench("q.toml", "-o", "out", "--only", "clean_nt_*_s0", "--json").json["cells"] == 2


def test_what_fails_and_what_is_left_bear_their_folders(bench, folder: Path) -> None:
    """Two grids may have a run of one name; the poison is one for both."""
    broken = '[[poison]]\nname = "broken"\nmethod = "sp"\n'
    write(folder, "a", more=broken)
    write(folder, "b", epochs=2, more=broken)
    text = "".join(f'[[grid]]\nfile = "{n}.toml"\nonly = ["broken_nt_*_s0"]\n' for n in "ab")
    (folder / "q.toml").write_text(text)
    result = bench("q.toml", "-o", "out", "--json")
    assert result.code == 1
    failed = json.loads(result.out)["failed"]
    assert set(failed) == {"a/broken_s0", "a/broken_nt_small_s0", "b/broken_nt_small_s0"}
    sums = bench("q.toml", "-o", "out", "--json", "--time-limit", 0)
    assert json.loads(sums.out)["left"] == ["a/broken_nt_small_s0", "b/broken_nt_small_s0"]


def test_every_folder_is_held(bench, folder: Path) -> None:
    for name in ("out/a", "out/b", "out/work"):
        with locks.held(folder / name):
            result = bench("q.toml", "-o", "out")
            assert result.code == 1 and result.err.startswith("error: ") and name in result.err
    assert not (folder / "notes").exists()


def test_one_training_that_two_grids_ask_for_is_run_once(bench, folder: Path) -> None:
    write(folder, "b")
    (folder / "q.toml").write_text(
        "".join(f'[[grid]]\nfile = "{n}.toml"\nonly = ["clean_nt_*_s0"]\n' for n in "ab")
    )
    assert bench("q.toml", "-o", "out", "--json").json["done"] == 2
    assert made_in_order(folder).count("clean_nt_small_s0") == 1
    for name in "ab":
        assert files.read(folder / f"out/{name}/clean_nt_small_s0.json")["name"]


def test_images_of_another_version_are_named_with_what_to_do(bench, folder: Path) -> None:
    """One line, and no training is made of them."""
    bench("q.toml", "-o", "out", "--only", "a/sp_nt_small_s0", "-q")
    (folder / "out/a/sp_nt_small_s0.json").unlink()
    next((folder / "out/work").glob("sp_nt*")).unlink()
    (file,) = (folder / "out/work").glob("sp_s0-*.safetensors")
    head, tensors = artifact.read(file)
    artifact.write(file, tensors, {**head, "format": 2, "seal": ""})
    result = bench("q.toml", "-o", "out", "--only", "a/sp_nt_small_s0", "-q")
    why = f"{file.name}: found file format 2, expected 1; use the stkit that wrote it; remove it"
    assert result.code == 1 and why in result.err and not list(folder.glob("out/a/*_nt_*"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[grid]]\nfile = "a.toml"\nonly = ["clean_*", "zz*"]',
         "[[grid]] 'a.toml': no run is called 'zz*', of 8; one is 'clean_nt_small_s0'"),
        ('[[grid]]\nfile = "a.toml"\nony = ["clean_*"]', "unknown key 'ony'; did you mean 'only'?"),
        ('seeds = [0]\n[[grid]]\nfile = "a.toml"', "unknown key 'seeds'"),
        ('[[grid]]\nonly = ["x"]', 'a [[grid]] has no file; write file = "GRID.toml"'),
        ('[[grid]]\nfile = 3', "a [[grid]] file is 3, expected text"),
        ('[[grid]]\nfile = "a.toml"\nonly = "x"', "only is 'x', expected a list of texts"),
        ('[[grid]]\nfile = "a.toml"\nonly = []', "only is an empty list"),
        ('[[grid]]\nfile = "c.toml"', "c.toml: no such file"),
        ('grid = []', "grid is an empty list"),
        ('[grid]\nfile = "a.toml"', "grid is {'file': 'a.toml'}, expected a list of tables"),
        ('[[grid]]\nfile = "a.toml"\n[[grid]]\nfile = "deep/a.toml"',
         "would have one folder for results, 'a'; give one of them another name"),
        ('[[grid]]\nfile = "work.toml"', "would have the folder of tasks"),
        ('[[grid]]\nfile = "q.toml"', "[[grid]] 'q.toml' is a queue, expected a grid"),
        ('[[grid]]\nfile = "bad.toml"', "bad.toml: unknown key 'x'"),
    ],
)  # fmt: skip
def test_bad_queues(folder: Path, cli, text: str, message: str) -> None:
    (folder / "deep").mkdir()
    write(folder / "deep", "a")
    write(folder, "work")
    (folder / "bad.toml").write_text("x = 1")
    (folder / "q.toml").write_text(text)
    result = cli("bench", "q.toml", "-o", "out", "--dry-run")
    assert message in result.err and result.err.count("\n") == 1, result.err
    assert result.err.startswith("error: q.toml: ") and result.code in (1, 2) and not result.out


# Sources


def sources(folder: Path, *given: str, tests: tuple[str, ...] = ()) -> dict[str, set]:
    """What the tasks of each grid's runs read."""
    read: dict[str, set] = {"a": set(), "b": set()}
    for run in grids.asked(folder / "q.toml", given, tests).runs:
        read[run.folder] |= {task.source for task in tasks_of([run]) if task.verb == ("data",)}
    return read


def test_a_source_stands_for_one_that_grids_name(folder: Path) -> None:
    write(folder, "b", source="cifar100")
    assert sources(folder) == {"a": {"digits"}, "b": {"cifar100"}}
    assert sources(folder, "copy") == {"a": {"copy"}, "b": {"cifar100"}}  # for the first one's
    assert sources(folder, "cifar100=c", "d") == {"a": {"d"}, "b": {"c"}}
    assert sources(folder, "x=c") == {"a": {"x=c"}, "b": {"cifar100"}}  # a folder may have a sign
    assert sources(folder, "d", tests=("t", "cifar100=u")) == {
        "a": {"d", "t"}, "b": {"cifar100", "u"},
    }  # fmt: skip
    with pytest.raises(RecipeError, match="source is c and d for digits, expected one"):
        sources(folder, "c", "digits=d")


def test_a_file_takes_the_place_of_a_source_with_the_test_images(made: Path) -> None:
    """What the results are recognised by is what the grid names; a holdout is no test's place."""
    file = str(made / "clean.safetensors")
    table = {"poisons": ["clean"], "frames": ["nt"], "data": {"source": "digits"}}
    with pytest.raises(RecipeError, match=r"holds one split; write test = .* or pass --test"):
        grid.parse(table, instead=Instead(file))
    (run,) = grid.parse(table, instead=Instead(file, file)).runs
    assert run.task.test and run.task.test.source == file and run.task.test.options == ()
    assert run.settings == grid.parse(table).runs[0].settings
    held = {**table, "data": {"source": "digits", "holdout": 3}}
    (run,) = grid.parse(held, instead=Instead("copy", "tests")).runs
    assert run.task.test and run.task.test.source == "copy"


# Estimates


def test_each_grid_is_estimated_by_its_own_images(folder: Path) -> None:
    write(folder, "a", source="cifar10")
    write(folder, "b", source="cifar100", more='[[frame]]\nname = "long"\nframe = "nt"\n')
    for name in "ab":
        path = folder / f"{name}.toml"
        path.write_text(path.read_text().replace("[train]\nepochs = 1\n", ""))
    text = '[[grid]]\nfile = "{}.toml"\nonly = ["clean_nt_*_s0"]\n'
    (folder / "q.toml").write_text(text.format("a") + text.format("b"))
    write(folder, "b", epochs=100, source="cifar100")
    asked = grids.asked(folder / "q.toml")
    plan = estimate.plan(asked.tasks(), asked.runs, (), folder, device="cpu", jobs=1)
    each, rate = estimate.EACH["cpu"], estimate.RATES["cpu"]["small"]
    assert plan.runs == {
        "a/clean_nt_small_s0": each + 60 * 50_000 / rate,
        "b/clean_nt_small_s0": each + 100 * 50_000 / rate,
    }
    assert list(plan.images) == ["a/clean", "a/test", "b/clean", "b/test"]


def test_what_a_gpu_took_says_nothing_of_a_cpu() -> None:
    run = grid.read(ROOT / "results/grids/cifar10-30.toml").runs[0]
    statuses = [
        progress.Status(run, progress.State.DONE, seconds, device)
        for seconds, device in ((3.0, "NVIDIA H200"), (90.0, "cpu, 1 threads"))
    ]
    there = progress.Progress(tuple(statuses))
    assert there.timed(gpu=True) == [(run, 3.0)] and there.timed(gpu=False) == [(run, 90.0)]


# The queues of this project


def test_what_was_measured_is_done_in_the_project_s_queue(cli, tmp_path: Path) -> None:
    plan = cli("bench", ROOT / "results/grids/queue.toml", "-o", ROOT / "results", "--dry-run",
               "--json", "--work", tmp_path).json  # fmt: skip
    states = {cell["cell"]: cell["state"] for cell in plan["cells"]}
    folders = {name.partition("/")[0] for name in states}
    kept = {
        f"{name}/{path.stem}"
        for name in folders
        for path in (ROOT / "results" / name).glob("*.json")
        if files.read(path)["kind"] == files.RUN
    }
    assert kept & states.keys() == {name for name, state in states.items() if state == "done"}
    assert {"cifar10/clean_nt_resnet18_s0", "cifar10-30/sp_st_resnet18_s0"} <= kept & states.keys()
    assert set(states.values()) <= {"done", "to do"}
    assert states.keys() == whole(folders), "the queue ends with whatever is left of its grids"


def whole(names: set[str]) -> set[str]:
    """Every run of these grids, behind its folder."""
    return {
        f"{name}/{run.name}"
        for name in names
        for run in grid.read(ROOT / f"results/grids/{name}.toml").runs
    }


@pytest.mark.parametrize("name", ["full-small-queue", "signal-small-queue"])
def test_a_queue_for_two_cores_ends_with_whatever_is_left_of_its_grids(name: str) -> None:
    runs = grids.asked(ROOT / f"results/grids/{name}.toml").runs
    assert {run.called for run in runs} == whole({run.folder for run in runs})


# Noise


EM = ("--scope", "class", "--model", "small", "--batch-size", 10, "--max-rounds", 1,
      "--model-steps", 2, "--threads", 1)  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clean images, `em.safetensors` made of them, and its noise."""
    from stkit.cli import main

    root = tmp_path_factory.mktemp("kept")
    words = ["data", "digits", "--limit", "40", "-o", f"{root}/clean.safetensors", "-q"]
    assert main(words) == 0
    made = ["poison", "em", f"{root}/clean.safetensors", *map(str, EM), "-q"]
    out = ["-o", f"{root}/em.safetensors", "--class-noise", f"{root}/em{NOISE}"]
    assert main(made + out) == 0
    return root


def again(cli, root: Path, out: Path, file: Path, *args, method: str = "em"):
    """`stkit poison` with a file of noise."""
    words = ("poison", method, root / "clean.safetensors", *EM, "-o", out, "--class-noise", file)
    return cli(*words, "--json", *args)


def test_a_poison_is_put_together_from_its_noise(cli, kept: Path, tmp_path: Path) -> None:
    """The same bytes, without a step of the surrogate; small, and of whole grey levels."""
    file, out = kept / f"em{NOISE}", tmp_path / "again.safetensors"
    said = again(cli, kept, out, file)
    assert said.json["rounds"] == 1 and "round 1" not in said.err
    assert out.read_bytes() == (kept / "em.safetensors").read_bytes()
    _, tensors = artifact.read(file, "class-noise")
    assert tensors["levels"].shape == (10, 3, 32, 32) and tensors["levels"].element_size() == 1
    assert file.stat().st_size < 40_000


def test_how_noise_was_computed_is_its_maker_s(cli, kept: Path, tmp_path: Path) -> None:
    """Made with two threads, put together with one; but a precision that is asked for counts."""
    file = tmp_path / f"x{NOISE}"
    head, tensors = artifact.read(kept / f"em{NOISE}")
    head["recipe"] |= {"threads": 2, "precision": "bf16"}
    artifact.write(file, tensors, {k: v for k, v in head.items() if k != "seal"})
    assert "round 1" not in again(cli, kept, tmp_path / "a.safetensors", file).err
    assert header.read(tmp_path / "a.safetensors")["recipe"]["threads"] == 2
    said = again(cli, kept, tmp_path / "b.safetensors", file, "--precision", "fp32")
    assert "noise of other settings: recipe.precision was bf16, now fp32" in said.err


def test_noise_that_does_not_fit_is_not_used(cli, kept: Path, tmp_path: Path) -> None:
    """Of another recipe, seed or version, damaged, or of other images: one line, and made anew."""
    file, original = tmp_path / f"x{NOISE}", (kept / f"em{NOISE}").read_bytes()
    head, tensors = artifact.read(kept / f"em{NOISE}")
    other = {name: 0 * tensor for name, tensor in tensors.items()}
    half = {name: tensor.bfloat16() for name, tensor in tensors.items()}

    def written(changed: dict, levels: dict) -> bytes:
        artifact.write(file, levels, {**head, **changed, "seal": ""})
        return file.read_bytes()

    cases = {
        "noise of other settings: seed was 3, now 0": written({"seed": 3}, tensors),
        "gives other images than it was kept for": written({}, other),
        "damaged, its levels are torch.bfloat16": written({}, half),
        "found file format 2, expected 1": written({"format": 2}, tensors),
        "it is truncated": original[:-7],
    }
    for number, (message, content) in enumerate(cases.items()):
        file.write_bytes(content)
        said = again(cli, kept, tmp_path / f"{number}.safetensors", file)
        assert said.code == 0 and message in said.err, said.err
        assert said.err.count("made anew") == 1 and "round 1" in said.err
        assert file.read_bytes() == content
        made = (tmp_path / f"{number}.safetensors").read_bytes()
        assert made == (kept / "em.safetensors").read_bytes()


def test_noise_is_kept_where_it_is_one_a_class(cli, kept: Path, tmp_path: Path) -> None:
    said = again(cli, kept, tmp_path / "a.safetensors", tmp_path / "n", "--scope", "sample")
    assert said.code == 2 and "pass --scope class" in said.err and said.err.count("\n") == 1
    said = again(cli, kept, tmp_path / "a.safetensors", tmp_path / "." / "a.safetensors")
    assert said.code == 2 and "are both" in said.err and not (tmp_path / "a.safetensors").exists()


def test_a_poison_is_not_lost_where_its_noise_cannot_be_kept(
    cli, kept: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    said = again(cli, kept, tmp_path / "a.safetensors", tmp_path / "file/n.safetensors")
    assert said.json["rounds"] == 1 and "the noise is not kept" in said.err
    assert (tmp_path / "a.safetensors").exists()


def task(name: str = "em-class_s0", *, scope: str = "class") -> Task:
    return Task(name, ("poison", "em"), "clean", (f"--scope={scope}", "--seed=0"))


def test_noise_is_brought_and_taken_home(kept: Path, tmp_path: Path) -> None:
    out, work, em = tmp_path / "out", tmp_path / "work", task()
    assert task(scope="sample").noise is None and em.noise
    assert ["--class-noise", str(work / em.noise)] == em.command(work)[-6:-4]
    folders = {em.file: ["a", "b"]}
    home = out / "b" / f"em-class_s0{NOISE}"
    home.parent.mkdir(parents=True)
    work.mkdir()
    assert list(noise.bring([em], folders, out, work)) == [] and not list(work.iterdir())
    (work / em.file).write_bytes((kept / "em.safetensors").read_bytes())
    (work / em.noise).write_bytes((kept / f"em{NOISE}").read_bytes())
    assert noise.take_home(em, work, home.parent) == []
    assert home.read_bytes() == (kept / f"em{NOISE}").read_bytes()
    bare = tmp_path / "bare"
    assert list(noise.bring([em], folders, out, bare)) == []
    assert (bare / em.noise).read_bytes() == home.read_bytes()
    home.write_bytes(b"damaged")
    (line,) = noise.bring([em], folders, out, tmp_path / "other")
    assert line.startswith(f"note: {home}: ") and line.endswith("the noise is made anew")
    assert not (tmp_path / "other").exists()
    (word,) = noise.take_home(em, work, home.parent)
    assert str(home) in word and "remove it" in word and home.read_bytes() == b"damaged"


def test_noise_too_large_for_a_repository_stays(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    em = task()
    (tmp_path / em.file).write_bytes((kept / "em.safetensors").read_bytes())
    (tmp_path / str(em.noise)).write_bytes((kept / f"em{NOISE}").read_bytes())
    monkeypatch.setattr(noise, "LARGEST", 1000)
    assert noise.take_home(em, tmp_path, tmp_path / "out") == []
    assert not (tmp_path / "out").exists()
