"""On a GPU, where there is one: the same bytes twice with `--deterministic`, and how near without.

`benchmarks/deterministic.py` asks the same of larger nets, longer runs and two processes.
"""

import pytest
import torch

from stkit import EM, REM, Images, load, pick, poison, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and pytest -m gpu"),
]
TOLERANCE = 1e-3
"""Of the largest weight of a tensor: how far two runs of ten steps in float32 may be apart."""
SURROGATE = {"model": "small", "batch_size": 32, "steps": 2, "model_steps": 4}


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=320)


def weights(images: Images, frame: str, step: str, *, deterministic: bool) -> dict:
    run = train(
        images, frame, model="small", epochs=1, batch_size=32, device="cuda", precision="fp32",
        step=step, deterministic=deterministic,
    )  # fmt: skip
    return run.model.state_dict()


@pytest.mark.parametrize("step", ["eager", "graph"])
@pytest.mark.parametrize("frame", ["nt", "st-cg", "at", "autoaugment", "cutmix", "ueraser-max"])
def test_trainings(frame, step, digits):
    one, two = (weights(digits, frame, step, deterministic=True) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("step", ["eager", "graph"])
@pytest.mark.parametrize("recipe", [EM(**SURROGATE, max_rounds=1), REM(**SURROGATE, eot=2)])
def test_poisons(recipe, step, digits):
    runtime = pick("cuda", step=step, deterministic=True)
    one, two = (poison(digits, recipe, runtime=runtime) for _ in range(2))
    assert torch.equal(one.pixels, two.pixels)


@pytest.mark.parametrize("step", ["eager", "graph"])
def test_without_it_two_runs_are_near(step, digits):
    one, two = (weights(digits, "nt", step, deterministic=False) for _ in range(2))
    for name, value in one.items():
        apart = (value.double() - two[name].double()).abs().max()
        assert apart <= TOLERANCE * value.double().abs().max(), name
