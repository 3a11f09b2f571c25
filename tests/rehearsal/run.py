"""A rehearsal, without a GPU, of what stkit does on one: a line a body, `ok` or what is wrong.

    python tests/rehearsal/run.py [--model small] [--size 32] [--only TEXT]... [--nets] [--counts]

Bodies run on a device that is not there, under bf16 autocast with CUDA's rules, and whatever would
end a CUDA graph's capture or be frozen in it is named by file and line. What that cannot show: the
kernels themselves, cuDNN's choices, memory, streams. Exit code 1 where anything is wrong, 3 where
this torch lacks what the rehearsal needs.
"""

import argparse
import logging
import sys
import traceback
import warnings

import device
from cases import Case, Setup, cases
from graphs import HOME, at
from watch import Watch


def rehearse(watch: Watch, case: Case, *, trace: bool = False) -> list[str]:
    """What is wrong with a case."""
    watch.begin()
    try:
        with watch.watching():
            case.work()
    except Exception as error:  # whatever the made-up device does not do
        if trace:
            traceback.print_exc()
        frames = traceback.extract_tb(error.__traceback__)
        lines = [at(f.filename, f.lineno or 0) for f in frames if f.filename.startswith(str(HOME))]
        where = lines[-1] if lines else "?"
        if not any(note.endswith(f" at {where}") for note in watch.notes):  # what led to it
            watch.note(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}", where)
    return watch.notes


def main() -> int:
    """Run the cases asked for; the exit code."""
    options = asked()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)  # FakeTensorMode logs what it raises
    try:
        there = device.make()
    except RuntimeError as error:  # its private functions are not those of other versions
        print(error)
        return device.LACKING
    watch = Watch()
    setup = Setup(watch, there, options.model, options.size)
    wrong = False
    for case in cases(setup, nets=options.nets):
        if options.only and not any(text in case.name for text in options.only):
            continue
        notes = rehearse(watch, case, trace=options.trace)
        line = f"{case.name}: {'; '.join(notes) or 'ok'}"
        if options.counts:
            line += f" ({watch.inner} inside, {watch.outer} around, {watch.waits} waits; "
            line += f"recorded by {watch.recorded})"
        print(line, flush=True)
        wrong |= bool(notes)
    return int(wrong)


def asked() -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--model", default="small")
    add("--size", type=int, default=32, help="side of the images")
    add("--only", action="append", help="cases whose name holds this text; may be repeated")
    add("--nets", action="store_true", help="steps of other nets, too: minutes")
    add("--counts", action="store_true", help="operations, and waits around bodies")
    add("--trace", action="store_true", help="all of what was raised")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
