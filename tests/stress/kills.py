"""Kill commands at every write and at random times; then run them again.

    python tests/stress/kills.py --minutes 20 --count 2000
    python tests/stress/kills.py --seed 0 --case 17
    python tests/stress/kills.py --only 'train-st*'

A case is one command of jobs.py that ends before its time: by SIGKILL just before, or half way
through, its n-th call that writes (traps.py), by SIGINT or SIGTERM there, or by one of the three
at a random time. The cases of a command go through all its calls, in a random order; every fourth
is one at a random time, every third replaces an old file (--force).

What must hold: FILE is not there, or whole, or the old one. The same command again (with --resume
where it takes it) ends with 0 and with the bytes of a run that nobody disturbed, and leaves
nothing else in the folder. Kinds of failures:

    half      FILE is neither of what it may be
    stuck     the second run does not end with 0
    differs   it does, with other bytes
    left      something else stays in the folder
    code      a signal that ends a command with another code than 130 or 143
    tracebacks, hung
"""

import fnmatch
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import campaign
import jobs
import warm
from jobs import Job
from traps import Trap

KINDS = ("half", "stuck", "differs", "left", "code", "tracebacks", "hung")
SIGNALS = {"kill": signal.SIGKILL, "int": signal.SIGINT, "term": signal.SIGTERM}
ACTIONS = ("kill", "half", "int", "term")
OLD = b"somebody's work"


@dataclass(frozen=True)
class Case:
    """How a command is disturbed. at: the call, or None: after `delay` seconds."""

    job: Job
    action: str
    at: int | None
    delay: float
    force: bool
    orphans: bool  # what a bench leaves behind is killed too


class Kills:
    """The cases and what they are compared with."""

    def __init__(self, run: campaign.Campaign, root: Path) -> None:
        self.run, self.home, self.seed = run, root / "home", run.options.seed
        self.given = jobs.make_given(root / "given")
        only = run.options.only or "*"
        self.jobs = [job for name, job in jobs.JOBS.items() if fnmatch.fnmatch(name, only)]
        self.known: dict[str, jobs.Undisturbed] = {}

    def undisturbed(self, job: Job) -> jobs.Undisturbed:
        """The command to its end."""
        if job.name not in self.known:
            self.known[job.name] = jobs.undisturbed(job, self.given, self.home)
        return self.known[job.name]

    def case(self, number: int) -> Case:
        """The case of this number."""
        turn, which = divmod(number, len(self.jobs))
        job = self.jobs[which]
        draw = random.Random(f"{self.seed} {job.name} {turn}")
        force = job.forces and draw.random() < 1 / 3
        orphans = draw.random() < 0.5
        if turn % 4 == 3:
            delay = draw.uniform(0, 1.1) * self.undisturbed(job).seconds
            return Case(job, draw.choice(list(SIGNALS)), None, delay, force, orphans)
        count = self.undisturbed(job).calls
        points = [(action, at) for at in range(1, count + 1) for action in ACTIONS]
        random.Random(f"{self.seed} {job.name}").shuffle(points)
        action, at = points[(turn - turn // 4) % len(points)]
        return Case(job, action, at, 0.0, force, orphans)

    def try_(self, number: int) -> None:
        """Kill, look, run again, look again."""
        case = self.case(number)
        job, home = case.job, jobs.empty(self.home)
        if case.force:
            (home / job.out).write_bytes(OLD)
        more = ["--force"] if case.force else []
        words = job.words(self.given, *more)
        trap = Trap(home, case.action, case.at) if case.at else None
        child = warm.start(words, cwd=home, trap=trap)
        if case.at is None:
            time.sleep(case.delay)
            child.signal(SIGNALS[case.action])
        ended = child.wait()
        warm.settle(kill=case.orphans)
        if case.at and not ended.sprung:
            self.run.counts["ended before"] += 1
            return
        self.run.counts["kills"] += 1
        self.run.counts[f"by {case.action}{'' if case.at else ' at a random time'}"] += 1
        self.run.counts[f"of {job.name.partition('-')[0]}"] += 1
        self.look(number, case, ended, home)
        again = warm.run([*words, *(["--resume"] if job.resumes else [])], cwd=home)
        self.look_again(number, case, ended, again, home)

    def look(self, number: int, case: Case, ended: warm.Ended, home: Path) -> None:
        """What must hold after the kill."""
        job, want = case.job, self.undisturbed(case.job).tree
        there = jobs.settled(jobs.tree(home))
        about = {
            "job": job.name, "action": case.action, "at": case.at, "force": case.force,
            "call": ended.sprung[:300], "code": ended.code, "there": list(there)[:12],
        }  # fmt: skip
        if job.name == "bench":
            bad = [k for k, v in there.items() if k in want and v != want[k]]
        elif job.folder:
            inside = {k: v for k, v in there.items() if k == job.out or k.startswith(f"{job.out}/")}
            bad = [job.out] if inside and inside != want else []
        else:
            now, allowed = there.get(job.out), [want[job.out], *([OLD] if case.force else [None])]
            bad = [job.out] if now not in allowed else []
        if bad:
            self.run.fail("half", number, files=bad[:5], **about)
        if ended.traceback:
            self.run.fail("tracebacks", number, said=ended.err[-600:], **about)
        if ended.hung:
            self.run.fail("hung", number, **about)
        if case.action in ("int", "term"):
            right = (
                0,
                128 + SIGNALS[case.action],
                *((-SIGNALS[case.action],) if not case.at else ()),
            )
            if ended.code not in right:
                self.run.fail("code", number, said=ended.said, **about)
            own = (job.out, f"{job.out}.part")
            if left := [k for k in there if k not in own and not k.startswith(f"{job.out}/")]:
                self.run.fail("left", number, left=left[:5], **about)

    def look_again(
        self, number: int, case: Case, ended: warm.Ended, again: warm.Ended, home: Path
    ) -> None:
        """What must hold after the second run."""
        job, want = case.job, self.undisturbed(case.job).tree
        there = jobs.settled(jobs.tree(home))
        about = {
            "job": job.name, "action": case.action, "at": case.at, "force": case.force,
            "call": ended.sprung[:300], "first code": ended.code, "said": again.said,
        }  # fmt: skip
        whole = all(there.get(name) == data for name, data in want.items())
        finished = whole and not job.resumes and not case.force and again.refused
        if again.traceback:
            self.run.fail("tracebacks", number, **about)
        elif again.hung:
            self.run.fail("hung", number, **about)
        elif again.code and not finished:
            self.run.fail("stuck", number, code=again.code, **about)
        elif not whole:
            self.run.fail("differs", number, **about)
        if left := [name for name in there if name not in want]:
            self.run.fail("left", number, left=left[:5], **about)


def main() -> int:
    """The harness."""
    options = campaign.options(__doc__, minutes=20, count=2000, more=("only",))
    run = campaign.Campaign("kills", KINDS, options)
    with campaign.scratch() as root:
        warm.warm_up()
        kills = Kills(run, Path(root))
        for number in run.numbers():
            kills.try_(number)
    return run.end(commands=len(kills.jobs))


if __name__ == "__main__":
    sys.exit(main())
