"""What might make REM, EM, AT and evaluation faster: each candidate alone, then all that pay.

    python benchmarks/candidates.py [SOURCE] --device cuda --model resnet18 --out FILE.jsonl
        [--methods rem,em,at,eval] [--candidates fold,...] [--precision bf16] [--minutes 9] [--json]

A candidate and today's code take turns in one process, several rounds. Rates count image passes (a
forward pass and the gradient with respect to the image; of AT also its step of SGD, of evaluation
the forward pass alone). `gain` is the median over rounds of neighbouring turns, on a CPU of the
time that the process computed; least and most stand beside it. What it does to numbers:
`signs`, the share of the noise gradient's signs that are not those of float64; `weight`, the same
weighed by the size of the gradient, which tells whether they matter; `noise`, the share of pixels
that one whole making step leaves elsewhere than float64 does (of AT those of the attacked images);
of evaluation `answers`, the predicted classes. today_* and float32_* are the same of today's code.
Where a candidate needs other draws there is no `noise`.

`together` is the best of each group that gains at least 1 % and in every round, and whose `weight`
is not far above today's; `without-X` is that but for one. Batches and streams are for passes with
weights that stand still: in REM the last pass alone, so `together` leaves them out there. fp8 is
rounded to eight bits and computed in more: PyTorch has no such convolution, so it has no rate.
`start_seconds` are those of the numbers, of compiling, of recording and of warming up.

What has a line in --out, with a rate or with the reason why not, is not measured again; a candidate
that fails ends its process, and the others go on in a new one. Exit 3: out of --minutes.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import measuring
from rows import LEFT, add, command, read, stamp

CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "fused": ("net", {"net": "fused"}),
    "compile": ("net", {"net": "shared", "compiled": True}),
    "fold": ("net", {"net": "fold"}),
    "fold-compile": ("net", {"net": "fold", "compiled": True}),
    "pad-8": ("stem", {"stem": 8}),
    "pad-4": ("stem", {"stem": 4}),
    "cast": ("net", {"net": "cast"}),
    "freeze": ("net", {"net": "shared"}),
    "two-streams": ("streams", {"streams": 2}),
    "batch-2": ("batch", {"times": 2}),
    "batch-4": ("batch", {"times": 4}),
    "batch-half": ("batch", {"times": 0.5}),
    "nchw": ("layout", {"nchw": True}),
    "no-search": ("search", {"search": False}),
    "fp8": ("fp8", {"fp8": True}),
}
"""Name -> group, of which `together` takes one, and what it changes (`frozen.Ways` has the words).
The most promising come first.

freeze: no parameter needs a gradient. cast: weights made bf16 once, not in every pass. fold:
BatchNorm folded into the convolutions in float32. fused: the same, with ReLU and the shortcut's sum
inside the convolution's kernel. compile: by torch.compile. pad: black channels for the stem. nchw:
not channels last. no-search: without cuDNN's search. streams: batches in flight.
"""
NAMED = ("method", "model", "device", "precision", "batch", "threads", "candidate")
COLUMNS = {
    "method": "method", "candidate": "candidate", "today/s": "today_rate", "passes/s": "rate",
    "gain": "gain", "least": "gain_least", "most": "gain_most", "signs": "signs",
    "now": "today_signs", "weight": "weight", "now ": "today_weight", "noise": "noise",
    "now  ": "today_noise", "answers": "answers", "now   ": "today_answers",
    "start s": "start_seconds", "why not": "error",
}  # fmt: skip
BATCHES = {
    "cuda": {"rem": 128, "em": 512, "at": 128, "eval": 512},
    "small": {"rem": 32, "em": 512, "at": 128, "eval": 512},
    "resnet18": {"rem": 2, "em": 32, "at": 8, "eval": 32},
}
"""Images a batch: stkit's, on a CPU as many as take about a second."""
LEAST = 1.01


def unfit(name: str, method: str, options: argparse.Namespace) -> str | None:
    """Why there is nothing to measure, where that is known before."""
    group, cuda = CANDIDATES[name][0], options.device.startswith("cuda")
    if name == "cast" and options.precision == "fp32":
        return "weights are float32 already"
    if group in ("search", "streams") and not cuda:
        return "for a GPU"
    if group in ("batch", "streams") and method == "at":
        return "another batch would be another training"
    return None


def pays(row: dict[str, Any]) -> bool:
    """Whether a row's candidate gains, and changes no sign that matters."""
    if row.get("gain") is None or row["gain"] < LEAST or row["gain_least"] <= 1:
        return False
    for key, most in (("weight", 1e-4), ("answers", 2e-3)):
        if key in row and row[key] > 1.5 * row[f"today_{key}"] + most:
            return False
    return True


def together(rows: list[dict[str, Any]], method: str) -> list[str]:
    """The names of the candidates that are kept: of each group the best."""
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        group, _ = CANDIDATES.get(row["candidate"], ("", {}))
        left_out = group in ("", "streams") or (method == "rem" and group == "batch")
        if left_out or not pays(row):
            continue
        if group not in best or row["gain"] > best[group]["gain"]:
            best[group] = row
    return [name for name in CANDIDATES if name in [row["candidate"] for row in best.values()]]


def ways(names: list[str]) -> dict[str, Any]:
    """What several candidates change together."""
    return {key: value for name in names for key, value in CANDIDATES[name][1].items()}


def case(options: argparse.Namespace, method: str, candidate: str, of: list[str]) -> dict[str, Any]:
    """What a row is of."""
    return {
        "method": method, "model": options.model, "device": options.device,
        "precision": options.precision, "batch": options.batches[method],
        "threads": options.threads, "candidate": candidate, "of": of,
    }  # fmt: skip


def same(row: dict[str, Any], of: dict[str, Any], names: tuple[str, ...] = NAMED) -> bool:
    return all(row[key] == of[key] for key in names)


def cases(options: argparse.Namespace, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each candidate, then those kept; decided while `rows` grows."""
    for method in options.methods:
        for name in options.candidates:
            yield case(options, method, name, [name])
        any_ = case(options, method, "", [])
        kept = together([row for row in rows if same(row, any_, NAMED[:-1])], method)
        if len(kept) > 1:
            yield case(options, method, "together", kept)
            for name in kept:
                others = [other for other in kept if other != name]
                yield case(options, method, f"without-{name}", others)


class Measuring:
    """A child that measures, and another one after it has failed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = {key: value for key, value in vars(options).items() if key != "out"}
        self.patience = options.patience
        self.child: measuring.Child | None = None

    def row(self, case: dict[str, Any]) -> dict[str, Any]:
        if self.child is None:
            self.child = measuring.Child(__file__, self.options, patience=self.patience)
        begun = time.monotonic()
        try:
            found = self.child.ask(case)
        except (RuntimeError, OSError) as error:
            late = time.monotonic() - begun >= self.patience
            found = {"error": f"took over {self.patience:g} s" if late else str(error)}
        if "error" in found:
            self.close()
        return found

    def close(self) -> None:
        if self.child is not None:
            self.child.close()
            self.child = None


def measured(options: argparse.Namespace, rows: list[dict[str, Any]]) -> bool:
    """Add the rows that are missing; whether all are there."""
    end, child = time.monotonic() + 60 * options.minutes, Measuring(options)
    try:
        for each in cases(options, rows):
            if any(same(row, each) for row in rows):
                continue
            if time.monotonic() > end:
                print("out of time; the same command with --out goes on", file=sys.stderr)
                return False
            name, why = each["candidate"], None
            if name in CANDIDATES:
                why = unfit(name, each["method"], options)
            made = {"error": why} if why else child.row(each)
            rows.append({**each, **made, **stamp(command(__file__, None))})
            print(measuring.table(rows[-1:], COLUMNS), file=sys.stderr, flush=True)
            add(options.out, rows[-1])
    finally:
        child.close()
    return True


def child(options: argparse.Namespace) -> None:
    """Answers each case with its row, or with the reason why there is none, and ends then."""
    import trials

    trial = trials.Trial(options)
    for line in sys.stdin:
        case = json.loads(line)
        try:
            found = trial.row(case["method"], case["batch"], ways(case["of"]))
        except Exception as error:  # a failed recording spoils the memory pool
            measuring.answer({"error": trials.reason(error)})
            return
        measuring.answer({**found, **measuring.machine(options.device)})


def summary(turns: list[tuple[float, float]]) -> dict[str, Any]:
    """turns: rates of today's code and of a candidate, side by side."""
    gains = [ours / today for today, ours in turns]
    return {
        "today_rate": statistics.median(today for today, _ in turns),
        "rate": statistics.median(ours for _, ours in turns), "gain": statistics.median(gains),
        "gain_least": min(gains), "gain_most": max(gains), "rounds": len(turns),
    }  # fmt: skip


def listed(text: str) -> list[str]:
    return text.split(",")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="?", default="digits", help="as of stkit data")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--model", choices=["small", "resnet18"], default="resnet18")
    parser.add_argument("--methods", type=listed, default=["rem", "em", "at", "eval"])
    parser.add_argument("--candidates", type=listed, default=list(CANDIDATES))
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="bf16, on a CPU fp32")
    parser.add_argument("--batch", type=int, help="of all methods; else one for each")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--count", type=int, help="images that numbers are compared on")
    parser.add_argument("--warm", type=int, default=10, help="steps the net learns before")
    parser.add_argument("--seconds", type=float, default=2, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60, help="begin no case after these")
    parser.add_argument("--patience", type=float, default=180, help="seconds, then a case failed")
    parser.add_argument("--quick", action="store_true", help="few and short steps, for tests")
    parser.add_argument("--out", type=Path, help="one line of JSON a case; go on from it")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return argparse.Namespace(**{**json.loads(options.child), "child": options.child})
    wrong = ({*options.candidates} - {*CANDIDATES}) | ({*options.methods} - {*BATCHES["cuda"]})
    if wrong:
        parser.error(f"unknown: {', '.join(sorted(wrong))}")
    cuda = options.device.startswith("cuda")
    options.precision = options.precision or ("bf16" if cuda else "fp32")
    known = BATCHES["cuda" if cuda else options.model]
    options.batches = {m: options.batch or known[m] for m in options.methods}
    options.count = options.count or (4 if options.model == "resnet18" and not cuda else 16)
    return options


def main() -> None:
    options = parse()
    if options.child:
        child(options)
        return
    rows = read(options.out)
    whole = measured(options, rows)
    print(json.dumps(rows) if options.json else measuring.table(rows, COLUMNS))
    if not whole:
        sys.exit(LEFT)


if __name__ == "__main__":
    main()
