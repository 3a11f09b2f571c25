"""What several ranks exchange, and whether they compute what one does; called by each of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
import torch.distributed as dist

from stkit.checkup.bodies import Body
from stkit.checkup.compared import REPLAYED, STEPS, ran
from stkit.checkup.findings import OK, WRONG, Finding, Tolerance, compare, tried
from stkit.engine.runtime import Runtime

ON_DEVICE = (torch.float64, torch.float32, torch.int64)
"""Losses and counts; gradients, features and statistics; confusions and BatchNorm's counter."""
ON_HOST = (torch.float32, torch.float16, torch.int8, torch.int64)
"""Noise that lies in host memory, in three types, and what ranks agree on."""
EXACT = Tolerance(1e-9, 0.0, {})
"""float64: sums in another order, 1e-16, through ten layers and back."""
COUNT = 1000  # of numbers in a tensor


def collectives(runtime: Runtime) -> Iterator[Finding]:
    """Every collective that stkit uses, in every type, by as many ranks as there are, if one."""
    backend = "NCCL" if runtime.device.type == "cuda" else "gloo"
    ranks = dist.get_world_size()
    for collective, wrong in COLLECTIVES.items():
        name = f"{collective} of {ranks} rank{'s' * (ranks > 1)} ({backend})"
        yield tried(name, partial(_checked, name, wrong, runtime.device))


def _checked(
    name: str, collective: Callable[[torch.device], list[str]], device: torch.device
) -> Finding:
    wrong = collective(device)
    if wrong:
        return Finding(name, WRONG, f"other values than expected: {', '.join(wrong)}")
    return Finding(name, OK, "the values expected")


def _all_reduce(device: torch.device) -> list[str]:
    """Sums on the device and on the host, and the largest, in which types they are wrong."""
    ranks, mine = dist.get_world_size(), dist.get_rank() + 1
    wrong = []
    for where, types in ((device, ON_DEVICE), (torch.device("cpu"), ON_HOST)):
        for dtype in types:
            tensor = torch.full((COUNT,), mine, dtype=dtype, device=where)
            dist.all_reduce(tensor)
            if not bool((tensor == ranks * (ranks + 1) // 2).all()):
                wrong.append(f"sum of {dtype} on {where.type}")
    largest = torch.full((3,), mine)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return wrong if bool((largest == ranks).all()) else [*wrong, "largest"]


def _broadcast(device: torch.device) -> list[str]:
    wrong = []
    for dtype in ON_DEVICE:
        tensor = torch.full((COUNT,), dist.get_rank() + 7, dtype=dtype, device=device)
        dist.broadcast(tensor, 0)
        if not bool((tensor == 7).all()):
            wrong.append(str(dtype))
    return wrong


def _broadcast_objects(device: torch.device) -> list[str]:
    box = [("of rank", dist.get_rank())]
    dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
    return [] if box == [("of rank", 0)] else [str(box)]


def _gather_objects(device: torch.device) -> list[str]:
    ranks = dist.get_world_size()
    values: list[int | None] = [None] * ranks
    dist.all_gather_object(values, dist.get_rank())
    return [] if values == list(range(ranks)) else [str(values)]


def _barrier(device: torch.device) -> list[str]:
    dist.barrier()
    return []


COLLECTIVES: dict[str, Callable[[torch.device], list[str]]] = {
    "all_reduce": _all_reduce,
    "broadcast": _broadcast,
    "broadcast_object_list": _broadcast_objects,
    "all_gather_object": _gather_objects,
    "barrier": _barrier,
}
"""What ranks do together, by the name in torch.distributed -> what came out wrong."""


def against_one(body: Body, runtime: Runtime) -> Finding:
    """Three steps of all ranks, with BatchNorm over the whole batch, against those of one.

    On a CPU in float64, where the sums are stkit's own; on GPUs in float32, as they are used.
    """
    name = f"{body.name}, {runtime.world_size} ranks against one"
    dtype, tolerance = torch.float64, EXACT
    if runtime.device.type == "cuda":
        dtype, tolerance = torch.float32, REPLAYED

    def check() -> Finding:
        shared = ran(body, replace(runtime, sync_bn=True), dtype, STEPS)
        alone = ran(body, replace(runtime, rank=0, world_size=1), dtype, STEPS)
        return compare(name, shared, alone, tolerance)

    return tried(name, check)
