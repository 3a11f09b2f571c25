"""The library's door: what `stkit` offers, what it imports, and what a call leaves as it was."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from gpus import pretend
from torch import nn

import stkit
from stkit import (
    EM,
    FRAMES,
    OPS,
    REM,
    SP,
    Adversary,
    Images,
    Staged,
    acm,
    compare,
    evaluate,
    landscape,
    load,
    load_checkpoint,
    pick,
    poison,
    separability,
    train,
)
from stkit.core.errors import DataError, DeviceError, RankError, RecipeError
from stkit.engine.process import settings

SMALL = {"model": "small", "batch_size": 10, "epochs": 1}
SURROGATE = {"model": "small", "batch_size": 10, "steps": 1, "model_steps": 1}


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=20)


def test_the_public_names():
    assert dir(stkit) == sorted(stkit.__all__)
    assert set(stkit._WHERE) | {"__version__"} == set(stkit.__all__)
    for name in stkit.__all__:
        assert getattr(stkit, name) is not None
    with pytest.raises(AttributeError, match="module 'stkit' has no attribute 'polson'"):
        stkit.polson  # noqa: B018


def test_a_type_checker_sees_the_same_names():
    """Where `__getattr__` finds a name at run time is where mypy looks for it."""
    tree = ast.parse(Path(stkit.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: f"{node.module}" for node in block.body for alias in node.names}
    assert seen == {name: f"stkit.{where}" for name, where in stkit._WHERE.items()}
    assert (Path(stkit.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize(
    ("line", "heavy"),
    [
        ("import stkit; dir(stkit)", {"torch", "numpy", "timm", "typer", "safetensors", "PIL"}),
        ("from stkit import SP, FRAMES, Staged, StkitError", {"torch", "numpy", "timm", "typer"}),
        ("from stkit import Images, load, train, acm", {"timm", "sklearn", "typer", "rich"}),
    ],
)
def test_nothing_is_imported_before_it_is_used(line, heavy):
    code = f"import sys; {line}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())


def state() -> dict[str, object]:
    """All that a library has no business to change."""
    cudnn, cuda, mkldnn = torch.backends.cudnn, torch.backends.cuda, torch.backends.mkldnn
    kernels = cudnn.conv, cuda.matmul, mkldnn.conv, mkldnn.matmul
    return {
        "fp32": [kernel.fp32_precision for kernel in kernels],
        "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic,
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cublas": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "matmul": torch.get_float32_matmul_precision(), "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(), "grad": torch.is_grad_enabled(),
        "draws": torch.get_rng_state().tolist(), "gpu": torch.cuda.is_initialized(),
        "ranks": torch.distributed.is_initialized(),
    }  # fmt: skip


@contextmanager
def unchanged() -> Iterator[None]:
    before = state()
    yield
    after = state()
    assert {key for key, value in before.items() if value != after[key]} == set()


@pytest.mark.parametrize("recipe", [SP(), OPS(), EM(**SURROGATE), REM(**SURROGATE, eot=1)])
def test_poison_leaves_the_process_as_it_was(recipe, digits):
    with unchanged():
        poison(digits, recipe)


@pytest.mark.parametrize("frame", ["nt", "st", "at"])
def test_train_acm_and_evaluate_leave_the_process_as_it_was(frame, digits):
    with unchanged():
        run = train(digits, frame, **SMALL, runtime=pick("cpu"))
        acm(run.model, digits)
        evaluate(run.model, digits, adversary=0.1)
        landscape(run.model, digits, points=3, limit=2)


def test_load_and_compare_leave_the_process_as_it_was(digits, made):
    with unchanged():
        load("digits", limit=20)
        load_checkpoint(made / "nt.safetensors")
        compare(poison(digits, SP()), digits)


def test_a_call_may_draw_and_set_what_it_likes():
    """What dropout draws from is put back, also after an error."""
    with unchanged(), pytest.raises(ValueError, match="of its own"), settings(pick("cpu")):
        torch.rand(3)
        raise ValueError("of its own")


@pytest.fixture
def two_gpus(monkeypatch) -> list[torch.device]:
    """Two GPUs that are not there, and which of them were made the current one."""
    asked: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", asked.append)
    pretend(monkeypatch, 2)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.random, "fork_rng", nullcontext)
    return asked


def test_settings_of_a_gpu_are_put_back(two_gpus):
    """Without one: the flags are there, and the device is not touched."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    with unchanged(), settings(pick("cuda:1", "fp32")):
        assert cudnn.benchmark and two_gpus == [torch.device("cuda:1")]
        assert (cudnn.conv.fp32_precision, matmul.fp32_precision) == ("ieee", "ieee")
        assert not torch.are_deterministic_algorithms_enabled() and not cudnn.deterministic


@pytest.mark.parametrize("before", [None, ":16:8", ":0:0"])
def test_settings_of_a_deterministic_gpu_are_put_back(before, two_gpus, monkeypatch):
    """Also for CUDA graphs, which `auto` takes on a GPU."""
    name, cudnn = "CUBLAS_WORKSPACE_CONFIG", torch.backends.cudnn
    monkeypatch.delenv(name, raising=False)
    if before:
        monkeypatch.setenv(name, before)
    runtime = pick("cuda:1", "fp32", deterministic=True)
    assert runtime.how == "graph" and runtime.recipe == {"precision": "fp32", "deterministic": True}
    with unchanged(), settings(runtime):
        assert torch.are_deterministic_algorithms_enabled() and cudnn.deterministic
        assert not cudnn.benchmark
        assert os.environ[name] == (":16:8" if before == ":16:8" else ":4096:8")


def test_threads_are_put_back():
    with unchanged(), settings(pick("cpu", threads=3)):
        assert torch.get_num_threads() == 3


def test_an_operation_that_is_not_deterministic_is_an_error_that_names_it(digits):
    """One that torch has none for on a CPU either: of equal places, the last one written wins."""
    places = torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    wanted = "max_unpooling2d_forward_out has no deterministic implementation here; leave --det"
    exact = pick("cpu", deterministic=True)
    with unchanged(), pytest.raises(DeviceError, match=wanted), settings(exact):
        nn.functional.max_unpool2d(torch.ones(1, 1, 2, 2), places, 2)
    with pytest.raises(RuntimeError, match="of another kind"), settings(exact):
        raise RuntimeError("of another kind")
    with unchanged():
        run = train(digits, "st", **SMALL, device="cpu", threads=2, deterministic=True)
    assert run.header["recipe"].items() >= {"threads": 2, "deterministic": True}.items()


def test_ranks_are_connected_by_an_explicit_call_only(monkeypatch, digits):
    for key, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(key, value)
    runtime = pick("cpu")
    assert (runtime.rank, runtime.world_size) == (1, 2)
    with pytest.raises(RankError, match="2 ranks were started and are not connected; call"):
        train(digits, "nt", **SMALL, runtime=runtime)
    assert not torch.distributed.is_initialized()


def test_what_load_takes_is_loaded_and_a_bar_changes_nothing(digits, tmp_path, capsys):
    path = tmp_path / "digits.safetensors"
    digits.save(path)
    fine = {"device": "cpu", **SMALL}
    by_name = train(path, "nt", test=str(path), progress=True, **fine)
    given = train(digits, "nt", test=digits, **fine)
    weights, same = by_name.model.state_dict(), given.model.state_dict()
    assert all(torch.equal(weights[name], same[name]) for name in same)
    assert by_name.accuracy == given.accuracy
    made = poison(path, EM(**SURROGATE, max_rounds=1), progress=True)
    assert torch.equal(made.pixels, poison(digits, EM(**SURROGATE, max_rounds=1)).pixels)
    assert capsys.readouterr() == ("", "")  # stderr is no terminal


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"images": 5},
            r"images: found a int, expected Images; pass stkit.load\('digits'\)",
        ),
        ({"recipe": SP}, r"SP'> is no recipe; pass one of .*SP\(\)"),
        ({"recipe": EM(model="small"), "surrogate": nn.Linear}, "expected a module; pass an inst"),
        ({"seed": 1.5}, "seed is 1.5, expected a whole number"),
        ({"poison_rate": "1/2"}, "poison-rate is '1/2', expected a number from 0 to 1"),
    ],
)
def test_poison_answers_arguments_of_a_wrong_kind(wrong, message, digits):
    with pytest.raises((DataError, RecipeError), match=message):
        poison(**{"images": digits, "recipe": "ops"} | wrong)


def test_recipes_take_numbers_of_numpy_and_no_others(digits, tmp_path):
    made = poison(
        digits, SP(epsilon=np.float32(0.25)), seed=np.int64(3), poison_rate=np.ones(())[()]
    )
    made.save(tmp_path / "sp.safetensors")
    recipe = load(tmp_path / "sp.safetensors").header["recipe"]
    assert (recipe["epsilon"], recipe["poison_rate"]) == (0.25, 1.0)
    with pytest.raises(RecipeError, match="epsilon is '8/255', expected a number from 0 to 1"):
        poison(digits, SP(epsilon="8/255"))
    with pytest.raises(RecipeError, match=r"steps is 2\.5, expected a whole number"):
        EM(steps=2.5)


def test_one_of_several_ranks_may_measure_alone(monkeypatch, digits, made):
    """Without a runtime nobody is asked: rank 0 says its accuracy while the others train on."""
    trained, clean = load_checkpoint(made / "nt.safetensors"), load(made / "clean.safetensors")
    wanted = acm(trained, clean).acm, evaluate(trained.model, clean).accuracy
    for key, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(key, value)
    assert (acm(trained, clean).acm, evaluate(trained.model, clean).accuracy) == wanted


def test_values_print_in_a_short_line(digits, made):
    trained = load_checkpoint(made / "nt.safetensors")
    clean = load(made / "clean.safetensors")
    poisoned = poison(digits, SP())
    run = train(digits, "st", **SMALL)
    shown = [
        digits, poisoned, trained, acm(trained, clean), evaluate(trained, clean, adversary=0.01),
        compare(poisoned, digits), run, run.checkpoint, run.epochs[0], run.epochs[0].checks[0],
        pick("cpu"), SP(), OPS(), EM(), REM(model_steps=3), *FRAMES.values(),
        *(frame.train for frame in FRAMES.values()),
        Staged(gamma=0.1), Adversary(),
    ]  # fmt: skip
    for value in shown:
        assert len(repr(value)) <= 100, repr(value)
        assert "\n" not in repr(value) and repr(value).startswith(f"{type(value).__name__}(")
    assert 0 <= separability(poisoned, digits) <= 1
