"""Adding and measuring: the same whatever the pieces, and errors of a wrong pair."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from stkit import load
from stkit.core.errors import DataError
from stkit.core.rng import stream
from stkit.data import perturbation


@pytest.mark.parametrize("piece", [1, 999, 1 << 19])
def test_pieces_cover_every_row_once_and_change_nothing(piece: int) -> None:
    generator = stream(0, "pieces")
    clean = torch.randint(256, (50, 3, 5, 7), dtype=torch.uint8, generator=generator)
    noise = torch.randint(-40, 40, clean.shape, generator=generator)
    poisoned = torch.rand(50, generator=generator) < 0.5
    wanted = (clean.int() + noise * poisoned[:, None, None, None]).clamp(0, 255)
    covered = [row for rows in perturbation.pieces(50, 105, piece=piece) for row in range(50)[rows]]
    assert covered == list(range(50))
    levels = noise.numpy().astype(np.int16)
    noisy = perturbation.add(clean, poisoned, lambda rows: levels[rows], piece=piece)
    assert torch.equal(noisy.int(), wanted)
    delta = (noisy.int() - clean.int()).double()
    found = perturbation.statistics(clean, noisy, int(poisoned.sum()), piece=piece)
    assert asdict(found) == {
        "n": int(poisoned.sum()),
        "linf": float(delta.abs().max()) / 255,
        "l2_mean": pytest.approx(float((delta / 255).flatten(1).norm(dim=1)[poisoned].mean())),
        "l0_max": int((delta != 0).any(1).flatten(1).sum(1).max()),
    }
    assert torch.equal(perturbation.chosen(clean, noisy, poisoned), noisy)


def test_rows_are_matched_by_index() -> None:
    clean = load("digits", limit=20)
    some = torch.tensor([7, 3, 11])
    assert perturbation.matching(clean.rows(some), clean).tolist() == some.tolist()
    with pytest.raises(DataError, match="1 of 20 published images have no clean image"):
        perturbation.matching(clean, clean.rows(torch.arange(1, 20)))
    with pytest.raises(DataError, match=r"are \[3, 16, 16\], the clean ones \[3, 32, 32\]"):
        perturbation.matching(replace(clean, pixels=clean.pixels[..., ::2, ::2]), clean)
