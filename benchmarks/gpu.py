"""What a rented GPU's minutes are worth: every figure that needs one, the most valuable first.

    bash benchmarks/gpu.sh --minutes 9 [--out FOLDER] [--source SOURCE] [--test SOURCE]

Run it again and again: what is there is not made again, what was stopped goes on, and after each
call a table says what is there and what is missing. It wants no network and no installed stkit:
a Python with stkit's requirements, and the repository.

--out is laid out as results/ is, which is the default: figures in benchmarks/gpu-*.json(l),
trainings in cifar10/ and so on. A file's step is complete; remove it to measure it again, and take
another folder for another kind of GPU. --work (FOLDER/work) has images, checkpoints and logs, which
need not be kept. SOURCE and TEST, options or variables: CIFAR-10 as a folder with train/ and test/,
as its own files (a folder with cifar-10-batches-py) or as stkit files; decoded once.

    --list               the steps and how far they are; runs nothing
    --only, --skip       names of steps, by commas: --skip queue for those after it, --skip check
                         where its failure is known
    --quick, or QUICK=1  all of it in small on a CPU; --out is then gpu-quick

Exit: 0 everything is complete, 3 the minutes ran out and work is left, 1 a step failed (the others
have run), 2 wrong usage, 130 or 143 interrupted.
"""

import argparse
import json
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import Any

import measuring
import rows
from gpu_made import Answer, Count, Place, at_hand
from gpu_steps import HERE, QUICK_GRID, QUICK_QUEUE, Step, steps

from stkit.core import atomic, locks
from stkit.core.errors import StkitError

Launch = Callable[[Sequence[str], Path, Path, float], int]
"""Runs Python with these words; stdout and stderr into files; seconds until it is ended."""
KILLED = -9
SAVING = 0.25
"""Minutes before the end by which a step is told to be done, for what it saves then."""
GRACE = 10.0  # seconds in which what is told to end may do so by itself
COLUMNS = {"step": "step", "is": "state", "there": "there", "of": "total", "s": "seconds",
           "file": "file", "what": "about"}  # fmt: skip
FAILED, COMPLETE, LEFT = "FAILED", "complete", "left"


def launch(
    words: Sequence[str], out: Path, log: Path, seconds: float, *, locks: tuple[int, ...] = ()
) -> int:
    """Run Python as a process group that ends with this process; its exit code, KILLED where it had
    to be ended. locks: open files that it holds too, should this process be killed."""
    with out.open("wb") as printed, log.open("ab") as said:
        process = Popen([sys.executable, *words], stdin=DEVNULL, stdout=printed, stderr=said,
                        start_new_session=True, pass_fds=locks)  # fmt: skip
        try:
            return process.wait(max(0.0, seconds))
        except TimeoutExpired:
            return KILLED
        finally:
            if process.poll() is None:
                end(process)


def end(process: "Popen[bytes]") -> None:
    """SIGTERM for the group, upon which stkit saves, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        os.killpg(process.pid, number)
        try:
            process.wait(GRACE)
            return
        except TimeoutExpired:
            continue


class Call:
    """One call: the steps that are not complete, until the time is up."""

    def __init__(self, place: Place, minutes: float, *, run: Launch) -> None:
        self.place, self.run = place, run
        self.end = time.monotonic() + 60 * minutes
        self.failed: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    @property
    def left(self) -> float:
        """Minutes that a step may take now."""
        return (self.end - time.monotonic()) / 60 - SAVING

    def wants_images(self, step: Step) -> bool:
        """Whether a step is to be run that wants images, or to know the machine."""
        if isinstance(step.made, Answer) and step.made.here:
            return True
        wants = step.images or isinstance(step.made, Answer)
        return wants and not step.made.count(self.place).complete

    def prepare(self, source: str, test: str | None) -> None:
        """Decode the images and learn of the machine, unless that was done here."""
        asked = json.dumps([source, test, *at_hand()])
        mark, facts = (self.place.work / name for name in ("images.asked", "images.json"))
        if not (mark.exists() and mark.read_text() == asked):
            mark.unlink(missing_ok=True)
            words = [str(HERE / "images.py"), source, "--work", str(self.place.work),
                     "--device", self.place.device]  # fmt: skip
            words += ["--test", test] if test else []
            words += ["--limit", "100"] if self.place.quick else []
            code = self._run("images", words, self.end - time.monotonic())
            if code:
                self.failed["images"] = self._why("images", code)
                return
            atomic.write_text(mark, asked)
        if self.place.quick:
            atomic.write_text(self.place.work / "quick.toml", QUICK_GRID)
            atomic.write_text(self.place.work / "queue.toml", QUICK_QUEUE)
        self.place = replace(self.place, images=json.loads(facts.read_text()))

    def take(self, step: Step) -> None:
        """Run a step for the time it may have, unless it is complete or there is too little."""
        minutes = min(self.left, step.minutes or self.left)
        if step.made.count(self.place).complete:
            return
        if self.left < step.least:
            print(f"{step.name}: wants {step.least + SAVING:.2g} minutes or more", file=sys.stderr)
            return
        if step.images and self.place.images is None:
            self.failed[step.name] = "there are no images"
            return
        words = [*step.command, *([step.timed, f"{minutes:.2f}"] if step.timed else [])]
        code = self._run(step.name, words, min(60 * (minutes + 1), self.end - time.monotonic()))
        if code == KILLED and self.left <= 0:  # the call's end, not the step's fault
            code = rows.LEFT
        if isinstance(step.made, Answer):
            self._keep(step, step.made, words, code)
        if code not in (0, rows.LEFT):
            self.failed[step.name] = self._why(step.name, code)

    def _run(self, name: str, words: Sequence[str], seconds: float) -> int:
        print(f"{name}: {shlex.join(['python', *words])}", file=sys.stderr, flush=True)
        for file in (self.file(name, "log"), self.place.figure(name)):
            file.parent.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        code = self.run(words, self.file(name, "out"), self.file(name, "log"), seconds)
        self.seconds[name] = time.monotonic() - begun
        print(f"{name}: exit {code} after {self.seconds[name]:.0f} s", file=sys.stderr, flush=True)
        return code

    def file(self, name: str, kind: str) -> Path:
        """What a step printed (out), or said on stderr (log)."""
        return self.place.work / "logs" / f"{name}.{kind}"

    def _keep(self, step: Step, made: Answer, words: Sequence[str], code: int) -> None:
        """What the step printed, with what it belongs to."""
        text = self.file(step.name, "out").read_text(errors="replace")
        for own in (self.place.work, self.place.out):  # of this machine, as in `rows.stamp`
            text = text.replace(f"{own}{os.sep}", "").replace(str(own), own.name)
        images = self.place.images or {}
        kept: dict[str, Any] = {
            "step": step.name, "exit": code, "seconds": round(self.seconds[step.name], 1),
            "machine": images.get("machine"), "torch": images.get("torch"),
            **rows.stamp(["python", *words]),
        }  # fmt: skip
        try:
            kept["result"] = json.loads(text)
        except ValueError:
            kept["output"] = text
        atomic.write_text(made.file, json.dumps(kept) + "\n")

    def _why(self, name: str, code: int) -> str:
        """The end of what a step said."""
        said = self.file(name, "log").read_text(errors="replace").strip().splitlines()
        how = "it took too long and was ended" if code == KILLED else f"exit {code}"
        return ": ".join([how, *said[-1:]])


def state(step: Step, count: Count, failed: dict[str, str]) -> str:
    """How a step stands, in a word."""
    if step.name in failed or count.note.startswith("exit"):
        return FAILED
    return COMPLETE if count.complete else LEFT


def summary(chosen: Sequence[Step], call: Call) -> list[dict[str, Any]]:
    """A row a step, from the files."""
    found = []
    for step in chosen:
        count = step.made.count(call.place)
        found.append({
            "step": step.name, "state": state(step, count, call.failed), "there": count.there,
            "total": count.total, "seconds": call.seconds.get(step.name),
            "file": os.path.relpath(step.made.file, call.place.out),
            "about": "; ".join([step.about, *([count.note] if count.note else [])]),
        })  # fmt: skip
    return found


def show(chosen: Sequence[Step], call: Call) -> int:
    """Print the figures and the table of steps, both from the files; the exit code."""
    shown: dict[Path, Step] = {}
    for step in chosen:
        shown.setdefault(step.made.file, step)
    for step in shown.values():
        figures = step.made.figures()
        if figures and step.made.file.exists():
            print(f"## {os.path.relpath(step.made.file, call.place.out)}\n\n{figures}\n")
    table = summary(chosen, call)
    print(measuring.table(table, COLUMNS))
    for name, why in call.failed.items():
        log = call.file(name, "log")
        print(f"failed {name}: {why}" + (f"; see {log}" if log.exists() else ""))
    states = {row["state"] for row in table}
    if call.failed or FAILED in states:
        return 1
    return rows.LEFT if LEFT in states else 0


def chosen_of(every: Sequence[Step], only: str | None, skip: str | None) -> list[Step]:
    """The steps that were asked for. ValueError: there is none of such a name."""
    names = [step.name for step in every]
    wanted, left_out = ((text.split(",") if text else []) for text in (only, skip))
    for name in [*wanted, *left_out]:
        if name not in names:
            raise ValueError(f"no step is called {name!r}; there are {', '.join(names)}")
    return [s for s in every if (not wanted or s.name in wanted) and s.name not in left_out]


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    quick = os.environ.get("QUICK", "") not in ("", "0")
    parser.add_argument("--minutes", type=float, default=9, help="of this call")
    parser.add_argument("--out", type=Path, help="folder of results")
    parser.add_argument("--work", type=Path, help="folder of what need not be kept")
    parser.add_argument("--source", default=os.environ.get("SOURCE"), help="images")
    parser.add_argument("--test", default=os.environ.get("TEST"), help="test images elsewhere")
    parser.add_argument("--only", metavar="STEPS", help="by commas")
    parser.add_argument("--skip", metavar="STEPS", help="by commas")
    parser.add_argument("--list", action="store_true", help="run nothing")
    parser.add_argument("--quick", action="store_true", default=quick, help="small, on a CPU")
    options = parser.parse_args(words)
    if not 0 <= options.minutes < math.inf:
        parser.error(f"argument --minutes: {options.minutes:g}, expected 0 or more")
    options.out = options.out or (Path("gpu-quick") if options.quick else HERE.parent / "results")
    options.work = options.work or options.out / "work"
    options.source = options.source or ("digits" if options.quick else "cifar10")
    try:
        options.names = [
            s.name for s in chosen_of(steps(place_of(options)), options.only, options.skip)
        ]
    except ValueError as error:
        parser.error(str(error))
    return options


def place_of(options: argparse.Namespace) -> Place:
    return Place(options.out.absolute(), options.work.absolute(), options.quick)


def main(words: Sequence[str] | None = None, *, run: Launch | None = None) -> int:
    options = parse(words)
    if options.quick:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    call = Call(place_of(options), options.minutes, run=run or launch)
    chosen = [step for step in steps(call.place) if step.name in options.names]
    if not options.list:
        with locks.held(call.place.work / "gpu.lock", busy, needed=False) as lock:
            if run is None and lock is not None:
                call.run = partial(launch, locks=(lock,))
            if any(call.wants_images(step) for step in chosen):
                call.prepare(options.source, options.test)
            chosen = [step for step in steps(call.place) if step.name in options.names]
            for step in chosen:
                call.take(step)
    return show(chosen, call)


def busy(holder: str) -> str:
    """What is said where another call measures: two would slow each other down."""
    return f"{holder} measures already, or its step; expected one call at a time; wait for its end"


def stop(number: int, _: object) -> None:
    """End as a signal says; what runs is ended on the way."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        sys.exit(main())
    except StkitError as error:
        sys.exit(f"error: {error}")
