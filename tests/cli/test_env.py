"""`stkit env`: what is told of a machine, and `--check`'s lines, JSON and exit codes."""

import json

import pytest
import torch
from gpus import pretend

from stkit import checkup
from stkit.checkup import Finding, machine

OK = Finding("nt, replayed", "ok", "loss 1.0e-07, expected at most 1e-02", 1e-7, 1e-2)
WRONG = Finding("at, replayed", "wrong", "images 0.4, expected at most 1e-01", 0.4, 0.1)
SKIPPED = Finding("two ranks", "skipped", "1 GPU is there")


@pytest.fixture
def checks(monkeypatch):
    """`checks(*findings)`: what a check comes to; the runtimes it was asked for are noted."""
    asked = []

    def arm(*findings: Finding) -> list:
        monkeypatch.setattr(checkup, "checkup", lambda runtime: asked.append(runtime) or findings)
        return asked

    return arm


def test_a_line_each(cli, checks):
    asked = checks(OK, SKIPPED)
    found = cli("env", "--check", "--device", "cpu")
    assert found.code == 0 and not found.err
    assert found.out.splitlines()[-2:] == [
        "ok      nt, replayed: loss 1.0e-07, expected at most 1e-02",
        "skipped two ranks: 1 GPU is there",
    ]
    assert found.out.startswith("stkit ") and asked[0].device.type == "cpu"
    assert asked[0].precision == "fp32"


def test_what_is_wrong_is_an_error(cli, checks):
    checks(OK, WRONG, SKIPPED)
    found = cli("env", "--check", "--device", "cpu")
    assert found.code == 1 and "wrong   at, replayed: images 0.4" in found.out
    assert found.err.startswith("error: 1 of 3 checks are wrong, the first is 'at, replayed', ")
    found = cli("env", "--check", "--device", "cpu", "--json")
    assert found.code == 1 and found.out.count("\n") == 1
    told = json.loads(found.out)
    assert not told["ok"] and [each["status"] for each in told["checks"]] == [
        "ok", "wrong", "skipped"
    ]  # fmt: skip
    assert told["checks"][1] == WRONG.to_json() and told["torch"] and "gpus" in told


def test_json_of_a_sound_machine(cli, checks):
    checks(OK)
    told = cli("env", "--check", "--device", "cpu", "--json").json
    assert told["ok"] and told["checks"] == [OK.to_json()]


def test_a_device_is_for_the_check(cli):
    found = cli("env", "--device", "cpu")
    assert found.code == 2 and "device is cpu, which is for the check; pass --check" in found.err


def test_under_torchrun_it_is_refused(cli, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    found = cli("env", "--check", "--device", "cpu")
    assert found.code == 2 and "leave torchrun out" in found.err


def test_what_is_told_of_gpus(cli, monkeypatch):
    class Properties:
        name, major, minor, total_memory = "X100", 9, 0, 80 << 30

    pretend(monkeypatch, 2, free=79 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    told = cli("env", "--json").json
    assert told["gpus"][1] == {
        "name": "X100", "capability": "9.0", "memory": 80 << 30, "free": 79 << 30, "bf16": True
    }  # fmt: skip
    assert told["no_gpu"] is None and told["cuda"] == "13.0"
    shown = cli("env").out
    assert "gpu 1         X100, compute capability 9.0, 80.0 GiB (79.0 free), native bf16" in shown

    def taken(device):
        raise RuntimeError("CUDA error: out of memory\nmore")

    monkeypatch.setattr(torch.cuda, "mem_get_info", taken)
    assert "80.0 GiB (CUDA error: out of memory), native" in cli("env").out
    assert machine.facts()["gpus"][0]["trouble"] == "CUDA error: out of memory"


def test_why_there_is_no_gpu(cli, monkeypatch):
    pretend(monkeypatch, 0)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "gpus          none: torch " in cli("env").out
    assert cli("env", "--json").json["gpus"] == []
