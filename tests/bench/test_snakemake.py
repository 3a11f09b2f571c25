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


def test_every_stage_is_made_by_one_rule(names):
    rules = [("data",), ("sp", "ops", "rate"), ("em", "rem"), ("train",)]
    for key, stage in names["STAGES"].items():
        (verbs,) = [verbs for verbs in rules if re.fullmatch(names["of"](*verbs), key)]
        assert stage.verb[-1] in verbs
    for verbs in rules:
        assert f"stage=of({', '.join(repr(v) for v in verbs)})".replace("'", '"') in TEXT
    assert re.fullmatch(names["of"]("em", "rem"), "") is None  # this grid has none


def test_commands_and_inputs(names):
    (key, stage) = list(names["STAGES"].items())[-1]
    wildcards = SimpleNamespace(stage=key)
    work = Path("snakemake-out/work")
    words = names["command"](wildcards).split()
    assert words == ["python", "-m", "stkit", *stage.command(work), "--json"]
    assert names["needs"](wildcards) == [str(work / other.file) for other in stage.needs]
    for name in names["CELLS"]:
        assert names["stem"](SimpleNamespace(cell=name)) in names["STAGES"]


def test_a_cell_is_what_bench_would_write(names, made, tmp_path):
    (block,) = re.findall(r"    run:\n((?:        .*\n)+)", TEXT)
    printed, tries, path = (tmp_path / name for name in ("printed", "tries", "cell.json"))
    printed.write_text('{"accuracy":0.5,"device":"X100","output":"x","seconds":2.0}')
    tries.write_text("\n\n")
    name = next(iter(names["CELLS"]))
    weights = str(made / "nt.safetensors")
    job = {
        "wildcards": SimpleNamespace(cell=name), "output": [str(path)],
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
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
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
