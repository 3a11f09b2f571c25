"""A finished training as one value, whichever file it was read from, and what reports show of it.

`COLUMNS` is the one list of it: rows of files, the page, the result that a bench writes and what
`stkit train` prints are made from it. To add a column: one line there, and where it shows something
that was not read so far, a field of `Result`.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from stkit.core import header, kinds, lineage, schema
from stkit.core.header import Header
from stkit.core.lineage import Lineage
from stkit.report import history, names
from stkit.report.history import Epoch, Stage

MEASURED = {
    "train_accuracy": schema.SHARE, "accuracy": schema.SHARE, "best_accuracy": schema.SHARE,
    "best_rolled_back": bool, "holdout_accuracy": schema.SHARE,
    "retained_share": kinds.RETAINED, "acm": float,
    "stages": [{"epoch": schema.COUNT, "step": schema.COUNT, "tau": schema.COUNT}],
    "seconds": float, "images_per_second": float, "peak_memory": float, "rung": str,
}  # fmt: skip
"""What a bench's result may say of a training, and of which type; see `core.schema`."""
SAME = ("threads", "deterministic", "record", "purified")
"""Settings that make no other training: what decides the last bits of a result alone, where another
seed changes more, and what was measured on the way."""
Value = str | int | float | list[dict[str, int]] | None
Row = dict[str, Value]
"""For machines: columns that apply, by their keys. Accuracies in [0,1]."""
Shown = str | int | float | tuple[str, float] | None
"""For the page: text, a number, a pair (text, number to sort by), or nothing."""


@dataclass(frozen=True)
class Result:
    """One training. None: was not measured, or does not apply. Accuracies in [0,1].

    Attributes:
        kind: of the file it was read from.
        label: what it was trained on, in a row of files.
        dataset: the clean images, with how many, where they are a part.
        split: what the accuracy is of: test, or validation (clean training images kept out).
        poison, frame: as the grid calls them, or as the headers do.
        rate: the poison rate; 0 for clean images.
        unfinished: steps done of all, as text.
        kept: which epoch on the way it is, of how many, as text.
        setup: all that decides the training but seeds, by path.
        known_as: what the literature calls the poison and the frame.
        tested: digest of what it was tested on; empty: on nothing.
        digest: of the weights.
        classes: of the model; None where the file does not say.
        apart: in the data set's name, where other images share that.
        rung: of a ladder, on which the training ended.
    """

    file: str
    kind: str
    label: str
    dataset: str
    split: str
    poison: str
    rate: float
    frame: str
    model: str
    seed: int
    epochs: int
    setup: Mapping[str, Any]
    known_as: tuple[str, str]
    versions: Mapping[str, str]
    images: Lineage
    tested: str
    digest: str
    history: tuple[Epoch, ...] = ()
    train_accuracy: float | None = None
    accuracy: float | None = None
    best_accuracy: float | None = None
    best_rolled_back: bool | None = None
    holdout_accuracy: float | None = None
    retained_share: float | None = None
    acm: float | None = None
    stages: tuple[Stage, ...] | None = None
    unfinished: str | None = None
    kept: str | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    peak_memory: float | None = None
    classes: int | None = None
    apart: str = ""
    rung: str | None = None

    @property
    def data(self) -> tuple[str, str]:
        """What all accuracies of a table share: the clean images, and what was tested on."""
        return self.dataset + self.apart, self.split

    @property
    def ground(self) -> tuple[str, str, str, float, str]:
        """What frames are compared on: trained and tested on the same images with one model."""
        return *self.data, self.poison, self.rate, self.model

    @property
    def called(self) -> str:
        """The poison, with its rate where not all images are poisoned."""
        return self.poison if self.images.poison is None else names.rated(self.poison, self.rate)


@dataclass(frozen=True)
class Column:
    """What reports show of a training.

    key: in rows of files; empty: on the page alone. heading: on the page; empty: in rows alone.
    show: as the page has it, where that is another than `read`. printed: by `stkit train`, too.
    machines: too much for a table of rows. The page has what some training has.
    """

    key: str
    heading: str
    read: Callable[[Result], Value]
    show: Callable[[Result], Shown] | None = None
    printed: bool = False
    machines: bool = False

    def shown(self, result: Result) -> Shown:
        """What stands on the page."""
        if self.show is not None:
            return self.show(result)
        value = self.read(result)
        assert not isinstance(value, list), f"{self.heading} needs a way to be shown"
        return value


def percent(value: float | None) -> tuple[str, float] | None:
    """An accuracy on the page."""
    return None if value is None else (f"{value * 100:.2f}", value)


def _tested(result: Result) -> str:
    return "" if result.accuracy is None else result.split


COLUMNS = (
    Column("file", "", lambda r: r.file),
    Column("kind", "", lambda r: r.kind),
    Column("data", "", lambda r: r.label),
    Column("", "data set", lambda r: r.dataset),
    Column("", "poison", lambda r: r.poison),
    Column("", "rate", lambda r: r.rate),
    Column("frame", "frame", lambda r: r.frame,
           lambda r: f"{r.frame} ({r.rung})" if r.rung else r.frame, True),
    Column("rung", "", lambda r: r.rung, printed=True),
    Column("model", "model", lambda r: r.model, printed=True),
    Column("epochs", "", lambda r: r.epochs, printed=True),
    Column("seed", "seed", lambda r: r.seed),
    Column("", "epochs", lambda r: r.epochs),
    Column("", "tested on", _tested),
    Column("train_accuracy", "", lambda r: r.train_accuracy, printed=True),
    Column("accuracy", "accuracy, %", lambda r: r.accuracy, lambda r: percent(r.accuracy), True),
    Column("best_accuracy", "best epoch, %", lambda r: r.best_accuracy,
           lambda r: percent(r.best_accuracy), True),
    Column("best_rolled_back", "", lambda r: r.best_rolled_back, printed=True),
    Column("holdout_accuracy", "", lambda r: r.holdout_accuracy, printed=True),
    Column("retained_share", "retained share", lambda r: r.retained_share,
           printed=True),
    Column("acm", "ACM", lambda r: r.acm, printed=True),
    Column("stages", "roll-backs",
           lambda r: None if r.stages is None else [asdict(stage) for stage in r.stages],
           lambda r: ", ".join(f"{s.tau}@{s.epoch}" for s in r.stages or ()), True),
    Column("unfinished", "", lambda r: r.unfinished),
    Column("kept", "", lambda r: r.kept),
    Column("seconds", "seconds", lambda r: r.seconds),
    Column("images_per_second", "images/s", lambda r: r.images_per_second, machines=True),
    Column("peak_memory", "peak memory, GiB", lambda r: r.peak_memory,
           lambda r: None if r.peak_memory is None else r.peak_memory / 2**30, machines=True),
    Column("split", "", lambda r: None if r.split == "test" else _tested(r) or None),
)  # fmt: skip


def of_run(file: str, value: dict[str, Any]) -> Result:
    """A training from its result, as `files.read` returns it."""
    settings, stages = value["settings"], value.get("stages")
    poison = settings["poison"]["name"]
    rate = settings["poison"].get("rate", lineage.of(value["inputs"][0]).rate)
    known = _unmeasured(
        file, value, label=names.rated(poison, rate), rate=rate,
        dataset=settings["data"]["name"], poison=poison, frame=settings["frame"]["name"],
        model=settings["model"], seed=settings["seed"], epochs=value["epochs"],
        epochs_run=history.read(value["history"], value["recipe"]),
    )  # fmt: skip
    return replace(
        known, train_accuracy=value.get("train_accuracy"), accuracy=value.get("accuracy"),
        best_accuracy=value.get("best_accuracy"), best_rolled_back=value.get("best_rolled_back"),
        holdout_accuracy=value.get("holdout_accuracy"), retained_share=value.get("retained_share"),
        acm=value.get("acm"),
        stages=None if stages is None else tuple(Stage(s["epoch"], s["step"], s["tau"])
                                                 for s in stages),
        seconds=value.get("seconds"), images_per_second=value.get("images_per_second"),
        peak_memory=value.get("peak_memory"), rung=value.get("rung"),
    )  # fmt: skip


def of_checkpoint(file: str, head: dict[str, Any]) -> Result:
    """A training from its checkpoint's header, with numbers for nan and inf in its records.

    Accuracies are those of the weights in the file; the best epoch's decides nothing.
    """
    images, progress, kept = lineage.of(head["inputs"][0]), head["progress"], head.get("kept")
    given = names.donor(head["inputs"])
    epochs = history.read(head["records"], head["recipe"])
    last = head["records"][-1] if head["records"] else {}
    final = last.get("final") or last  # after a roll-back at the end
    if kept and "final" not in last and last.get("rolled_back"):
        final = {}  # of these weights nothing was measured
    best = max(epochs, key=lambda epoch: epoch.accuracy or 0.0) if "accuracy" in final else None
    check = next((check for epoch in reversed(epochs) for check in reversed(epoch.checks)), None)
    stopped = check is not None and check.verdict == "stop"
    known = _unmeasured(
        file, head, label=names.label(images), rate=images.rate, dataset=images.source or "unknown",
        poison=names.poison(images),
        frame=names.started(head["frame"], head["recipe"], given), model=head["model"],
        seed=head["seed"], epochs_run=epochs, given=given,
        epochs=epochs[-1].number if stopped else sum(p["epochs"] for p in head["recipe"]["phases"]),
    )  # fmt: skip
    return replace(
        known, train_accuracy=last.get("train_accuracy"), accuracy=final.get("accuracy"),
        best_accuracy=best.accuracy if best else None,
        best_rolled_back=True if best and best.rolled_back else None,
        holdout_accuracy=final.get("holdout_accuracy"), retained_share=final.get("retained_share"),
        acm=check.acm if check and check.scores else None,
        stages=history.stages(epochs), classes=len(head["classes"]),
        unfinished=None if progress["done"] else f"{progress['step']}/{progress['steps']}",
        kept=f"epoch {kept['epoch']} of {kept['epochs']}" if kept else None,
        rung=(head.get("chosen") or {}).get("rung"),
    )  # fmt: skip


def _unmeasured(
    file: str, value: dict[str, Any], *, label: str, dataset: str, poison: str, rate: float | None,
    frame: str, model: str, seed: int, epochs: int, epochs_run: tuple[Epoch, ...],
    given: Header | None = None,
) -> Result:  # fmt: skip
    """What was trained on what and how, from what a result and a checkpoint's header share.

    given: the header of the checkpoint that it started from.
    """
    images = lineage.of(value["inputs"][0])
    tested = [each for each in value["inputs"][1:] if each is not given][:1]
    setup = {"train": value["recipe"], "images": images.made_by, "data": images.reading}
    if given is not None:
        before = lineage.of(given["inputs"][0])
        setup["init"] = {
            "train": given["recipe"], "images": before.made_by, "data": before.reading,
            "kept": given.get("kept"),
        }  # fmt: skip
    told = header.flat(setup).items()
    return Result(
        file=file, kind=value["kind"], label=label, dataset=names.dataset(dataset, images),
        split="validation" if any(lineage.of(test).held for test in tested) else "test",
        poison=poison, rate=0.0 if images.poison is None else 1.0 if rate is None else rate,
        frame=frame, model=model, seed=seed, epochs=epochs,
        setup={k: v for k, v in told if k.rpartition(".")[2] not in SAME},
        known_as=names.literature(images, value["recipe"], given), versions=value["versions"],
        images=images, tested=tested[0]["digest"] if tested else "", digest=value["digest"],
        history=epochs_run,
    )  # fmt: skip


def row(result: Result) -> Row:
    """A training as one row of a table of files."""
    values = {column.key: column.read(result) for column in COLUMNS if column.key}
    return {key: value for key, value in values.items() if value is not None}


def summary(head: dict[str, Any]) -> Row:
    """What came out of a training, from its checkpoint's header, as `stkit train` prints it."""
    made = row(of_checkpoint("", {**head, "records": header.numbers(head["records"])}))
    return {column.key: made[column.key]
            for column in COLUMNS if column.printed and column.key in made}  # fmt: skip
