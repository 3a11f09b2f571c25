"""One rank, then two, each in a process forked from this, which has imported all that they need.

python forked.py FOLDER
"""

import os
import sys

import torch
import torch._dynamo
from torch.distributed import TCPStore

from stkit.checkup import child


def rank(what: str, number: int, count: int, port: int) -> int:
    """Start a rank; its process number."""
    if pid := os.fork():
        return pid
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
    }  # fmt: skip
    child.main(what, "cpu", f"{sys.argv[1]}/{what}-{number}")
    raise AssertionError("it ends the process")


torch.set_num_threads(1)
code = 0
for what, count in (("alone", 1), ("together", 2)):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for pid in [rank(what, number, count, store.port) for number in range(count)]:
        code |= os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(code)
