"""How cost grows: seconds and peak memory against images, classes, pixels, batch and model.

    python benchmarks/growth.py [--kinds acm,ops,sp,train,em] [--axes images,classes]
        [--device cuda] [--full] [--values 1000,2000] [--minutes 30] [--out FILE.jsonl] [--json]

One thing is varied at a time, the rest stays at BASE (with --full at FULL). On a CPU every point
runs in a process of its own, with one thread, on a GPU all in this one. `MB` is the most memory
taken from before the first call to after the last: on a CPU resident memory above what the process
had with its imports and its data, on a GPU what tensors take. Then for each axis the exponents b of
least-squares fits seconds ~ x^b and memory ~ x^b: 1 is linear, 0 does not grow. On a CPU the fit
takes CPU seconds, which other work on the machine changes least. Models are fitted against
operations an image (`limits.py`). With --out a point is a line of the file, and is not measured
again; exit 3 where --minutes ran out before all were there.

| kind | what is timed, the best of several |
|---|---|
| acm, acm-pairs | distances of ACM on given features; the same pair by pair of classes (`plain`) |
| acm-model | ACM of a model on all images: a pass for their features, and their distances |
| ops, sp | the whole of `poison` |
| train | one step by frame `nt` |
| em | one signed step of EM's noise for a batch |
| check | ACM of a model as staged training checks it, features included |
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import measuring
import rows
from rows import Case
from sides import add_option, together

from stkit.recipes.catalogue import MODELS

BASE = {"images": 2000, "classes": 10, "size": 32, "batch": 64, "model": "small"}
FULL = {"images": 50_000, "classes": 10, "size": 32, "batch": 128, "model": "resnet18"}
VALUES: dict[str, list[Any]] = {
    "images": [1000, 2000, 4000, 8000], "classes": [10, 20, 50, 100], "size": [16, 32, 64],
    "batch": [16, 32, 64, 128], "model": list(MODELS),
}  # fmt: skip
FULL_VALUES: dict[str, list[Any]] = VALUES | {
    "images": [5000, 10_000, 20_000, 50_000],
    "size": [32, 64, 128, 224],
    "batch": [32, 128, 512, 1024],
}
AXES = {
    "acm": ("images", "classes"), "acm-pairs": ("images", "classes"),
    "acm-model": ("images", "classes"),
    "ops": ("images", "classes", "size"), "sp": ("images", "classes", "size"),
    "train": ("images", "classes", "size", "batch", "model"), "em": ("size", "batch", "model"),
    "check": ("classes", "size", "model"),
}  # fmt: skip
DIM = 512  # features of ResNet-18
WARM = 3
POINTS = {
    "kind": "kind", "axis": "axis", "value": "value", "seconds": "seconds", "CPU s": "cpu_seconds",
    "MB": "mb", "GFLOP an image": "gflop",
}  # fmt: skip
SLOPES = {
    "kind": "kind", "axis": "axis", "from": "first", "to": "last", "seconds ~ x^": "time",
    "memory ~ x^": "memory",
}  # fmt: skip


def images(case: Case) -> Any:
    """Random 8-bit images, as many of each class."""
    import torch

    from stkit.core import header
    from stkit.core.rng import stream
    from stkit.data.images import Images

    count, size = case["images"], case["size"]
    pixels = torch.randint(
        256, (count, 3, size, size), dtype=torch.uint8, generator=stream(0, "benchmark")
    )
    index, classes = torch.arange(count), case["classes"]
    head = header.make(
        "dataset", {"source": "random", "size": size, "limit": count}, seed=0, inputs=[],
        classes=[str(i) for i in range(classes)], split="train",
    )  # fmt: skip
    return Images(pixels, index % classes, index, head)


def features(case: Case) -> tuple[Any, Any]:
    """Clusters around random centres, as activations are: not negative. [N,512] and labels."""
    import torch

    from stkit.core.rng import stream

    generator = stream(0, "benchmark")
    labels = torch.arange(case["images"]) % case["classes"]
    centres = torch.randn(case["classes"], DIM, generator=generator)
    found = torch.randn(len(labels), DIM, generator=generator)
    return found.add_(centres[labels]).relu_().to(case["device"]), labels


def work(case: Case) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """What a point times, and a call before it that only warms up libraries, or makes objects."""
    kind = case["kind"]
    if kind in ("acm", "acm-pairs"):
        from stkit.measure import acm
        from stkit.measure.clusters import clusters as run

        if kind == "acm-pairs":
            from plain import pairs as run
        found, labels = features(case)
        few = 10 * case["classes"]
        return (
            lambda: acm.score(run(found, labels, case["classes"])),
            lambda: run(found[:few], labels[:few], case["classes"]),
        )
    data = images(case)
    if kind == "acm-model":
        from stkit import models
        from stkit.measure import acm

        model = models.create(case["model"], classes=case["classes"], size=case["size"])
        model.to(case["device"])
        few = images({**case, "images": 4 * case["classes"]})
        return (
            lambda: acm.acm(model, data, per_class=len(data)),
            lambda: acm.acm(model, few),
        )
    if kind in ("ops", "sp"):
        from stkit.poisons import poison
        from stkit.recipes.poisons import METHODS

        recipe = METHODS[kind]()
        few = images({**case, "images": 4 * case["classes"], "size": 16})
        return lambda: poison(data, recipe), lambda: poison(few, recipe)
    return stepping(case, data)


def stepping(case: Case, data: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A step of training or of EM's noise; its objects are made in the warm-up, and counted."""
    from stkit.engine.process import configure
    from stkit.engine.runtime import pick
    from stkit.poisons import em
    from stkit.recipes.frames import NATURAL
    from stkit.recipes.options import frame_with
    from stkit.recipes.poisons import EM
    from stkit.recipes.training import TrainingRecipe
    from stkit.training.loop import Training
    from stkit.training.staged import measured

    runtime = pick(case["device"], case["precision"])
    configure(runtime)
    box: list[Any] = []

    def make() -> None:
        if case["kind"] == "em":
            recipe = EM(
                model=case["model"], batch_size=case["batch"], model_steps=1, steps=10_000
            )  # fmt: skip
            made = em.Crafting(data, recipe, seed=0, runtime=runtime)
            box.append(made.steps())
            while made.turn != "noise":
                next(box[0])
        else:
            frame = frame_with(NATURAL, epochs=100_000)
            run = Training(
                data, TrainingRecipe(frame, case["model"], case["batch"]), runtime=runtime
            )
            check = partial(measured, run.model, *run.sets.probe, runtime=runtime)
            box.append(iter(check, None) if case["kind"] == "check" else run.steps())
        for _ in range(WARM):
            next(box[0])

    return lambda: next(box[0]), make


def point(case: Case) -> Case:
    """Seconds of the best call, megabytes from the warm-up on."""
    import torch

    torch.set_num_threads(case["threads"])
    wait = partial(measuring.wait, case["device"])
    run, warm = work(case)
    objects = case["kind"] in ("train", "em", "check")  # they count, a mere warm-up does not
    if objects:
        tiny = {**case, "model": "small", "images": 8, "classes": 2, "batch": 4, "size": 16}
        work(tiny)[1]()
    else:
        warm()
    if measuring.on_gpu(case["device"]):
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats(case["device"])
        before = torch.cuda.memory_allocated(case["device"])
    else:
        measuring.forget_peak()
        before = measuring.host_peak()
    if objects:
        warm()
    wall, cpu, end = [], [], time.perf_counter() + case["seconds"]
    while time.perf_counter() < end or not wall:
        wait()
        start = time.perf_counter(), time.process_time()
        run()
        wait()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    taken = max(0, measuring.peak(case["device"]) - before)
    found = {"seconds": min(wall), "cpu_seconds": min(cpu), "mb": taken / 1e6}
    found |= measuring.machine(case["device"])
    if case["kind"] in ("train", "em", "check"):
        import limits

        kind = {"train": "step", "em": "gradient", "check": "forward"}[case["kind"]]
        count = limits.per_image(case["model"], kind, classes=case["classes"], size=case["size"])
        found["gflop"] = count / 1e9
    return found


def slopes(points: Sequence[Case]) -> list[Case]:
    """One row an axis: the exponents, and from where to where."""
    found = []
    for kind, axis in dict.fromkeys((p["kind"], p["axis"]) for p in points):
        group = [p for p in points if (p["kind"], p["axis"]) == (kind, axis)]
        clock = "seconds" if measuring.on_gpu(group[0]["device"]) else "cpu_seconds"
        xs = [row["gflop"] if axis == "model" else row["value"] for row in group]
        found.append({
            "kind": kind, "axis": axis, "first": group[0]["value"], "last": group[-1]["value"],
            "time": measuring.exponent(xs, [row[clock] for row in group]),
            "memory": measuring.exponent(xs, [row["mb"] for row in group]),
        })  # fmt: skip
    return found


def cases(options: argparse.Namespace) -> list[Case]:
    base, values = (FULL, FULL_VALUES) if options.full else (BASE, VALUES)
    base = base | {k: getattr(options, k) for k in base if getattr(options, k) is not None}
    same = {key: getattr(options, key) for key in ("device", "precision", "threads")}
    return [
        {**base, "kind": kind, "axis": axis, "value": value, axis: value, **same}
        for kind in options.kinds
        for axis in AXES[kind]
        if not options.axes or axis in options.axes
        for value in options.values or values[axis]
    ]


def listed(text: str) -> list[Any]:
    return [int(item) if item.isdecimal() else item for item in text.split(",")]


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kinds", type=listed, default=[k for k in AXES if k != "acm-pairs"])
    parser.add_argument("--axes", type=listed, help="only these")
    parser.add_argument("--values", type=listed, help="of one axis")
    parser.add_argument("--full", action="store_true", help="CIFAR-10's sizes: for a GPU")
    for name, value in BASE.items():
        parser.add_argument(f"--{name}", type=type(value), help="where it is not varied")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1, help="of repeating each point")
    parser.add_argument("--minutes", type=float, default=30, help="begin no point later")
    parser.add_argument("--out", type=Path, help="one line of JSON a point; go on from it")
    parser.add_argument("--json", action="store_true")
    add_option(parser)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    options = parse(words)
    if options.child:
        measuring.answer(point(json.loads(options.child)))
        return 0

    def measure(case: Case) -> Case:
        asked = {**case, "seconds": options.seconds}
        if not together(options):
            return measuring.alone(__file__, asked)
        measuring.free()
        return point(asked)

    points, code = rows.fill(
        cases(options), measure, path=options.out, minutes=options.minutes,
        by=rows.command(__file__, words), broken=partial(measuring.broken, options.device),
    )  # fmt: skip
    if options.json:
        print(json.dumps({"points": points, "slopes": slopes(points)}))
    else:
        tables = measuring.table(points, POINTS), measuring.table(slopes(points), SLOPES)
        print("\n\n".join(tables))
    return code


if __name__ == "__main__":
    sys.exit(main())
