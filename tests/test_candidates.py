"""benchmarks/candidates.py: its nets compute what the net does; no failure ends another case."""

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stkit import models

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    """Imports a benchmark's module by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def learned(net: torch.nn.Module) -> None:
    """Other weights, and other statistics in its norms."""
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    net.train()
    net(torch.rand(8, 3, 16, 16, dtype=torch.float64))


@pytest.mark.parametrize(
    "ways",
    [{"net": "shared"}, {"net": "fold"}, {"net": "fused"}, {"stem": 8}, {"nchw": True},
     {"net": "fused", "stem": 4}],
    ids=str,
)  # fmt: skip
def test_a_twin_answers_as_the_net_in_the_same_tensors(module, ways):
    """In float64, also after the net has learned: a recorded graph reads these addresses."""
    frozen = module("frozen")
    net = models.create("small", classes=10, size=16, mean=(0.5,) * 3).double()
    net = net.to(memory_format=torch.channels_last)
    twin = frozen.Frozen(net, frozen.Ways(**ways), torch.float64)
    places = [p.data_ptr() for p in twin.parameters()]
    learned(net)
    twin.refresh()
    assert [p.data_ptr() for p in twin.parameters()] == places
    assert not any(p.requires_grad for p in twin.parameters())
    x = torch.rand(4, 3, 16, 16, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    both = []
    for called in (net.eval(), twin):
        answers = called(x)
        (gradient,) = torch.autograd.grad(answers.square().sum(), x)
        both.append((answers, gradient))
    torch.testing.assert_close(*both, rtol=1e-10, atol=1e-12)


def test_what_is_kept_is_the_best_of_each_group(module):
    """That gains in every round, and moves no sign that matters; in REM no other batch."""
    candidates = module("candidates")

    def row(name: str, gain: float, least: float, weight: float = 0.001) -> dict:
        return {"candidate": name, "gain": gain, "gain_least": least, "weight": weight,
                "today_weight": 0.001}  # fmt: skip

    rows = [
        row("fold", 1.1, 1.05), row("cast", 1.02, 1.01), row("compile", 1.6, 1.4, weight=0.01),
        row("pad-4", 1.2, 0.9), row("pad-8", 1.005, 1.002), row("batch-2", 1.1, 1.05),
        {"candidate": "nchw", "error": "no"}, row("together", 2, 2),
    ]  # fmt: skip
    assert candidates.together(rows, "rem") == ["fold"]
    assert candidates.together(rows, "em") == ["fold", "batch-2"]
    assert candidates.ways(["fold", "batch-2"]) == {"net": "fold", "times": 2}


def test_a_failure_is_a_row_and_the_next_case_has_a_new_process(module, tmp_path, monkeypatch):
    candidates = module("candidates")
    born: list[list] = []

    class Child:
        def __init__(self, *_: object, **__: object) -> None:
            born.append([])

        def ask(self, case: dict) -> dict:
            born[-1].append(case["candidate"])
            if case["candidate"] == "fold":
                raise RuntimeError("a measurement ended early (exit 1)")
            return {"error": "no"} if case["candidate"] == "cast" else {"gain": 0.5}

        def close(self) -> None: ...

    monkeypatch.setattr(candidates.measuring, "Child", Child)
    options = argparse.Namespace(
        methods=["rem"], candidates=["freeze", "cast", "fold", "fused"], model="small",
        device="cuda", precision="bf16", batches={"rem": 8}, threads=1, minutes=1, patience=9,
        out=tmp_path / "rows.jsonl",
    )  # fmt: skip
    rows: list[dict] = []
    assert candidates.measured(options, rows)
    assert born == [["freeze", "cast"], ["fold"], ["fused"]]
    errors = [None, "no", "a measurement ended early (exit 1)", None]
    assert [row.get("error") for row in rows] == errors
    written = [json.loads(line) for line in options.out.read_text().splitlines()]
    assert written == rows
    assert candidates.measured(options, rows) and len(born) == 3  # nothing is measured again


def test_candidates_go_on_from_their_file(tmp_path):
    out = tmp_path / "rows.jsonl"
    out.write_text('{"method": "em", ')  # what an older one that was killed may have left
    command = [
        sys.executable, str(FOLDER / "candidates.py"), "--model", "small", "--quick", "--batch",
        "4", "--count", "2", "--warm", "1", "--seconds", "0", "--rounds", "1", "--methods",
        "em,eval", "--candidates", "fused,fp8,two-streams", "--out", str(out), "--json",
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(FOLDER.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    assert [json.loads(line) for line in out.read_text().splitlines()] == rows
    assert all({"command", "date"} <= row.keys() for row in rows)
    asked = ["fused", "fp8", "two-streams"]
    assert [row["candidate"] for row in rows] == asked * 2
    assert all(row["error"] == "for a GPU" for row in rows[2::3])
    for row in rows[::3]:
        assert row["rate"] > 0 and row["gain_least"] <= row["gain"] <= row["gain_most"]
    assert all(row["float32_signs"] <= 0.01 < row["signs"] for row in rows[1:2])
    assert all(0 <= row["noise"] <= 1 for row in rows[:1])
