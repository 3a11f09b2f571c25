"""Write docs/results.md from the files in results/.

    make results

A folder of results/ that has a grid of its name in results/grids/ gets a section: what the grid
asks (the first lines of its file), the tables, the command. The single runs in results/archive/ are
from before grids; their tables are laid out here.
"""

import json
import tomllib
from pathlib import Path

from stkit.cli import output
from stkit.core import atomic
from stkit.core.text import markdown
from stkit.report import gather, literature, tables
from stkit.report.groups import grouped

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
HEAD = """# Results

Made by `make results` from the files in [results/](../results/README.md); do not edit. Accuracies
are in %, of the last weights; several seeds as mean ± standard deviation; in brackets the
difference to natural training (`nt`) on the same images. A frame's settings stand under its name in
the grid. What was asked and learned on the way is in [experiments.md](experiments.md).
"""
SINGLE = """## Single runs on a CPU

Is there an effect where training is cut to what a CPU does? One seed, all 10,000 test images of
CIFAR-10. Such a run says whether an effect is there, not how large it is: do not compare it with
the paper's column. The commands are in [archive/](../results/archive/README.md).

{table}

OPS shows no effect on ResNet-18 in ten epochs; in four times as many steps, with batches of 32,
neither: {longer} on 2,000 test images.
"""
VALIDATION = """## Which frame does best on its worst poison

Small net, 5,000 images of CIFAR-10, 25 epochs, accuracy on 2,000 clean images that were kept out
before anything was poisoned, one seed; EM is class-wise. `st-ratio49` is `st --acm-variant ratio
--check-every 49`, `gray-jpeg30` is `nt --augment gray,jpeg-30`. The commands are in
[archive/](../results/archive/README.md).

{table}
"""
SMALL = ("clean-nt", "sp-nt", "ops-nt", "em-class-nt", "em-sample-nt", "clean-st")
"""Single runs in the archive: what was trained on, and the frame."""


def main() -> None:
    """Write the document."""
    atomic.write_text(ROOT / "docs" / "results.md", text())


def text() -> str:
    """The whole document."""
    files = sorted((RESULTS / "grids").glob("*.toml"))
    grids = [path for path in files if "data" in tomllib.loads(path.read_text())]  # no queue
    sections = [grid(path, RESULTS / path.stem) for path in grids if has_results(path.stem)]
    waiting = ", ".join(f"[{p.name}](../results/grids/{p.name})"
                        for p in grids if not has_results(p.stem))  # fmt: skip
    measured = f"Not run so far: {waiting}.\n" if waiting else ""
    return "\n".join([HEAD, measured, *sections, single_runs(), validation()])


def has_results(name: str) -> bool:
    """Whether results of this grid are kept here."""
    return any((RESULTS / name).glob("*.json"))


def grid(path: Path, folder: Path) -> str:
    """The section of one grid: its question, its tables, its commands."""
    found = grouped(gather.gather([folder]).results)
    made = [
        f"{markdown(table.title)}:\n\n{output.rows(table.texts(with_anchors=True), 'markdown')}\n"
        for table in tables.overview(found)
    ]
    sources = [f"- {line}" for line in tables.sources(found)]
    data = tomllib.loads(path.read_text())["data"]
    return "\n".join([
        f"## {path.stem}\n",
        f"{question(path)}\n",
        f"Data: {data['source']}. Grid: [{path.name}](../results/grids/{path.name}).\n",
        *made,
        *([*sources, ""] if sources else []),
        f"```sh\nstkit bench results/grids/{path.name} -o results/{path.stem}\n"
        f"stkit report results/{path.stem} --layout 1 --anchors\n```\n",
    ])  # fmt: skip


def question(path: Path) -> str:
    """What a grid asks: the first paragraph of its comment."""
    lines = []
    for line in path.read_text().splitlines():
        words = line.removeprefix("#").strip()
        if not line.startswith("#") or not words:
            break
        lines.append(words)
    return " ".join(lines)


def single_runs() -> str:
    """The single runs beside the paper's numbers."""
    rows = []
    for name in SMALL:
        poison, frame = name.rsplit("-", 1)
        paper = literature.beside(
            dataset="cifar10", poison=poison, rate=1.0, frame=frame, model="resnet18"
        )["ST paper"]
        rows.append({
            "trained on": poison, "frame": frame, "the paper, ResNet-18": percent(paper.accuracy),
            "ResNet-18, 5,000 images, 10 epochs": archived(f"cifar10-{name}-eval-cpu-smoke"),
            "small net, 5,000 images, 30 epochs": archived(f"cifar10-{name}-cpu-small"),
        })  # fmt: skip
    longer = archived("cifar10-ops-nt-batch32-eval2k-cpu-smoke")
    return SINGLE.format(table=output.rows(rows, "markdown"), longer=longer)


def validation() -> str:
    """The frames that were compared on their worst poison, before there were grids."""
    folder = RESULTS / "archive" / "cpu-validation"
    names = [path.stem.partition("-") for path in sorted(folder.glob("*.json"))]
    poisons = list(dict.fromkeys(poison for poison, _, _ in names))
    rows = []
    for frame in dict.fromkeys(frame for _, _, frame in names if frame != "poison"):
        values = [archived(f"cpu-validation/{poison}-{frame}") for poison in poisons]
        worst = "-" if "-" in values else min(values, key=float)
        rows.append({"frame": frame, **dict(zip(poisons, values, strict=True)), "worst": worst})
    return VALIDATION.format(table=output.rows(rows, "markdown"))


def archived(name: str) -> str:
    """The accuracy that a single run printed, in percent."""
    path = RESULTS / "archive" / f"{name}.json"
    return percent(json.loads(path.read_text())["accuracy"]) if path.exists() else "-"


def percent(value: float) -> str:
    """An accuracy of [0,1] in percent."""
    return f"{value * 100:.2f}"


if __name__ == "__main__":
    main()
