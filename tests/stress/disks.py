"""Disks that fill up, folders that cannot be written or that vanish.

    python tests/stress/disks.py --minutes 10 --count 600
    python tests/stress/disks.py --seed 0 --case 17

A case is one command of jobs.py on a bad disk:

    full     from its n-th call that writes on, no space is left (ENOSPC, traps.py)
    once     only that call fails so
    small    a file system of its own (tmpfs) with less room than it needs; needs root
    limit    no file may grow beyond some bytes (RLIMIT_FSIZE)
    closed   a folder that may not be written, as a user who is not root
    vanish   the folder is removed at its n-th call that writes

What must hold: it ends with 1 and one line (or with 0 and the right bytes, where it could go on),
the old FILE is whole, and where there was unfinished work (FILE.part), it is still there. Once
there is space again, the same command (with --resume where it takes it) ends with 0 and the bytes
of a run on a good disk, and nothing else is left. Kinds of failures:

    half, stuck, differs, left, tracebacks, hung    as in kills.py
    words    it does not end with one line and exit code 1
    lost     the old file, or unfinished work, is gone
"""

import ctypes
import json
import os
import random
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import campaign
import jobs
import warm
from jobs import Job
from traps import Trap

KINDS = ("half", "stuck", "differs", "left", "words", "lost", "tracebacks", "hung")
WAYS = ("full", "once", "full", "once", "small", "limit", "closed", "vanish")
OLD = b"somebody's work"
NOBODY = 65534
DETACH = 2


@dataclass
class Disks:
    """The cases and what they are compared with."""

    run: campaign.Campaign
    root: Path
    known: dict[str, tuple[dict[str, bytes | None], int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home = self.root / "home"
        self.given = jobs.make_given(self.root / "given")
        self.jobs = [job for name, job in jobs.JOBS.items() if name != "bench"]
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.root.chmod(0o755)  # so that nobody may read the inputs

    def good(self, job: Job) -> tuple[dict[str, bytes | None], int, int]:
        """What a command writes on a good disk, its calls that write, and the bytes."""
        if job.name not in self.known:
            done = jobs.undisturbed(job, self.given, self.home)
            size = sum(len(data) for data in done.tree.values() if data)
            self.known[job.name] = done.tree, done.calls, size
        return self.known[job.name]

    def try_(self, number: int) -> None:
        """Fail, look, free the space, run again, look again."""
        turn, which = divmod(number, len(self.jobs))
        job = self.jobs[which]
        draw = random.Random(f"{self.run.options.seed} {job.name} {turn}")
        way = WAYS[(turn + which) % len(WAYS)]
        force = job.forces and draw.random() < 0.5
        words = job.words(self.given, *(["--force"] if force else []))
        ended, home, part = self.fail(way, job, words, draw, force)
        if ended is None:
            self.run.counts[f"{way}: not here"] += 1
            return
        self.run.counts[way] += 1
        about = {
            "job": job.name, "way": way, "force": force, "code": ended.code, "said": ended.said,
            "call": ended.sprung[:200],
        }  # fmt: skip
        try:
            self.look(number, job, ended, home, part and not force, force, way, about)
            more = ["--resume"] if job.resumes else []
            home.mkdir(exist_ok=True)
            again = warm.run([*words, *more], cwd=home)
            self.look_again(number, job, again, home, force, about | {"said": again.said})
        finally:
            self.libc.umount2(os.fsencode(self.root / "small"), DETACH)

    def fail(
        self, way: str, job: Job, words: list[str], draw: random.Random, force: bool
    ) -> tuple[warm.Ended | None, Path, bool]:
        """Run the command on the bad disk; None where this machine has none such. Then: the folder,
        and whether there was unfinished work when it failed."""
        _, calls, size = self.good(job)
        home = jobs.empty(self.home)
        trap, prepare = None, None
        at = draw.randint(1, calls)
        if way in ("full", "once", "vanish"):
            trap = Trap(home, way, at)
        elif way == "small":
            home = jobs.empty(self.root / "small")
            room = f"size={max(4096, int(size * draw.uniform(0.2, 1.1)))}".encode()
            if self.libc.mount(b"tmpfs", os.fsencode(home), b"tmpfs", 0, room):
                return None, home, False
        elif way == "limit":
            prepare = _limited(draw.randrange(1, max(2, size)))
        elif os.geteuid() == 0:
            prepare = _nobody
        if force:
            (home / job.out).write_bytes(OLD)
        if way == "closed":
            home.chmod(0o555)
        ended = warm.run(words, cwd=home, trap=trap, prepare=prepare)
        if way == "small":
            self.libc.mount(b"none", os.fsencode(home), b"tmpfs", 32, b"size=1g")  # MS_REMOUNT
        if way == "closed":
            home.chmod(0o755)
        if trap and not ended.sprung:
            return None, home, False
        there = json.loads(ended.sprung)["there"] if ended.sprung else []
        return ended, home, f"{job.out}.part" in there and way != "vanish"

    def look(
        self, number: int, job: Job, ended: warm.Ended, home: Path, part: bool, force: bool,
        way: str, about: dict[str, object],
    ) -> None:  # fmt: skip
        """What must hold after the failure."""
        want, _, _ = self.good(job)
        there = jobs.settled(jobs.tree(home)) if home.exists() else {}
        mine = {k: v for k, v in there.items() if k == job.out or k.startswith(f"{job.out}/")}
        old = {job.out: OLD} if force and way != "vanish" else {}
        if ended.traceback:
            self.run.fail("tracebacks", number, err=ended.err[-600:], **about)
        elif ended.hung:
            self.run.fail("hung", number, **about)
        elif ended.code and not (ended.refused and ended.code == 1):
            self.run.fail("words", number, **about)
        if mine not in (old, want) and not (way == "vanish" and not mine):
            kind = "lost" if force and not mine else "half"
            self.run.fail(kind, number, mine=list(mine)[:5], **about)
        if part and ended.code and f"{job.out}.part" not in there:
            self.run.fail("lost", number, part=True, **about)
        own = (*mine, f"{job.out}.part")
        if left := [name for name in there if name not in own]:
            self.run.fail("left", number, left=left[:5], **about)

    def look_again(
        self, number: int, job: Job, again: warm.Ended, home: Path, force: bool,
        about: dict[str, object],
    ) -> None:  # fmt: skip
        """What must hold after the second run."""
        want, _, _ = self.good(job)
        there = jobs.settled(jobs.tree(home))
        whole = all(there.get(name) == data for name, data in want.items())
        if again.traceback:
            self.run.fail("tracebacks", number, err=again.err[-600:], **about)
        elif again.code and not (whole and not job.resumes and not force and again.refused):
            self.run.fail("stuck", number, **about)
        elif not whole:
            self.run.fail("differs", number, **about)
        if left := [name for name in there if name not in want]:
            self.run.fail("left", number, left=left[:5], **about)


def _limited(size: int) -> Callable[[], None]:
    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return prepare


def _nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def main() -> int:
    """The harness."""
    options = campaign.options(__doc__, minutes=10, count=600)
    run = campaign.Campaign("disks", KINDS, options)
    with campaign.scratch() as root:
        warm.warm_up()
        disks = Disks(run, Path(root))
        for number in run.numbers():
            disks.try_(number)
    return run.end()


if __name__ == "__main__":
    sys.exit(main())
