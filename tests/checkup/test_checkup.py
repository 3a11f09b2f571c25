"""What `stkit env --check` computes: all is well on a sound CPU, and each fault is named.

CUDA graphs are stood in for by a recorder that runs the step again.
"""

import ast
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from gpus import pretend
from processes import run

from stkit.checkup import BODIES, arithmetic, checkup, children, compared, findings, ranks
from stkit.checkup.alike import HostDraws
from stkit.checkup.findings import Quantity, Tolerance
from stkit.core import rng
from stkit.core.errors import DeviceError, RecipeError
from stkit.engine import step
from stkit.engine.runtime import Runtime, pick

CPU = pick("cpu", "fp32", threads=1)
NAMED = {body.name: body for body in BODIES}


def recorder(record: Callable) -> Runtime:
    """A runtime whose steps are recorded by this."""
    return replace(CPU, how="graph", record=record)


def again(run: Callable, restore: Callable) -> Callable:
    """A recording that is right: a replay runs the step."""
    drawn = torch.get_rng_state()
    run()
    restore()
    torch.set_rng_state(drawn)
    return run


def wrong(checks) -> dict[str, str]:
    """Name -> what is said, of what is not ok."""
    return {each.name: each.about for each in checks if each.status != "ok"}


def test_a_sound_machine_is_ok_in_all_and_says_by_how_much():
    some = [NAMED[name] for name in ("evaluation", "dropout", "ACM")]
    checks = list(checkup(recorder(again), bodies=some, processes=False))
    assert wrong(checks) == {"bf16": "cpu has no native bf16 that stkit uses"}
    for body in some:
        mine = [each for each in checks if each.name.startswith(f"{body.name}, ")]
        assert len(mine) == (1 + body.recorded) + 2 * (body is some[0])
        for each in mine:
            assert each.difference <= each.tolerance and "expected at most" in each.about


@pytest.mark.parametrize("name", ["st-full", "ueraser-max", "EM", "REM"])
def test_every_kind_of_body_leaves_something_behind(name):
    for each in compared.ran(NAMED[name], CPU, torch.float32):
        assert each.values, each.name
        assert any(value.abs().max() > 0 for value in each.values.values()), each.name


def test_images_tell_answers_apart():
    """Else a confusion would be the same whatever the weights."""
    answers = compared.ran(NAMED["evaluation"], CPU, torch.float32)
    confusion = {each.name: each for each in answers}["confusion"].values[""]
    assert (confusion.sum(0) > 0).sum() >= 5


def test_float64_is_held_to_more():
    """As on a GPU, whose float32 has its own line."""
    exact, single = compared.against_cpu(NAMED["nt-cg"], CPU, exact=True)
    assert (exact.status, single.status) == ("ok", "ok")
    assert exact.difference < 1e-11 < 1e-7 < single.difference


def test_what_is_drawn_is_the_same_on_every_device():
    def drawn(device: str) -> torch.Tensor:
        generator = rng.stream(0, "any")
        return [torch.rand(n, generator=generator, device=device) for n in (3, (2, 2))]

    plain = drawn("cpu")
    with HostDraws():
        assert all(map(torch.equal, plain, drawn("cpu")))
        assert [each.device.type for each in drawn("meta")] == ["meta"] * 2
        masks = []
        for dtype in (torch.float32, torch.float64):
            rng.reseed(0, "any", 0, torch.device("cpu"))
            masks.append(F.dropout(torch.ones(1000, dtype=dtype), 0.25))
        assert torch.equal(masks[0].double().sign(), masks[1].sign())
        assert 0.7 < masks[1].sign().mean() < 0.8 and 0.9 < masks[1].mean() < 1.1
        assert F.dropout(torch.ones(9), 0.5, training=False).all()


def test_what_a_gpu_has_beside(monkeypatch):
    """Processes of its own, and what is skipped; without starting them."""
    asked = []
    end = property(lambda self: lambda: asked.append("ended"))
    fake = type("Fake", (), {"__init__": lambda self, *a, **k: asked.append(a), "end": end,
                             "findings": lambda self: []})  # fmt: skip
    monkeypatch.setattr("stkit.checkup.Children", fake)
    monkeypatch.setattr("stkit.checkup.find_spec", lambda name: name)
    monkeypatch.setattr("stkit.checkup._here", lambda runtime, bodies: iter([]))
    pretend(monkeypatch, 2)
    assert not list(checkup(Runtime(torch.device("cuda:1"), "fp32", how="graph")))
    assert asked[:3] == [
        ("one rank", "alone", "cuda:1"), ("two ranks", "together", "cuda", 2),
        ("compiled step", "compiled", "cuda:1"),
    ]  # fmt: skip
    assert asked[3:] == ["ended"] * 3
    pretend(monkeypatch, 1)
    monkeypatch.setattr("stkit.checkup.find_spec", lambda name: None)
    assert wrong(checkup(Runtime(torch.device("cuda"), "fp32", how="graph"))) == {
        "two ranks": "one GPU is there", "compiled step": "Triton is not installed"
    }  # fmt: skip


# A fault in the device's float32 is seen, and what it is in


def flawed(monkeypatch, module: object, name: str, change: Callable) -> None:
    """A function whose result in float32 is changed by `change(result, *args)`."""
    right = getattr(module, name)

    def call(*args, **kwargs):
        result = right(*args, **kwargs)
        return change(result, *args) if result.dtype == torch.float32 else result

    monkeypatch.setattr(module, name, call)


def tf32(x: torch.Tensor) -> torch.Tensor:
    """Ten bits of a float32."""
    return ((x.view(torch.int32) + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)


def test_a_wrong_kernel(monkeypatch):
    def shifted(result, images, *args, **kwargs):
        return result.roll(1, -1) if images.requires_grad or images.grad_fn else result

    flawed(monkeypatch, F, "batch_norm", shifted)
    (check,) = compared.against_cpu(NAMED["nt"], CPU)
    assert check.status == "wrong" and "loss" in check.about and "expected at most" in check.about
    (check,) = compared.against_cpu(NAMED["ACM"], CPU)
    assert check.status == "ok", "which does not train"


def test_a_wrong_update(monkeypatch):
    def transposed(sgd, *args, **kwargs):
        for group in sgd.param_groups:
            for weight in group["params"]:
                if weight.dtype == torch.float32 and weight.ndim == 4 and weight.shape[-1] > 1:
                    weight.grad = weight.grad.transpose(2, 3).contiguous(
                        memory_format=torch.channels_last
                    )
        return right(sgd, *args, **kwargs)

    right = step.SGD.step
    monkeypatch.setattr(step.SGD, "step", transposed)
    (check,) = compared.against_cpu(NAMED["nt"], CPU)
    assert check.status == "wrong" and check.about.startswith("gradients of ")


def test_tf32_where_float32_was_asked_for(monkeypatch):
    class Rounded(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func in (F.conv2d, torch.conv2d) and args[0].dtype == torch.float32:
                x, w = (v + (tf32(v.detach()) - v.detach()) for v in args[:2])
                return func(x, w, *args[2:], **(kwargs or {}))
            return func(*args, **(kwargs or {}))

    with Rounded():
        checks = list(arithmetic.arithmetic(CPU, half=False))
        assert set(wrong(checks)) == {
            "convolution in fp32", "convolution, channels last in fp32"
        }  # fmt: skip


def test_random_numbers_that_do_not_belong_to_their_seed(monkeypatch):
    stream, numbers = rng.stream, iter(range(1000))
    monkeypatch.setattr(rng, "stream", lambda *a: stream(next(numbers), "any", 0, *a[3:]))
    *_, check = arithmetic.arithmetic(CPU, half=False)
    assert (check.name, check.about) == (
        "random numbers", "uniform: other numbers for the same seed"
    )  # fmt: skip


def test_what_raises_is_a_line_and_the_others_go_on(monkeypatch):
    def broken(runtime, dtype, steps):
        raise RuntimeError("CUDA error: an illegal memory access\nCompile with TORCH_USE_CUDA_DSA")

    body = replace(NAMED["nt"], name="broken", run=broken)
    checks = list(checkup(recorder(again), bodies=[body, NAMED["ACM"]], processes=False))
    said = "RuntimeError: CUDA error: an illegal memory access"
    assert wrong(checks) == {
        "broken, on the CPU in float64": said,
        "broken, replayed against eager": f"eager, {said}",
        "broken, eager, deterministic, twice": said,
        "bf16": "cpu has no native bf16 that stkit uses",
    }
    assert checks[-2].name != checks[-1].name and any(c.name.startswith("ACM,") for c in checks)


# Replays


def test_a_replay_of_stale_inputs():
    def stale(run, restore):
        run()
        restore()
        return lambda: None

    (check,) = compared.replayed([NAMED["nt"]], recorder(stale))
    assert check.status == "wrong" and check.about.startswith("loss ")


def test_a_replay_with_another_dropout_mask(monkeypatch):
    counted = iter(range(100))
    monkeypatch.setattr(
        rng, "reseed", lambda *a: torch.default_generator.manual_seed(next(counted)) and None
    )
    (check,) = compared.replayed([NAMED["dropout"]], recorder(again))
    assert check.status == "wrong" and "expected at most" in check.about


def test_after_a_recording_that_failed_the_others_are_skipped():
    def fail(run, restore):
        raise DeviceError("this step cannot be recorded")

    two = [NAMED["nt"], NAMED["evaluation"]]
    *_, first, second, last = checkup(recorder(fail), bodies=two, processes=False)
    assert [each.status for each in (first, second, last)] == ["wrong", "skipped", "skipped"]
    assert first.about.endswith("cannot be recorded") and "a recording failed" in second.about
    assert last.name == "deterministic"


def test_two_runs_that_are_not_the_same(monkeypatch):
    numbers = iter(range(100))
    flawed(monkeypatch, F, "relu", lambda result, *a: result)
    right = F.silu
    monkeypatch.setattr(F, "silu", lambda x: right(x) + 1e-6 * (next(numbers) > 30))
    checks = list(compared.twice(NAMED["nt"], CPU))
    assert [each.status for each in checks] == ["wrong"]


def test_an_operation_without_a_deterministic_kernel_is_told():
    def undetermined(runtime, dtype, steps):
        assert torch.are_deterministic_algorithms_enabled()
        raise RuntimeError("cumsum does not have a deterministic implementation, but you set")

    (check,) = compared.twice(replace(NAMED["nt"], run=undetermined), CPU)
    assert check.status == "skipped" and "cumsum has no deterministic" in check.about


# bf16


def test_bf16(monkeypatch):
    assert compared.in_bf16(NAMED["nt"], CPU).status == "ok"
    right = step.at_least_float32
    monkeypatch.setattr(
        step, "at_least_float32",
        lambda x: right(x) * (3 if x.dtype == torch.bfloat16 else 1),
    )  # fmt: skip
    check = compared.in_bf16(NAMED["nt"], CPU)
    assert check.status == "wrong" and check.about.startswith("loss ")


# What is compared


def test_differences_of_quantities():
    def one(value, apart=None):
        return (Quantity("x", {"a": torch.tensor(value, dtype=torch.float64)}, apart),)

    half = Tolerance(0.5, 0.5, {})
    assert findings.compare("n", one([1.0, 2.0]), one([1.0, 2.0]), compared.SAME).status == "ok"
    assert findings.compare("n", one([1.0, float("nan")]), one([1.0, 2.0]), half).status == "wrong"
    assert findings.compare("n", one([1.0]), one([1.0, 2.0]), half).status == "wrong"
    shares = findings.compare("n", one([1.0, 2.0, 3.0, 4.4], 0.5), one([1.0, 2, 3, 5], 0.5), half)
    assert (shares.status, shares.difference) == ("ok", 0.25)
    bad = float("nan")
    assert findings.compare("n", one([bad, bad], 0.5), one([1.0, 2.0], 0.5), half).difference == 1
    assert findings.compare("n", one([3.0, 4.0]), one([0.0, 4.0]), half).difference == 0.75


def test_torchrun_is_not_for_it():
    with pytest.raises(RecipeError, match=r"2 ranks, expected one process.*leave torchrun out"):
        next(checkup(replace(CPU, world_size=2)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and pytest -m gpu")
def test_a_gpu():
    assert not [each for each in checkup(pick("cuda", "fp32")) if each.status == "wrong"]


# Ranks, in processes of their own


def test_every_collective_that_stkit_uses_is_checked():
    """Called as `dist.NAME(...)`; what connects and parts comes with them."""
    beside = {"is_initialized", "is_available", "init_process_group", "destroy_process_group"}
    called = {
        node.func.attr
        for path in (Path(compared.__file__).parents[1]).rglob("*.py")
        if path.parent.name != "checkup"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "dist"
    }  # fmt: skip
    assert called - beside == set(ranks.COLLECTIVES)


def test_one_rank_and_two_on_gloo(tmp_path):
    ended = run("tests/checkup/forked.py", tmp_path)
    assert ended.code == 0, ended.err
    for file in ("alone-0", "together-0", "together-1"):
        checks = json.loads((tmp_path / file).read_text())
        assert [each["status"] for each in checks] == ["ok"] * (5 + ("together" in file)), checks
    assert checks[-1]["name"] == "nt, 2 ranks against one"


def child(code: str, count: int = 1, limit: float = 20.0) -> children.Children:
    """Children that run this instead of a check."""
    command = (sys.executable, "-S", "-c", code)
    return children.Children("two ranks", "any", "cpu", count, limit, command=command)


WRITES = (
    "import json, os, sys; rank = int(os.environ['RANK']); "
    "json.dump([dict(name='n', status='ok', about=os.environ['WORLD_SIZE'])], "
    "open(sys.argv[3], 'w')); "
)


def test_children_that_end_well():
    made = child(WRITES, 2)
    (check,) = made.findings()
    assert (check.status, check.about) == ("ok", "2")


def test_children_that_hang_fail_or_die():
    (check,) = child("import time; time.sleep(99)", limit=0.5).findings()
    assert (check.status, check.about) == ("wrong", "gave no answer within 0 s")
    (check,) = child("import os; os.kill(os.getpid(), 9)").findings()
    assert check.about == "ended with code -9: without a word"
    code = f"{WRITES} import time; rank or time.sleep(99); sys.exit('NCCL: no such device')"
    made = child(code, 2)
    made.findings()
    assert all(process.poll() is not None for process in made.processes)
