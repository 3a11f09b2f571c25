"""Devices that are not there, or cannot be used: in one line the cause and the remedy."""

import re

import pytest
import torch
from gpus import pretend

from stkit.cli import output
from stkit.core.errors import DeviceError
from stkit.engine import devices
from stkit.engine.process import configure
from stkit.engine.runtime import pick


def refused(pattern: str, device: str = "cuda", precision: str = "auto") -> None:
    """It is not picked, and why; whatever torch warns of meanwhile would fail the test."""
    with pytest.raises(DeviceError, match=pattern) as failed:
        pick(device, precision)
    assert re.fullmatch(r"[^\n]*; [^\n]*pass [^\n]*", str(failed.value)), "one line with a remedy"


def test_a_gpu_that_can_be_used(monkeypatch):
    pretend(monkeypatch)
    assert (pick("cuda:1").how, pick("cuda:1").precision) == ("graph", "bf16")
    assert pick("auto").device == torch.device("cuda")


def test_fewer_gpus_than_asked_for(monkeypatch):
    pretend(monkeypatch)
    refused(r"cuda:3 is asked for, but 2 GPUs are there; pass --device cuda:0 to cuda:1", "cuda:3")
    pretend(monkeypatch, 1)
    refused(r"cuda:1 is asked for, but 1 GPU is there; pass --device cuda:0, or auto", "cuda:1")


@pytest.mark.parametrize(
    ("capability", "built", "fits"),
    [
        ((9, 0), ("sm_80", "sm_90a"), True), ((8, 9), ("sm_80", "sm_90"), True),
        ((12, 0), ("sm_90", "compute_90"), True), ((10, 3), ("sm_100f",), True),
        ((6, 1), ("sm_75", "sm_80"), False), ((12, 0), ("sm_80", "sm_90"), False),
        ((8, 0), ("sm_86",), False), ((7, 0), ("compute_75",), False), ((9, 0), (), True),
    ],
)  # fmt: skip
def test_a_gpu_this_torch_was_not_built_for(capability, built, fits, monkeypatch):
    pretend(monkeypatch, capability=capability, built=built)
    if fits:
        pick("cuda", "fp32")
        return
    which = ".".join(map(str, capability))
    refused(rf"X100, compute capability {which}\) cannot run .*{', '.join(built)}; .*--device cpu")
    refused(r"cannot run this torch", "auto")


def test_a_gpu_without_bf16(monkeypatch):
    pretend(monkeypatch, capability=(7, 5))
    assert pick("cuda").precision == "fp32"
    refused(r"7\.5\) has no bf16, which begins with 8\.0; pass --precision fp32", precision="bf16")
    assert pick("cpu", "bf16").precision == "bf16"


def test_a_gpu_that_is_full_or_taken(monkeypatch):
    pretend(monkeypatch, free=100 << 20)
    refused(r"X100.* has 100 of its 76293 MiB free, expected 512; .*nvidia-smi .*--device cpu")

    def taken(device):
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy\nCompile with")

    monkeypatch.setattr(torch.cuda, "mem_get_info", taken)
    refused(r"cannot be used \(CUDA error: all CUDA-capable devices are busy\); .*nvidia-smi")


OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU "
    "driver by downloading and installing a new version"
)
NONE = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"
UNKNOWN = "CUDA unknown error - this may be due to an incorrectly set up environment"
HIDDEN = "No CUDA GPUs are available"


@pytest.mark.parametrize(
    ("said", "driver", "visible", "pattern"),
    [
        (OLD, "535.104.05", None, r"driver 535\.104\.05 is too old for torch .* CUDA 13\.0; upd"),
        (NONE, None, None, r"no GPU is there: NVIDIA's driver is not installed; install it, or"),
        (NONE, "580.65", "0", r"driver 580\.65 is there, libcuda is not; give GPUs to the cont"),
        (HIDDEN, "580.65", "", r"with CUDA_VISIBLE_DEVICES='' CUDA sees none; unset it"),
        (HIDDEN, "580.65", None, r"CUDA does not start \(No CUDA GPUs are avail.*; .*nvidia-smi"),
        (UNKNOWN, "580.65", "0", r"CUDA does not start \(CUDA unknown error"),
    ],
)  # fmt: skip
def test_why_no_gpu_is_there(said, driver, visible, pattern, monkeypatch, tmp_path):
    def start() -> None:
        raise RuntimeError(said)

    pretend(monkeypatch, 0)
    monkeypatch.setattr(torch.cuda, "init", start)
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "version")
    if driver:
        text = f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Sat Aug 19\nGCC version:"
        (tmp_path / "version").write_text(text)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    refused(pattern)
    assert pick("auto").device.type in ("cpu", "mps")


def test_a_torch_for_cpus(monkeypatch):
    pretend(monkeypatch, 0)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    refused(r"torch .* was built for CPUs; install one that was built for CUDA, or pass")


def test_what_torch_warns_of_is_said_once(monkeypatch):
    """By the error alone."""
    import warnings

    def available() -> bool:
        warnings.warn(
            "CUDA initialization: The NVIDIA driver on your system is too old", stacklevel=2
        )
        return False

    monkeypatch.setattr(torch.cuda, "is_available", available)
    refused("no GPU is there")


@pytest.mark.parametrize(
    ("told", "pattern"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE is 'abc', expected a whole number"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK is '-1', expected a whole number"),
        ({"RANK": "5"}, "RANK is 5 and WORLD_SIZE 1, expected ranks from 0 on"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "RANK is 0 and WORLD_SIZE 0"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "LOCAL_RANK is None, expected a whole number"),
    ],
)
def test_ranks_that_torchrun_did_not_start(told, pattern, monkeypatch):
    pretend(monkeypatch, 2)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert output.rank() == 0
    with pytest.raises(DeviceError, match=f"{pattern}.*start the ranks with torchrun"):
        pick("cuda", "fp32")


def test_ranks_that_cannot_be_connected(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(DeviceError, match=r"MASTER_ADDR.*start the ranks with torchrun"):
        configure(pick("cpu", "fp32"))
