"""The Snakemake workflow in examples/: its Python part means what `stkit bench` means.

Snakemake itself is no dependency; where it is installed, it also plans the workflow.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stkit.bench.tasks import Task
from stkit.core import header
from stkit.core.errors import RecipeError
from stkit.report import files

FOLDER = Path(__file__).parents[2] / "examples" / "snakemake"
TEXT = (FOLDER / "Snakefile").read_text()


@pytest.fixture
def names() -> dict:
    """What the Python part of the workflow defines, Snakemake's own names being stood in for."""
    found = {
        "config": {}, "workflow": SimpleNamespace(basedir=str(FOLDER)), "temp": lambda path: path,
    }  # fmt: skip
    exec(compile(TEXT.split("\nlocalrules:")[0], "Snakefile", "exec"), found)
    return found


def test_every_task_is_made_by_one_rule(names):
    rules = ["data", "quick_poison", "poison", "train"]
    for key, task in names["TASKS"].items():
        (rule,) = [rule for rule in rules if re.fullmatch(names["of"](rule), key)]
        assert rule == ("quick_poison" if task.verb[0] == "poison" else task.verb[0])
    for rule in rules:
        (block,) = re.findall(rf"rule {rule}:.*?\n\n\n", TEXT, re.S)
        assert f'task=of("{rule}")' in block
    assert re.fullmatch(names["of"]("poison"), "") is None  # this grid has none


def test_which_rule_makes_which_poison(names):
    """At a lower rate any is quick, being made of noise that is there."""
    rules = {
        verb: names["rule_of"](Task("x", verb, "c"))
        for verb in (("poison", "sp"), ("poison", "ops"), ("poison", "em"), ("rate",))
    }
    assert rules.pop(("poison", "em")) == "poison" and set(rules.values()) == {"quick_poison"}


def test_commands_and_inputs(names):
    (key, task) = list(names["TASKS"].items())[-1]
    wildcards = SimpleNamespace(task=key)
    work = Path("snakemake-out/work")
    words = names["command"](wildcards).split()
    assert words == ["python", "-m", "stkit", *task.command(work), "--json"]
    assert names["needs"](wildcards) == [str(work / other.file) for other in task.needs]
    for name in names["RUNS"]:
        assert names["stem"](SimpleNamespace(run=name)) in names["TASKS"]


def test_a_result_is_what_bench_would_write(names, made, tmp_path):
    (block,) = re.findall(r"    run:\n((?:        .*\n)+)", TEXT)
    printed, tries, path = (tmp_path / name for name in ("printed", "tries", "run.json"))
    printed.write_text('{"accuracy":0.5,"device":"X100","output":"x","seconds":2.0}')
    tries.write_text("\n\n")
    name = next(iter(names["RUNS"]))
    weights = str(made / "nt.safetensors")
    job = {
        "wildcards": SimpleNamespace(run=name), "output": [str(path)],
        "input": SimpleNamespace(weights=weights, printed=str(printed), tries=str(tries)),
    }  # fmt: skip
    exec(compile(re.sub(r"^ {8}", "", block, flags=re.M), "Snakefile", "exec"), names | job)
    found = files.read(path)
    assert (found["attempts"], found["device"], found["seconds"]) == (2, "X100", 2.0)
    assert found["name"] == name and found["digest"] == header.read(Path(weights))["digest"]


@pytest.mark.skipif(importlib.util.find_spec("snakemake") is None, reason="no snakemake here")
def test_snakemake_plans_it(tmp_path):
    found = subprocess.run(
        [sys.executable, "-m", "snakemake", "-s", str(FOLDER / "Snakefile"), "-n", "--cores", "1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert re.search(r"^train +4$", found.stdout, re.M)


def test_a_bad_option_of_the_grid_is_found_before_any_job(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text((FOLDER / "grid.toml").read_text().replace("batch-size = 8", "batch-size = 0"))
    found = {
        "config": {"grid": str(path)}, "temp": lambda path: path,
        "workflow": SimpleNamespace(basedir=str(FOLDER)),
    }  # fmt: skip
    with pytest.raises(RecipeError, match="batch-size is 0"):
        exec(compile(TEXT.split("\nlocalrules:")[0], "Snakefile", "exec"), found)
