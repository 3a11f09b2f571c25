"""Pictures for papers and talks: one module a kind, with `ABOUT`, a line for people, and `draw`.

To add a kind: one module here. Its `draw(figure, paths, on_note=...)` draws what these files hold
into an empty figure of matplotlib, and calls `on_note` with a line for what a reader should know.
matplotlib is an extra (in a clone: `pip install -e '.[plot]'`), so a kind imports what is heavy in
its functions: names and lines cost nothing.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol

from stkit.core import atomic
from stkit.core.errors import ArtifactError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OnNote = Callable[[str], None]


class Kind(Protocol):
    """What a module of this folder offers."""

    ABOUT: str

    def draw(self, figure: "Figure", paths: Sequence[Path], *, on_note: OnNote) -> None:
        """Draw these files into the figure."""
        ...


def kind(name: str) -> Kind:
    """The module of a kind."""
    module: Kind = import_module(f"{__name__}.{name}")
    return module


KINDS = {module.name: kind(module.name).ABOUT for module in iter_modules(__path__)}
"""Every kind of picture, with a line about it."""


def draw(
    name: str,
    paths: Sequence[Path],
    out: Path,
    *,
    on_note: OnNote = lambda line: None,
    replace: bool = True,
) -> None:
    """Draw a kind of picture into `out`, whose ending says how: .png, .svg or .pdf.

    replace: a file that is there. ArtifactError when there is nothing to draw, without matplotlib,
    when `out` cannot be written or is taken; and what the kind itself raises.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ArtifactError(
            "found no matplotlib, which draws the pictures; run: pip install matplotlib"
        ) from None
    figure = Figure(layout="constrained", dpi=150)
    kind(name).draw(figure, paths, on_note=on_note)
    with atomic.whole_file(out, replace=replace) as file:
        figure.savefig(file, format=out.suffix[1:])
