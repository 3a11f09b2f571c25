"""What would give a result that means nothing: refused at the start, or an error at its step."""

from pathlib import Path

import pytest
import torch
from conftest import snapshot

from stkit import load
from stkit.core import artifact

ST = "--model small --batch-size 8 --epochs 3 --device cpu"
SURROGATE = "--model small --batch-size 8 --steps 1 --model-steps 1 --device cpu"


@pytest.fixture
def refused(cli, tmp_path, monkeypatch):
    """`refused(line, code)`: it fails, says one line, which is returned, writes nothing."""
    monkeypatch.chdir(tmp_path)

    def run(line: str, code: int) -> str:
        before = snapshot(tmp_path)
        ended = cli(*line.split())
        assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1), ended
        assert snapshot(tmp_path) == before
        return ended.err

    return run


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("poison ops {} --poison-rate 1e-9", "poison-rate is 1e-09, which is none of 24 images"),
        (f"poison em {{}} --poison-rate 0.02 {SURROGATE}", "poison-rate is 0.02, which is none of"),
        ("rate {ops} --clean {} --poison-rate 0.02", "poison-rate is 0.02, which is none of 24"),
        (f"train {{}} --frame st --check-every 10 {ST}",
         "check-every is 10, but the phase has 9 steps, so ACM would never be judged; pass"),
        (f"train {{}} --frame nt-stop {ST}", "check-every is 49, but the phase has 9 steps"),
        (f"train {{}} --frame st-full --gate --fine-tune-epochs 1 --check-every 4 {ST}",
         "check-every is 4, but the phase has 3 steps"),
        (f"train {{}} --frame st --beta 0.3 {ST}", "beta is 0.3, expected one by a whole number "
         "of stages; pass 1/3 or 1/4"),
        (f"train {{}} --frame st --beta 2/3 {ST}", "pass 1/1 or 1/2"),
    ],
)  # fmt: skip
def test_settings_that_could_do_nothing_are_wrong_usage(line, said, refused, made):
    found = refused(line.format(made / "clean.safetensors", ops=made / "ops.safetensors")
                    + " -o x", 2)  # fmt: skip
    assert said in found


def test_what_is_allowed_stays_allowed(cli, made, tmp_path):
    clean = made / "clean.safetensors"
    assert cli("poison", "ops", clean, "--poison-rate", 0, "-o", tmp_path / "none").code == 0
    assert cli("poison", "ops", clean, "--poison-rate", 0.03, "-o", tmp_path / "one").code == 0
    assert int(load(tmp_path / "one").poisoned.sum()) == 1
    for beta, every in (("0.333", 9), ("1", 1)):
        line = f"train {clean} --frame st --beta {beta} --check-every {every} {ST} --dry-run"
        assert cli(*line.split(), "-o", tmp_path / "x").code == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"poison em one {SURROGATE}", "the surrogate of em is to tell apart"),
        (f"poison rem one {SURROGATE} --eot 1 --adversary-steps 1", "surrogate of rem is to tell"),
        ("poison sp one", "the noise of sp is to separate"),
        (f"train one --frame st {ST}", "whose clusters ACM compares"),
        (f"train one --frame st-full --gate {ST}", "whose clusters ACM compares"),
    ],
)
def test_one_class_is_refused_where_two_are_compared(line, said, refused, made, tmp_path):
    images = load(made / "clean.safetensors")
    images.rows((images.labels == 1).nonzero().flatten()).save(tmp_path / "one")
    found = refused(f"{line} -o x", 1)
    assert "images of one class only, expected two or more" in found and said in found


def test_one_class_is_enough_for_the_others(cli, made, tmp_path):
    images = load(made / "clean.safetensors")
    images.rows((images.labels == 1).nonzero().flatten()).save(tmp_path / "one")
    assert cli("poison", "ops", tmp_path / "one", "-o", tmp_path / "x").code == 0


def test_a_training_that_diverges_names_epoch_and_step(refused, made):
    """Pixels over a tiny deviation overflow in the first layer."""
    clean = made / "clean.safetensors"
    found = refused(f"train {clean} --frame nt {ST} --std 1e-38 -o x", 1)
    assert "training diverged at step 1 of 9, epoch 1: the loss is NaN or infinite" in found


@pytest.mark.parametrize("command", ["eval", "acm"])
def test_a_checkpoint_that_is_not_finite_is_refused(command, refused, made, tmp_path):
    head, tensors = artifact.read(made / "nt.safetensors", "checkpoint")
    weight = tensors["layer1.0.conv1.weight"].clone()
    weight[0, 0, 0, 0] = torch.nan
    artifact.write(tmp_path / "bad", tensors | {"layer1.0.conv1.weight": weight}, head)
    source = Path(made / "clean.safetensors")
    found = refused(f"{command} bad {source} --split train --device cpu -o x", 1)
    assert "bad: 'layer1.0.conv1.weight' holds NaN or infinity, expected finite" in found
