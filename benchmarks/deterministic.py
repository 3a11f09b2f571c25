"""Whether two processes give equal bytes with --deterministic, how far two runs are apart without
it, and what it costs: a row for each training and poison.

    python benchmarks/deterministic.py [SOURCE] [--cases nt,st-cg,at,...,nt-eager,em,rem]
        [--model resnet18] [--device cuda] [--minutes 30] [--out FILE.jsonl] [--json]

Two processes serve all cases, so each starts once. `same`: whether the weights, or the pixels of a
poison, are the same bytes in both; `apart`: the largest difference of two runs without it. A case
that has an operation without a deterministic kernel is `refused`. With --out a finished case is a
line of the file, and is not measured again; exit 1 where bytes differ that may not, 3 where
--minutes ran out before all cases were there.
"""

import argparse
import functools
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import measuring
import rows
from rows import Case
from sides import Answers, Sides, serve

if TYPE_CHECKING:
    from torch import Tensor

    from stkit.data.images import Images
    from stkit.engine.runtime import Runtime

CASES = "nt,st-cg,at,autoaugment,cutmix,ueraser-max,nt-eager,em,rem"
SHORT = {"em": {"max_rounds": 2}, "rem": {"model_steps": 100}}
QUICK = {
    "em": {"max_rounds": 1, "steps": 1, "model_steps": 2},
    "rem": {"model_steps": 2, "steps": 1, "eot": 1, "adversary_steps": 1},
}
COLUMNS = {
    "case": "case", "model": "model", "same bytes": "same", "s": "exact_seconds",
    "without, apart": "apart", "without, s": "seconds", "refused": "refused",
}  # fmt: skip


def answers(case: Case) -> Answers:
    """A process that serves all cases: a question names one, and whether to be deterministic."""
    # before cuBLAS starts, which reads it then
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    from stkit import load

    images = load(case["source"], limit=case["limit"])
    asked = yield measuring.machine(case["device"])
    while True:
        asked = yield answer({**case, **asked}, images)


def answer(case: Case, images: "Images") -> Case:
    """The digest of one run; or how far two runs are apart."""
    from stkit import pick
    from stkit.core.errors import DeviceError

    eager = case["case"].endswith("-eager")
    runtime = pick(
        case["device"], step="eager" if eager else "auto", deterministic=case["deterministic"]
    )
    start = time.perf_counter()
    try:
        tensors = computed(case, images, runtime)
    except DeviceError as error:
        return {"refused": str(error)}
    seconds = time.perf_counter() - start
    if case["deterministic"]:
        digest = hashlib.sha256()
        for tensor in tensors:
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
        return {"digest": digest.hexdigest(), "seconds": seconds}
    pairs = zip(tensors, computed(case, images, runtime), strict=True)
    return {"apart": max(float((a.double() - b.double()).abs().max()) for a, b in pairs),
            "seconds": seconds}  # fmt: skip


def computed(case: Case, images: "Images", runtime: "Runtime") -> "list[Tensor]":
    """A trained model's weights, or a poison's pixels."""
    from stkit import poison, train
    from stkit.recipes.poisons import METHODS

    measuring.free()
    name = case["case"].removesuffix("-eager")
    same = {"model": case["model"], "batch_size": case["batch_size"]}
    if name in SHORT:
        few = (QUICK if case["quick"] else SHORT)[name]
        return [poison(images, METHODS[name](**same, **few), runtime=runtime).pixels]
    run = train(images, name, epochs=case["epochs"], runtime=runtime, **same)
    return list(run.model.state_dict().values())


def measure(case: Case, options: argparse.Namespace, sides: Sides) -> Case:
    """What a row has besides its case."""
    keys = ("source", "limit", "batch_size", "epochs", "quick")
    given = {key: getattr(options, key) for key in keys} | {"device": case["device"]}
    both = sides.take({name: {**given, "number": name} for name in ("one", "two")})
    exact = {**case, "deterministic": True}
    try:
        one, two = (side.ask(exact) for side, _ in both.values())
        plain = both["one"][0].ask({**case, "deterministic": False})
    except BaseException:
        sides.close()
        raise
    row = {**both["one"][1], "apart": plain["apart"], "seconds": plain["seconds"]}
    if "refused" in one:
        return {**row, "refused": one["refused"]}
    same = one["digest"] == two["digest"]
    return {**row, "same": same, "exact_seconds": one["seconds"]}


def cases(options: argparse.Namespace) -> list[Case]:
    same = {"model": options.model, "device": options.device}
    return [{"case": name, **same} for name in options.cases]


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=" ".join((__doc__ or "").split("\n\n")[0].split()))
    parser.add_argument("source", nargs="?", default="digits", help="as of stkit data")
    parser.add_argument("--cases", type=measuring.listed(str), default=CASES.split(","))
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--limit", type=int, default=10_000, help="images of the set")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="poisons of a few steps")
    parser.add_argument("--minutes", type=float, default=30, help="begin no case later")
    parser.add_argument("--out", type=Path, help="one line of JSON a case; go on from it")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--together", action="store_true", help="both in this process")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    options = parse(words)
    if options.child:
        serve(answers(json.loads(options.child)))
        return 0
    sides = Sides(__file__, answers, together=options.together)
    try:
        found, code = rows.fill(
            cases(options), functools.partial(measure, options=options, sides=sides),
            path=options.out, minutes=options.minutes, by=rows.command(__file__, words),
        )  # fmt: skip
    finally:
        sides.close()
    print(json.dumps(found) if options.json else measuring.table(found, COLUMNS))
    return 1 if any(row.get("same") is False for row in found) else code


if __name__ == "__main__":
    sys.exit(main())
