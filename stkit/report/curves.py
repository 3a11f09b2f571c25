"""The curves of a page: for each set of images and model, accuracy and ACM by epoch.

Six lines at most have a colour from the first: natural training, the best, the paper's frames,
then the next best. The others are grey until they are pointed at or ticked, which needs no script.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from stkit.core.text import html
from stkit.recipes.frames import NATURAL, PAPER
from stkit.recipes.staged import PURIFIED
from stkit.report import charts, sweeps
from stkit.report.charts import Line, Points
from stkit.report.groups import Group, grouped
from stkit.report.result import Result

COLOURED = 6
ABOUT_ACM = (
    "ACM tells how tight and how far apart a network holds its classes; a dot is a check at which "
    "it was above its threshold gamma, so that staged training rolled the weights back; after "
    "the last stage it is only watched."
)
ABOUT_SEEDS = "A line is the mean over seeds, its band goes from the lowest to the highest seed."
Read = Callable[[Result], tuple[Points, Points]]
"""A line's points, and its roll-backs."""


@dataclass(frozen=True)
class Block:
    """The groups of one set of images and model.

    key: no other block's on the page. colours: of the frames that have one from the first.
    """

    key: str
    groups: list[Group]
    colours: dict[str, int]

    @property
    def title(self) -> str:
        """What all of them were trained on, and the model."""
        first = self.groups[0].first
        return f"{first.data[0]}, {first.called}, {first.model}"

    def lines(self, read: Read, *, judged: bool = False) -> list[Line]:
        """A line a group; judged: with what ACM was judged by."""
        made, others = [], 0
        for number, group in enumerate(self.groups):
            on = group.frame in self.colours
            colour = self.colours[group.frame] if on else COLOURED + others
            others += not on
            seeds = [read(result) for result in group.results]
            points, band = charts.merged([points for points, _ in seeds])
            marks = [mark for _, marks in seeds for mark in marks]
            gammas = thresholds(group.first) if judged else ()
            made.append(Line(number, colour, group.frame, points, band, marks, gammas, on))
        return made


def curves(results: list[Result]) -> str:
    """All curves there are; accuracy by epoch, and ACM where it was judged."""
    blocks = _blocks(grouped(results, None))
    shown = "".join(map(_block, blocks))
    if not shown:
        return ""
    about = ABOUT_ACM if "gamma" in shown or "<circle" in shown else ""
    if any(len(group.results) > 1 for block in blocks for group in block.groups):
        about = f"{ABOUT_SEEDS} {about}".strip()
    return (f'<p class="soft">{about}</p>' if about else "") + shown


def style(results: list[Result]) -> str:
    """CSS by which a line that is pointed at or ticked is seen in all charts of its block."""
    most = max((len(block.groups) for block in _blocks(grouped(results, None))), default=0)
    return "\n".join(
        f".curves:has(.k{n}:checked,label.l{n}:hover,.k{n}:focus-visible,.run.l{n}:hover) "
        f".rest.l{n}{{--k:var(--own);--wide:2px;--seen:visible;--dash:6 2}}"
        f".curves:has(.run.l{n}:hover) .run:not(.l{n}){{opacity:.3}}"
        for n in range(most)
    )


def thresholds(training: Result) -> tuple[float, ...]:
    """What ACM was judged by; none where it was not."""
    setup = training.setup
    names = [name for name in setup if name.endswith(".staged.gamma")]
    values = {
        sweeps.default(setup, "gamma") if setup[name] is None else float(setup[name])
        for name in names
        if setup.get(f"{name.removesuffix('gamma')}indicator") != PURIFIED
    }
    return tuple(sorted(values))


def _blocks(made: list[Group]) -> list[Block]:
    """One a ground. A frame has one colour on the page, where that is free in its block."""
    grounds: dict[tuple[str, str, str, float, str], list[Group]] = {}
    for group in made:
        grounds.setdefault(group.first.ground, []).append(group)
    known: dict[str, int] = {}
    blocks = []
    for number, here in enumerate(grounds.values()):
        wanted = [group.frame for group in sorted(here, key=_rank(here))][:COLOURED]
        colours = _colours(wanted, known)
        known = colours | known
        blocks.append(Block(f"b{number}", here, colours))
    return blocks


def _colours(frames: Sequence[str], known: dict[str, int]) -> dict[str, int]:
    colours: dict[str, int] = {}
    for frame in sorted(frames, key=lambda frame: frame not in known):
        free = [number for number in range(COLOURED) if number not in colours.values()]
        wish = known.get(frame, free[0])
        colours[frame] = wish if wish in free else free[0]
    return colours


def _rank(here: Iterable[Group]) -> Callable[[Group], tuple[int, float]]:
    """Natural training, the best, the paper's frames, then by accuracy."""
    means = {group.frame: group.mean if group.accuracies else -1.0 for group in here}
    best = max(means, key=lambda frame: means[frame])

    def rank(group: Group) -> tuple[int, float]:
        order = (group.frame == NATURAL, group.frame == best, group.frame in PAPER, True)
        return order.index(True), -means[group.frame]

    return rank


def _block(block: Block) -> str:
    figures = "".join(f"<figure>{svg}</figure>" for svg in _charts(block) if svg)
    if not figures:
        return ""
    return (
        f'<div class="curves"><h3>{html(block.title)}</h3>'
        f'<div class="charts">{figures}</div>{_keys(block)}</div>'
    )


def _charts(block: Block) -> list[str]:
    split = block.groups[0].first.split
    judged = block.lines(charts.acm, judged=True)
    variants = sorted({
        str(value)
        for group in block.groups for name, value in group.first.setup.items()
        if name.endswith(".staged.variant")
    })  # fmt: skip
    return [
        charts.chart(
            block.lines(lambda result: (charts.accuracy(result), [])), key=f"{block.key}a",
            title=f"{block.title}: accuracy by epoch", x="epoch",
            y=f"Accuracy on clean {split} images, %", log=False,
        ),
        charts.chart(
            block.lines(lambda result: (charts.retained(result), [])), key=f"{block.key}r",
            title=f"{block.title}: retained share by epoch", x="epoch",
            y="Retained share of accuracy on validation images, %", log=False,
        ),
        charts.chart(
            judged, key=f"{block.key}m", title=f"{block.title}: ACM by epoch", x="epoch",
            y=f"ACM as it was judged ({', '.join(variants)}); dots: rolled back", log=True,
        ),
    ]  # fmt: skip


def _keys(block: Block) -> str:
    """What is grey, to be ticked."""
    rest = [line for line in block.lines(lambda _: ([], [])) if not line.on]
    if not rest:
        return ""
    keys = "".join(
        f'<label class="{charts.styled("key", line)}">'
        f'<input type="checkbox" class="k{line.number}"><i></i>{html(line.name)}</label>'
        for line in rest
    )
    many = f"{len(rest)} more frame{'' if len(rest) == 1 else 's'}"
    return (
        f"<details><summary>{many}, grey in the charts: point at a line to see which it is, or "
        f'tick names here</summary><p class="keys">{keys}</p></details>'
    )
