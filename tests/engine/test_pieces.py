"""On a CPU gradients of images are made piece by piece: the same numbers, within its caches."""

import pytest
import torch

from stkit import models
from stkit.data.load import load
from stkit.engine import pgd
from stkit.engine.runtime import pick
from stkit.poisons import em, rem
from stkit.recipes.frames import Adversary
from stkit.recipes.poisons import EM, REM

CPU = pick("cpu", "fp32")
FEW = 3 * 32 * 32
QUICK = {
    em: EM(model="small", batch_size=16, model_steps=1, steps=2, stop_error=0.0, max_rounds=1),
    rem: REM(model="small", batch_size=8, steps=2, eot=2, adversary_steps=2, model_steps=1),
}


def small() -> torch.nn.Module:
    return models.create("small", classes=10, size=32, mean=(0.5,) * 3).double()


def test_images_are_cut_on_a_cpu_alone():
    x, y, net = torch.zeros(600, 3, 32, 32), torch.zeros(600), torch.nn.Linear(1, 1)
    cut = [(len(some), len(more)) for some, more in pgd.pieces(net, x, y)]
    assert cut == [(256, 256), (256, 256), (88, 88)]
    assert len(pgd.pieces(net, torch.zeros(2, 3, 1024, 1024))) == 2
    assert len(pgd.pieces(net, x.to("meta"), y.to("meta"))) == 1
    compiled = torch.nn.Module()
    compiled._orig_mod = net
    assert pgd.pieces(compiled, x, y) == [(x, y)]
    assert pgd.joined([x]) is x


def test_an_attack_in_pieces_is_that_on_the_whole(monkeypatch):
    net, sizes = small(), []
    net.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    x, start = (torch.rand(8, 3, 32, 32, dtype=torch.float64) for _ in range(2))
    x, start = x.contiguous(memory_format=torch.channels_last), (start - 0.5) / 32

    def attacked() -> torch.Tensor:
        return pgd.adversarial(net, x, torch.arange(8), Adversary(steps=2), start)

    whole = attacked()
    monkeypatch.setattr(pgd, "PIECE", FEW)
    torch.testing.assert_close(attacked(), whole, rtol=0, atol=1e-12)
    assert sizes == [8, 8, 3, 3, 3, 3, 2, 2]
    assert attacked().is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("method", [em, rem], ids=lambda m: m.__name__.rpartition(".")[2])
def test_noise_in_pieces_is_that_of_the_whole(method, monkeypatch):
    images, found = load("digits", limit=20), []
    for piece in (pgd.PIECE, FEW):
        monkeypatch.setattr(pgd, "PIECE", piece)
        crafting = method.Crafting(images, QUICK[method], seed=0, runtime=CPU, surrogate=small())
        for _ in crafting.steps():
            pass
        found.append(crafting.noise.double())
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)
    assert found[0].abs().max() > 0
