"""Tiny real files for the tests: a tree of images, data sets, and a trained checkpoint.

One thread, so that results do not depend on the machine and tests do not fight for its cores; for
the same reason no test sees a GPU but those marked `gpu`, which `pytest -m gpu` runs, and
test_gpu.py where one is there.
"""

import gc
import itertools
import json
import os
import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asleep  # noqa: F401 - before torch
import numpy as np
import offline
import pytest
import torch
import typer
from PIL import Image

from stkit import models
from stkit.cli import main
from stkit.engine.step import SGD
from stkit.models.resnet import BasicBlock, ResNet

offline.forbid()
torch.set_num_threads(1)
for name in ("STKIT_DATA", "COLUMNS", "NO_COLOR"):
    os.environ.pop(name, None)

VISIBLE = os.environ.get("CUDA_VISIBLE_DEVICES")
"""The GPUs of who runs the tests."""


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs from this process and its children; CUDA looks when it starts, which none has."""
    config.addinivalue_line("markers", "gpu: computes on a GPU")
    # of several processes that which starts the others runs no test, and leaves them what it has
    starts = config.getoption("numprocesses", None)
    if config.getoption("markexpr") != "gpu" and not starts:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_finish() -> None:
    """What is imported by now stays: to look for garbage in it takes a third of a second a time."""
    gc.collect()
    gc.freeze()


CLASSES = ("ant", "bee", "cow")
SIDE = 16


def picture(path: Path, seed: int = 0, *, size: tuple[int, int] = (SIDE, SIDE), **how) -> Path:
    """Write an image of random colours, (width, height) pixels; its suffix decides the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **how)
    return path


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every path under the folder with its bytes: equal when nothing was changed, made or lost."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


class Steep(torch.autograd.Function):
    """Its argument; the gradient times a number."""

    @staticmethod
    def forward(context, x: torch.Tensor, factor: float) -> torch.Tensor:
        context.factor = factor
        return x.clone()

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * context.factor, None


@dataclass(frozen=True)
class Result:
    """What a command line left behind: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one JSON value on stdout."""
        assert self.code == 0, self.err
        assert self.out.endswith("\n") and self.out.count("\n") == 1
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def no_network():
    """No test asks for another machine, but one that takes what it asked for."""
    yield
    assert offline.taken() == []


@pytest.fixture(scope="session", autouse=True)
def built_once():
    """The commands, which Typer would build anew for each command line."""
    module = sys.modules["stkit.cli.app"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "app", typer.main.get_command(module.app))
        yield


@pytest.fixture
def cli(capsys):
    """Run the command line in this process: `cli("data", "digits", "-o", path) -> Result`."""

    def run(*args, obj: object = None) -> Result:
        capsys.readouterr()
        code = main([str(arg) for arg in args], obj)
        return Result(code, *capsys.readouterr())

    numbers = (signal.SIGINT, signal.SIGTERM)
    before, hook = [signal.getsignal(number) for number in numbers], sys.unraisablehook
    yield run
    sys.unraisablehook = hook
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def signalled():
    """`with signalled(number, step):` this process gets a signal within its n-th step of SGD.

    Work goes on to the end of the step, and stops there.
    """

    @contextmanager
    def arm(number: int, step: int):
        count, descend = itertools.count(1), SGD.step

        def sgd_step(self, *args, **kwargs):
            if next(count) == step:
                os.kill(os.getpid(), number)
            return descend(self, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SGD, "step", sgd_step)
            yield

    return arm


@pytest.fixture
def thin(monkeypatch) -> None:
    """`small` has half of its channels, a quarter of the work: for what no net's width changes."""
    strides, blocks = (2, 2, 2, 2), (1, 1, 1, 1)
    widths = (8, 16, 32, 64)
    monkeypatch.setitem(
        models.BUILDERS, "small", lambda n, _: ResNet(BasicBlock, widths, blocks, strides, n)
    )


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder of three classes: train/ (8 images a class, PNG and JPEG) and test/ (4 a class)."""
    root = tmp_path_factory.mktemp("photos")
    for label, name in enumerate(CLASSES):
        for i in range(8):
            ending = "jpg" if i % 4 == 3 else "png"
            picture(root / "train" / name / f"{i}.{ending}", 100 * label + i)
        for i in range(4):
            picture(root / "test" / name / f"{i}.png", 100 * label + 50 + i)
    return root


@pytest.fixture(scope="session")
def made(photos, tmp_path_factory) -> Path:
    """A folder with clean.safetensors, ops.safetensors (its poison) and nt.safetensors."""
    from stkit import load, poison, train
    from stkit.recipes.poisons import OPS

    root = tmp_path_factory.mktemp("made")
    images = load(photos)
    images.save(root / "clean.safetensors")
    poison(images, OPS()).save(root / "ops.safetensors")
    trained = train(images, "nt", model="small", batch_size=8, epochs=1, device="cpu")
    trained.save(root / "nt.safetensors")
    return root
