"""How numbers are read that are typed; what is none is told with what was expected."""

import sys

import typer

from stkit.recipes.carried import Jitter


def whole(text: str | int) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        longest = sys.get_int_max_str_digits()
        digits = len(str(text)) > longest > 0 and str(text).strip("+-").isdecimal()
        limit = f" of at most {longest:,} digits" if digits else ""
        raise typer.BadParameter(f"found {text!r}, expected a whole number{limit}") from None


def real(text: str | float) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"found {text!r}, expected a number such as 0.1") from None


def fraction(text: str | float) -> float:
    """A number such as 0.03 or 8/255."""
    try:
        above, _, below = str(text).partition("/")
        return float(above) / float(below) if below else float(above)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(
            f"found {text!r}, expected a number; write 0.03 or 8/255"
        ) from None


def budget(text: str | float) -> float:
    """A fraction within [0,1]."""
    value = fraction(text)
    if not 0 <= value <= 1:
        raise typer.BadParameter(
            f"found {text!r}, expected a number within [0,1]; write a fraction such as 8/255"
        )
    return value


def triple(text: str) -> tuple[float, ...]:
    """Three numbers, or one for all channels: 0.5 or 0.49,0.48,0.45."""
    values = tuple(fraction(text) for text in str(text).split(","))
    if len(values) not in (1, 3):
        raise typer.BadParameter(
            f"found {len(values)} numbers, {text!r}, expected one, or three: r,g,b"
        )
    return values * 3 if len(values) == 1 else values


def strengths(text: str) -> Jitter:
    """Of the colour jitter: one number, or four."""
    values = tuple(fraction(each) for each in str(text).split(","))
    if len(values) == 1:
        return values[0]
    if len(values) != 4:
        raise typer.BadParameter(
            f"found {len(values)} numbers, {text!r}, expected one, or four: brightness, contrast, "
            "saturation, hue"
        )
    return (values[0], values[1], values[2], values[3])
