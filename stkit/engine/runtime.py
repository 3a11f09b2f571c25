"""Where, how precisely and by how many ranks and threads to compute: picked here alone.

A rank is one process on one device; `torchrun` starts several. Every rank walks the same data in
the same order and takes its part of each batch; what is decided, is decided on numbers that were
added up over the ranks. With one rank all of this is the identity.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from stkit import __version__
from stkit.core.checks import choose, whole
from stkit.core.errors import RankError, RecipeError, StkitError
from stkit.engine import devices
from stkit.recipes.training import PRECISIONS, STEPS, THREADS

Record = Callable[[Callable[[], Any], Callable[[], None]], Callable[[], Any]]
"""What records a step: what runs it, and what puts back what that changed -> what replays it."""


@dataclass(frozen=True)
class Runtime:
    """A device, a precision, and this process among `world_size` ranks.

    how: `eager`; `graph`, steps replayed as a CUDA graph; `compile`, by torch.compile, and on a GPU
    replayed. sync_bn: BatchNorm over the global batch, else over each rank's part, as is usual.
    threads: of a CPU, for each rank; sums are cut up among them, so their number decides the last
    bits. deterministic: by operations alone that give the same bytes again, on a GPU too.
    record: what records steps in the place of CUDA graphs, on any device.
    """

    device: torch.device
    precision: str  # fp32 or bf16
    rank: int = 0
    world_size: int = 1
    sync_bn: bool = False
    how: str = "eager"
    threads: int = field(default_factory=torch.get_num_threads)
    deterministic: bool = False
    record: Record | None = None

    def __repr__(self) -> str:
        ranks = f", rank {self.rank} of {self.world_size}" if self.world_size > 1 else ""
        return f"Runtime({self.device}, {self.precision}, {self.how}{ranks})"

    def autocast(self) -> torch.autocast:
        """bf16 autocast where the precision is bf16, else a context that does nothing."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )

    @property
    def sums(self) -> torch.dtype:
        """The type in which losses and counts are added up on the device: MPS has no float64."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes files."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other rank. RankError where the others are not connected yet."""
        if self.world_size > 1 and not dist.is_initialized():
            raise RankError(
                f"{self.world_size} ranks were started and are not connected; call "
                "stkit.engine.process.configure(runtime) first, and pass that runtime"
            )
        return self.world_size == 1

    @property
    def replays(self) -> bool:
        """Whether steps are recorded and replayed, see `graphs`."""
        return self.record is not None or (self.how != "eager" and self.device.type == "cuda")

    @property
    def recipe(self) -> dict[str, Any]:
        """What of this decides the numbers, for a header."""
        ranks = {"ranks": self.world_size, "sync_bn": self.sync_bn} if self.world_size > 1 else {}
        threads = {"threads": self.threads} if self.device.type == "cpu" else {}
        exact = {"deterministic": True} if self.deterministic else {}
        return {"precision": self.precision, **threads, **exact, **ranks}

    @property
    def machine(self) -> str:
        """What computes, for results: `NVIDIA H100`, `2 x NVIDIA H100`, `cpu, 8 threads`."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        elif self.device.type == "cpu":
            name = f"cpu, {self.threads} threads"
        else:
            name = self.device.type
        return name if self.world_size == 1 else f"{self.world_size} x {name}"

    def place(self, tensor: Tensor) -> Tensor:
        """The tensor on the device, without waiting for the copy."""
        return tensor.to(self.device, non_blocking=True)

    def room(self) -> float:
        """Bytes that are free on a GPU; infinite elsewhere, where the host's memory is used."""
        if self.device.type != "cuda":
            return float("inf")
        return torch.cuda.mem_get_info(self.device)[0]

    def peak_memory(self) -> int:
        """The most bytes in use so far: on a GPU by tensors, else by the whole process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def shares(self, count: int) -> bool:
        """Whether a batch of so many is cut up. One with fewer than two images a rank is not, as
        BatchNorm needs two: every rank takes all of it. (Only EM's last batch of a round may be so
        small; the unbiased running variance of `sync_bn` then counts its images once a rank.)"""
        return count >= 2 * self.world_size

    def check_batch(self, count: int) -> None:
        """RecipeError when batches of so many cannot be cut up."""
        if not self.shares(count):
            raise RecipeError(
                f"batch-size is {count} for {self.world_size} ranks, "
                "expected at least two images a rank"
            )

    def part(self, count: int) -> slice:
        """The rows of a batch of `count` that this rank computes."""
        if not self.shares(count):
            return slice(0, count)
        cuts = [count * rank // self.world_size for rank in (self.rank, self.rank + 1)]
        return slice(*cuts)

    def owned(self, count: int) -> slice:
        """The same, each row by one rank only: what may be added up over the ranks."""
        return self.part(count) if self.shares(count) or self.first else slice(0, 0)

    def total(self, count: int) -> int:
        """By what a rank divides its sum so that the mean over ranks is the mean over a batch."""
        return count if self.shares(count) else count * self.world_size

    def sum_(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, in place."""
        if not self.alone:
            dist.all_reduce(tensor)
        return tensor

    @torch.no_grad()
    def broadcast_(self, *tensors: Tensor) -> None:
        """Rank 0's values, in place, to the last bit; one message for each type of number.

        A message takes its time whatever its length, and a net has some 60 buffers.
        """
        if self.alone:
            return
        kinds = dict.fromkeys((tensor.dtype, tensor.device) for tensor in tensors)
        for kind in kinds:
            alike = [tensor for tensor in tensors if (tensor.dtype, tensor.device) == kind]
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            dist.broadcast(flat, 0)
            values = flat.split([tensor.numel() for tensor in alike])
            for tensor, value in zip(alike, values, strict=True):
                tensor.copy_(value.view_as(tensor))

    def shared(self, value: Any) -> Any:
        """Rank 0's value of any plain kind."""
        if self.alone:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        return box[0]

    def gathered(self, value: Any) -> list[Any]:
        """Every rank's value, in their order."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def same(self, value: Any, what: str) -> None:
        """RankError unless every rank has this value."""
        values = self.gathered(value)
        for rank, other in enumerate(values):
            if other != values[0]:
                raise RankError(
                    f"ranks 0 and {rank} have different {what}, expected the same on all; "
                    "give every machine the same files and options"
                )

    def agree(self, *settings: Any) -> None:
        """RankError unless every rank was given these settings, and runs the same versions."""
        self.same((settings, __version__, torch.__version__), "options or versions")

    @contextmanager
    def together(self) -> Iterator[None]:
        """What one rank fails in, all fail in, by the same RankError; so none waits for another."""
        problem: StkitError | OSError | None = None
        try:
            yield
        except (StkitError, OSError) as error:
            if self.world_size == 1:
                raise
            problem = error
        if self.world_size == 1:
            return
        said = [(type(problem).__name__, str(problem)) if problem else None]
        for rank, failure in enumerate(self.gathered(said[0])):
            if failure:
                where = "" if rank == 0 else f"rank {rank}: "
                code = 2 if failure[0] == "RecipeError" else 1
                raise RankError(where + failure[1], code) from problem

    def meet(self, stop: int, save: bool, after: int) -> tuple[int, bool, int]:
        """Where ranks agree now and then: the largest `stop` of any, `save` and `after` of rank 0.

        after: in how many steps to meet again.
        """
        if self.alone:
            return stop, save, after
        largest = torch.tensor([stop, int(save) * self.first, after * self.first])
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        stop, save_, after = largest.tolist()
        return stop, bool(save_), after


def pick(
    device: str = "auto",
    precision: str = "auto",
    *,
    step: str = "auto",
    sync_bn: bool = False,
    threads: int | None = None,
    deterministic: bool = False,
) -> Runtime:
    """The runtime for `--device auto|cpu|cuda|cuda:N|mps`, `--precision auto|fp32|bf16`, `--step`.

    auto takes the GPU when there is one, bf16 on a GPU that has it, and CUDA graphs on one GPU.
    threads: to compute with on a CPU; None: as many as PyTorch has now; elsewhere nothing.
    Under torchrun a rank takes the GPU of its own number. Nothing of the process is changed, that
    is `process.configure`'s. DeviceError when the device named is not there, RecipeError when there
    is no such name.
    """
    choose("precision", precision, PRECISIONS)
    choose("step", step, STEPS)
    threads = torch.get_num_threads() if threads is None else threads
    whole("threads", threads, 1, THREADS)
    rank, world_size = devices.ranks()
    chosen = devices.named(device, world_size)
    if precision == "auto":
        able = chosen.type == "cuda" and devices.native_bf16(chosen)
        precision = "bf16" if able else "fp32"
    if precision == "bf16":
        devices.check_bf16(chosen)
    if step == "auto":
        step = "graph" if chosen.type == "cuda" and world_size == 1 else "eager"
    if step == "graph" and chosen.type != "cuda":
        raise RecipeError(f"step graph needs a GPU, the device is {chosen}; leave --step out")
    if step != "eager" and world_size > 1:
        raise RecipeError(f"step {step} is for one rank, {world_size} were started; leave it out")
    return Runtime(chosen, precision, rank, world_size, sync_bn, step, threads, deterministic)
