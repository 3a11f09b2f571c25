"""Pictures for papers and talks: one module a kind.

To add a kind, one module here with
- `ABOUT`, a line for people; `FILES`, which files it draws (empty: none);
- `TAKES`, the fields of `Asked` that it uses; all others are refused;
- `draw(figure, paths, asked, *, on_note) -> Rows`, which draws what these files hold into an empty
  figure of matplotlib, calls `on_note` with a line for what a reader should know, and returns the
  numbers behind the picture, one row a point.

Module `lr_scales` is the kind lr-scales. All pictures look alike: sizes, colours and labels are
those of `style`. A kind imports what is heavy (matplotlib, an extra, in a clone:
`pip install -e '.[plot]'`; torch) in its functions: names and lines cost nothing.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol

from stkit.core import atomic, text
from stkit.core.checks import choose
from stkit.core.errors import ArtifactError, RecipeError
from stkit.report.plots import style
from stkit.report.plots.asked import Asked, Rows, option

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OnNote = Callable[[str], None]
ENDINGS = (".png", ".svg", ".pdf")
NOTHING = Asked()


class Kind(Protocol):
    """What a module of a kind offers."""

    ABOUT: str
    FILES: str
    TAKES: tuple[str, ...]

    def draw(
        self, figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: OnNote
    ) -> Rows:
        """Draw these files into the figure; the numbers behind the picture."""
        ...


def kind(name: str) -> Kind:
    """The module of a kind."""
    module: Kind = import_module(f"{__name__}.{name.replace('-', '_')}")
    return module


KINDS = {
    module.name.replace("_", "-"): kind(module.name).ABOUT
    for module in iter_modules(__path__)
    if hasattr(kind(module.name), "ABOUT")
}
"""Every kind of picture, with a line about it."""


def takers(name: str) -> list[str]:
    """The kinds that take what is asked by a field of `Asked`."""
    return [each for each in KINDS if name in kind(each).TAKES]


def check(name: str, paths: Sequence[Path], out: Path, asked: Asked = NOTHING) -> None:
    """A RecipeError for an unknown kind, with the nearest, for an output of another type, and for
    what the kind does not take or lacks."""
    choose("kind", name, KINDS)
    if out.suffix.lower() not in ENDINGS:
        raise RecipeError(
            f"{out}: found {out.suffix or 'no ending'}, expected a name that ends in .png, .svg or "
            ".pdf; pass -o FILE.png"
        )
    module = kind(name)
    for field in asked.given():
        if field not in module.TAKES:
            known = ", ".join(map(option, module.TAKES)) or "no option of its own"
            raise RecipeError(
                f"{option(field)} is for {', '.join(takers(field))}; {name} takes {known}"
            )
    if module.FILES and not paths:
        raise RecipeError(f"found no files, expected {module.FILES}; name some after {name}")
    if paths and not module.FILES:
        raise RecipeError(f"{name} is drawn of no files, found {paths[0]}; leave it out")


def draw(
    name: str,
    paths: Sequence[Path],
    out: Path,
    asked: Asked = NOTHING,
    *,
    data: Path | None = None,
    on_note: OnNote = lambda line: None,
    replace: bool = True,
) -> Rows:
    """Draw a kind of picture into `out`, whose ending says how: .png, .svg or .pdf.

    data: where the numbers behind it go, as CSV; they are returned, too. replace: files that are
    there. RecipeError: see `check`. ArtifactError when there is nothing to draw, without
    matplotlib, when a file cannot be written or is taken; and what the kind itself raises.
    """
    check(name, paths, out, asked)
    for each in (out, data):
        if each is not None:
            atomic.free(each, force=replace)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ArtifactError(
            "found no matplotlib, which draws the pictures; run: pip install 'matplotlib>=3.9', or "
            "pip install -e '.[plot]' in the clone"
        ) from None
    module = kind(name)
    with style.applied():
        figure = Figure(layout="constrained")
        rows = module.draw(figure, paths, asked, on_note=on_note)
        with ExitStack() as both:
            picture = both.enter_context(atomic.whole_file(out, replace=replace))
            if data is not None:
                numbers = both.enter_context(atomic.whole_file(data, replace=replace))
                numbers.write(f"{csv(rows)}\n".encode(errors="backslashreplace"))
            form = out.suffix[1:].lower()
            figure.savefig(picture, format=form, metadata=style.METADATA[form])
    return rows


def csv(rows: Rows) -> str:
    """Rows as CSV without a line feed at its end: a column for each key, in the order they came."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [keys, *([_csv(row.get(key)) for key in keys] for row in rows)]
    return "\n".join(",".join(line) for line in lines)


def _csv(value: str | int | float | None) -> str:
    """A number as Python writes it (True is 1), nothing for None, else text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return text.csv(value)
    return repr(int(value) if isinstance(value, bool) else value)
