"""stkit against a plain loop in the authors' style and against the arithmetic limit, in one run.

    python benchmarks/train_speed.py [SOURCE] [--models resnet18] [--batch-sizes 128] [--sizes 32]
        [--precisions fp32,bf16] [--tasks nt,nt-cg,at,st,eval,acm] [--out FILE.jsonl] [--json]

A case is a model, batch size, image size, precision and task: a frame, `eval` (one pass over the
test images) or `acm` (one check of staged training). For each case three processes take turns on
the same device, several rounds: the plain loop (`plain.py`, always float32), stkit, and a square
matrix product in stkit's precision. The gain is the median over rounds of the ratio of neighbouring
turns, so a machine that drifts does not decide it; least and most stand beside it.

Not counted in a rate: start-up, compiling, recording and warm-up, which are listed (seconds from
the start of the process to the end of the first step, and its parts with --json). stkit's rate is
that of an epoch of 50,000 images with what ends it, ACM's check in `st` for instance. `share` is
the part of the arithmetic limit (`limits.py`) that it reaches. Above 64 pixels the plain loop
decodes files, as ImageFolder does; `kB` is their mean size. With --out a finished case is a line of
the file, and is not measured again.
"""

import time

BORN = time.time()  # before anything else is imported

# ruff: noqa: E402
import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import measuring

CLASSES = 10
TASKS = "nt,nt-cg,at,st,eval,acm"
NAMED = ("task", "model", "size", "batch_size", "precision", "step", "device", "threads", "tf32")
COLUMNS = {
    "task": "task", "model": "model", "px": "size", "batch": "batch_size", "stkit in": "precision",
    "plain img/s": "plain", "stkit img/s": "stkit", "gain": "gain", "least": "gain_least",
    "most": "gain_most", "limit img/s": "limit", "share": "share", "plain 1st s": "plain_first",
    "stkit 1st s": "stkit_first", "plain MB": "plain_mb", "stkit MB": "stkit_mb",
    "kB": "kb_a_file",
}  # fmt: skip


def synthetic(count: int, size: int) -> Any:
    """Smooth coloured images with a little grain, about as hard to decode as photographs."""
    import torch
    import torch.nn.functional as F

    from stkit.core import header
    from stkit.core.rng import stream
    from stkit.data.images import Images, to_uint8

    generator = stream(0, "benchmark")
    blocks = []
    for part in torch.arange(count).split(500):
        coarse = torch.rand(len(part), 3, 8, 8, generator=generator)
        smooth = F.interpolate(coarse, size=(size, size), mode="bilinear")
        blocks.append(to_uint8(smooth + 0.03 * torch.randn(smooth.shape, generator=generator)))
    index = torch.arange(count)
    head = header.make(
        "dataset", {"source": "synthetic", "size": size, "limit": count}, seed=0, inputs=[],
        classes=[str(i) for i in range(CLASSES)], split="train",
    )  # fmt: skip
    return Images(torch.cat(blocks), index % CLASSES, index, head)


def make(options: argparse.Namespace, size: int, where: Path) -> dict[str, Any]:
    """Write the images that both sides read, in a child, as it imports torch."""
    case = {
        "side": "make", "source": options.source, "size": size, "where": str(where),
        "images": options.images or (5000 if size <= 64 else 1000), "files": options.files,
    }  # fmt: skip
    return measuring.alone(__file__, case)


def made(case: dict[str, Any]) -> dict[str, Any]:
    from stkit.data.load import load

    size, where = case["size"], Path(case["where"])
    if case["source"]:
        images = load(case["source"], size=size, limit=case["images"])
    else:
        images = synthetic(case["images"], size)
    images.save(where / f"{size}.safetensors")
    folder = kb_a_file = None
    if size > 64:
        import plain

        folder = str(where / f"{size}")
        kb_a_file = plain.files(images, folder, case["files"])
    file = str(where / f"{size}.safetensors")
    classes = len(images.classes)
    return {"file": file, "folder": folder, "kb_a_file": kb_a_file, "classes": classes}


def child(case: dict[str, Any]) -> None:
    """One side of a case: says how it started, then answers each number of seconds with a rate."""
    parts = {"python": BORN - case["started"]}
    import torch

    parts["import torch"] = time.time() - BORN
    if case["threads"]:
        torch.set_num_threads(case["threads"])
    if case["side"] == "limit":
        limit(case)
        return
    side = start(case, parts)
    now = time.time()
    side.unit()
    side.wait()
    parts["first step"] = time.time() - now
    parts["all"] = time.time() - case["started"]
    side.warm()
    side.close()
    measuring.answer({"parts": parts, "machine": measuring.machine(case["device"])})
    for line in sys.stdin:
        side.open()
        found = side.turn(json.loads(line))
        side.close()
        measuring.answer({**found, "mb": measuring.peak(case["device"]) / 1e6})


def limit(case: dict[str, Any]) -> None:
    """Operations an image, then the rate of a product in so many seconds."""
    import limits

    found = limits.of_task(
        case["task"], case["model"], classes=case["classes"], size=case["size"]
    )  # fmt: skip
    measuring.answer({"operations": found})
    for line in sys.stdin:
        measuring.answer(limits.product_rate(case["device"], case["precision"], json.loads(line)))


def start(case: dict[str, Any], parts: dict[str, float]) -> Any:
    """Import, read and make one side's objects; the seconds of each go into `parts`."""
    begun = time.time()
    if case["side"] == "plain":
        import plain as chosen
    else:
        import ours as chosen  # type: ignore[no-redef]

    from stkit.data.load import load

    parts["import the rest"], begun = time.time() - begun, time.time()
    images = load(case["file"])
    parts["read data"], begun = time.time() - begun, time.time()
    side = chosen.Side(case, images)
    side.open()
    parts["create, place"] = time.time() - begun
    return side


def measure(case: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """One row: the sides take turns."""
    sides = {}
    row = {key: case[key] for key in (*NAMED, "kb_a_file")}
    try:
        for name in ("plain", "stkit", "limit"):
            if name == "plain" and not options.plain:
                continue
            sides[name] = measuring.Child(__file__, {**case, "side": name})
            said = sides[name].ask()
            if name == "limit":
                row["operations"] = said["operations"]
            else:
                row |= {f"{name}_first": said["parts"]["all"], f"{name}_parts": said["parts"]}
                row |= said["machine"]
        turns: dict[str, list[Any]] = {name: [] for name in sides}
        for number in range(options.rounds):
            order = list(sides) if number % 2 == 0 else list(reversed(sides))
            for name in order:
                share = 0.2 if name == "limit" else 1
                turns[name].append(sides[name].ask(options.seconds * share))
    finally:
        for side in sides.values():
            side.close()
    return row | summary(turns, row["operations"])


def summary(turns: dict[str, list[Any]], operations: float) -> dict[str, Any]:
    """Medians over rounds; the limit from the best product of all rounds."""
    ours = [turn["rate"] for turn in turns["stkit"]]
    ends = [t["epoch_end_seconds"] for t in turns["stkit"] if "epoch_end_seconds" in t]
    limit = max(turns["limit"]) / operations
    found: dict[str, Any] = {
        "stkit": statistics.median(ours), "limit": limit,
        "share": statistics.median(ours) / limit, "product_rate": max(turns["limit"]),
        "stkit_mb": turns["stkit"][-1]["mb"], "rounds": len(ours),
        "epoch_end_seconds": statistics.median(ends) if ends else None,
    }  # fmt: skip
    if "plain" in turns:
        theirs = [turn["rate"] for turn in turns["plain"]]
        gains = [a / b for a, b in zip(ours, theirs, strict=True)]
        found |= {
            "plain": statistics.median(theirs), "plain_mb": turns["plain"][-1]["mb"],
            "gain": statistics.median(gains), "gain_least": min(gains), "gain_most": max(gains),
        }  # fmt: skip
    return found


def cases(options: argparse.Namespace) -> Iterator[dict]:
    keys = ("size", "model", "task", "batch_size", "precision")
    lists = (options.sizes, options.models, options.tasks, options.batch_sizes, options.precisions)
    for values in itertools.product(*lists):
        case: dict[str, Any] = dict(zip(keys, values, strict=True))
        yield case | {
            "device": options.device, "threads": options.threads, "workers": options.workers,
            "tf32": options.plain_tf32, "step": options.step,
        }  # fmt: skip


def known(path: Path | None) -> list[dict[str, Any]]:
    """The rows of an earlier run."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def listed(kind: type) -> Any:
    return lambda text: [kind(item) for item in text.split(",")]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="?", help="dataset file or folder; none: made here")
    parser.add_argument("--models", type=listed(str), default=["resnet18"])
    parser.add_argument("--batch-sizes", type=listed(int), default=[128])
    parser.add_argument("--sizes", type=listed(int), default=[32], help="pixels")
    parser.add_argument("--precisions", type=listed(str), default=["fp32", "bf16"])
    parser.add_argument("--tasks", type=listed(str), default=TASKS.split(","))
    parser.add_argument("--step", default="auto", help="stkit's: auto, eager, graph, compile")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    parser.add_argument("--workers", type=int, default=8, help="of the plain loop's DataLoader")
    parser.add_argument("--plain-tf32", action="store_true", help="TF32, torch's own default")
    parser.add_argument("--no-plain", dest="plain", action="store_false", help="without it")
    parser.add_argument("--images", type=int, help="in the set; 5,000, at 224 px 1,000")
    parser.add_argument("--files", choices=["jpg", "png"], default="jpg", help="above 64 px")
    parser.add_argument("--seconds", type=float, default=3, help="of each side's turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=30, help="begin no case after these")
    parser.add_argument("--out", type=Path, help="one line of JSON a case; go on from it")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.child:
        case = json.loads(options.child)
        measuring.answer(made(case)) if case["side"] == "make" else child(case)
        return
    rows = known(options.out)
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(options, rows, Path(folder))
    if not rows:
        sys.exit("nothing was measured")
    if options.json:
        print(json.dumps(rows))
    else:
        print(measuring.table(rows, COLUMNS))


def measured(
    options: argparse.Namespace, rows: list[dict[str, Any]], folder: Path
) -> list[dict[str, Any]]:
    """The rows there are and those still missing, until the time is up."""
    end = time.monotonic() + 60 * options.minutes
    made: dict[int, dict[str, Any]] = {}
    for case in cases(options):
        if any(all(row[key] == case[key] for key in NAMED) for row in rows):
            continue
        if time.monotonic() > end:
            print("out of time; the same command with --out goes on", file=sys.stderr)
            break
        size = case["size"]
        try:
            if size not in made:
                made[size] = make(options, size, folder)
            rows = [*rows, measure(case | made[size], options)]
        except RuntimeError as error:  # a case that does not fit ends no other
            print(f"{case['task']} {case['model']} {size}: {error}", file=sys.stderr)
            continue
        if options.out:
            with options.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    return rows


if __name__ == "__main__":
    main()
