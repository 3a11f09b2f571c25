"""A net of one's own through stkit: poison, train by the paper's frame, measure, save, load again.

    python examples/own_model.py

What stkit asks of a net: float images [N,3,H,W] in [0,1] in, [N,K] numbers out.
"""

import itertools
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from stkit import SP, acm, evaluate, load, load_checkpoint, load_model, poison, train


class Net(nn.Module):
    """Three convolutions and a linear layer; the layers that staged training slows are found."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (3, 16, 32, 64)
        self.blocks = nn.Sequential(*(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in itertools.pairwise(widths)
        ))  # fmt: skip
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(images).mean((2, 3)))


def main(epochs: int = 6, limit: int | None = None) -> None:
    images, test = load("digits", limit=limit), load("digits", "test", limit=limit)
    poisoned = poison(images, SP(), seed=0)
    torch.manual_seed(0)  # the net's start is ours, all else is drawn from `seed`
    net = Net(len(images.classes))
    run = train(poisoned, "st", model=net, epochs=epochs, test=test, seed=0)
    print(f"{run!r}\nACM {acm(net, poisoned, variant='ratio').acm:.3f}")
    print(f"robust accuracy {evaluate(net, test, adversary=4 / 255).robust_accuracy:.3f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "own.safetensors")
        run.save(path)
        again = load_model(path, model=Net(len(images.classes)))
        assert evaluate(again, test).accuracy == run.accuracy
        # A checkpoint also knows what it was trained on, as `stkit acm` does.
        print(acm(load_checkpoint(path, Net(len(images.classes))), poisoned))


if __name__ == "__main__":
    main()
