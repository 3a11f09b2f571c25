"""A process of a check's own: several ranks need some, and what may hang is put into one.

    python -m stkit.checkup.child WHAT DEVICE FILE

writes what it comes to as JSON. The environment says which rank it is, as torchrun sets it.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from stkit.checkup import bodies, ranks
from stkit.checkup.compared import COMPILED
from stkit.checkup.findings import SKIPPED, WRONG, Finding, compare, said
from stkit.engine.process import configure, connect
from stkit.engine.runtime import pick

BODY = bodies.BODIES[0]


def alone(device: str) -> Iterator[Finding]:
    """The collectives by one rank."""
    runtime = pick(device, "fp32", threads=1)
    connect(runtime.device)
    configure(runtime)
    yield from ranks.collectives(runtime)


def together(device: str) -> Iterator[Finding]:
    """The collectives by all ranks, and a few steps."""
    runtime = pick(device, "fp32", threads=1)
    configure(runtime)
    yield from ranks.collectives(runtime)
    yield ranks.against_one(BODY, runtime)


def compiled(device: str) -> Iterator[Finding]:
    """A compiled step against an eager one."""
    eager, fast = (pick(device, "fp32", step=step) for step in ("eager", "compile"))
    configure(eager)
    name, reference = f"{BODY.name}, compiled against eager", BODY.run(eager, torch.float32, 1)
    try:
        outcome = BODY.run(fast, torch.float32, 1)
    except Exception as error:  # no compiler, no headers of Python's: nothing else wants them
        yield Finding(name, SKIPPED, f"--step compile does not work here: {said(error)}")
        return
    yield compare(name, outcome, reference, COMPILED)


CHECKS: dict[str, Callable[[str], Iterator[Finding]]] = {
    "alone": alone, "together": together, "compiled": compiled,
}  # fmt: skip


def main(what: str, device: str, file: str) -> None:
    """Check, write, and end at once: to part in good order may hang where a rank has failed."""
    findings: list[Finding] = []
    try:
        findings.extend(CHECKS[what](device))
    except Exception as error:
        findings.append(Finding(what, WRONG, said(error)))
    Path(file).write_text(json.dumps([finding.to_json() for finding in findings]))
    os._exit(int(any(finding.status == WRONG for finding in findings)))


if __name__ == "__main__":
    main(*sys.argv[1:])
