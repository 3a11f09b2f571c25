"""What the benchmarks share: tables, slopes, peak memory, and children that measure in turn.

Nothing here imports torch: a parent that stays small starts its children faster, and what it holds
does not count as theirs.
"""

import json
import math
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    if not device.startswith("cuda"):
        return host_peak()
    import torch

    return torch.cuda.max_memory_allocated(device)


def machine(device: str) -> dict[str, Any]:
    """What a number belongs to."""
    import torch

    cuda = device.startswith("cuda")
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


def alone(file: str, case: Mapping[str, Any], *, patience: float = 600) -> Any:
    """One answer of a child that measures one thing and ends."""
    child = Child(file, case, patience=patience)
    try:
        return child.ask()
    finally:
        child.close()
