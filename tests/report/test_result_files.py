"""What is kept in results/: every file is read, and docs/results.md shows it as it is."""

import runpy
from pathlib import Path

import pytest
from made_up import cell

from stkit.core.errors import ArtifactError
from stkit.report import files, gather

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
APART = ("archive", "benchmarks", "grids")
"""Folders of no results: what is too old to be read, speeds, and what is to be run."""


def kept() -> list[Path]:
    """The folders with results, and results/ itself where files lie beside them."""
    folders = {path.parent for path in RESULTS.rglob("*.json")}
    return sorted(f for f in folders if not {*f.relative_to(RESULTS).parts} & {*APART})


@pytest.mark.parametrize("folder", kept(), ids=lambda folder: folder.name)
def test_every_result_file_is_read(folder: Path) -> None:
    in_all = gather.gather([folder])
    assert (in_all.skipped, in_all.passed) == ({}, 0)
    alone = gather.gather(sorted(folder.glob("*.json")))
    assert alone.skipped == {} and len(alone.rows) == len(list(folder.glob("*.json")))


def test_results_are_there() -> None:
    assert {"calibration-small", "confirm-small"} <= {folder.name for folder in kept()}
    for name in ("archive", "benchmarks"):
        assert (RESULTS / name / "README.md").exists()


def test_the_document_is_not_stale() -> None:
    """`make results` writes it anew."""
    made = runpy.run_path(str(ROOT / "docs" / "make_results.py"))["text"]()
    assert (ROOT / "docs" / "results.md").read_text() == made


def test_what_a_ladder_decided_outlives_the_checkpoint(tmp_path: Path) -> None:
    pilot = {
        "rung": "plain", "holdout_accuracy": 0.9, "purified_accuracy": {"jpeg-10": 0.2},
        "retained_share": 0.22, "least_share": 0.6, "passed": False,
    }  # fmt: skip
    chosen = {"rung": "gray", "pilots": [pilot], "switches": []}
    made = cell(0.5, frame="auto", chosen=chosen)
    files.write(tmp_path / "r.json", made)
    assert files.read(tmp_path / "r.json")["chosen"] == chosen
    files.write(tmp_path / "r.json", {**made, "chosen": {**chosen, "rung": 3}})
    with pytest.raises(ArtifactError, match="chosen"):
        files.read(tmp_path / "r.json")
