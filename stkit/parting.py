"""How ranks part: at the end of a run that went well, and when one of them is in trouble."""

import time
from datetime import timedelta

import torch.distributed as dist


def said_by_first(rank: int, patience: float = 3.0) -> bool:
    """Whether rank 0 says what went wrong; it says so when it is rank 0 that calls.

    A rank in trouble waits a little to learn that; rank 0 stays a moment, for the others to hear.
    """
    store = dist.distributed_c10d._get_default_store()
    try:
        if rank == 0:
            store.set("stkit/said", "1")
            time.sleep(0.5)
        else:
            store.wait(["stkit/said"], timedelta(seconds=patience))
    except (RuntimeError, dist.DistError):  # it kept the store, and is gone, or is not in trouble
        return False
    return True


def leave() -> None:
    """Part from the other ranks, at the end of a run that went well."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def lost_rank(error: BaseException) -> bool:
    """Whether this is what a rank raises that waited for one which has ended."""
    if isinstance(error, dist.DistError):
        return True
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo")
    return dist.is_initialized() and any(sign in str(error) for sign in signs)
