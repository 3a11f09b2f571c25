"""Damaged inputs for every reader; see mutations.py for what is done to them.

    python tests/stress/fuzz.py --minutes 30 --count 100000
    python tests/stress/fuzz.py --seed 0 --case 4711
    python tests/stress/fuzz.py --keep FOLDER        a recipe (recipes.py) of each failure

Each input is read by a command line in a forked process, which takes many one after the other.
What must hold: it ends with 0, or with 1 or 2 and one line that says why. Kinds of failures:

    tracebacks  all else: an exception, no line or several, another exit code, a process that died
    executed    something of the input ran: a canary file is there, or Python was about to start a
                process, to connect, or to look up a name of a pickle
    over_10_s   seconds, seen again in a second run
    over_1_gb   more memory than before; a request for gigabytes that was denied counts too
"""

import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import campaign
import mutations
import recipes
import seeds
import traps
import warm

KINDS = ("tracebacks", "executed", "over_10_s", "over_1_gb")
SECONDS, PATIENCE = 10.0, 30.0
"""What an input may take; after how long its process is ended."""
GIGABYTE = 1 << 30
ROOM = 4 * GIGABYTE  # that a process may ask for
BATCH = 500  # inputs of a process
EVENTS = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
    "subprocess.Popen", "socket.connect", "pickle.find_class", "os.startfile",
)  # fmt: skip
OWN = ("uname",)  # which `stkit env` starts
FAKES = ("gs", "gswin32c", "gswin64c", "sh", "djpeg", "cjpeg", "touch")
"""Programs that readers of images are known to start; stand-ins leave the canary."""


class Reader:
    """The process that reads: everything in it is forked from a warm one."""

    def __init__(self, given: Path, here: Path, mutator: mutations.Mutator, pipe: int) -> None:
        self.given, self.here, self.mutator, self.pipe = given, here, mutator, pipe
        self.seen: list[str] = []
        self.streams = [os.memfd_create(name) for name in ("out", "err")]

    def prepare(self) -> None:
        """Limits, the canary, and streams of its own."""
        used = int(_status("VmData")) + ROOM
        resource.setrlimit(resource.RLIMIT_DATA, (used, used))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.setsid()
        for number, stream in zip((1, 2), self.streams, strict=True):
            os.dup2(stream, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for handled in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(handled, signal.SIG_DFL)
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event in EVENTS and not (event == "subprocess.Popen" and args[0] in OWN):
            self.seen.append(f"{event} {args!r}"[:200])

    def read(self, seed: int, number: int, recipe: recipes.Recipe) -> None:
        """One input; what came of it goes into the pipe."""
        here = self.here
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir(parents=True)
        os.chdir(here)
        words = recipes.apply(recipe, self.given, here)
        for stream in self.streams:
            os.ftruncate(stream, 0)
            os.lseek(stream, 0, os.SEEK_SET)
        self.seen.clear()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
        before, begun = int(_status("VmRSS")), time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        code, wrong = 70, ""
        try:
            code = warm.main(words)
        except SystemExit as end:
            wrong = f"SystemExit({end.code})"
        except BaseException:
            wrong = traceback.format_exc()[-1500:]
        signal.setitimer(signal.ITIMER_REAL, 0)
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        seconds, grown = time.monotonic() - begun, int(_status("VmHWM")) - before
        size = os.fstat(self.streams[1]).st_size
        said = os.pread(self.streams[1], min(size, 1 << 20), 0).decode(errors="replace")
        errors = sum(line.startswith("error: ") for line in said.splitlines())
        canary = [str(p) for p in here.rglob(seeds.CANARY)]
        self.tell({
            "case": number, "code": code, "wrong": wrong, "said": said[-2000:], "errors": errors,
            "seconds": seconds, "grown": grown, "executed": [*self.seen, *canary],
        })  # fmt: skip

    def tell(self, about: dict[str, Any]) -> None:
        """A line into the pipe."""
        os.write(self.pipe, json.dumps(about).encode() + b"\n")


def _status(key: str) -> int:
    """Bytes, as the kernel counts them for this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    return 0


class Fuzz:
    """The campaign: batches of cases in processes, one after the other."""

    def __init__(self, run: campaign.Campaign, root: Path) -> None:
        self.run, self.here, self.seed = run, root / "here", run.options.seed
        self.given = seeds.make(root / "given", lambda words, cwd: warm.run(words, cwd=cwd).code)
        seeds.unfinished(self.given, _stopped)
        self.mutator = mutations.Mutator(self.given)
        self.readers: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        self.greatest = 0
        bin_ = root / "bin"
        bin_.mkdir()
        for name in FAKES:
            (bin_ / name).write_text(f"#!/bin/bash\n: >{self.here}/{seeds.CANARY}\n")
            (bin_ / name).chmod(0o755)
        os.environ["PATH"] = f"{bin_}{os.pathsep}{os.environ['PATH']}"

    def batch(self, numbers: list[int]) -> None:
        """Read these cases, in as many processes as die of them and one."""
        while numbers:
            told = self.process(numbers)
            for about in told:
                self.judge(about)
            numbers = numbers[len(told) :]

    def process(self, numbers: list[int]) -> list[dict[str, Any]]:
        """What one process told of the cases it came to, the last of which may have ended it."""
        out, into = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.close(out)
                reader = Reader(self.given, self.here, self.mutator, into)
                reader.prepare()
                for number in numbers:
                    reader.read(self.seed, number, self.mutator.recipe(self.seed, number))
            except BaseException:
                reader.tell({"harness": traceback.format_exc()[-1500:]})
            finally:
                os._exit(0)
        os.close(into)
        with os.fdopen(out) as lines:
            told = [json.loads(line) for line in lines if line.endswith("\n")]
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        warm.settle(kill=True)
        if told and "harness" in told[-1]:
            raise RuntimeError(f"case {numbers[len(told) - 1]}: {told[-1]['harness']}")
        if len(told) < len(numbers):
            slow = code == -signal.SIGALRM
            told.append({
                "case": numbers[len(told)], "code": code, "said": "", "executed": [], "grown": 0,
                "errors": 0,
                "wrong": "" if slow else f"the process ended with {code}",
                "seconds": PATIENCE if slow else 0.0,
            })  # fmt: skip
        return told

    def judge(self, about: dict[str, Any], *, again: bool = False) -> None:
        """Count a case, and tell what it broke."""
        number = about["case"]
        recipe = self.mutator.recipe(self.seed, number)
        if SECONDS < about["seconds"] < PATIENCE and not again:
            self.judge(self.process([number])[0], again=True)
            return
        self.readers[recipe["reader"]] += 1
        self.run.counts["inputs"] += 1
        self.slowest = max(self.slowest, about["seconds"])
        self.greatest = max(self.greatest, about["grown"])
        denied = "out of memory" in about["said"]
        if about["executed"]:
            self.fail("executed", number, recipe, str(about["executed"]))
        if about["seconds"] > SECONDS:
            self.fail("over_10_s", number, recipe, f"{about['seconds']:.1f} s")
        elif about["grown"] > GIGABYTE or denied:
            self.fail("over_1_gb", number, recipe, f"{about['grown']:,} {about['said'][-200:]}")
        elif about["wrong"]:
            self.fail("tracebacks", number, recipe, about["wrong"])
        elif about["code"] == about["errors"] == 0:
            self.outcomes["read"] += 1
        elif about["code"] in (1, 2) and about["errors"] == 1:
            self.outcomes["refused"] += 1
        else:
            self.fail("tracebacks", number, recipe, f"{about['code']} {about['said'][-800:]}")

    def fail(self, kind: str, number: int, recipe: recipes.Recipe, said: str) -> None:
        """Tell a failure, and keep its recipe."""
        self.run.fail(kind, number, said=said[-700:], recipe=recipe)
        if self.run.options.keep:
            folder = Path(self.run.options.keep)
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps({**recipe, "kind": kind, "case": number, "said": said[-1500:]})
            (folder / f"{self.seed}-{number}.json").write_text(text)


def _stopped(words: list[str], folder: Path) -> int:
    """A command that gets SIGINT at one of its first writes."""
    return warm.run(words, cwd=folder, trap=traps.Trap(folder, "int", 9)).code


def main() -> int:
    """The harness."""
    options = campaign.options(__doc__, minutes=30, count=100_000, more=("keep",))
    run = campaign.Campaign("fuzz", KINDS, options)
    with campaign.scratch() as root:
        warm.warm_up()
        fuzz = Fuzz(run, Path(root))
        batch: list[int] = []
        for number in run.numbers():
            batch.append(number)
            if len(batch) == BATCH:
                fuzz.batch(batch)
                batch = []
        fuzz.batch(batch)
        if options.case is not None:
            print(json.dumps(fuzz.mutator.recipe(options.seed, options.case)), file=sys.stderr)
    return run.end(
        readers=dict(sorted(fuzz.readers.items())), **fuzz.outcomes,
        slowest_s=round(fuzz.slowest, 1), most_mb=fuzz.greatest >> 20,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
