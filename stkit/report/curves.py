"""The curves of a page: for each set of images and model, accuracy by epoch and ACM by step.

Trainings of one frame share a colour. Where lines are more than colours, those of the paper's
frames are coloured at first, the others grey.
"""

from dataclasses import dataclass

from stkit.core.text import html
from stkit.recipes.frames import PAPER
from stkit.report import charts
from stkit.report.groups import Group, grouped
from stkit.report.result import Result

HOW = "Point at a name or a line to see which is which; a click keeps it, or lets it go."


@dataclass(frozen=True)
class Block:
    """The groups of one set of images and model; numbers: of the colours of their frames."""

    groups: list[Group]
    numbers: dict[str, int]

    @property
    def title(self) -> str:
        """What all of them were trained on, and the model."""
        first = self.groups[0].first
        return f"{first.data[0]}, {first.called}, {first.model}"

    @property
    def many(self) -> bool:
        """Whether there are more lines than colours."""
        return len(self.groups) > charts.COLOURS

    @property
    def on(self) -> set[str]:
        """The frames that are coloured at first, where there are many."""
        return {group.frame for group in self.groups if self.many and group.frame in PAPER}


def curves(results: list[Result]) -> str:
    """All curves there are; accuracy by epoch, and ACM by step where it was judged."""
    blocks = "".join(map(_block, _blocks(grouped(results, None))))
    return f'<p class="soft">{HOW}</p>{blocks}' if blocks else ""


def _blocks(made: list[Group]) -> list[Block]:
    grounds: dict[tuple[str, str, str, float, str], list[Group]] = {}
    for group in made:
        grounds.setdefault(group.first.ground, []).append(group)
    names = sorted(dict.fromkeys(group.frame for group in made), key=lambda name: name not in PAPER)
    everywhere = {name: number for number, name in enumerate(names)}
    return [
        Block(here, everywhere if len(here) > charts.COLOURS or len(names) <= charts.COLOURS
              else {group.frame: number for number, group in enumerate(here)})  # none twice
        for here in grounds.values()
    ]  # fmt: skip


def _block(block: Block) -> str:
    figures = "".join(f"<figure>{svg}</figure>" for svg in _charts(block) if svg)
    if not figures:
        return ""
    keys = "".join(_key(group.frame, block) for group in block.groups)
    return (
        f'<div class="curves{" many" if block.many else ""}"><h3>{html(block.title)}</h3>'
        f'<p class="keys">{keys}</p><div class="charts">{figures}</div></div>'
    )


def _charts(block: Block) -> list[str]:
    each = [(group.frame, result) for group in block.groups for result in group.results]
    split, numbers, on = block.groups[0].first.split, block.numbers, block.on
    return [
        charts.chart(
            [charts.Line(numbers[name], name, charts.accuracy(result), [], name in on)
             for name, result in each],
            title=f"{block.title}: accuracy by epoch", x="epoch",
            y=f"Accuracy on clean {split} images, %", log=False,
        ),
        charts.chart(
            [charts.Line(numbers[name], name, charts.retained(result), [], name in on)
             for name, result in each],
            title=f"{block.title}: retained share by epoch", x="epoch",
            y="Retained share of accuracy on validation images, %", log=False,
        ),
        charts.chart(
            [charts.Line(numbers[name], name, *charts.acm(result), name in on)
             for name, result in each],
            title=f"{block.title}: ACM by step", x="step",
            y="ACM as it was judged; dots: rolled back", log=True,
        ),
    ]  # fmt: skip


def _key(name: str, block: Block) -> str:
    number, on = block.numbers[name], name in block.on
    return (
        f'<button class="{charts.styled("key", number, on)}" data-line="{number}" '
        f'aria-pressed="{str(on).lower()}"><i></i>{html(name)}</button>'
    )
