"""The only source of randomness: a generator for (seed, purpose, clock), of which nothing is saved.

Because a draw depends on the step it is for and on nothing that came before, a resumed run, a
retry after a roll-back and several ranks all agree without storing a generator's state.
"""

import hashlib

import torch


def number(seed: int, purpose: str, clock: int = 0) -> int:
    """63 bits that belong to this seed, purpose and clock."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{clock}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def stream(
    seed: int, purpose: str, clock: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator for this seed, purpose and clock, on `device`; equal arguments, equal draws."""
    return torch.Generator(device).manual_seed(number(seed, purpose, clock))


def reseed(seed: int, purpose: str, clock: int, device: torch.device) -> None:
    """Seed torch's own generator of the device, which is where a model's Dropout draws from."""
    value = number(seed, purpose, clock)
    if device.type == "cuda":
        torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)
    else:
        torch.default_generator.manual_seed(value)
