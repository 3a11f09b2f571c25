"""Why no published number stands beside one's own: a sentence, for the command and the page."""

from collections.abc import Iterable, Sequence

from stkit.report import literature
from stkit.report.groups import TEST, Group
from stkit.report.literature import Anchor
from stkit.report.names import CLEAN, few

Cause = tuple[str, str, tuple[str, ...]]
"""What there is no number for: its kind, its name, and for which names there is one."""


def absent(made: Sequence[Group]) -> str:
    """A sentence on the groups that have no published number, and why; empty where all have one."""
    if not made:
        return "No published numbers: there is no accuracy here that they could stand beside."
    bare = [group for group in made if not group.anchors]
    if not bare:
        return ""
    there: dict[tuple[str, str], dict[str, None]] = {}  # for a name, of other poisons others are
    for group in bare:
        kind, name, others = _cause(group)
        there.setdefault((kind, name), {}).update(dict.fromkeys(others))
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (kind, name), known in there.items():
        alike.setdefault((kind, tuple(known)), []).append(name)
    causes = [
        f"none for {kind} {few(given)}" + (f" (there are for {few(others)})" if others else "")
        for (kind, others), given in alike.items()
    ]
    which = "here" if len(bare) == len(made) else f"beside {len(bare)} of {len(made)} of these"
    return f"No published numbers {which}: {'; '.join(causes)}."


def _cause(group: Group) -> Cause:
    """The first that keeps a group from having one, of what is measured, on what, and how."""
    result = group.first
    poison, frame = result.known_as
    if group.measure is not TEST or result.split != "test":
        title = group.measure.title.format(split=result.split)
        what = "validation images" if group.measure is TEST else title.removesuffix(", %")
        return "this measure,", what, ("accuracies on test images",)
    if result.images.poison is not None and result.images.poison.imported:
        return "imported noise,", result.poison, ("the poisons that stkit makes",)
    rate = result.rate
    wanted = (
        ("the data set", result.dataset, lambda a: a.dataset),
        ("the model", result.model, lambda a: a.model),
        ("the poison", poison if rate else "clean", lambda a: a.poison),
        ("the poison rate", f"{rate:g}", lambda a: f"{a.rate:g}"),
        ("the frame", frame, lambda a: a.frame),
    )
    left: Iterable[Anchor] = literature.anchors()
    for kind, name, read in wanted:
        others = [other for other in dict.fromkeys(map(read, left)) if other != CLEAN]
        if kind == "the poison" and not rate:  # clean images are those of any poison at rate 0
            left = [anchor for anchor in left if anchor.rate == 0]
        elif kind != "the poison rate" or rate:
            left = [anchor for anchor in left if read(anchor) == name]
        if not left:
            return kind, name, tuple(others)
    return "this", "place", ()
