"""Checks in processes of their own: started, waited for, and ended when they hang."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch.distributed as dist

from stkit.checkup.findings import WRONG, Finding

LIMIT = 120.0
"""Seconds from its start until a child counts as hanging. They start with the other checks, which
take most of that time, and work for 20 themselves."""
GRACE = 3.0
"""Seconds for the other ranks once one has failed: they wait for it."""


@dataclass
class Children:
    """Ranks that make one check together; `findings` ends them.

    what: see `child`. late: the status of what gave no answer in `limit` seconds.
    """

    name: str
    what: str
    device: str
    count: int = 1
    limit: float = LIMIT
    late: str = WRONG
    command: tuple[str, ...] = (sys.executable, "-m", "stkit.checkup.child")
    folder: TemporaryDirectory[str] = field(default_factory=TemporaryDirectory)

    def __post_init__(self) -> None:
        store = dist.TCPStore  # type: ignore[attr-defined]
        self.store = store("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.begun = time.monotonic()
        self.processes = [self._start(rank) for rank in range(self.count)]

    def _path(self, rank: int, ending: str) -> Path:
        return Path(self.folder.name) / f"{rank}.{ending}"

    def _start(self, rank: int) -> subprocess.Popen[bytes]:
        """A rank, with an environment as of torchrun's, of this stkit."""
        here = os.fspath(Path(__file__).parents[2])
        environment = os.environ | {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(self.count),
            "LOCAL_WORLD_SIZE": str(self.count), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.store.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": "0", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]),
        }  # fmt: skip
        with self._path(rank, "err").open("wb") as err:
            return subprocess.Popen(
                [*self.command, self.what, self.device, str(self._path(rank, "json"))],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, env=environment,
            )  # fmt: skip

    def findings(self) -> list[Finding]:
        """What rank 0 came to, and what others failed in, once all have ended or time is over."""
        try:
            in_time = self._wait()
            findings = [each for rank in range(self.count) for each in self._said(rank, in_time)]
        finally:
            self.end()
        return findings

    def end(self) -> None:
        """Leave nothing behind."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.folder.cleanup()

    def _wait(self) -> bool:
        """Until all have ended, or one has failed and a little time has passed; whether in time."""
        end, failed = self.begun + self.limit, False
        while any(process.poll() is None for process in self.processes):
            if time.monotonic() > end:
                return failed
            if not failed and any(process.poll() for process in self.processes):
                end, failed = min(end, time.monotonic() + GRACE), True
            time.sleep(0.02)
        return True

    def _said(self, rank: int, in_time: bool) -> list[Finding]:
        """What a rank wrote: rank 0 all of it, the others what is wrong."""
        code = self.processes[rank].poll()
        with suppress(FileNotFoundError, ValueError):
            written = json.loads(self._path(rank, "json").read_text())
            findings = [Finding(**each) for each in written]
            return [each for each in findings if rank == 0 or each.status == WRONG]
        who = f"rank {rank} " if self.count > 1 else ""
        if code is None and not in_time:
            return [Finding(self.name, self.late, f"{who}gave no answer within {self.limit:.0f} s")]
        if code is None:  # another has failed, and says why
            return []
        lines = self._path(rank, "err").read_text(errors="replace").strip().splitlines()
        last = lines[-1][:300] if lines else "without a word"
        return [Finding(self.name, WRONG, f"{who}ended with code {code}: {last}")]
