"""The only source of randomness: a generator for (seed, purpose, clock), of which nothing is saved.

Because a draw depends on the step it is for and on nothing that came before, a resumed run, a
retry after a roll-back and several ranks all agree without storing a generator's state.
"""

import hashlib

import torch


def stream(
    seed: int, purpose: str, clock: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator for this seed, purpose and clock, on `device`; equal arguments, equal draws."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{clock}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
