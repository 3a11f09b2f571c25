"""What a shell offers where a value is typed: by the word that stands for the value in the help.

`fp32|bf16` offers both; words in capitals, as in `epoch|STEPS`, are no values. Where nothing is
offered, shells offer files. Nothing here imports torch or timm, or asks for a GPU.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from stkit.recipes.carried import NAMES, PREPARATIONS
from stkit.recipes.catalogue import DATASETS, MODELS, TIMM
from stkit.recipes.frames import FRAMES
from stkit.report import plots

Offer = str | tuple[str, str]
"""A value, or a value and a line about it, which some shells show."""
Offers = Callable[[str], list[Offer]]
"""What is offered for a value that is typed so far."""


def of(metavar: str | None) -> Offers | None:
    """What is offered for a value that the help shows so; None: files, or nothing."""
    if metavar in KNOWN:
        return KNOWN[metavar]
    values = [word for word in (metavar or "").split("|") if word == word.lower()]
    return _among(values) if metavar and "|" in metavar else None


def _among(values: Iterable[Offer]) -> Offers:
    """These, whatever is typed: Typer leaves out what does not begin so."""

    def offers(typed: str) -> list[Offer]:
        return list(values)

    return offers


def _sources(typed: str) -> list[Offer]:
    """Data sets by name, and files beside them where a name fits; else the shell knows better."""
    names: list[Offer] = [each for each in DATASETS.items() if each[0].startswith(typed)]
    if not names:
        return []
    here = [f"{path.name}/" if path.is_dir() else path.name for path in Path().glob(f"{typed}*")]
    return [*names, *sorted(name for name in here if not name.startswith("."))]


def _lists(typed: str) -> list[Offer]:
    """The next name of a comma list, and those before it as they are."""
    before, comma, _ = typed.rpartition(",")
    return [f"{before}{comma}{name}" for name in NAMES]


def _preparations(typed: str) -> list[Offer]:
    """The same, of preparations alone."""
    before, comma, _ = typed.rpartition(",")
    return [f"{before}{comma}{name}" for name in PREPARATIONS]


KNOWN: dict[str | None, Offers] = {
    "FRAME": _among([(name, frame.about) for name, frame in FRAMES.items()]),
    "MODEL": _among([*((name, net.about) for name, net in MODELS.items()), TIMM]),
    "KIND": _among([*plots.KINDS.items()]),
    "SOURCE": _sources,
    "PUBLISHED": _sources,
    "NAME,...": _lists,
    "PREPARATION,...": _preparations,
}
"""What stands for a value -> what is offered, where that does not say it by itself."""
