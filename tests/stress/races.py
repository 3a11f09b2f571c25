"""Two writers of one FILE (or folder), started within milliseconds of each other.

    python tests/stress/races.py --minutes 5 --count 400
    python tests/stress/races.py --seed 0 --case 17

Both write other bytes (another seed). What must hold: FILE is whole and is what one of them would
have written alone; at most one of them ends with 0, and the other with one line, exit code 1.
Who ends first is left in peace: a second one that comes too late is told that FILE exists. What an
unfinished one has left (FILE.part) its own command takes up. Kinds of failures:

    half        FILE is neither's, or a bench's result is not whole
    both        both end with 0: one has replaced what the other had written
    neither     none does
    words       the loser does not end with one line and exit code 1
    left        something else than FILE, or FILE.part, stays in the folder
    tracebacks, hung
"""

import random
import sys
import time
from pathlib import Path

import campaign
import jobs
import warm
from jobs import Job

KINDS = ("half", "both", "neither", "words", "left", "tracebacks", "hung")
NAMES = (
    "data", "sp", "ops", "import-pt", "export-folder", "export-png", "export-npz", "eval", "acm",
    "report", "em-class", "rem", "train-nt", "train-st", "train-st-full", "bench",
)  # fmt: skip
APART = 0.03  # seconds at most; one in four is as long after the first as that one takes


class Races:
    """The pairs, and what each of two would have written alone."""

    def __init__(self, run: campaign.Campaign, root: Path) -> None:
        self.run, self.home = run, root / "home"
        self.given = jobs.make_given(root / "given")
        self.known: dict[tuple[str, int], tuple[dict[str, bytes | None], float]] = {}

    def alone(self, job: Job, seed: int) -> tuple[dict[str, bytes | None], float]:
        """What a command writes, and its seconds."""
        if (job.name, seed) not in self.known:
            home = jobs.empty(self.home)
            done = warm.run(job.words(self.given, seed=seed), cwd=home)
            if done.code:
                raise RuntimeError(f"{job.name}: {done.err}")
            self.known[job.name, seed] = jobs.settled(jobs.tree(home)), done.seconds
        return self.known[job.name, seed]

    def try_(self, number: int) -> None:
        """One race."""
        draw = random.Random(f"{self.run.options.seed} {number}")
        job = jobs.JOBS[NAMES[number % len(NAMES)]]
        either = [self.alone(job, seed) for seed in (0, 1)]
        apart = draw.uniform(0, APART) if draw.random() < 0.75 else draw.random() * either[0][1]
        home = jobs.empty(self.home)
        first = warm.start(job.words(self.given, seed=0), cwd=home)
        time.sleep(apart)
        second = warm.start(job.words(self.given, seed=1), cwd=home)
        ended = [first.wait(), second.wait()]
        warm.settle(kill=False)
        there = jobs.settled(jobs.tree(home))
        self.run.counts["races"] += 1
        about = {
            "job": job.name, "apart": round(apart, 4), "codes": [e.code for e in ended],
            "said": [e.said for e in ended if e.code], "there": list(there)[:12],
        }  # fmt: skip
        self.judge(number, job, ended, [tree for tree, _ in either], there, about)

    def judge(
        self, number: int, job: Job, ended: list[warm.Ended],
        either: list[dict[str, bytes | None]], there: dict[str, bytes | None],
        about: dict[str, object],
    ) -> None:  # fmt: skip
        """What must hold after it."""
        winners = [e for e in ended if e.code == 0]
        same = job.name == "bench" or either[0] == either[1]
        for e in ended:
            if e.traceback:
                self.run.fail("tracebacks", number, err=e.err[-500:], **about)
            elif e.hung:
                self.run.fail("hung", number, **about)
            elif e.code and not (e.refused and e.code == 1):
                self.run.fail("words", number, **about)
        if not winners:
            self.run.fail("neither", number, **about)
        if len(winners) == 2 and not (job.name == "bench" and about["apart"]):
            self.run.fail("both", number, **about)
        own = (job.out, f"{job.out}.part")
        mine = {k: v for k, v in there.items() if k == job.out or k.startswith(f"{job.out}/")}
        if mine not in either:
            self.run.fail("half", number, **about)
        elif winners and not same and mine != either[ended.index(winners[0])]:
            self.run.fail("half", number, why="not the winner's", **about)
        if left := [k for k in there if k not in own and k not in mine]:
            self.run.fail("left", number, left=left[:5], **about)
        for e in ended:
            self.run.counts["told who holds it" if "process" in e.said else "other"] += bool(e.code)


def main() -> int:
    """The harness."""
    options = campaign.options(__doc__, minutes=5, count=400)
    run = campaign.Campaign("races", KINDS, options)
    with campaign.scratch() as root:
        warm.warm_up()
        races = Races(run, Path(root))
        for number in run.numbers():
            races.try_(number)
    return run.end()


if __name__ == "__main__":
    sys.exit(main())
