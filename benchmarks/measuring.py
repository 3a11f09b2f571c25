"""What the benchmarks share: tables, slopes, gains, memory, children, what a number belongs to.

Nothing here imports torch before it must: a parent that stays small starts its children faster, and
what it holds does not count as theirs.
"""

import gc
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stkit.core.errors import DeviceError

STATUS = Path("/proc/self/status")


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """b of the least-squares fit y = a x^b: the slope of log y over log x. NaN without two xs."""
    points = [(math.log(x), math.log(y)) for x, y in zip(xs, ys, strict=True) if x > 0 and y > 0]
    if len({x for x, _ in points}) < 2:
        return math.nan
    mx, my = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x, _ in points)


def shown(value: Any) -> str:
    """A cell: three figures, thousands apart, nothing for what was not measured."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Rows as aligned text: heading -> the key of the value; numbers to the right."""
    if not rows:
        return "(nothing measured)"
    cells = [[shown(row.get(key)) for key in columns.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    right = [any(isinstance(r.get(key), (int, float)) for r in rows) for key in columns.values()]

    def line(row: Sequence[str]) -> str:
        places = zip(row, widths, right, strict=True)
        parts = (c.rjust(w) if r else c.ljust(w) for c, w, r in places)
        return "  ".join(parts).rstrip()

    return "\n".join([line(list(columns)), *map(line, cells)])


def forget_peak() -> None:
    """Start the process's peak memory anew, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def host_peak() -> int:
    """The most resident bytes of this process: since `forget_peak` on Linux, else ever."""
    if STATUS.exists():
        return 1024 * int(STATUS.read_text().split("VmHWM:")[1].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def peak(device: str) -> int:
    """The most bytes: on a GPU by tensors, else of the whole process."""
    if not on_gpu(device):
        return host_peak()
    import torch

    return torch.cuda.max_memory_allocated(device)


class Memory:
    """The most bytes that one side takes: on a GPU by its tensors, also where others hold some in
    the same process; else of the whole process, and unknown where that is shared.

    Between `begin` and `end` nobody else allocates.
    """

    def __init__(self, device: str, *, alone: bool) -> None:
        self.device, self.alone = device, alone
        self.own = self.others = self.most = 0

    def begin(self) -> None:
        """The side is about to work."""
        if on_gpu(self.device):
            import torch

            torch.cuda.init()  # else there are no statistics to reset
            torch.cuda.reset_peak_memory_stats(self.device)
            self.others = torch.cuda.memory_allocated(self.device) - self.own

    def end(self) -> float | None:
        """It has worked: the most so far, in megabytes."""
        if not on_gpu(self.device):
            return host_peak() / 1e6 if self.alone else None
        import torch

        self.own = torch.cuda.memory_allocated(self.device) - self.others
        self.most = max(self.most, torch.cuda.max_memory_allocated(self.device) - self.others)
        return self.most / 1e6


def on_gpu(device: str) -> bool:
    return device.startswith("cuda")


def wait(device: str) -> None:
    """Until a GPU has done what it was told."""
    if on_gpu(device):
        import torch

        torch.cuda.synchronize(device)


def free() -> None:
    """Give back what nothing refers to any more: a recorded step refers to itself, and is large.

    What torch.compile keeps of other cases goes too: it compiles less well after a few of them.
    """
    if "torch._inductor.compile_fx" in sys.modules:  # something was compiled
        sys.modules["torch._dynamo"].reset()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def broken(device: str, error: Exception) -> bool:
    """Whether this process can measure no more after this error: its GPU is of no use, as after an
    error in a kernel, or a recording failed, whose memory and generator are not given back."""
    if isinstance(error, DeviceError):
        return True
    try:
        wait(device)
    except (RuntimeError, AssertionError):  # the latter of a torch without CUDA
        return True
    return False


def gain(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """The median over rounds of the ratio of neighbouring turns, the least and the most."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"gain": statistics.median(ratios), "gain_least": min(ratios), "gain_most": max(ratios)}


def machine(device: str) -> dict[str, Any]:
    """What a number belongs to."""
    import torch

    cuda = on_gpu(device)
    return {
        "machine": torch.cuda.get_device_name(device) if cuda else platform.machine(),
        "cores": os.cpu_count(), "threads_used": torch.get_num_threads(),
        "torch": torch.__version__, "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip


class Child:
    """This file as a process of its own, that answers each line of JSON with one.

    `python FILE --child JSON`; it imports and allocates for itself, and sleeps until asked.
    """

    def __init__(self, file: str, case: Mapping[str, Any], *, patience: float = 600) -> None:
        self.patience = patience
        command = [sys.executable, file, "--child", json.dumps({**case, "started": time.time()})]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, question: Any = None) -> Any:
        """Its answer; RuntimeError when it has ended, or says nothing for `patience` seconds."""
        assert self.process.stdin and self.process.stdout
        silent = threading.Timer(self.patience, self.process.kill)
        silent.start()
        try:
            if question is not None:
                self.process.stdin.write(json.dumps(question) + "\n")
            answer = self.process.stdout.readline()
        finally:
            silent.cancel()
        if not answer:
            raise RuntimeError(f"a measurement ended early (exit {self.process.wait()})")
        return json.loads(answer)

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()  # the end of its questions
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def answer(value: Any) -> None:
    """What a child says."""
    print(json.dumps(value), flush=True)


def alone(file: str, case: Mapping[str, Any], *, patience: float = 600) -> dict[str, Any]:
    """One answer of a child that measures one thing and ends."""
    child = Child(file, case, patience=patience)
    try:
        answer: dict[str, Any] = child.ask()
        return answer
    finally:
        child.close()


def listed(kind: type) -> Callable[[str], list[Any]]:
    """What reads an option of several values, by commas."""
    return lambda text: [kind(item) for item in text.split(",")]
