"""stkit against a plain loop in the authors' style and against the arithmetic limit, in one run.

    python benchmarks/train_speed.py [SOURCE] [--models resnet18] [--batch-sizes 128] [--sizes 32]
        [--precisions fp32,bf16] [--steps auto] [--tasks nt,nt-cg,at,st,eval,acm]
        [--minutes 30] [--out FILE.jsonl] [--json]

A case is a model, batch size, image size, precision, step and task: a frame, `eval` (one pass over
the test images) or `acm` (one check of staged training). For each case three sides take turns on
the same device, several rounds: the plain loop (`plain.py`, always float32), stkit, and a square
matrix product in stkit's precision. The gain is the median over rounds of the ratio of neighbouring
turns, so a machine that drifts does not decide it; least and most stand beside it. On a CPU each
side is a process of its own; on a GPU all take turns in this one, and the plain loop stays for the
next case where that is the same to it.

Not counted in a rate: start-up, compiling, recording and warm-up, which are listed (seconds to the
end of the first step, from the start of the process where a side has its own, and their parts with
--json). stkit's rate is that of an epoch of 50,000 images with what ends it, ACM's check in `st`
for instance. `share` is the part of the arithmetic limit (`limits.py`) that it reaches. Above 64
pixels the plain loop decodes files, as ImageFolder does; `kB` is their mean size. With --out a
finished case is a line of the file, and is not measured again; exit 3 where --minutes ran out
before all cases were there.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measuring
import rows
from rows import Case
from sides import Answers, Sides, add_option, serve, together

CLASSES = 10
TASKS = "nt,nt-cg,at,st,eval,acm"
COLUMNS = {
    "task": "task", "model": "model", "px": "size", "batch": "batch_size", "stkit in": "precision",
    "step": "step", "plain img/s": "plain", "stkit img/s": "stkit", "gain": "gain",
    "least": "gain_least", "most": "gain_most", "limit img/s": "limit", "share": "share",
    "plain 1st s": "plain_first", "stkit 1st s": "stkit_first", "plain MB": "plain_mb",
    "stkit MB": "stkit_mb", "kB": "kb_a_file",
}  # fmt: skip
SIDES = {
    "plain": ("task", "model", "size", "batch_size", "device", "threads", "tf32"),
    "stkit": ("task", "model", "size", "batch_size", "device", "threads", "precision", "step"),
    "limit": ("task", "model", "size", "device", "threads", "precision"),
}
"""What of a case decides each side; those of two cases that are the same are one."""


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


def made(case: Case) -> dict[str, Any]:
    """Write the images that both sides read."""
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


def answers(case: Case) -> Answers:
    """One side of a case: says how it started, then answers each number of seconds with a rate."""
    own = "started" in case  # a process
    started, parts = case.get("started", time.time()), {}
    if own:
        parts["python"] = BORN - started
    import torch

    if own:
        parts["import torch"] = time.time() - BORN
    if case["threads"]:
        torch.set_num_threads(case["threads"])
    if case["side"] == "limit":
        yield from limit(case)
        return
    memory = measuring.Memory(case["device"], alone=own)
    memory.begin()
    side = start(case, parts)
    now = time.time()
    side.unit()
    side.wait()
    parts["first step"] = time.time() - now
    parts["all"] = time.time() - started
    side.warm()
    side.close()
    memory.end()
    seconds = yield {"parts": parts, "machine": measuring.machine(case["device"])}
    while True:
        memory.begin()
        side.open()
        done = side.turn(seconds)
        side.close()
        seconds = yield {**done, "mb": memory.end()}


def limit(case: Case) -> Answers:
    """Operations an image, then the rate of a product in so many seconds."""
    import limits

    seconds = yield {
        "operations": limits.of_task(
            case["task"], case["model"], classes=case["classes"], size=case["size"]
        )
    }
    while True:
        seconds = yield limits.product_rate(case["device"], case["precision"], seconds)


def start(case: Case, parts: dict[str, float]) -> Any:
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


class Speed:
    """Measures cases: makes the images of a size once, keeps the sides that the next case needs."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder, self.together = options, folder, together(options)
        self.sides = Sides(__file__, answers, together=self.together)
        self.images: dict[int, dict[str, Any]] = {}

    def measure(self, case: Case) -> Case:
        """What a row has besides its case: the sides take turns."""
        try:
            return self._measured(case)
        except BaseException:
            self.sides.close()
            raise

    def _measured(self, case: Case) -> Case:
        images = self._images(case["size"])
        asked = {
            name: {key: case[key] for key in keys}
            | {"side": name, "workers": self.options.workers}
            | {key: images[key] for key in ("file", "folder", "classes")}
            for name, keys in SIDES.items()
            if name != "plain" or self.options.plain
        }
        sides = self.sides.take(asked)
        row: Case = {"kb_a_file": images["kb_a_file"]}
        for name, (_, said) in sides.items():
            if name != "limit":
                row |= {f"{name}_first": said["parts"]["all"], f"{name}_parts": said["parts"]}
                row |= said["machine"]
        turns: dict[str, list[Any]] = {name: [] for name in sides}
        for number in range(self.options.rounds):
            for name in list(sides) if number % 2 == 0 else list(reversed(sides)):
                share = 0.2 if name == "limit" else 1
                turns[name].append(sides[name][0].ask(self.options.seconds * share))
        operations = sides["limit"][1]["operations"]
        return row | {"operations": operations} | summary(turns, operations)

    def _images(self, size: int) -> dict[str, Any]:
        if size not in self.images:
            asked = {
                "side": "make", "source": self.options.source, "size": size,
                "where": str(self.folder), "files": self.options.files,
                "images": self.options.images or (5000 if size <= 64 else 1000),
            }  # fmt: skip
            # a child imports torch, a parent of children does without
            self.images[size] = made(asked) if self.together else measuring.alone(__file__, asked)
        return self.images[size]


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
        found |= measuring.gain(ours, theirs)
        found |= {"plain": statistics.median(theirs), "plain_mb": turns["plain"][-1]["mb"]}
    return found


def cases(options: argparse.Namespace) -> list[Case]:
    keys = ("size", "model", "task", "batch_size", "precision", "step")
    lists = (getattr(options, name) for name in
             ("sizes", "models", "tasks", "batch_sizes", "precisions", "steps"))  # fmt: skip
    same = {"device": options.device, "threads": options.threads, "tf32": options.plain_tf32}
    return [dict(zip(keys, values, strict=True)) | same for values in itertools.product(*lists)]


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="?", help="dataset file or folder; none: made here")
    parser.add_argument("--models", type=measuring.listed(str), default=["resnet18"])
    parser.add_argument("--batch-sizes", type=measuring.listed(int), default=[128])
    parser.add_argument("--sizes", type=measuring.listed(int), default=[32], help="pixels")
    parser.add_argument("--precisions", type=measuring.listed(str), default=["fp32", "bf16"])
    parser.add_argument("--tasks", type=measuring.listed(str), default=TASKS.split(","))
    parser.add_argument(
        "--steps", type=measuring.listed(str), default=["auto"], help="stkit's: graph, compile, ..."
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    parser.add_argument("--workers", type=int, default=8, help="of the plain loop's DataLoader")
    parser.add_argument("--plain-tf32", action="store_true", help="TF32, torch's own default")
    parser.add_argument("--no-plain", dest="plain", action="store_false", help="without it")
    parser.add_argument("--images", type=int, help="in the set; 5,000, at 224 px 1,000")
    parser.add_argument("--files", choices=["jpg", "png"], default="jpg", help="above 64 px")
    parser.add_argument("--seconds", type=float, default=3, help="of each side's turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=30, help="begin no case later")
    parser.add_argument("--out", type=Path, help="one line of JSON a case; go on from it")
    parser.add_argument("--json", action="store_true")
    add_option(parser)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    options = parse(words)
    if options.child:
        case = json.loads(options.child)
        measuring.answer(made(case)) if case["side"] == "make" else serve(answers(case))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        speed = Speed(options, Path(folder))
        try:
            by = rows.command(__file__, words)
            return rows.run(cases(options), speed.measure, COLUMNS, options, by=by)
        finally:
            speed.sides.close()


if __name__ == "__main__":
    sys.exit(main())
